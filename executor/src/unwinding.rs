//! Panics that do not end the process: of host functions, of a client's state, of the trie library.
//!
//! Nodes install the panic hook of `sp-panic-handler`, which ends the process unless the thread has said that it unwinds.
//! Invariant: where this library catches panics, or lets them pass through a guest, the thread has said so. Cost: two
//! writes to a variable of the thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use sp_panic_handler::AbortGuard;

/// While it lives, a panic on this thread unwinds, whichever hook is installed.
pub(crate) fn unwinding() -> AbortGuard {
    AbortGuard::force_unwind()
}

/// What `work` returns, or what it panicked with. Whoever calls this answers for what `work` leaves behind.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    let _unwinding = unwinding();
    catch_unwind(AssertUnwindSafe(work))
}
