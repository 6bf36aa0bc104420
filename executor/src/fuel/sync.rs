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

/// Lets others go first. Called in signal handlers too, so it is one system call and nothing else.
pub(super) fn pause() {
    std::thread::yield_now();
}
