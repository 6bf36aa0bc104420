//! Replaying onto a database: one block after the other, each checked against the chain and then
//! committed in one atomic write.

use slackwater_host_functions::HostFunctions;
use sp_core::{
    H256,
    storage::{StateVersion, Storage},
};
use sp_externalities::Extensions;
use sp_state_machine::{IndexOperation, OffchainChangesCollection};
use thiserror::Error;

use super::{
    Block, BlockFuel, BlockReceipts, Divergence, ExecutionError, ExecutionPath, ReplayError, Step,
    divergence::{Cause, compare_writes},
    genesis_hash, replay,
};
use crate::{
    state::{CommitError, Database, Head, WriteSet},
    wasm_executor::WasmExecutor,
};

/// A block executed, checked and committed.
#[derive(Debug)]
pub struct Imported {
    /// The head now.
    pub head: Head,
    /// Receipts of its extrinsics.
    pub receipts: BlockReceipts,
    /// Fuel used, where it is counted and calls were told apart.
    pub fuel: Option<BlockFuel>,
    /// Keys the block touched.
    pub keys_touched: usize,
    /// Writes to the offchain index, for the caller to apply.
    pub offchain_index: OffchainChangesCollection,
    /// Transaction-index operations, for the caller to apply.
    pub transaction_index: Vec<IndexOperation>,
}

/// Why a block was not imported. The database is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The block does not follow the head.
    #[error(
        "block {number} follows {parent:?}, but the database is at block {head_number}, {head:?}"
    )]
    WrongParent {
        /// Number of the block.
        number: u64,
        /// Its parent.
        parent: H256,
        /// Number of the head.
        head_number: u64,
        /// Hash of the head.
        head: H256,
    },
    /// See [`ReplayError`].
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<ExecutionError> for ImportError {
    fn from(error: ExecutionError) -> Self {
        Self::Replay(error.into())
    }
}

impl From<Divergence> for ImportError {
    fn from(divergence: Divergence) -> Self {
        Self::Replay(divergence.into())
    }
}

/// Puts the state that `first` is to be executed on into an empty database.
///
/// Where `first` is block 1, its parent is the genesis block, whose hash follows from the state; so
/// a state that is not the chain's is noticed. For later blocks `state_root` can be given.
///
/// # Errors
/// [`ImportError::Replay`] with [`Step::ParentState`] when the state is not the one `first` was made
/// on; the database stays empty then.
pub fn import_parent_state(
    database: &Database,
    storage: &Storage,
    state_version: StateVersion,
    first: &Block,
    state_root: Option<H256>,
) -> Result<Head, ImportError> {
    let number = first.header.number;
    let parent_hash = first.header.parent_hash;
    let mismatch = |computed: H256| -> Option<Cause> {
        if let Some(expected) = state_root.filter(|expected| *expected != computed) {
            return Some(Cause::StateRoot { expected, computed });
        }
        let hash = genesis_hash(computed);
        (number == 1 && hash != parent_hash).then_some(Cause::GenesisHash {
            expected: parent_hash,
            computed: hash,
            state_root: computed,
        })
    };
    let prepared = database
        .prepare_state(storage, state_version)
        .map_err(ExecutionError::from)?;
    if let Some(cause) = mismatch(prepared.state_root()) {
        return Err(Divergence::new(number, Step::ParentState, cause).into());
    }
    Ok(database
        .import_state(prepared, number.saturating_sub(1), parent_hash)
        .map_err(ExecutionError::from)?)
}

/// Executes `block` on the head of `database`, compares it with the chain and, where given, with
/// the writes it should make, and commits it.
///
/// The whole path must touch exactly the keys in `expected_writes`; the split path must agree on
/// those whose value differs from the parent's.
///
/// `extensions` makes what host functions find beside the storage, such as recorded proof sizes,
/// anew for each run (see [`super::execute`]); the version of other code can be read in any case.
///
/// # Errors
/// See [`ImportError`]; nothing is committed then.
pub fn import_block<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    block: &Block,
    path: ExecutionPath,
    expected_writes: Option<&WriteSet>,
    extensions: &dyn Fn() -> Extensions,
) -> Result<Imported, ImportError> {
    let view = database.view().map_err(ExecutionError::from)?;
    let parent = *view.head();
    check_parent(block, &parent)?;
    let number = block.header.number;
    let mut executed = match replay::execute(executor, &view, block, path, extensions) {
        Ok(executed) => executed,
        Err(ReplayError::Diverged(mut divergence)) => {
            if let Some(expected) = expected_writes {
                divergence
                    .locate(&view, expected)
                    .map_err(ExecutionError::from)?;
            }
            return Err(ReplayError::Diverged(divergence).into());
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(expected) = expected_writes {
        let exact = path == ExecutionPath::Whole;
        let difference = compare_writes(&view, expected, &executed.changes.writes, exact)
            .map_err(ExecutionError::from)?;
        if difference.is_some() {
            let mut divergence = Divergence::new(number, Step::Writes, Cause::Writes);
            divergence.write = difference;
            let receipts = executed.receipts.extrinsics.unwrap_or_default();
            let outcomes = receipts.into_iter().map(|receipt| receipt.result.into());
            return Err(divergence
                .with_outcomes(outcomes.collect())
                .with_changes(executed.changes)
                .into());
        }
    }
    let keys_touched = executed.changes.keys();
    let offchain_index = std::mem::take(&mut executed.changes.offchain_index);
    let transaction_index = std::mem::take(&mut executed.changes.transaction_index);
    let record = block.record(&executed.receipts);
    let head = database
        .commit(&parent, executed.changes, &record)
        .map_err(|error: CommitError| ExecutionError::from(error))?;
    Ok(Imported {
        head,
        receipts: executed.receipts,
        fuel: executed.fuel,
        keys_touched,
        offchain_index,
        transaction_index,
    })
}

fn check_parent(block: &Block, parent: &Head) -> Result<(), ImportError> {
    let header = &block.header;
    if header.parent_hash == parent.hash && header.number == parent.number + 1 {
        return Ok(());
    }
    Err(ImportError::WrongParent {
        number: header.number,
        parent: header.parent_hash,
        head_number: parent.number,
        head: parent.hash,
    })
}
