//! Verifying signatures ahead of the block, on cores that have nothing else to do.
//!
//! Nothing is known here of how a chain's extrinsics look: the block is begun once more, and the runtime itself is asked to
//! apply each in a layer that is thrown away, and its host functions remember the verdicts about signatures
//! ([`VerdictMemory`]). There a runtime is told that a signature is wrong, so that it does nothing more, and those of
//! FRAME look at the signature first. What the block's own call asks is answered from memory, if it is there by then.
//!
//! Invariant: nothing of what runs ahead reaches the block but verdicts, which are those that the block's own call
//! would come to; so results are the same with and without it, whenever it runs. It ends with the block. Cost: the
//! threads' time; for the block, a thread begun for each, and a copy of each transaction when producing.

use std::{
    any::TypeId,
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use codec::Encode;
use slackwater_host_functions::{HostFunctions, UseDalekExt, VerdictMemory, VerdictMemoryExt};
use sp_externalities::Extensions;

use super::{
    ExecutionError, Header,
    execution::{APPLY, INITIALIZE},
};
use crate::{
    calls::RuntimeCalls,
    fuel::{CallLimits, CancelToken, Fuel},
    instance::CallOutcome,
    runtime::CallContext,
    state::{BlockLayers, BlockState},
    unwinding::caught,
    wasm_executor::WasmExecutor,
};

/// What an extrinsic may use ahead, where that is counted: some ten times of what verifying a signature is priced. One
/// that has none is applied in vain.
const FUEL: Fuel = Fuel(3_000_000);

/// Native stack of a thread beside what guests may use of it, in bytes.
const STACK_BYTES: usize = 2 << 20;

/// Extrinsics to be looked at, in the order of the block.
pub(super) struct Feed<'e> {
    memory: Arc<VerdictMemory>,
    /// How many questions the block has asked.
    asked: Arc<AtomicU64>,
    /// Threads that look at extrinsics.
    alive: AtomicUsize,
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
    fn new(memory: &Arc<VerdictMemory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            asked: Arc::default(),
            alive: AtomicUsize::new(0),
            waiting: Mutex::default(),
            more: Condvar::new(),
            ends: CancelToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<'e>> {
        // A queue is whole between any two of its operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the block's host functions ask.
    pub(super) fn extension(&self) -> VerdictMemoryExt {
        VerdictMemoryExt::ask_counted(&self.memory, &self.asked)
    }

    /// The next extrinsic of the block.
    pub(super) fn push(&self, extrinsic: Cow<'e, [u8]>) {
        if self.alive.load(Ordering::Relaxed) == 0 {
            return;
        }
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

    /// Waits for one that is not behind the block already; `None` at the end. A block that has asked so many questions
    /// is at least so far, if no extrinsic has more than one signature; where some have, others are skipped in vain.
    fn pop(&self) -> Option<Cow<'e, [u8]>> {
        let mut waiting = self.lock();
        loop {
            if waiting.ended {
                return None;
            }
            match waiting.extrinsics.pop_front() {
                Some((index, _)) if index < self.asked.load(Ordering::Relaxed) => {}
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

/// What a block begins with.
pub(super) struct Beginning {
    /// Its header as `Core_initialize_block` gets it.
    pub(super) header: Header,
    /// What its calls are made in.
    pub(super) context: CallContext,
    /// Whether it judges ed25519 by the old rules: see [`is_dalek`].
    pub(super) dalek: bool,
}

/// Runs `block`, which gets a feed where signatures of extrinsics on `state` are verified ahead.
pub(super) fn with_ahead<'e, S: BlockState, H: HostFunctions, R>(
    executor: &WasmExecutor<H>,
    state: &S,
    beginning: impl FnOnce() -> Beginning,
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
    let (feed, beginning) = (&Feed::new(memory), &beginning());
    let stack = executor
        .config()
        .wasm_stack_bytes_max
        .saturating_add(STACK_BYTES);
    thread::scope(|scope| {
        let _ending = Ending(feed);
        for state in states {
            let work = move || {
                let verifying = || verify(executor, &state, beginning, feed);
                // Nothing that goes wrong here reaches the block.
                if caught(verifying).is_err() {
                    log::warn!(target: "slackwater::ahead", "verifying ahead has panicked");
                }
                feed.alive.fetch_sub(1, Ordering::Relaxed);
            };
            feed.alive.fetch_add(1, Ordering::Relaxed);
            let thread = thread::Builder::new().name("slackwater-ahead".to_owned());
            if let Err(error) = thread.stack_size(stack).spawn_scoped(scope, work) {
                log::warn!(target: "slackwater::ahead", "no thread to verify signatures: {error}");
                feed.alive.fetch_sub(1, Ordering::Relaxed);
            }
        }
        block(Some(feed))
    })
}

/// Whether what host functions find says that ed25519 is judged by its old rules.
pub(super) fn is_dalek(extensions: &mut Extensions) -> bool {
    extensions.get_mut(TypeId::of::<UseDalekExt>()).is_some()
}

/// Has the runtime of `state` begin the block, and apply extrinsics until there is none.
fn verify<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    beginning: &Beginning,
    feed: &Feed<'_>,
) {
    let mut extensions = Extensions::new();
    if beginning.dalek {
        extensions.register(UseDalekExt);
    }
    // What the block makes of a runtime that does not load, or not begin, the block will say.
    let calls = RuntimeCalls::new(executor, state, beginning.context, &mut extensions);
    let Ok(calls) = calls.map(RuntimeCalls::untold) else {
        return;
    };
    extensions.register(VerdictMemoryExt::fill(&feed.memory));
    let mut layers = BlockLayers::new(state, extensions);
    let limits = CallLimits::none().with_cancel(feed.ends.clone());
    let header = beginning.header.encode();
    match calls.call(&mut layers, INITIALIZE, &header, &limits) {
        Ok(called) if matches!(called.outcome, CallOutcome::Returned(_)) => {}
        _ => return,
    }
    let limits = limits.with_local(FUEL);
    while let Some(extrinsic) = feed.pop() {
        let call = |layers: &mut BlockLayers<'_, S>| calls.call(layers, APPLY, &extrinsic, &limits);
        // How it ends is nobody's business.
        match layers.layered(call, |_| false) {
            Ok(_) | Err(ExecutionError::Call { .. }) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_block_has_passed_is_skipped_and_the_end_wakes_who_waits() {
        let memory = Arc::new(VerdictMemory::new(4));
        let feed = Feed::new(&memory);
        feed.push(Cow::Owned(vec![9]));
        assert_eq!(feed.lock().fed, 0, "nobody would look at it");
        feed.alive.store(1, Ordering::Relaxed);
        for byte in 0..3 {
            feed.push(Cow::Owned(vec![byte]));
        }
        assert_eq!(feed.pop().as_deref(), Some([0].as_slice()));
        feed.asked.store(2, Ordering::Relaxed);
        thread::scope(|scope| {
            let ending = Ending(&feed);
            let rest = scope.spawn(|| {
                let next = || feed.pop().map(Cow::into_owned);
                std::iter::from_fn(next).collect::<Vec<_>>()
            });
            feed.push(Cow::Borrowed(&[3]));
            while !feed.lock().extrinsics.is_empty() {
                thread::yield_now();
            }
            drop(ending);
            assert_eq!(rest.join().expect("ends"), [[2], [3]]);
        });
        assert!(feed.ends.is_cancelled());
        assert_eq!(feed.pop(), None);
    }
}
