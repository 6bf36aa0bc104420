//! Where the time of a thread goes, while somebody asks: a stopwatch that is in one phase at any moment.
//!
//! Invariant: nothing that is executed reads it, so results are the same with and without. Cost: where nobody asks, a
//! look at a variable of the thread for each change of phase; else one reading of the clock for each, some 250 for a transfer.
//! An instance that was watched once goes on asking, some nanoseconds for each call of a host function.
//! Work that other threads do for a block, such as settling the journal, is not in it.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use wasmtime::{CallHook, Store};

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Making an instance, or taking one that waits.
    Instantiate,
    /// In the guest.
    Wasm,
    /// In host functions, but for the two below.
    Host,
    /// Reading the state beneath a block, mostly within host functions.
    Storage,
    /// Putting an instance back, or dropping it.
    Reset,
    /// Calculating a state root.
    Root,
    /// Writing a block to the database.
    Commit,
    /// Everything else.
    Other,
}

impl Phase {
    /// All of them, in the order in which reports show them.
    pub const ALL: [Self; 8] = [
        Self::Instantiate,
        Self::Wasm,
        Self::Host,
        Self::Storage,
        Self::Reset,
        Self::Root,
        Self::Commit,
        Self::Other,
    ];

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instantiate => "instantiate",
            Self::Wasm => "wasm",
            Self::Host => "host",
            Self::Storage => "storage",
            Self::Reset => "reset",
            Self::Root => "root",
            Self::Commit => "commit",
            Self::Other => "other",
        }
    }
}

/// Time by phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseTimes([Duration; Phase::ALL.len()]);

impl PhaseTimes {
    /// Time in one phase.
    pub fn of(&self, phase: Phase) -> Duration {
        self.0[phase as usize]
    }

    /// Time in all of them.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }
}

impl std::ops::AddAssign for PhaseTimes {
    fn add_assign(&mut self, other: Self) {
        for (sum, time) in self.0.iter_mut().zip(other.0) {
            *sum += time;
        }
    }
}

/// A call of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockCall {
    /// Beginning the block.
    Initialize,
    /// An extrinsic, whether it is included or not.
    Extrinsic,
    /// Ending the block.
    Finalize,
    /// The whole block in one call.
    Whole,
}

/// Where the time of some work went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// All of it.
    pub phases: PhaseTimes,
    /// The calls of blocks among it, in order.
    pub calls: Vec<(BlockCall, Duration)>,
}

struct Clock {
    phase: Phase,
    since: Instant,
    timing: Timing,
}

impl Clock {
    fn new() -> Self {
        Self {
            phase: Phase::Other,
            since: Instant::now(),
            timing: Timing::default(),
        }
    }

    fn switch(&mut self, phase: Phase) -> Phase {
        let now = Instant::now();
        self.timing.phases.0[self.phase as usize] += now - self.since;
        self.since = now;
        std::mem::replace(&mut self.phase, phase)
    }
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// Does `work` and says where its time went. Within other work that is measured, that is paused meanwhile.
pub fn measured<R>(work: impl FnOnce() -> R) -> (R, Timing) {
    let running = Running {
        before: CLOCK.replace(Some(Clock::new())),
    };
    IS_ON.set(true);
    let result = work();
    let timing = CLOCK.take().map(|mut clock| {
        clock.switch(Phase::Other);
        clock.timing
    });
    drop(running);
    (result, timing.unwrap_or_default())
}

/// Puts back what was there before, also where work panics.
struct Running {
    before: Option<Clock>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut before = self.before.take();
        if let Some(clock) = &mut before {
            clock.since = Instant::now();
        }
        IS_ON.set(before.is_some());
        CLOCK.replace(before);
    }
}

fn switch(phase: Phase) -> Option<Phase> {
    if !IS_ON.get() {
        return None;
    }
    CLOCK.with_borrow_mut(|clock| clock.as_mut().map(|clock| clock.switch(phase)))
}

/// In a phase until it is dropped.
#[must_use]
pub(crate) struct Entered(Option<Phase>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            switch(before);
        }
    }
}

/// Enters a phase.
pub(crate) fn enter(phase: Phase) -> Entered {
    Entered(switch(phase))
}

/// Makes a call of a block, and notes how long it took.
pub(crate) fn call<R>(call: BlockCall, work: impl FnOnce() -> R) -> R {
    if !IS_ON.get() {
        return work();
    }
    let begun = Instant::now();
    let result = work();
    CLOCK.with_borrow_mut(|clock| {
        if let Some(clock) = clock {
            clock.timing.calls.push((call, begun.elapsed()));
        }
    });
    result
}

/// Has the guest in `store` tell when it calls a host function, if somebody asks for times.
pub(crate) fn watch<T: 'static>(store: &mut Store<T>) {
    if !IS_ON.get() {
        return;
    }
    store.call_hook(|_, hook| {
        match hook {
            CallHook::CallingHost => switch(Phase::Host),
            CallHook::ReturningFromHost => switch(Phase::Wasm),
            CallHook::CallingWasm | CallHook::ReturningFromWasm => None,
        };
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAP: Duration = Duration::from_millis(3);

    fn nap() {
        std::thread::sleep(NAP);
    }

    #[test]
    fn time_is_put_down_to_the_innermost_phase() {
        let ((), timing) = measured(|| {
            let _root = enter(Phase::Root);
            nap();
            {
                let _storage = enter(Phase::Storage);
                nap();
                call(BlockCall::Extrinsic, nap);
            }
            nap();
        });
        let phases = &timing.phases;
        assert!(phases.of(Phase::Root) >= 2 * NAP, "{phases:?}");
        assert!(phases.of(Phase::Storage) >= 2 * NAP, "{phases:?}");
        assert_eq!(phases.of(Phase::Wasm), Duration::ZERO);
        assert!(matches!(timing.calls[..], [(BlockCall::Extrinsic, time)] if time >= NAP));
        assert_eq!(
            Phase::ALL
                .map(|phase| phases.of(phase))
                .iter()
                .sum::<Duration>(),
            phases.total()
        );
    }

    #[test]
    fn without_a_question_nothing_is_kept() {
        let _host = enter(Phase::Host);
        assert!(!IS_ON.get());
        let ((), inner) = measured(|| {
            let caught = std::panic::catch_unwind(|| measured(|| panic!("within")));
            assert!(caught.is_err());
            assert!(IS_ON.get(), "the outer one goes on");
            let _host = enter(Phase::Host);
            nap();
        });
        assert!(inner.phases.of(Phase::Host) >= NAP);
        assert!(!IS_ON.get());
    }
}
