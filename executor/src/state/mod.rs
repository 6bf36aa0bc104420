//! Keys, values and roots: reading state, layering changes over it, and committing blocks. Knows
//! nothing of wasm or extrinsics.
//!
//! | module | knows |
//! |---|---|
//! | `schema` | the bytes of keys and records in the database |
//! | `db` | the database; nothing else opens it |
//! | `columns` | its column families, and how RocksDB keeps them |
//! | `cache` | values and nodes in memory |
//! | `config`, `folder` | how a database is kept, and where |
//! | `open_check` | whether the columns belong together |
//! | `recovery` | a write-ahead log of which not all can be read |
//! | `record_log` | whether such a log, or a manifest, is whole |
//! | `delta` | the changes a root is calculated from |
//! | `view` | state at one block: flat reads, roots over stored trie nodes |
//! | `node_reader` | trie nodes of a view, for the trie library |
//! | `metered_state` | a state whose keys and values cost the guest that asks for them |
//! | `metered_storage` | the layers as a guest sees them, charging for keys of the block's own |
//! | `layers` | nested changes over a view, one layer per extrinsic |
//! | `access` | what an extrinsic asked for and changed, on request |
//! | `transaction` | what layers are, for another implementation beside them |
//! | `prefetch` | keys that were written, read before a root or a commit asks for them |
//! | `undo` | what undoes a block, as it is stored |
//! | `before` | what undoes a block, as far as it was read while the block was executed |
//! | `changes` | what a block changed, ready to be compared or committed |
//! | `patch` | the same in the bytes of the database: a block, or what undoes one |
//! | `commit` | a genesis or a block, in one atomic write |
//! | `check` | whether flat values and trie agree |
//! | `import` | a whole state, however large |
//! | `state_file` | the state after one block as a file with a checksum |
//! | `history` | states of earlier blocks, and reverting |
//! | `uncommitted` | blocks that were executed and are not in the database |
//! | `stacked` | states that stand on one of a database, and are not in it |
//! | `trie_state` | states that are read through their trie |
//! | `proof` | what a block needs of a state, recorded, and the state it shows |
//! | `memory` | a whole state in memory, for single calls and tests |

mod access;
mod before;
mod cache;
mod changes;
mod check;
mod columns;
mod commit;
mod config;
mod db;
mod delta;
mod error;
mod filter;
mod flat_iter;
mod folder;
mod history;
mod import;
mod journal;
mod layers;
mod memory;
mod metered_state;
mod metered_storage;
mod node_reader;
mod open_check;
mod patch;
mod prefetch;
mod proof;
mod record_log;
mod recovery;
mod schema;
mod stacked;
mod state_file;
mod transaction;
mod trie_state;
mod uncommitted;
mod undo;
mod view;
mod views;
mod walker;
mod written;

pub use access::{Access, Change, Place, value_at};
pub use before::Before;
pub use changes::{BlockChanges, WriteSet};
pub use check::{CheckError, Checked};
pub use commit::{BlockRecord, PreparedState};
pub use config::{
    BLOCK_CACHE_BYTES_DEFAULT, CACHE_BYTES_DEFAULT, DatabaseConfig, Durability,
    HISTORY_BLOCKS_DEFAULT, JOURNAL_BLOCKS_DEFAULT, WRITE_BUFFER_BYTES_DEFAULT,
};
pub use db::{ColumnStat, Database, DatabaseStat};
pub use delta::DeltaDigest;
pub use error::{CommitError, OpenError, StateError};
pub use history::HistoryError;
pub use import::StateImport;
pub use layers::BlockLayers;
pub use memory::{InMemory, MemoryState};
pub use node_reader::NodeReader;
pub use proof::{ProofNodes, ProofState, ProvenNodes, RecordedNodes, RecordingState};
pub use recovery::Recovery;
pub use schema::{FORMAT_VERSION, Head};
pub use stacked::StackedState;
pub use state_file::{
    ExportError, STATE_FILE_MAGIC, STATE_FILE_VERSION, StateFile, StateFileError, StateFileStat,
    StateImportStep, Verify,
};
pub(crate) use state_file::{checksum, hasher};
pub use transaction::BlockTransaction;
pub use trie_state::{TrieIter, TrieSource, TrieState};
pub use uncommitted::UncommittedBlock;
pub use view::StateView;

pub use sp_externalities::Extensions;

use sp_core::{Blake2Hasher, storage::ChildInfo};
use sp_state_machine::Backend;

/// A state that blocks can be executed on.
///
/// Host functions cannot return an error when the disk fails, so a state remembers its first fault
/// and whoever ran a guest must ask [`BlockState::check`] before believing any result.
pub trait BlockState: Backend<Blake2Hasher> + Send {
    /// The first fault since the state was opened.
    ///
    /// # Errors
    /// That fault, on every call after it.
    fn check(&self) -> Result<(), StateError>;

    /// Digest of what the last calculation of the top root was given, where the state keeps track.
    fn last_root_delta(&self) -> Option<DeltaDigest>;

    /// What was read of the state that undoing a block on it needs, if it is kept.
    fn before(&self) -> Before {
        Before::default()
    }

    /// The state once more, for another thread: nothing that is done with it shows in this one. `None` where there is no
    /// such thing.
    fn beside(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// A key is written over the state, in the layer that is open.
    fn written(&self, _child: Option<&ChildInfo>, _key: &[u8]) {}

    /// A layer of changes is opened over the state.
    fn open_layer(&self) {}

    /// The layer opened last is closed, and kept or rolled back.
    fn close_layer(&self, _kept: bool) {}
}
