//! A kernel that refuses, for tests: one request of this thread in turn, or all from one on.

use std::cell::Cell;

thread_local! {
    /// Requests until the first that is refused.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    /// Whether all that follow are, too.
    static ALL: Cell<bool> = const { Cell::new(false) };
}

/// Has the request after so many others refused, and `all` behind it.
pub(crate) fn refuse(after: u32, all: bool) {
    LEFT.set(Some(after));
    ALL.set(all);
}

/// Has none refused any more; whether any was.
pub(crate) fn end() -> bool {
    let left = LEFT.take();
    left.is_none() || (ALL.get() && left == Some(0))
}

/// Counts a request. Safe in a signal handler.
pub(super) fn is_refused() -> bool {
    match LEFT.get() {
        None => false,
        Some(0) => {
            if !ALL.get() {
                LEFT.set(None);
            }
            true
        }
        Some(more) => {
            LEFT.set(Some(more - 1));
            false
        }
    }
}
