//! What the hand-over stands on. Tests put a model checker's counterparts in its place, under the same
//! names, and compile the same `handover`.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

/// A cell whose owner is decided elsewhere.
#[derive(Debug, Default)]
pub(super) struct Cell<T>(std::cell::UnsafeCell<T>);

impl<T> Cell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}

/// Waits a little for somebody who takes longer; as safe as the other.
pub(super) fn rest() {
    std::thread::sleep(std::time::Duration::from_micros(50));
}

/// Tries before others are let go first.
const SPINS: u32 = 1_000;

/// Waits for somebody who needs nanoseconds, unless it has lost its processor: then lets others go first.
/// Called in signal handlers too, so it is one system call at most, and nothing else.
pub(super) fn pause(tries: &mut u32) {
    *tries = tries.saturating_add(1);
    if *tries < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
