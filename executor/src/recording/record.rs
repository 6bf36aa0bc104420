//! Recording blocks: each is executed extrinsic by extrinsic on the state that the one before it left, and must be what its
//! header says.
//!
//! Invariant: what is recorded has passed every check of a replay. The database is only read.

use slackwater_host_functions::HostFunctions;
use thiserror::Error;

use super::{BlockSource, BlockSourceError, RecordedBlock, RecordingHead, Rules, observe::observe};
use crate::{
    block::{Divergence, ExecutionError},
    state::{StackedState, StateError},
    wasm_executor::WasmExecutor,
};

/// Why blocks were not recorded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A block is not what its header says.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// The block is not one on the state before it.
    #[error("block {number} does not follow block {parent}, on whose state it would be executed")]
    WrongParent {
        /// Its number.
        number: u64,
        /// The number of the block before it.
        parent: u64,
    },
    /// A block cannot be had.
    #[error(transparent)]
    Source(#[from] BlockSourceError),
    /// The machine failed.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

impl From<StateError> for RecordError {
    fn from(error: StateError) -> Self {
        Self::Execution(error.into())
    }
}

/// Records one block after the other.
pub struct Recorder<'a, H> {
    executor: &'a WasmExecutor<H>,
    state: StackedState<'a>,
    head: RecordingHead,
}

impl<H> std::fmt::Debug for Recorder<'_, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("state", &self.state)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl<'a, H: HostFunctions> Recorder<'a, H> {
    /// Begins on `state`, that of the parent of the first block. `name` is for people.
    pub fn new(
        executor: &'a WasmExecutor<H>,
        state: StackedState<'a>,
        name: String,
        digest_only: bool,
    ) -> Self {
        let fuel_rules = executor.fuel_rules().map(|(_, hash)| hash);
        let head = RecordingHead {
            name,
            rules: Rules::of(executor.config(), fuel_rules),
            parent: *state.head(),
            digest_only,
        };
        Self {
            executor,
            state,
            head,
        }
    }

    /// What stands before the blocks.
    pub fn head(&self) -> &RecordingHead {
        &self.head
    }

    /// Executes the next block, and says what is to be recorded of it.
    ///
    /// # Errors
    /// [`RecordError`]; the block before stays the last one.
    pub fn next(
        &mut self,
        blocks: &(impl BlockSource + ?Sized),
    ) -> Result<RecordedBlock, RecordError> {
        let parent = *self.state.head();
        let number = parent.number.saturating_add(1);
        let block = blocks.block(number)?;
        if block.header.parent_hash != parent.hash || block.header.number != number {
            return Err(RecordError::WrongParent {
                number,
                parent: parent.number,
            });
        }
        let view = self.state.view()?;
        let observed = observe(self.executor, &view, &block)?;
        let changes = observed.end.map_err(|(step, cause)| {
            let divergence = Divergence::new(number, step, cause);
            RecordError::Diverged(Box::new(divergence))
        })?;
        self.state.push(number, block.hash(), changes);
        Ok(match self.head.digest_only {
            true => observed.block.digested(),
            false => observed.block,
        })
    }
}
