//! The arbiter: one thread per engine that looks at the counters of running guests, and protects the
//! page of one that is over its limit or was cancelled.
//!
//! It looks once per period while something runs, goes on for a while after the last run, and then
//! sleeps until a run wakes it. Invariant: a run within its limit takes no signal and no lock, and
//! makes at most one system call, to wake an arbiter that has fallen asleep. How late it looks
//! changes no verdict: that follows from the counter when the run has ended.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    CallLimits, Fuel, Meter, Refuel, RefuelCallback,
    handover::{Fault, Handover, Look, Looked, Watched},
    limits::CancelToken,
    page::{Page, is_supported},
};
use crate::unwinding::caught;

/// How often the arbiter looks by default.
pub const ARBITER_PERIOD_DEFAULT: Duration = Duration::from_millis(1);
/// Runs at a time, each on a thread of its own; the arbiter looks at as many slots as were ever in use.
const RUNS_MAX: usize = 4_096;
/// How long the arbiter goes on looking when nothing runs.
const LINGER: Duration = Duration::from_millis(100);

/// A run in its slot.
struct Run {
    page: Page,
    /// Whether its page can be protected; if not, its headroom is taken.
    by_page: bool,
    /// The limit that ends it, or 2^64 - 1.
    fixed: u64,
    /// The limit that somebody is asked about, or 2^64 - 1.
    asked: AtomicU64,
    callback: Option<RefuelCallback>,
    cancel: Option<CancelToken>,
    /// Whether its headroom was taken, which ends it at its next comparison.
    used_up: AtomicBool,
}

impl Watched for Run {
    fn look(&self) -> Look {
        let used = self.page.used();
        let cancelled = self.cancel.as_ref().is_some_and(CancelToken::is_cancelled);
        if used > self.fixed || cancelled {
            Look::Stop
        } else if used > self.asked.load(Ordering::Relaxed) {
            Look::Ask
        } else {
            Look::Fine
        }
    }

    fn protect(&self) -> bool {
        if self.by_page && self.page.protect() {
            return true;
        }
        // What the guest compares by itself fails now; where that is all there is, it is enough.
        self.used_up.store(true, Ordering::Relaxed);
        self.page.use_up();
        !self.by_page
    }

    fn unprotect(&self) {
        if self.by_page {
            self.page.unprotect();
        }
    }

    fn ask(&self) -> bool {
        let Some(callback) = &self.callback else {
            return false;
        };
        let used = Fuel(self.page.used());
        // A callback that panics must not leave the run waiting for its answer.
        let decided = caught(|| callback(used));
        match decided.unwrap_or(Refuel::Stop) {
            Refuel::Extend(Fuel(limit)) if limit > used.0 => {
                self.asked.store(limit, Ordering::Relaxed);
                true
            }
            Refuel::Extend(_) | Refuel::Stop => {
                self.asked.store(0, Ordering::Relaxed);
                false
            }
        }
    }
}

struct Shared {
    handover: Handover<Run>,
    period: Duration,
    over: AtomicBool,
}

/// The thread, and the runs it looks at. Dropping it ends the thread.
pub(crate) struct Arbiter {
    shared: Arc<Shared>,
    by_page: bool,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics only if this module is wrong, and then there is nobody left to tell.
            let _ended = thread.join();
        }
    }
}

thread_local! {
    /// The slot this thread used last, which is likely free and in its cache.
    static LAST_SLOT: Cell<usize> = const { Cell::new(0) };
}

impl Arbiter {
    /// Whether this host can stop a guest by protecting a page.
    pub(crate) fn can_protect() -> bool {
        is_supported()
    }

    /// Starts the thread.
    pub(crate) fn start(meter: Meter, period: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            handover: Handover::new(RUNS_MAX),
            period,
            over: AtomicBool::new(false),
        });
        let arbiter = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("slackwater-arbiter".to_owned())
            .spawn(move || arbitrate(&arbiter))?;
        Ok(Self {
            shared,
            by_page: meter == Meter::Slacked,
            thread: Some(thread),
        })
    }

    /// Whether a run can be paused while somebody is asked.
    pub(super) fn can_pause(&self) -> bool {
        self.by_page
    }

    /// What a run does whose store to its meter faulted; which run that is stands in `slot`. For signal
    /// handlers.
    pub(super) fn fault_handler(&self, slot: Arc<SlotNumber>) -> impl Fn() -> bool + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.handover.fault(slot.0.load(Ordering::Relaxed)) == Fault::Resume
    }

    /// Has the run with its meter at `page` looked at from now on, and says in `slot` which it is.
    /// `None` if there is no room.
    pub(super) fn watch(
        &self,
        page: Page,
        limits: &CallLimits,
        slot: &SlotNumber,
    ) -> Option<Watch<'_>> {
        let (asked, callback) = limits.refuelled().unzip();
        let run = Run {
            page,
            by_page: self.by_page,
            fixed: limits.fixed().map_or(u64::MAX, |limit| limit.0),
            asked: AtomicU64::new(asked.map_or(u64::MAX, |limit| limit.0)),
            callback: callback.cloned(),
            cancel: limits.cancel.clone(),
            used_up: AtomicBool::new(false),
        };
        let (number, wake) = self.shared.handover.begin(run, LAST_SLOT.get())?;
        LAST_SLOT.set(number);
        slot.0.store(number, Ordering::Relaxed);
        if wake && let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        Some(Watch {
            shared: &self.shared,
            slot: number,
            ended: false,
        })
    }
}

/// Which run an instance is in. On cache lines of its own: every call writes it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct SlotNumber(AtomicUsize);

/// A run being looked at.
pub(super) struct Watch<'a> {
    shared: &'a Shared,
    slot: usize,
    ended: bool,
}

/// How a run that was looked at ended.
pub(super) struct Ended {
    /// It was stopped, for whatever reason.
    pub(super) stopped: bool,
    /// The limit somebody was asked about, as last set.
    pub(super) asked: Fuel,
}

impl Watch<'_> {
    /// Ends the run: its page is its own again. Whoever set a limit that can be extended is asked if
    /// the run is over it and nobody had noticed.
    pub(super) fn end(mut self) -> Ended {
        self.ended = true;
        let (run, stopped) = self.shared.handover.end(self.slot);
        // Whoever could not be stopped by its page was stopped by its own comparison, if at all.
        let used_up = |run: &Run| run.used_up.load(Ordering::Relaxed);
        let stopped = stopped || run.as_ref().is_some_and(used_up);
        let asked = run.map_or(u64::MAX, |run| {
            while !stopped && run.look() == Look::Ask && run.ask() {}
            run.asked.into_inner()
        });
        Ended {
            stopped,
            asked: Fuel(asked),
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The guest's thread is unwinding.
            self.shared.handover.end(self.slot);
        }
    }
}

/// The thread's work.
fn arbitrate(shared: &Arc<Shared>) {
    let mut busy_at = Instant::now();
    while !shared.over.load(Ordering::Acquire) {
        let mut busy = false;
        for slot in 0..shared.handover.len() {
            match shared.handover.look(slot) {
                Looked::Idle => {}
                Looked::Running => busy = true,
                Looked::Asking => {
                    busy = true;
                    ask(shared, slot);
                }
            }
        }
        if busy {
            busy_at = Instant::now();
        }
        if busy_at.elapsed() < LINGER {
            thread::park_timeout(shared.period);
        } else if shared.handover.doze() {
            // Being woken for no reason costs one look.
            thread::park();
            busy_at = Instant::now();
        }
    }
}

/// Asks on a thread of its own, so that nobody else waits for the answer.
fn ask(shared: &Arc<Shared>, slot: usize) {
    let asking = Arc::clone(shared);
    let builder = thread::Builder::new().name("slackwater-refuel".to_owned());
    let spawned = builder.spawn(move || asking.handover.ask(slot));
    if spawned.is_err() {
        shared.handover.ask(slot);
    }
}
