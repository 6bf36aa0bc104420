//! The blocks that are recorded or verified, and the state before them: of a fixture, or of a database.

use std::path::PathBuf;

use slackwater_executor::{
    Database, Durability, WasmExecutor,
    block::Block,
    host_functions::SlackwaterHostFunctions,
    recording::{BlockSource, BlockSourceError},
    state::{DatabaseConfig, StackedState},
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureChain};

use crate::{args_recording::ChainArgs, error::CliError, output::short_name};

/// Where blocks come from.
pub(crate) enum ChainSource {
    Fixture(Box<FixtureChain>),
    Database(Box<Database>),
}

impl ChainSource {
    /// Opens what the arguments name; no block of a database changes, and nothing of it is forgotten.
    pub(crate) fn open(
        args: &ChainArgs,
        executor: &WasmExecutor<SlackwaterHostFunctions>,
    ) -> Result<Self, CliError> {
        match (&args.fixture, &args.db) {
            (Some(fixture), _) => {
                let fixture = BlockFixture::load(fixture)?;
                let chain = FixtureChain::open(executor, &fixture)?;
                Ok(Self::Fixture(Box::new(chain)))
            }
            (None, Some(folder)) => {
                let config = DatabaseConfig {
                    // Nothing of it is forgotten.
                    history_blocks: u64::MAX,
                    // Every core has blocks to execute.
                    prefetch: false,
                    ..DatabaseConfig::new(Durability::Sync)
                };
                let database = Database::open_existing(folder, config)?;
                Ok(Self::Database(Box::new(database)))
            }
            // One of them is required.
            (None, None) => Err(CliError::NoChain),
        }
    }

    /// The state after a block.
    pub(crate) fn state_after(&self, number: u64) -> Result<StackedState<'_>, CliError> {
        match self {
            Self::Fixture(chain) => {
                let state = chain.parent_state()?;
                let found = state.head().number;
                if found == number {
                    Ok(state)
                } else {
                    Err(CliError::OtherBeginning { number, found })
                }
            }
            Self::Database(database) => {
                let state = database.stack_at(number);
                state.map_err(|source| CliError::History {
                    path: database.path().to_owned(),
                    source,
                })
            }
        }
    }

    /// The numbers of the first and the last block that can be executed again.
    pub(crate) fn reach(&self) -> Result<(u64, u64), CliError> {
        match self {
            Self::Fixture(chain) => {
                let number = |block: Option<&Block>| block.map_or(0, |block| block.header.number);
                let blocks = chain.blocks();
                Ok((number(blocks.first()), number(blocks.last())))
            }
            Self::Database(database) => {
                let state = |source| CliError::State {
                    path: database.path().to_owned(),
                    source,
                };
                let head = database.head().map_err(state)?;
                let oldest = database.oldest_state().map_err(state)?;
                Ok((oldest.saturating_add(1), head.map_or(0, |head| head.number)))
            }
        }
    }
}

impl BlockSource for ChainSource {
    fn block(&self, number: u64) -> Result<Block, BlockSourceError> {
        match self {
            Self::Fixture(chain) => chain.blocks().block(number),
            Self::Database(database) => BlockSource::block(database.as_ref(), number),
        }
    }
}

/// The files that are read.
pub(crate) fn chain_inputs(args: &ChainArgs) -> Vec<&PathBuf> {
    args.fixture.iter().collect()
}

/// What the chain is called in reports.
pub(crate) fn chain_name(args: &ChainArgs) -> String {
    let path = args.fixture.as_ref().or(args.db.as_ref());
    path.map_or_else(String::new, |path| short_name(&path.display().to_string()))
}
