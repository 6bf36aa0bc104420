//! A fixture's blocks and the state before them, ready to be recorded, or verified against a recording.
//!
//! Invariant: the state is the one the first block stands on, and each block states what its header does. Cost: a temporary
//! database, to which only that state is written.

use slackwater_executor::{
    Database, Durability, WasmExecutor,
    block::Block,
    host_functions::HostFunctions,
    recording::{RecordError, Recorder, Recording},
    state::{DatabaseConfig, HistoryError, OpenError, StackedState},
};

use crate::{
    BlockFixture, FixtureReplayError,
    replay::{check_consistency, check_continuity, decode_blocks, import_fixture_state},
};

/// Why a fixture cannot be executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The fixture is none, or contradicts itself.
    #[error(transparent)]
    Fixture(#[from] FixtureReplayError),
    /// There is no temporary folder.
    #[error("a temporary database cannot be made: {0}")]
    Temporary(std::io::Error),
    /// The temporary database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nor read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A block cannot be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ChainError {
    /// Whether a block departs from its chain; everything else is bad input, or a failing machine.
    #[must_use]
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::Fixture(error) => error.divergence().is_some(),
            Self::Record(error) => matches!(error, RecordError::Diverged(_)),
            _ => false,
        }
    }
}

/// A fixture's chain.
#[derive(Debug)]
pub struct FixtureChain {
    blocks: Vec<Block>,
    database: Database,
    first_parent: u64,
    _folder: tempfile::TempDir,
}

impl FixtureChain {
    /// Puts the fixture's state into a temporary database, and decodes its blocks.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn open<H: HostFunctions>(
        executor: &WasmExecutor<H>,
        fixture: &BlockFixture,
    ) -> Result<Self, ChainError> {
        let stated = decode_blocks(fixture)?;
        check_continuity(&stated)?;
        for (block, stated) in &stated {
            check_consistency(block, stated).map_err(FixtureReplayError::from)?;
        }
        let (first, _) = stated.front().ok_or(FixtureReplayError::NoBlocks)?;
        let folder = tempfile::tempdir().map_err(ChainError::Temporary)?;
        let config = DatabaseConfig {
            history_blocks: 0,
            // Every core has blocks to execute.
            prefetch: false,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        let database = Database::open_with(folder.path(), config)?;
        import_fixture_state(executor, &database, fixture, first)?;
        Ok(Self {
            first_parent: first.header.number.saturating_sub(1),
            blocks: stated.into_iter().map(|(block, _)| block).collect(),
            database,
            _folder: folder,
        })
    }

    /// The blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The state before the first block.
    ///
    /// # Errors
    /// [`ChainError::History`] when it cannot be read.
    pub fn parent_state(&self) -> Result<StackedState<'_>, ChainError> {
        Ok(self.database.stack_at(self.first_parent)?)
    }

    /// Records all blocks, in memory.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn record<H: HostFunctions>(
        &self,
        executor: &WasmExecutor<H>,
        name: &str,
    ) -> Result<Recording, ChainError> {
        let parent = self.parent_state()?;
        let mut recorder = Recorder::new(executor, parent, name.to_owned(), false);
        let blocks = self.blocks.iter();
        let recorded = blocks.map(|_| recorder.next(self.blocks()));
        let recorded = recorded.collect::<Result<Vec<_>, RecordError>>()?;
        Ok(Recording::Memory(recorder.head().clone(), recorded))
    }
}
