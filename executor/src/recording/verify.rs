//! Executing recorded blocks again, and comparing.
//!
//! Ranges of blocks run at once, each on a state that is rebuilt from what is recorded of the blocks before it. Invariants:
//! the mismatch reported is the first in the order of blocks, on any number of threads; a record passes only if every
//! block of it was executed and is equal to its record and its header. Cost: that of executing every block, and for
//! each range but the last one root over all that its blocks wrote.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use slackwater_host_functions::HostFunctions;
use sp_core::{H256, storage::StateVersion};
use thiserror::Error;

use super::{
    BlockPart, BlockSource, BlockSourceError, Difference, Mismatch, RecordedBlock, RecordingError,
    RecordingFile, RecordingHead, Rules,
    mismatch::{compare, compare_block},
    observe::{Observed, observe},
};
use crate::{
    block::ExecutionError,
    state::{Place, StackedState, StateError, StateView, WriteSet, value_at},
    timing::{Timing, measured},
    wasm_executor::WasmExecutor,
};

/// Ranges for each thread, so that all end at about the same time.
const RANGES_PER_THREAD: usize = 4;
/// Blocks of a range at most: what they change is in memory.
const RANGE_BLOCKS_MAX: usize = 256;

/// A recording, in a file or in memory.
#[derive(Debug)]
pub enum Recording {
    /// In a file that was opened.
    File(RecordingFile),
    /// In memory.
    Memory(RecordingHead, Vec<RecordedBlock>),
}

impl Recording {
    /// What stands before the blocks.
    pub fn head(&self) -> &RecordingHead {
        match self {
            Self::File(file) => &file.head,
            Self::Memory(head, _) => head,
        }
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        match self {
            Self::File(file) => file.len(),
            Self::Memory(_, blocks) => blocks.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The block at this position.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn block(&self, index: usize) -> Result<RecordedBlock, RecordingError> {
        let block = match self {
            Self::File(file) => file.block(index)?,
            Self::Memory(_, blocks) => {
                let block = blocks.get(index).cloned();
                block.ok_or(RecordingError::Block {
                    index,
                    reason: "there is none",
                })?
            }
        };
        let damaged = |reason| Err(RecordingError::Block { index, reason });
        let head = self.head();
        let number = head.parent.number.checked_add(index as u64 + 1);
        if number != Some(block.number) {
            return damaged("its number is not that behind the block before it");
        }
        if !block.is_kept(head.digest_only) {
            return damaged("its writes are not all kept as the head says, listed or as digests");
        }
        Ok(block)
    }
}

/// Why a recording was not verified.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A block differs from its record.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// It was recorded under other rules, so there is nothing to compare.
    #[error("recorded under other rules: {rule} is another one here")]
    Rules {
        /// What differs.
        rule: &'static str,
    },
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The recording holds no blocks.
    #[error("the recording holds no blocks")]
    Empty,
    /// A block given does not follow the one before it.
    #[error("block {number} that is given does not follow the block before it")]
    WrongParent {
        /// Its number.
        number: u64,
    },
    /// A block cannot be had.
    #[error(transparent)]
    Source(#[from] BlockSourceError),
    /// The machine failed.
    #[error("block {block}: {source}")]
    Execution {
        /// Its number.
        block: u64,
        /// Why.
        source: ExecutionError,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<Mismatch> for VerifyError {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(Box::new(mismatch))
    }
}

/// A block that is as it was recorded.
#[derive(Debug)]
pub struct VerifiedBlock<'b> {
    /// Its record.
    pub recorded: &'b RecordedBlock,
    /// What came.
    pub computed: &'b RecordedBlock,
    /// Where the time went, if that is asked for.
    pub timing: Option<&'b Timing>,
}

/// How a recording was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyStat {
    /// Blocks executed.
    pub blocks: usize,
    /// Ranges they were executed in.
    pub ranges: usize,
    /// Threads that executed them.
    pub threads: usize,
}

/// What executes a recording again.
pub struct Verifier<'a, H> {
    executor: &'a WasmExecutor<H>,
    recording: &'a Recording,
    threads: NonZeroUsize,
    is_timed: bool,
}

impl<H> std::fmt::Debug for Verifier<'_, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<'a, H: HostFunctions> Verifier<'a, H> {
    /// Verifies `recording` by `executor`, on one thread.
    pub fn new(executor: &'a WasmExecutor<H>, recording: &'a Recording) -> Self {
        Self {
            executor,
            recording,
            threads: NonZeroUsize::MIN,
            is_timed: false,
        }
    }

    /// Tells where the time of each block went.
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// On so many threads. A recording of digests is verified on one: no state can be rebuilt from it.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Executes every block of `blocks` again that was recorded, beginning on `parent`, the state of the first one's
    /// parent. `progress` is told of each that is as recorded, in any order.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] for the first block that differs; others when that cannot be told.
    pub fn verify(
        &self,
        parent: StackedState<'_>,
        blocks: &(impl BlockSource + ?Sized),
        progress: &(dyn Fn(VerifiedBlock<'_>) + Sync),
    ) -> Result<VerifyStat, VerifyError> {
        let head = self.recording.head();
        let fuel_rules = self.executor.fuel_rules().map(|(_, hash)| hash);
        let here = Rules::of(self.executor.config(), fuel_rules);
        if let Some(rule) = head.rules.difference(&here) {
            return Err(VerifyError::Rules { rule });
        }
        let mut stat = VerifyStat {
            blocks: self.recording.len(),
            ranges: 0,
            threads: 1,
        };
        if self.recording.is_empty() {
            return Err(VerifyError::Empty);
        }
        if head.parent != *parent.head() {
            let first = self.recording.block(0)?;
            let (recorded, given) = (head.parent.into(), (*parent.head()).into());
            return Err(mismatched(first, Difference::Parent { recorded, given }).into());
        }
        if !head.digest_only {
            // More have nothing to do.
            stat.threads = self.threads.get().min(stat.blocks);
        }
        let plan = Plan::new(parent, self.range_blocks(stat.threads));
        let run = Run {
            verifier: self,
            both_count: head.rules.both_count(&here),
            plan: Mutex::new(plan),
            failed: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for _ in 1..stat.threads {
                scope.spawn(|| run.work(blocks, progress));
            }
            run.work(blocks, progress);
        });
        let failed = run
            .failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = failed {
            return Err(failed.error);
        }
        let plan = run
            .plan
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        stat.ranges = plan.ranges;
        Ok(stat)
    }

    fn range_blocks(&self, threads: usize) -> usize {
        let blocks = self.recording.len();
        if threads == 1 {
            return blocks;
        }
        let range = blocks.div_ceil(threads.saturating_mul(RANGES_PER_THREAD));
        range.clamp(1, RANGE_BLOCKS_MAX)
    }
}

/// A mismatch of a whole block that was not executed.
fn mismatched(recorded: RecordedBlock, difference: Difference) -> Mismatch {
    Mismatch {
        block: recorded.number,
        part: BlockPart::Whole,
        difference,
        key: None,
        recorded: Box::new(recorded),
        computed: None,
        given: None,
        before: BTreeMap::new(),
    }
}

/// A range, and the state before it.
type Planned<'db> = (Range<usize>, StackedState<'db>);

/// A result; an error is that of a block, by its position.
type AtBlock<T> = Result<T, (usize, VerifyError)>;

/// Which range comes next, and the state it begins on.
struct Plan<'db> {
    /// The state before the range given out last.
    state: StackedState<'db>,
    /// That range.
    last: Range<usize>,
    range_blocks: usize,
    ranges: usize,
}

impl<'db> Plan<'db> {
    fn new(state: StackedState<'db>, range_blocks: usize) -> Self {
        Self {
            state,
            last: 0..0,
            range_blocks,
            ranges: 0,
        }
    }

    /// The next range, and the state before it.
    fn next(&mut self, recording: &Recording) -> AtBlock<Option<Planned<'db>>> {
        if self.last.end == recording.len() {
            return Ok(None);
        }
        self.rebuild(recording)?;
        let begin = self.last.end;
        let end = recording.len().min(begin.saturating_add(self.range_blocks));
        self.last = begin..end;
        self.ranges += 1;
        Ok(Some((self.last.clone(), self.state.clone())))
    }

    /// Takes the state from the beginning of the last range to its end, by what was recorded of it.
    fn rebuild(&mut self, recording: &Recording) -> AtBlock<()> {
        let mut writes = WriteSet::new();
        let mut next = None;
        for index in self.last.clone() {
            let at = |error: VerifyError| (index, error);
            let read = |index| {
                let block = recording.block(index);
                block.map_err(|error| (index, VerifyError::from(error)))
            };
            let block = match next.take() {
                Some(block) => block,
                None => read(index)?,
            };
            self.collect(&block, &mut writes).map_err(at)?;
            if index + 1 < self.last.end {
                next = Some(read(index + 1)?);
            }
            // One trie is built by one version only.
            let follows = |next: &RecordedBlock| next.state_version == block.state_version;
            if !next.as_ref().is_some_and(follows) {
                self.push(&block, &writes).map_err(at)?;
                writes.clear();
            }
        }
        Ok(())
    }

    /// Adds what a block wrote.
    fn collect(&self, block: &RecordedBlock, writes: &mut WriteSet) -> Result<(), VerifyError> {
        let view = self.state.view()?;
        match block.apply(writes, &mut |place| value_at(&view, place))? {
            Some(()) => Ok(()),
            None => Err(rebuilt(block, None)),
        }
    }

    /// Goes on to a block, up to which all this was written.
    fn push(&mut self, block: &RecordedBlock, writes: &WriteSet) -> Result<(), VerifyError> {
        let version = state_version(block.state_version);
        let changes = self.state.changes_of(writes, version)?;
        if changes.state_root != block.state_root {
            return Err(rebuilt(block, Some(changes.state_root)));
        }
        self.state.push(block.number, block.hash, changes);
        Ok(())
    }
}

fn rebuilt(block: &RecordedBlock, rebuilt: Option<H256>) -> VerifyError {
    let recorded = block.state_root;
    mismatched(block.clone(), Difference::Rebuilt { recorded, rebuilt }).into()
}

fn state_version(version: u8) -> StateVersion {
    match version {
        0 => StateVersion::V0,
        _ => StateVersion::V1,
    }
}

/// What all threads share.
struct Run<'a, 'db, H> {
    verifier: &'a Verifier<'a, H>,
    both_count: bool,
    plan: Mutex<Plan<'db>>,
    /// The first block, by position, of which something is to be reported.
    failed: Mutex<Option<Failed>>,
}

/// Something is to be reported of a block.
struct Failed {
    /// Its position.
    index: usize,
    /// Whether that was noticed when a state was rebuilt, and not when the block was executed.
    is_of_plan: bool,
    error: VerifyError,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<H: HostFunctions> Run<'_, '_, H> {
    /// Takes one range after the other.
    fn work(
        &self,
        blocks: &(impl BlockSource + ?Sized),
        progress: &(dyn Fn(VerifiedBlock<'_>) + Sync),
    ) {
        loop {
            let next = {
                let mut plan = lock(&self.plan);
                if self.has_failed_before(plan.last.end) {
                    return;
                }
                plan.next(self.verifier.recording)
            };
            let (range, mut state) = match next {
                Ok(Some(next)) => next,
                Ok(None) => return,
                // The range before it is executed by somebody, who finds the reason.
                Err((index, error)) => {
                    return self.fail(Failed {
                        index,
                        is_of_plan: true,
                        error,
                    });
                }
            };
            for index in range {
                if self.has_failed_before(index) {
                    return;
                }
                if let Err(error) = self.block(index, &mut state, blocks, progress) {
                    self.fail(Failed {
                        index,
                        is_of_plan: false,
                        error,
                    });
                    break;
                }
            }
        }
    }

    fn has_failed_before(&self, index: usize) -> bool {
        let failed = lock(&self.failed);
        failed.as_ref().is_some_and(|first| first.index < index)
    }

    /// Of several failures, the first block's is kept; of one block, that of executing it, which is found on any number of
    /// threads.
    fn fail(&self, found: Failed) {
        let mut failed = lock(&self.failed);
        let order = |it: &Failed| (it.index, it.is_of_plan);
        if failed
            .as_ref()
            .is_none_or(|known| order(&found) < order(known))
        {
            *failed = Some(found);
        }
    }

    fn compare(
        &self,
        recorded: &RecordedBlock,
        computed: &RecordedBlock,
        view: &StateView<'_>,
    ) -> Result<Option<Mismatch>, StateError> {
        let mut before = |place: &Place| value_at(view, place);
        compare(recorded, computed, self.both_count, &mut before)
    }

    fn block(
        &self,
        index: usize,
        state: &mut StackedState<'_>,
        blocks: &(impl BlockSource + ?Sized),
        progress: &(dyn Fn(VerifiedBlock<'_>) + Sync),
    ) -> Result<(), VerifyError> {
        let recorded = self.verifier.recording.block(index)?;
        let number = recorded.number;
        let block = blocks.block(number)?;
        if let Some((part, difference)) = compare_block(&recorded, &block) {
            let mut mismatch = mismatched(recorded, difference);
            mismatch.part = part;
            mismatch.given = Some(Box::new(block));
            return Err(mismatch.into());
        }
        if block.header.parent_hash != state.head().hash || block.header.number != number {
            return Err(VerifyError::WrongParent { number });
        }
        let view = state.view()?;
        let execute = || observe(self.verifier.executor, &view, &block);
        let (observed, timing) = match self.verifier.is_timed {
            true => {
                let (observed, timing) = measured(execute);
                (observed, Some(timing))
            }
            false => (execute(), None),
        };
        let Observed {
            block: computed,
            end,
        } = observed.map_err(|source| VerifyError::Execution {
            block: number,
            source,
        })?;
        if let Some(mismatch) = self.compare(&recorded, &computed, &view)? {
            return Err(mismatch.into());
        }
        let changes = match end {
            Ok(changes) => changes,
            Err((_, cause)) => {
                let mut mismatch = mismatched(recorded, Difference::Header(cause));
                mismatch.computed = Some(Box::new(computed));
                return Err(mismatch.into());
            }
        };
        progress(VerifiedBlock {
            recorded: &recorded,
            computed: &computed,
            timing: timing.as_ref(),
        });
        state.push(number, block.hash(), changes);
        Ok(())
    }
}
