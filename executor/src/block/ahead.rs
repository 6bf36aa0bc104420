//! Verifying signatures ahead of the block, on cores that have nothing else to do.
//!
//! Nothing is known here of how a chain's extrinsics look: the runtime itself is asked to apply each on the state before
//! the block, in a layer that is thrown away, and its host functions remember the verdicts about signatures
//! ([`VerdictMemory`]). There a runtime is told that a signature is wrong, so that it does nothing more, and those of
//! FRAME look at the signature first. What the block's own call asks is answered from memory, if it is there by then.
//!
//! Invariant: nothing of what runs ahead reaches the block but verdicts, which are those that the block's own call
//! would come to; so results are the same with and without it, whenever it runs. It ends with the block. Cost: the
//! threads' time; for the block, a thread begun for each, and a copy of each transaction when producing.

use std::{
    borrow::Cow,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use slackwater_host_functions::{HostFunctions, VerdictMemory, VerdictMemoryExt};
use sp_externalities::Extensions;

use super::{ExecutionError, execution::APPLY};
use crate::{
    calls::RuntimeCalls,
    fuel::{CallLimits, CancelToken, Fuel},
    runtime::CallContext,
    state::{BlockLayers, BlockState},
    wasm_executor::WasmExecutor,
};

/// What an extrinsic may use ahead, where that is counted: some ten times of what verifying a signature is priced. One
/// that has none is applied in vain.
const FUEL: Fuel = Fuel(3_000_000);

/// Extrinsics to be looked at, in the order of the block.
pub(super) struct Feed<'e> {
    waiting: Mutex<Waiting<'e>>,
    more: Condvar,
    /// Cancelled at the end, so that no call outlives the block by much.
    ends: CancelToken,
}

#[derive(Default)]
struct Waiting<'e> {
    extrinsics: VecDeque<(u64, Cow<'e, [u8]>)>,
    /// How many there were.
    fed: u64,
    ended: bool,
}

impl<'e> Feed<'e> {
    fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            more: Condvar::new(),
            ends: CancelToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<'e>> {
        // A queue is whole between any two of its operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next extrinsic of the block.
    pub(super) fn push(&self, extrinsic: Cow<'e, [u8]>) {
        let mut waiting = self.lock();
        let index = waiting.fed;
        waiting.fed += 1;
        waiting.extrinsics.push_back((index, extrinsic));
        drop(waiting);
        self.more.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.ends.cancel();
        self.more.notify_all();
    }

    /// Waits for one that is not behind the block already; `None` at the end. The block has verified at least one
    /// signature for each extrinsic that had any, so what it has asked tells how far it is.
    fn pop(&self, memory: &VerdictMemory, asked_before: u64) -> Option<Cow<'e, [u8]>> {
        let mut waiting = self.lock();
        loop {
            if waiting.ended {
                return None;
            }
            match waiting.extrinsics.pop_front() {
                Some((index, _)) if index < memory.asked().saturating_sub(asked_before) => {}
                Some((_, extrinsic)) => return Some(extrinsic),
                None => {
                    let waited = self.more.wait(waiting);
                    waiting = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Ends a feed, also where the block panics.
struct Ending<'f, 'e>(&'f Feed<'e>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Runs `block`, which gets a feed where signatures of extrinsics on `state` are verified ahead.
pub(super) fn with_ahead<'e, S: BlockState, H: HostFunctions, R>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: impl FnOnce(Option<&Feed<'e>>) -> R,
) -> R {
    let Some(memory) = executor.verdicts() else {
        return block(None);
    };
    let states = (0..executor.config().verify_ahead_threads).map_while(|_| state.beside());
    let states: Vec<_> = states.collect();
    if states.is_empty() {
        return block(None);
    }
    let feed = &Feed::new();
    let asked_before = memory.asked();
    thread::scope(|scope| {
        let _ending = Ending(feed);
        for state in states {
            let name = "slackwater-ahead".to_owned();
            let next = || feed.pop(memory, asked_before);
            let ends = feed.ends.clone();
            let work = move || verify(executor, &state, memory, next, ends);
            if let Err(error) = thread::Builder::new().name(name).spawn_scoped(scope, work) {
                log::warn!(target: "slackwater::ahead", "no thread to verify signatures: {error}");
            }
        }
        block(Some(feed))
    })
}

/// Has the runtime of `state` apply extrinsics until there is none.
fn verify<'e, S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    memory: &Arc<VerdictMemory>,
    next: impl Fn() -> Option<Cow<'e, [u8]>>,
    ends: CancelToken,
) {
    let mut extensions = Extensions::new();
    // What the block makes of a runtime that does not load, the block will say.
    let Ok(calls) = RuntimeCalls::new(executor, state, CallContext::Build, &mut extensions) else {
        return;
    };
    extensions.register(VerdictMemoryExt::fill(memory));
    let mut layers = BlockLayers::new(state, extensions);
    let limits = CallLimits::local(FUEL).with_cancel(ends);
    while let Some(extrinsic) = next() {
        let call = |layers: &mut BlockLayers<'_, S>| calls.call(layers, APPLY, &extrinsic, &limits);
        let called = catch_unwind(AssertUnwindSafe(|| layers.layered(call, |_| false)));
        // How it ends is nobody's business; what faults here the block does not hear of.
        match called {
            Ok(Ok(_) | Err(ExecutionError::Call { .. })) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_block_has_passed_is_skipped_and_the_end_wakes_who_waits() {
        let memory = VerdictMemory::new(4);
        let feed = Feed::new();
        for byte in 0..3 {
            feed.push(Cow::Owned(vec![byte]));
        }
        assert_eq!(feed.pop(&memory, 0).as_deref(), Some([0].as_slice()));
        thread::scope(|scope| {
            let _ending = Ending(&feed);
            let rest = scope.spawn(|| {
                let next = || feed.pop(&memory, 0).map(Cow::into_owned);
                std::iter::from_fn(next).collect::<Vec<_>>()
            });
            feed.push(Cow::Borrowed(&[3]));
            while !feed.lock().extrinsics.is_empty() {
                thread::yield_now();
            }
            drop(_ending);
            assert_eq!(rest.join().expect("ends"), [[1], [2], [3]]);
        });
        assert!(feed.ends.is_cancelled());
        assert_eq!(feed.pop(&memory, 0), None);
    }
}
