//! Operational errors of the state: opening, reading, committing. None of them is ever an outcome.

use std::{path::PathBuf, sync::Arc};

use sp_core::H256;
use thiserror::Error;

use super::schema::{FORMAT_WITHOUT_JOURNAL, FORMAT_WITHOUT_UNDO};

/// Reading state failed. Cheap to clone, because a state repeats its first fault.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The database could not be read or written.
    #[error("database: {0}")]
    Database(Arc<rocksdb::Error>),
    /// A record does not decode.
    #[error("database record `{record}` is damaged: {reason}")]
    Damaged {
        /// Which record.
        record: &'static str,
        /// Why it does not decode.
        reason: String,
    },
    /// The trie lacks a node that the root needs.
    #[error("the trie is incomplete: {reason}")]
    Trie {
        /// The trie's explanation.
        reason: String,
    },
    /// An uncommitted block does not stand on the head of the database.
    #[error("block {number} was executed on a fork that the head, block {head}, is not part of")]
    NotOnHead {
        /// The block.
        number: u64,
        /// The head.
        head: u64,
    },
    /// An earlier write failed, so what is on the disk is not known.
    #[error("the database is closed because a write failed: {first}; open it again")]
    Poisoned {
        /// Why it did.
        first: Arc<rocksdb::Error>,
    },
    /// The database has no state yet.
    #[error("the database holds no state: import a genesis first")]
    NoHead,
}

impl From<rocksdb::Error> for StateError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// Opening a database failed. A folder that holds no database of ours is left as it was; of a damaged one, files that must
/// not be read may have been put aside.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle of this one, has the database open.
    #[error("database {} is in use by another process", path.display())]
    InUse {
        /// The database folder.
        path: PathBuf,
    },
    /// There is no database in the folder.
    #[error("there is no database in {}", path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// There is a database in the folder already.
    #[error("there is a database in {} already", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file that every database has is not there. Nothing is made anew in its place.
    #[error("database {} is incomplete: {file} is missing", path.display())]
    Missing {
        /// The database folder.
        path: PathBuf,
        /// The file.
        file: &'static str,
    },
    /// A file of the database is damaged.
    #[error("database file {} is damaged: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder cannot be created, read or written.
    #[error("database folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The database folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The folder holds other files, or a RocksDB database of something else.
    #[error("{} is not a Slackwater database: {found}", path.display())]
    Foreign {
        /// The database folder.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The database was written in another format.
    #[error("database {} has format {found}, this build reads {expected}{}", path.display(), migration(*found))]
    Format {
        /// The database folder.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version this build knows.
        expected: u32,
    },
    /// The database is damaged or the disk fails.
    #[error("database {} cannot be opened: {source}", path.display())]
    Database {
        /// The database folder.
        path: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// The head record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Committing a block failed. Unless it says [`CommitError::State`], nothing was written; then the
/// write may or may not have reached the disk, whole or not at all, and reopening tells.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The block was executed on a state that is no longer the head.
    #[error("the head moved from {expected} to {found} while the block was executed")]
    StaleParent {
        /// The head the block was executed on.
        expected: H256,
        /// The head now.
        found: H256,
    },
    /// The block has not the number behind that of its parent.
    #[error("block {number} is not the one behind block {head}, the head")]
    NotNext {
        /// The block's number.
        number: u64,
        /// That of the head.
        head: u64,
    },
    /// The database already has a genesis.
    #[error("the database already holds a chain, with block {number} at its head")]
    NotEmpty {
        /// The number of the head.
        number: u64,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn migration(found: u32) -> &'static str {
    if found == FORMAT_WITHOUT_UNDO || found == FORMAT_WITHOUT_JOURNAL {
        "; `slackwater db migrate` makes it that"
    } else {
        ""
    }
}
