//! Who may touch a running meter's page, and when: the hand-over between the thread that runs a guest
//! and the arbiter that looks at it.
//!
//! Every run has a slot with a phase, and every change of phase is one atomic operation:
//!
//! ```text
//!            begin               look                 fine
//!   IDLE -> CLAIMED -> RUNNING ------> LOOKING -----------------> RUNNING
//!    ^                  |                 | over its limit: protect
//!    |       end        |                 v                  extended: unprotect
//!    +---- CLAIMED <----+<--- ARMED or ASKING ------------------> RUNNING
//!          (unprotect)          stopped: ARMED
//! ```
//!
//! Invariants, checked by a model checker on this very file: the arbiter touches a run only while it
//! is LOOKING at it or ASKING, and a run ends in none of these phases, so it never touches a page that
//! has been given back; a page is never protected while its slot is IDLE, so no run starts on a
//! protected page; and a run that has begun is looked at, however the arbiter went to sleep.
//!
//! Cost: a run pays two atomic operations to begin and two to end. It waits for the arbiter only if it
//! ends at the very moment it is looked at, or is over its limit.

use super::sync::{AtomicBool, AtomicU32, Cell, Ordering, fence, pause, rest};

const IDLE: u32 = 0;
const CLAIMED: u32 = 1;
const RUNNING: u32 = 2;
const LOOKING: u32 = 3;
const ARMED: u32 = 4;
const ASKING: u32 = 5;

/// A run as the arbiter sees it.
pub(super) trait Watched {
    /// Whether it may go on.
    fn look(&self) -> Look;
    /// Makes its next store to the meter fault. Whether that worked.
    fn protect(&self) -> bool;
    /// Takes that back.
    fn unprotect(&self);
    /// Asks whoever set the limit, and sets the new one. Whether the run goes on.
    fn ask(&self) -> bool;
}

/// What the arbiter finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It may go on.
    Fine,
    /// It has to end.
    Stop,
    /// Somebody has to be asked.
    Ask,
}

/// What a look at a slot led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing runs there.
    Idle,
    /// A run goes on, or has been stopped.
    Running,
    /// [`Handover::ask`] must be called for this slot, from any thread.
    Asking,
}

/// What a run does whose store faulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Tries again.
    Resume,
    /// Ends.
    Stop,
}

/// On cache lines of its own, as runs of different threads do not meet.
#[repr(align(128))]
struct Slot<R> {
    phase: AtomicU32,
    run: Cell<Option<R>>,
}

// SAFETY: the cell is written by the thread that brought the phase from IDLE to CLAIMED or from
// another one to CLAIMED, and read by the one that brought it to LOOKING or ASKING; these exclude each
// other, and each passes the cell on by a release that the next one acquires.
unsafe impl<R: Send + Sync> Sync for Slot<R> {}

/// The slots of all runs, and whether the arbiter sleeps.
pub(super) struct Handover<R> {
    slots: Box<[Slot<R>]>,
    /// Slots from here on have never been in use.
    unused: AtomicU32,
    asleep: AtomicBool,
}

impl<R: Watched> Handover<R> {
    pub(super) fn new(slots: usize) -> Self {
        let slot = |_| Slot {
            phase: AtomicU32::new(IDLE),
            run: Cell::new(None),
        };
        Self {
            slots: (0..slots).map(slot).collect(),
            unused: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
        }
    }

    /// Puts `run` into a free slot, looked for from `hint` on. Returns the slot, and whether the
    /// arbiter has to be woken; `None` if all are taken.
    pub(super) fn begin(&self, run: R, hint: usize) -> Option<(usize, bool)> {
        let count = self.slots.len();
        let free = |index: &usize| {
            let phase = &self.slots[*index].phase;
            phase.load(Ordering::Relaxed) == IDLE
                && phase
                    .compare_exchange(IDLE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        };
        let index = (0..count).map(|n| (hint + n) % count).find(free)?;
        // Before the phase, which whoever looks at the slot has to see.
        let behind = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if self.unused.load(Ordering::Relaxed) < behind {
            self.unused.fetch_max(behind, Ordering::Relaxed);
        }
        let slot = &self.slots[index];
        slot.run.with_mut(|cell| {
            // SAFETY: this thread claimed the slot.
            unsafe { *cell = Some(run) }
        });
        slot.phase.store(RUNNING, Ordering::Release);
        // Either the arbiter sees this run before it sleeps, or we see that it sleeps.
        fence(Ordering::SeqCst);
        let wake =
            self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
        Some((index, wake))
    }

    /// Takes a run out of its slot; its page is not protected afterwards. Returns whether it had been
    /// stopped. Only for whoever began it.
    pub(super) fn end(&self, index: usize) -> (Option<R>, bool) {
        let slot = &self.slots[index];
        let mut tries = 0;
        let stopped = loop {
            let claim = |from| {
                slot.phase
                    .compare_exchange(from, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
            };
            match claim(RUNNING) {
                Ok(_) => break false,
                Err(ARMED) => {
                    if claim(ARMED).is_ok() {
                        break true;
                    }
                }
                Err(ASKING) => rest(),
                // A look takes nanoseconds.
                Err(_) => pause(&mut tries),
            }
        };
        let run = slot.run.with_mut(|cell| {
            // SAFETY: this thread claimed the slot.
            unsafe { (*cell).take() }
        });
        if let Some(run) = run.as_ref().filter(|_| stopped) {
            run.unprotect();
        }
        slot.phase.store(IDLE, Ordering::Release);
        (run, stopped)
    }

    /// Looks at one slot. Only for the arbiter.
    pub(super) fn look(&self, index: usize) -> Looked {
        let slot = &self.slots[index];
        match slot
            .phase
            .compare_exchange(RUNNING, LOOKING, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => {}
            Err(IDLE) => return Looked::Idle,
            Err(_) => return Looked::Running,
        }
        let look = slot.run.with(|cell| {
            // SAFETY: while LOOKING, nobody writes the cell.
            let run = unsafe { &*cell }.as_ref();
            let look = run.map_or(Look::Fine, Watched::look);
            // One that cannot be protected now is looked at again.
            let armed = look == Look::Fine || run.is_some_and(Watched::protect);
            if armed { look } else { Look::Fine }
        });
        let (phase, looked) = match look {
            Look::Fine => (RUNNING, Looked::Running),
            Look::Stop => (ARMED, Looked::Running),
            Look::Ask => (ASKING, Looked::Asking),
        };
        slot.phase.store(phase, Ordering::Release);
        looked
    }

    /// Asks about a run whose look said so, and passes the decision on.
    pub(super) fn ask(&self, index: usize) {
        let slot = &self.slots[index];
        let phase = slot.run.with(|cell| {
            // SAFETY: while ASKING, nobody writes the cell.
            let run = unsafe { &*cell }.as_ref();
            match run {
                Some(run) if run.ask() => {
                    run.unprotect();
                    RUNNING
                }
                _ => ARMED,
            }
        });
        slot.phase.store(phase, Ordering::Release);
    }

    /// What the run in a slot does whose store faulted. Only for that run's thread.
    pub(super) fn fault(&self, index: usize) -> Fault {
        let mut tries = 0;
        loop {
            match self.slots[index].phase.load(Ordering::Acquire) {
                ARMED => return Fault::Stop,
                LOOKING => pause(&mut tries),
                ASKING => rest(),
                // It was protected for a moment only.
                _ => return Fault::Resume,
            }
        }
    }

    /// Whether any run has begun and not ended.
    pub(super) fn is_busy(&self) -> bool {
        let mut slots = self.slots.iter().take(self.len());
        slots.any(|slot| slot.phase.load(Ordering::Relaxed) != IDLE)
    }

    /// Says that the arbiter is about to sleep until it is woken. Returns whether it may.
    pub(super) fn doze(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !self.is_busy() {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Number of slots that have been in use.
    pub(super) fn len(&self) -> usize {
        self.unused.load(Ordering::Relaxed) as usize
    }
}
