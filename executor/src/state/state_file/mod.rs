//! The state file: the state after one block in one file, to be kept or carried to another machine.
//!
//! It holds the trie nodes beside the flat values, because nodes of both state versions may be mixed in one trie,
//! and a trie built anew over the values would then have another root.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `slackwater-state` |
//! | 4 | version (u32 LE) |
//! | 72 | SCALE [`Head`] |
//! | 9 + key + value, for each entry | column, lengths of key and value (u32 LE), key, value |
//! | 1 | `00`: no more entries |
//! | 8 for each column | entries of the columns (u64 LE) |
//! | 32 | blake2b-256 of all before |
//!
//! Columns are 1 `flat`, 2 `nodes`, 3 `blocks`, 4 `receipts`. Entries are those of the database, in the order of
//! columns and keys; of blocks and receipts there is the head's, or none.
//!
//! Invariant: what is not exactly such a file becomes no database. Cost: every entry is read and written once; the
//! memory is that of the largest entry, a batch, and RocksDB's buffers.

mod export;
mod import;

use blake2b_simd::{Params, State};
use sp_core::H256;
use thiserror::Error;

use super::{
    CheckError, OpenError, StateError,
    schema::{CF_BLOCKS, CF_FLAT, CF_NODES, CF_RECEIPTS},
};

pub use export::ExportError;
pub use import::{StateFile, StateImportStep, Verify};

/// What a state file begins with.
pub const STATE_FILE_MAGIC: [u8; 16] = *b"slackwater-state";

/// The version of everything in this module. A file of another one is refused.
pub const STATE_FILE_VERSION: u32 = 1;

/// Keys and values up to so many bytes are taken.
const BYTES_MAX: usize = 256 << 20;

/// The bytes of buffers in front of files.
const BUFFER_BYTES: usize = 1 << 20;

const HEAD_BYTES: usize = 8 + 32 + 32;

/// The columns in a file, in order; their numbers begin with 1.
const COLUMNS: [&str; 4] = [CF_FLAT, CF_NODES, CF_BLOCKS, CF_RECEIPTS];

/// The number that ends the entries.
const END: u8 = 0;

/// How many entries a state file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateFileStat {
    /// Values, roots of child tries included.
    pub values: u64,
    /// Trie nodes.
    pub nodes: u64,
    /// 1 if there is the head's block.
    pub blocks: u64,
    /// 1 if there are its receipts.
    pub receipts: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl StateFileStat {
    fn of(entries: [u64; COLUMNS.len()], bytes: u64) -> Self {
        let [values, nodes, blocks, receipts] = entries;
        Self {
            values,
            nodes,
            blocks,
            receipts,
            bytes,
        }
    }
}

/// Why a state file was not imported. There is no database then, but perhaps a begun one, that another import
/// begins anew.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// It begins with something else.
    #[error("this is no state file")]
    Foreign,
    /// It was written in another format.
    #[error("the state file has version {found}, this build reads {expected}")]
    Version {
        /// The version found.
        found: u32,
        /// The version this build knows.
        expected: u32,
    },
    /// It ends too early.
    #[error("the state file ends too early: something is missing behind byte {bytes}")]
    Truncated {
        /// Up to where it was understood.
        bytes: u64,
    },
    /// It goes on behind its end.
    #[error("the state file goes on behind its end, which is after {bytes} bytes")]
    Trailing {
        /// Where it should end.
        bytes: u64,
    },
    /// What no exporter writes stands somewhere.
    #[error("the state file is damaged before byte {offset}: {reason}")]
    Damaged {
        /// How far it was read.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The checksum is that of other bytes.
    #[error(
        "the state file is damaged: its checksum is {stated:?}, that of its bytes {computed:?}"
    )]
    Checksum {
        /// The one in the file.
        stated: H256,
        /// The one of what was read.
        computed: H256,
    },
    /// The head's root is not among the nodes, or its block is another one.
    #[error("the head of the state file is not that of its entries: {0}")]
    Head(StateError),
    /// Values and trie differ.
    #[error("the values of the state file are not those of its trie: {0}")]
    Values(CheckError),
    /// There are values of no trie.
    #[error("the state file holds {values} values, the trie of its head {reached}")]
    Unreachable {
        /// Values in the file.
        values: u64,
        /// Those in the head's trie.
        reached: u64,
    },
    /// The file cannot be read.
    #[error("the state file cannot be read: {0}")]
    Read(std::io::Error),
    /// Beginning or finishing the database failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Writing to it failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A hasher for the checksum of a file.
pub(crate) fn hasher() -> State {
    Params::new().hash_length(32).to_state()
}

/// The checksum of what a hasher was given.
pub(crate) fn checksum(hasher: &State) -> H256 {
    H256::from_slice(hasher.finalize().as_bytes())
}
