//! Writing to the database: a genesis, and one block at a time, each in one atomic batch.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use codec::{Decode, Encode};
use rocksdb::WriteBatch;
use sp_core::{
    Blake2Hasher, H256,
    storage::{StateVersion, Storage},
};
use sp_state_machine::Backend;

use super::{
    BlockChanges, BlockState, CommitError, Database, Head, StateError, WriteSet,
    patch::{Patch, put_patch},
    schema::{CF_BLOCKS, CF_META, CF_RECEIPTS, CF_UNDO, META_HEAD, META_STORED, number_key},
    undo::{UndoRecord, undo_of},
};
use crate::{
    metrics,
    timing::{self, Phase},
};

/// Room in a batch for the head and the like.
const SMALL_RECORDS_BYTES: usize = 1 << 10;

/// What is stored of a block beside its state. `header` and `receipts` are SCALE; extrinsics carry
/// their length prefix.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlockRecord {
    /// Number of the block.
    pub number: u64,
    /// Hash of the header as the chain knows it, seal included.
    pub hash: H256,
    /// The header as the chain knows it.
    pub header: Vec<u8>,
    /// The body.
    pub extrinsics: Vec<Vec<u8>>,
    /// Encoded receipts, which have a version of their own.
    pub receipts: Vec<u8>,
}

impl BlockRecord {
    /// The head that the block is, with this root.
    pub(super) fn head(&self, state_root: H256) -> Head {
        Head {
            number: self.number,
            hash: self.hash,
            state_root,
        }
    }
}

/// A whole state with its tries, ready to be imported into an empty database.
pub struct PreparedState {
    state_root: H256,
    patch: Patch,
}

impl std::fmt::Debug for PreparedState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PreparedState")
            .field("state_root", &self.state_root)
            .finish_non_exhaustive()
    }
}

impl PreparedState {
    /// Root of the state.
    pub fn state_root(&self) -> H256 {
        self.state_root
    }
}

impl Database {
    /// Builds the tries of a whole state, without writing anything.
    ///
    /// # Errors
    /// [`StateError`] when reading the database failed.
    pub fn prepare_state(
        &self,
        storage: &Storage,
        state_version: StateVersion,
    ) -> Result<PreparedState, StateError> {
        let view = self.empty_view();
        let children = storage.children_default.values();
        let (state_root, nodes) = view.full_storage_root(
            storage
                .top
                .iter()
                .map(|(key, value)| (key.as_slice(), Some(value.as_slice()))),
            children.map(|child| {
                let entries = child.data.iter();
                (
                    &child.child_info,
                    entries.map(|(k, v)| (k.as_slice(), Some(v.as_slice()))),
                )
            }),
            state_version,
        );
        view.check()?;
        Ok(PreparedState {
            state_root,
            patch: Patch::new(all_writes(storage, &view, state_version), nodes),
        })
    }

    /// Makes `state` that of block `number` with hash `hash`, in one atomic write. What is returned is in table files.
    ///
    /// # Errors
    /// [`CommitError::NotEmpty`] when the database holds a chain; nothing is written then.
    pub fn import_state(
        &self,
        state: PreparedState,
        number: u64,
        hash: H256,
    ) -> Result<Head, CommitError> {
        let _commits = self.lock_commits();
        if let Some(head) = self.head()? {
            return Err(CommitError::NotEmpty {
                number: head.number,
            });
        }
        let head = Head {
            number,
            hash,
            state_root: state.state_root,
        };
        let mut batch = WriteBatch::default();
        put_patch(self.rocksdb(), &mut batch, &state.patch);
        batch.put_cf(self.column(CF_META), META_HEAD, head.encode());
        batch.put_cf(self.column(CF_META), META_STORED, head.encode());
        self.write_state(batch, &state.patch)?;
        self.flush()?;
        Ok(head)
    }

    /// Commits a block whose changes were made on the state of `parent`: what it changes, the block, its
    /// receipts and the head in one atomic batch.
    ///
    /// # Errors
    /// [`CommitError::StaleParent`] when the head is not `parent` any more: nothing was written.
    /// [`CommitError::NotNext`] when its number is not the one behind that of its parent: nothing was written.
    /// [`CommitError::State`] when the write failed: the block is in the database whole or not at
    /// all, and opening it again tells which.
    pub fn commit(
        &self,
        parent: &Head,
        changes: BlockChanges,
        block: &BlockRecord,
    ) -> Result<Head, CommitError> {
        let _commit = timing::enter(Phase::Commit);
        let view = self.view()?;
        if view.head() != parent {
            return Err(stale(parent, view.head()));
        }
        let head = block.head(changes.state_root);
        let patch = Arc::new(Patch::new(changes.writes, changes.nodes));
        let undo = undo_of(&view, &patch, &changes.before)?;
        // Nothing need be gathered any more.
        drop(changes.before);
        self.write_block(head, &patch, &undo, block)
    }

    /// Writes a block, if the head is the one that undoing it leads back to.
    pub(super) fn write_block(
        &self,
        head: Head,
        patch: &Arc<Patch>,
        undo: &UndoRecord,
        block: &BlockRecord,
    ) -> Result<Head, CommitError> {
        let _commit = timing::enter(Phase::Commit);
        let begun = Instant::now();
        let _commits = self.lock_commits();
        let found = self.head()?.ok_or(StateError::NoHead)?;
        if found != undo.parent {
            return Err(stale(&undo.parent, &found));
        }
        if found.number.checked_add(1) != Some(block.number) {
            return Err(CommitError::NotNext {
                number: block.number,
                head: found.number,
            });
        }
        let key = number_key(block.number);
        let stored = (block.hash, &block.header, &block.extrinsics).encode();
        let records =
            stored.len() + block.receipts.len() + undo.record.as_ref().map_or(0, Vec::len);
        let bytes = patch.bytes() + records + SMALL_RECORDS_BYTES;
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        self.journal().add(&mut batch, head, patch);
        batch.put_cf(self.column(CF_BLOCKS), key, stored);
        batch.put_cf(self.column(CF_RECEIPTS), key, &block.receipts);
        if let Some(undo) = &undo.record {
            batch.put_cf(self.column(CF_UNDO), key, undo);
        }
        if let Some(too_old) = block.number.checked_sub(self.history()) {
            batch.delete_cf(self.column(CF_UNDO), number_key(too_old));
        }
        batch.put_cf(self.column(CF_META), META_HEAD, head.encode());
        self.write_state(batch, patch)?;
        metrics::commit(begun);
        self.journal().settle_if_full();
        Ok(head)
    }

    /// A committed block.
    ///
    /// # Errors
    /// [`StateError`] when the record cannot be read.
    pub fn block(&self, number: u64) -> Result<Option<BlockRecord>, StateError> {
        type Stored = (H256, Vec<u8>, Vec<Vec<u8>>);
        let Some((hash, header, extrinsics)) =
            self.record::<Stored>(CF_BLOCKS, &number_key(number))?
        else {
            return Ok(None);
        };
        let receipts = self
            .bytes(CF_RECEIPTS, &number_key(number))?
            .unwrap_or_default();
        Ok(Some(BlockRecord {
            number,
            hash,
            header,
            extrinsics,
            receipts,
        }))
    }
}

fn stale(expected: &Head, found: &Head) -> CommitError {
    CommitError::StaleParent {
        expected: expected.hash,
        found: found.hash,
    }
}

/// Every entry of `storage` as a write, roots of child tries included.
fn all_writes(
    storage: &Storage,
    empty: &impl Backend<Blake2Hasher>,
    state_version: StateVersion,
) -> WriteSet {
    let mut writes = WriteSet::new();
    let some = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), Some(value.clone()));
    let mut top: BTreeMap<_, _> = storage.top.iter().map(some).collect();
    let children: BTreeMap<_, _> = storage.children_default.iter().collect();
    for (child, contents) in children {
        let entries = contents
            .data
            .iter()
            .map(|(k, v)| (k.as_slice(), Some(v.as_slice())));
        let (root, is_empty, _) =
            empty.child_storage_root(&contents.child_info, entries, state_version);
        let key = contents.child_info.prefixed_storage_key().into_inner();
        top.insert(key, (!is_empty).then(|| root.as_bytes().to_vec()));
        writes.insert(
            Some(child.clone()),
            contents.data.iter().map(some).collect(),
        );
    }
    writes.insert(None, top);
    writes
}
