//! Where the blocks come from that are executed again.

use thiserror::Error;

use crate::{
    block::{Block, BlockDecodeError},
    state::{Database, StateError},
};

/// A block cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlockSourceError {
    /// It is not there.
    #[error("block {number} is not there")]
    Missing {
        /// Its number.
        number: u64,
    },
    /// What is stored of it does not decode.
    #[error("block {number}: {source}")]
    Decode {
        /// Its number.
        number: u64,
        /// What does not.
        source: BlockDecodeError,
    },
    /// The database cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Blocks by their numbers.
pub trait BlockSource: Sync {
    /// The block with this number.
    ///
    /// # Errors
    /// [`BlockSourceError`].
    fn block(&self, number: u64) -> Result<Block, BlockSourceError>;
}

/// Consecutive blocks in memory.
impl BlockSource for [Block] {
    fn block(&self, number: u64) -> Result<Block, BlockSourceError> {
        let first = self.first().map_or(0, |block| block.header.number);
        let index = number.checked_sub(first).map(usize::try_from);
        let block = match index {
            Some(Ok(index)) => self.get(index),
            _ => None,
        };
        block.cloned().ok_or(BlockSourceError::Missing { number })
    }
}

/// The blocks of a database.
impl BlockSource for Database {
    fn block(&self, number: u64) -> Result<Block, BlockSourceError> {
        let record = Self::block(self, number)?.ok_or(BlockSourceError::Missing { number })?;
        let block = Block::decode(&record.header, record.extrinsics);
        block.map_err(|source| BlockSourceError::Decode { number, source })
    }
}
