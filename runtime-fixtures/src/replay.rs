//! Replaying a block fixture through the executor, block by block.
//!
//! Invariant: a fixture that contradicts itself (a header that does not hash to its stated hash,
//! say) is a divergence of its block, like any other difference between what a file expects and
//! what is computed.

use std::collections::VecDeque;

use slackwater_executor::{
    WasmExecutor,
    block::{
        Block, BlockDecodeError, Cause, Divergence, ExecutionError, ExecutionPath, ImportError,
        Imported, ReplayError, Step, import_block, import_parent_state, state_version_of,
    },
    host_functions::HostFunctions,
    state::{Database, Extensions, StateError, WriteSet},
};
use sp_core::{H256, storage::StateVersion};

use crate::{BlockFixture, FixtureBlock};

/// Why a fixture cannot go on being replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureReplayError {
    /// A header or extrinsic of the fixture does not decode.
    #[error("blocks[{index}]: {source}")]
    Decode {
        /// Position in the fixture.
        index: usize,
        /// What does not decode.
        source: BlockDecodeError,
    },
    /// The fixture holds no blocks.
    #[error("the fixture holds no blocks")]
    NoBlocks,
    /// A block does not follow the one before it.
    #[error("block {number}, {hash:?}, does not follow block {before}, the one before it in order")]
    Gap {
        /// Its number.
        number: u64,
        /// Its hash.
        hash: H256,
        /// Number of the block before it.
        before: u64,
    },
    /// The first block is the genesis block, which is not executed.
    #[error("the first block is number 0: the genesis block is given by the state, leave it out")]
    Genesis,
    /// The database holds a chain the fixture does not continue.
    #[error("the database is at block {number}, {hash:?}, which the fixture does not continue")]
    OtherChain {
        /// Number of the database's head.
        number: u64,
        /// Its hash.
        hash: H256,
    },
    /// See [`ImportError`].
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl FixtureReplayError {
    /// The divergence, if this is one; everything else is bad input or a failing machine.
    pub fn divergence(&self) -> Option<&Divergence> {
        match self {
            Self::Import(ImportError::Replay(ReplayError::Diverged(divergence))) => {
                Some(divergence)
            }
            _ => None,
        }
    }
}

impl From<ExecutionError> for FixtureReplayError {
    fn from(error: ExecutionError) -> Self {
        Self::Import(error.into())
    }
}

impl From<StateError> for FixtureReplayError {
    fn from(error: StateError) -> Self {
        ExecutionError::from(error).into()
    }
}

/// One block replayed.
#[derive(Debug)]
pub struct ReplayedBlock {
    /// Extrinsics in its body.
    pub extrinsics: usize,
    /// What the import gave.
    pub imported: Imported,
}

/// A fixture being replayed onto a database. Iterating replays one block at a time and ends after
/// the first error.
pub struct FixtureReplay<'a, H> {
    executor: &'a WasmExecutor<H>,
    database: &'a Database,
    path: ExecutionPath,
    blocks: VecDeque<(Block, &'a FixtureBlock)>,
    present: usize,
}

impl<H> std::fmt::Debug for FixtureReplay<'_, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FixtureReplay")
            .field("path", &self.path)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl<'a, H: HostFunctions> FixtureReplay<'a, H> {
    /// Decodes all blocks and puts the parent state into `database`, if that is empty. If it holds
    /// one of the fixture's blocks as its head, replay goes on from there.
    ///
    /// # Errors
    /// See [`FixtureReplayError`].
    pub fn new(
        executor: &'a WasmExecutor<H>,
        database: &'a Database,
        fixture: &'a BlockFixture,
        path: ExecutionPath,
    ) -> Result<Self, FixtureReplayError> {
        let mut blocks = decode_blocks(fixture)?;
        check_continuity(&blocks)?;
        let (first, _) = blocks.front().ok_or(FixtureReplayError::NoBlocks)?;
        let mut present = 0;
        match database.head()? {
            None => {
                import_fixture_state(executor, database, fixture, first)?;
            }
            Some(head) => {
                if first.header.parent_hash != head.hash {
                    let at = blocks
                        .iter()
                        .position(|(block, _)| block.hash() == head.hash);
                    let other = FixtureReplayError::OtherChain {
                        number: head.number,
                        hash: head.hash,
                    };
                    present = at.ok_or(other)? + 1;
                }
                for (block, stated) in blocks.drain(..present) {
                    check_consistency(&block, stated)?;
                }
            }
        }
        Ok(Self {
            executor,
            database,
            path,
            blocks,
            present,
        })
    }

    /// Blocks the database had already. They were not executed again, so nothing is known about the
    /// writes the fixture expects of them.
    pub fn blocks_present(&self) -> usize {
        self.present
    }

    /// Blocks still to be replayed.
    pub fn blocks_left(&self) -> usize {
        self.blocks.len()
    }

    fn replay(
        &self,
        block: &Block,
        expected: &FixtureBlock,
    ) -> Result<ReplayedBlock, FixtureReplayError> {
        check_consistency(block, expected)?;
        let writes = stated_writes(expected);
        let imported = import_block(
            self.executor,
            self.database,
            block,
            self.path,
            writes.as_ref(),
            &Extensions::new,
        )?;
        Ok(ReplayedBlock {
            extrinsics: block.extrinsics.len(),
            imported,
        })
    }
}

impl<H: HostFunctions> Iterator for FixtureReplay<'_, H> {
    type Item = Result<ReplayedBlock, FixtureReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (block, expected) = self.blocks.pop_front()?;
        let replayed = self.replay(&block, expected);
        if replayed.is_err() {
            self.blocks.clear();
        }
        Some(replayed)
    }
}

/// The fixture's blocks as parts, each with what the fixture states of it.
pub(crate) fn decode_blocks(
    fixture: &BlockFixture,
) -> Result<VecDeque<(Block, &FixtureBlock)>, FixtureReplayError> {
    let blocks = fixture.blocks.iter().enumerate();
    blocks
        .map(|(index, block)| {
            let decoded = Block::decode(&block.header, block.body.clone())
                .map_err(|source| FixtureReplayError::Decode { index, source })?;
            Ok((decoded, block))
        })
        .collect()
}

/// The writes a fixture states of a block, where it does.
pub(crate) fn stated_writes(block: &FixtureBlock) -> Option<WriteSet> {
    let writes = block.expected_writes.as_deref()?;
    let mut set = WriteSet::new();
    for write in writes {
        let entries = set.entry(write.child.clone()).or_default();
        entries.insert(write.key.clone(), write.value.clone());
    }
    Some(set)
}

/// Imports the state before the first block. Where the fixture does not say how its tries are
/// built, its runtime does; should that not load, a state that is not the chain's is still named as
/// such rather than by its broken code. Returns the version of the tries.
pub(crate) fn import_fixture_state<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    fixture: &BlockFixture,
    first: &Block,
) -> Result<u8, FixtureReplayError> {
    let version = match fixture.state_version {
        Some(0) => Ok(StateVersion::V0),
        Some(_) => Ok(StateVersion::V1),
        None => state_version_of(executor, &fixture.state),
    };
    let root = fixture.parent_state_root.map(H256);
    let assumed = *version.as_ref().unwrap_or(&StateVersion::V1);
    let imported = import_parent_state(database, &fixture.state, assumed, first, root);
    imported.map_err(FixtureReplayError::from)?;
    match version {
        Ok(StateVersion::V0) => Ok(0),
        Ok(StateVersion::V1) => Ok(1),
        Err(error) => Err(ExecutionError::from(error).into()),
    }
}

/// Each block must name the one before it as its parent, and the first have one.
pub(crate) fn check_continuity(
    blocks: &VecDeque<(Block, &FixtureBlock)>,
) -> Result<(), FixtureReplayError> {
    if blocks
        .front()
        .is_some_and(|(first, _)| first.header.number == 0)
    {
        return Err(FixtureReplayError::Genesis);
    }
    let pairs = blocks.iter().zip(blocks.iter().skip(1));
    for ((before, _), (block, _)) in pairs {
        if before.hash() != block.header.parent_hash {
            return Err(FixtureReplayError::Gap {
                number: block.header.number,
                hash: block.hash(),
                before: before.header.number,
            });
        }
    }
    Ok(())
}

/// Compares what the fixture states about a block with its header.
pub(crate) fn check_consistency(block: &Block, expected: &FixtureBlock) -> Result<(), ImportError> {
    use codec::Encode;
    let header = &block.header;
    let diverged = |cause| Divergence::new(header.number, Step::Header, cause).into();
    let (computed, stated) = (header.state_root, H256(expected.state_root));
    if computed != stated {
        return Err(diverged(Cause::StateRoot {
            expected: stated,
            computed,
        }));
    }
    let fields = [
        ("hash", expected.hash.to_vec(), block.hash().encode()),
        ("number", expected.number.encode(), header.number.encode()),
        (
            "parent hash",
            expected.parent_hash.to_vec(),
            header.parent_hash.encode(),
        ),
        (
            "extrinsics root",
            expected.extrinsics_root.to_vec(),
            header.extrinsics_root.encode(),
        ),
        (
            "unsealed header",
            expected.header_unsealed.clone(),
            block.header_unsealed().encode(),
        ),
    ];
    match fields
        .into_iter()
        .find(|(_, expected, computed)| expected != computed)
    {
        None => Ok(()),
        Some((field, expected, computed)) => Err(diverged(Cause::HeaderField {
            field,
            expected,
            computed,
        })),
    }
}
