//! Writing to the database: a genesis, and one block at a time, each in one atomic batch.

use std::collections::{BTreeMap, HashMap};

use codec::{Compact, Decode, Encode};
use rocksdb::WriteBatch;
use sp_core::{
    Blake2Hasher, H256, Hasher,
    storage::{StateVersion, Storage, TRIE_VALUE_NODE_THRESHOLD},
};
use sp_state_machine::Backend;

use super::{
    Before, BlockChanges, BlockState, CommitError, Database, Head, StateError, StateView, WriteSet,
    before::Gathered,
    history::UndoRecord,
    patch::Patch,
    schema::{CF_BLOCKS, CF_META, CF_RECEIPTS, CF_UNDO, FlatSpace, META_HEAD, number_key},
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
            patch: Patch::new(&all_writes(storage, &view, state_version), nodes),
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
        self.put_patch(&mut batch, &state.patch);
        batch.put_cf(self.column(CF_META), META_HEAD, head.encode());
        self.write_state(batch, &state.patch)?;
        self.flush()?;
        Ok(head)
    }

    /// Commits a block whose changes were made on the state of `parent`: state, trie nodes, block,
    /// receipts and head in one atomic batch.
    ///
    /// # Errors
    /// [`CommitError::StaleParent`] when the head is not `parent` any more: nothing was written.
    /// [`CommitError::State`] when the write failed: the block is in the database whole or not at
    /// all, and opening it again tells which.
    pub fn commit(
        &self,
        parent: &Head,
        changes: BlockChanges,
        block: &BlockRecord,
    ) -> Result<Head, CommitError> {
        let view = self.view()?;
        if view.head() != parent {
            return Err(stale(parent, view.head()));
        }
        let head = block.head(changes.state_root);
        let patch = Patch::new(&changes.writes, changes.nodes);
        let undo = undo_of(&view, &patch, &changes.before)?;
        self.write_block(head, &patch, &undo, block)
    }

    /// Writes a block, if the head is the one that undoing it leads back to.
    pub(super) fn write_block(
        &self,
        head: Head,
        patch: &Patch,
        undo: &UndoRecord,
        block: &BlockRecord,
    ) -> Result<Head, CommitError> {
        let _commits = self.lock_commits();
        let found = self.head()?.ok_or(StateError::NoHead)?;
        if found != undo.parent {
            return Err(stale(&undo.parent, &found));
        }
        let key = number_key(block.number);
        let stored = (block.hash, &block.header, &block.extrinsics).encode();
        let records =
            stored.len() + block.receipts.len() + undo.record.as_ref().map_or(0, Vec::len);
        let bytes = patch.bytes() + records + SMALL_RECORDS_BYTES;
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        self.put_patch(&mut batch, patch);
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

/// What undoes a block that does this to the state of `view`; but for the parent nothing where that is not kept.
/// What was read of it while the block was executed is in `before`, if that is of the same state.
pub(super) fn undo_of(
    view: &StateView<'_>,
    patch: &Patch,
    before: &Before,
) -> Result<UndoRecord, StateError> {
    let parent = *view.head();
    let record = view
        .keeps_history()
        .then(|| undo_record(view, patch, before.of(&parent)))
        .transpose()?;
    Ok(UndoRecord { parent, record })
}

/// The encoded [`super::history::Undo`], in one go: a block has tens of thousands of entries.
fn undo_record(
    view: &StateView<'_>,
    patch: &Patch,
    gathered: Option<&Gathered>,
) -> Result<Vec<u8>, StateError> {
    let values = patch
        .flat
        .keys()
        .map(|key| Ok((key, view.flat_before(key, gathered)?)));
    let values = values.collect::<Result<Vec<_>, StateError>>()?;
    let values_removed = value_nodes(&values, patch);
    let gathered = gathered.map(Gathered::nodes);
    let nodes_read: HashMap<_, _> = gathered.iter().flat_map(|nodes| nodes.iter()).collect();
    let mut record = view.head().encode();
    begin_entries(&mut record, values.len());
    for (key, value) in &values {
        (key, value).encode_to(&mut record);
    }
    begin_entries(&mut record, patch.nodes.len());
    for (key, node) in &patch.nodes {
        key.encode_to(&mut record);
        let key = key.as_slice();
        let known = values_removed.get(key).or_else(|| nodes_read.get(key));
        match (node, known) {
            (Some(_), _) => None::<&[u8]>.encode_to(&mut record),
            (None, Some(node)) => Some(node).encode_to(&mut record),
            (None, None) => view.node(key)?.encode_to(&mut record),
        }
    }
    Ok(record)
}

/// So many entries follow.
fn begin_entries(record: &mut Vec<u8>, count: usize) {
    // Entries that are in memory have keys of their own, and are fewer than that.
    Compact(u32::try_from(count).unwrap_or(u32::MAX)).encode_to(record);
}

/// The nodes that the patch removes and that hold nothing but one of these values, as long ones of tries of version 1 do:
/// there is no need to read them. Their names end with the hash of what they hold, so none is mistaken.
fn value_nodes<'v>(
    before: &'v [(&Vec<u8>, Option<Vec<u8>>)],
    patch: &'v Patch,
) -> HashMap<&'v [u8], &'v [u8]> {
    let long = before.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        (value.len() >= TRIE_VALUE_NODE_THRESHOLD as usize).then_some((key, value))
    });
    let nodes = long.filter_map(|(key, value)| {
        let node = [FlatSpace::path(key), Blake2Hasher::hash(value).as_bytes()].concat();
        let (node, comes) = patch.nodes.get_key_value(&node)?;
        comes
            .is_none()
            .then_some((node.as_slice(), value.as_slice()))
    });
    nodes.collect()
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

#[cfg(test)]
mod tests {
    use sp_core::storage::{ChildInfo, StorageChild};
    use sp_externalities::{Extensions, Externalities};

    use super::*;
    use codec::DecodeAll;

    use crate::state::{BlockLayers, DatabaseConfig, Durability, history::Undo};

    const KEYS: u32 = 400;

    fn entries() -> BTreeMap<Vec<u8>, Vec<u8>> {
        // Values of every length around the one from which on they are nodes.
        let value = |number: u32| {
            let bytes = number.to_le_bytes();
            let length = 30 + number as usize % 8;
            bytes.into_iter().cycle().take(length).collect()
        };
        (0..KEYS)
            .map(|number| (number.to_be_bytes().to_vec(), value(number)))
            .collect()
    }

    /// A block that overwrites half of all values, and removes a quarter of them, in the top trie and in a child.
    fn changes_of_a_block(view: &StateView<'_>, version: StateVersion) -> BlockChanges {
        let mut layers = BlockLayers::new(view, Extensions::new());
        let guest = |ext: &mut dyn Externalities| {
            for number in 0..KEYS * 3 / 4 {
                let key = number.to_be_bytes().to_vec();
                let value = (number < KEYS / 2).then(|| vec![7; 40]);
                let child = ChildInfo::new_default(b"child");
                ext.place_storage(key.clone(), value.clone());
                ext.place_child_storage(&child, key, value);
            }
        };
        layers.run(guest).expect("readable");
        layers.finish(version).expect("a root")
    }

    #[test]
    fn what_undoes_a_block_holds_the_nodes_there_were_and_long_values_are_not_read_twice() {
        for version in [StateVersion::V0, StateVersion::V1] {
            let folder = tempfile::tempdir().expect("a folder");
            let config = DatabaseConfig::new(Durability::Buffered);
            let database = Database::open_with(folder.path(), config).expect("opens");
            let child = StorageChild {
                data: entries(),
                child_info: ChildInfo::new_default(b"child"),
            };
            let storage = Storage {
                top: entries(),
                children_default: [(b"child".to_vec(), child)].into(),
            };
            let prepared = database.prepare_state(&storage, version).expect("state");
            let imported = database.import_state(prepared, 0, H256::zero());
            imported.expect("imports");
            let view = database.view().expect("a head");
            let changes = changes_of_a_block(&view, version);
            let patch = Patch::new(&changes.writes, changes.nodes);
            let record = |before: &Before| {
                let undo = undo_of(&view, &patch, before).expect("readable");
                undo.record.expect("history is kept")
            };
            let undo = record(&Before::default());
            assert_eq!(record(&changes.before), undo);
            let undo = Undo::decode_all(&mut undo.as_slice()).expect("decodes");
            assert_eq!(undo.parent, *view.head());
            assert!(undo.patch.flat.keys().eq(patch.flat.keys()));
            for (key, value) in &undo.patch.flat {
                assert_eq!(*value, view.flat(key).expect("readable"));
            }
            assert!(undo.patch.nodes.keys().eq(patch.nodes.keys()));
            for (key, node) in &undo.patch.nodes {
                let stored = view.node(key).expect("readable");
                let expected = if patch.nodes[key].is_some() {
                    None
                } else {
                    stored
                };
                assert_eq!(*node, expected);
            }
            let values: Vec<_> = undo.patch.flat.iter().collect();
            let values: Vec<_> = values.iter().map(|(k, v)| (*k, (*v).clone())).collect();
            let removed = value_nodes(&values, &patch).len();
            let long = |value: &&Option<Vec<u8>>| value.as_ref().is_some_and(|it| it.len() > 32);
            let long = undo.patch.flat.values().filter(long).count();
            match version {
                StateVersion::V0 => assert_eq!(removed, 0),
                StateVersion::V1 => {
                    assert_eq!(removed, long);
                    assert!(removed > KEYS as usize / 2, "{removed}");
                }
            }
        }
    }
}
