//! A block in a real RocksDB transaction, with a savepoint for every layer: independent of the executor's layers, and
//! slow. Rolling back to a savepoint makes RocksDB build its index of the transaction again, and an append writes the
//! whole list again.
//!
//! The state stands in one column; in another the transaction marks what it has written, for RocksDB does not tell.
//! Roots are calculated by a state that holds the same. Effects beside storage are not kept.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
};

use codec::{Encode, EncodeAppend};
use rocksdb::{ColumnFamily, IteratorMode, OptimisticTransactionDB, Options, Transaction};
use slackwater_executor::state::{
    Before, BlockChanges, BlockState, BlockTransaction, StateError, WriteSet,
};
use sp_core::{
    H256,
    storage::{
        ChildInfo, StateVersion, Storage, TrackedStorageKey,
        well_known_keys::starts_with_child_storage_key,
    },
};
use sp_externalities::{Error, Extension, ExtensionStore, Externalities, MultiRemovalResults};

const FLAT: &str = "flat";
const TOUCHED: &str = "touched";
const WORKS: &str = "RocksDB works";

const NOTHING_REMOVED: MultiRemovalResults = MultiRemovalResults {
    maybe_cursor: None,
    backend: 0,
    unique: 0,
    loops: 0,
};

/// The contents of a state in a RocksDB of its own.
pub struct SavepointStore {
    database: OptimisticTransactionDB,
    _folder: tempfile::TempDir,
}

impl std::fmt::Debug for SavepointStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SavepointStore")
            .finish_non_exhaustive()
    }
}

/// What keys of a trie begin with in the database.
fn space(child: Option<&[u8]>) -> Vec<u8> {
    match child {
        None => vec![0],
        Some(child) => [&[1], child.encode().as_slice()].concat(),
    }
}

impl SavepointStore {
    /// These contents, without the roots of child tries.
    ///
    /// # Panics
    /// When RocksDB does not work.
    pub fn new(storage: &Storage) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let columns = [FLAT, TOUCHED];
        let database = OptimisticTransactionDB::open_cf(&options, folder.path(), columns);
        let database: OptimisticTransactionDB = database.expect(WORKS);
        let store = Self {
            database,
            _folder: folder,
        };
        store.hold(storage);
        store
    }

    /// Holds these contents instead of what it held.
    ///
    /// # Panics
    /// When RocksDB does not work.
    pub fn hold(&self, storage: &Storage) {
        let flat = self.column(FLAT);
        for held in self.database.iterator_cf(flat, IteratorMode::Start) {
            let (key, _) = held.expect(WORKS);
            self.database.delete_cf(flat, key).expect(WORKS);
        }
        let put = |child: Option<&[u8]>, entries: &BTreeMap<Vec<u8>, Vec<u8>>| {
            for (key, value) in entries {
                let key = [space(child).as_slice(), key].concat();
                self.database.put_cf(flat, key, value).expect(WORKS);
            }
        };
        put(None, &storage.top);
        let children: BTreeMap<_, _> = storage.children_default.iter().collect();
        for (child, contents) in children {
            put(Some(child), &contents.data);
        }
    }

    /// A block on it; `state` holds the same.
    pub fn begin<'a, S>(&'a self, state: &'a S) -> SavepointBlock<'a, S> {
        SavepointBlock {
            store: self,
            transaction: self.database.transaction(),
            state,
            layers: Vec::new(),
        }
    }

    fn column(&self, name: &str) -> &ColumnFamily {
        self.database.cf_handle(name).expect("opened")
    }
}

/// A block in a RocksDB transaction.
pub struct SavepointBlock<'a, S> {
    store: &'a SavepointStore,
    transaction: Transaction<'a, OptimisticTransactionDB>,
    state: &'a S,
    /// For each layer that is open: its own savepoint, and those of layers that were kept in it.
    layers: Vec<usize>,
}

impl<S> std::fmt::Debug for SavepointBlock<'_, S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("SavepointBlock");
        shown.field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl<S: BlockState> SavepointBlock<'_, S> {
    fn open(&mut self) {
        self.transaction.set_savepoint();
        self.layers.push(1);
    }

    fn close(&mut self, kept: bool) -> Result<(), ()> {
        let savepoints = self.layers.pop().ok_or(())?;
        if !kept {
            for _ in 0..savepoints {
                self.transaction.rollback_to_savepoint().expect(WORKS);
            }
        } else if let Some(below) = self.layers.last_mut() {
            *below += savepoints;
        }
        Ok(())
    }

    fn get(&self, child: Option<&[u8]>, key: &[u8]) -> Option<Vec<u8>> {
        let key = [space(child).as_slice(), key].concat();
        self.transaction
            .get_cf(self.store.column(FLAT), key)
            .expect(WORKS)
    }

    fn set(&self, child: Option<&[u8]>, key: &[u8], value: Option<&[u8]>) {
        let key = [space(child).as_slice(), key].concat();
        let flat = self.store.column(FLAT);
        match value {
            Some(value) => self.transaction.put_cf(flat, &key, value),
            None => self.transaction.delete_cf(flat, &key),
        }
        .expect(WORKS);
        self.transaction
            .put_cf(self.store.column(TOUCHED), key, [])
            .expect(WORKS);
    }

    fn next(&self, child: Option<&[u8]>, key: &[u8]) -> Option<Vec<u8>> {
        let space = space(child);
        let mut entries = self.transaction.raw_iterator_cf(self.store.column(FLAT));
        entries.seek([space.as_slice(), key, &[0]].concat());
        let next = entries.key()?.strip_prefix(space.as_slice())?;
        Some(next.to_vec())
    }

    /// What was written in a trie under keys that begin so.
    fn touched(&self, child: Option<&[u8]>, prefix: &[u8]) -> Vec<Vec<u8>> {
        let space = space(child);
        let start = [space.as_slice(), prefix].concat();
        let mut entries = self.transaction.raw_iterator_cf(self.store.column(TOUCHED));
        entries.seek(&start);
        let mut keys = Vec::new();
        while let Some(key) = entries.key().filter(|key| key.starts_with(&start)) {
            keys.push(key[space.len()..].to_vec());
            entries.next();
        }
        keys
    }

    /// All keys of the parent's state that begin so, from `cursor` on.
    fn stored(&self, child: Option<&[u8]>, prefix: &[u8], cursor: Option<&[u8]>) -> Vec<Vec<u8>> {
        let space = space(child);
        let start = [space.as_slice(), prefix].concat();
        let cursor = cursor.map(|cursor| [space.as_slice(), cursor].concat());
        let mut entries = self.store.database.raw_iterator_cf(self.store.column(FLAT));
        entries.seek(cursor.unwrap_or_default().max(start.clone()));
        let mut keys = Vec::new();
        while let Some(key) = entries.key().filter(|key| key.starts_with(&start)) {
            keys.push(key[space.len()..].to_vec());
            entries.next();
        }
        keys
    }

    /// What the block has written goes, and of what was there before as much as the limit says.
    fn clear(
        &self,
        child: Option<&[u8]>,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        let mut results = NOTHING_REMOVED;
        for key in self.touched(child, prefix) {
            results.unique += u32::from(self.get(child, &key).is_some());
            self.set(child, &key, None);
        }
        for key in self.stored(child, prefix, cursor) {
            if limit == Some(results.loops) {
                results.maybe_cursor = Some(key);
                break;
            }
            if self.get(child, &key).is_some() {
                self.set(child, &key, None);
                results.backend += 1;
                results.unique += 1;
            }
            results.loops += 1;
        }
        results
    }

    /// Child tries that were written to.
    fn children(&self) -> Vec<ChildInfo> {
        let mut entries = self.transaction.raw_iterator_cf(self.store.column(TOUCHED));
        entries.seek([1]);
        let mut children: Vec<ChildInfo> = Vec::new();
        while let Some(mut rest) = entries.key().and_then(|key| key.strip_prefix(&[1])) {
            let child = <Vec<u8> as codec::Decode>::decode(&mut rest).expect("as written");
            let child = ChildInfo::new_default(&child);
            if children.last() != Some(&child) {
                children.push(child);
            }
            entries.next();
        }
        children
    }

    fn delta(&self, child: Option<&[u8]>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let touched = self.touched(child, &[]).into_iter();
        touched
            .map(|key| (key.clone(), self.get(child, &key)))
            .collect()
    }

    fn changes(&self, version: StateVersion) -> BlockChanges {
        let mut writes = WriteSet::from([(None, self.delta(None))]);
        let children = self.children();
        let deltas: Vec<_> = children
            .iter()
            .map(|child| self.delta(Some(child.storage_key())))
            .collect();
        let child_deltas = children.iter().zip(&deltas);
        let child_deltas = child_deltas.map(|(child, delta)| (child, refs(delta)));
        let top = refs(&writes[&None]);
        let (state_root, nodes) = self.state.full_storage_root(top, child_deltas, version);
        for (child, delta) in children.iter().zip(deltas) {
            let root = self.child_root(child, version);
            let key = child.prefixed_storage_key().into_inner();
            writes.entry(None).or_default().insert(key, root);
            writes.insert(Some(child.storage_key().to_vec()), delta);
        }
        BlockChanges {
            before: Before::default(),
            writes,
            state_root,
            nodes,
            offchain_index: Vec::new(),
            transaction_index: Vec::new(),
        }
    }

    /// The root of a child trie; `None` for an empty one.
    fn child_root(&self, child: &ChildInfo, version: StateVersion) -> Option<Vec<u8>> {
        let delta = self.delta(Some(child.storage_key()));
        let (root, is_empty, _) = self.state.child_storage_root(child, refs(&delta), version);
        (!is_empty).then(|| root.as_bytes().to_vec())
    }
}

/// Changes as the trie takes them.
fn refs(
    delta: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let entries = delta.iter();
    entries.map(|(key, value)| (key.as_slice(), value.as_deref()))
}

impl<S: BlockState> BlockTransaction for SavepointBlock<'_, S> {
    fn run<R>(&mut self, guest: impl FnOnce(&mut dyn Externalities) -> R) -> Result<R, StateError> {
        let open = self.layers.len();
        let result = guest(self);
        while self.layers.len() > open {
            self.close(false).expect("one is open");
        }
        self.state.check()?;
        Ok(result)
    }

    fn layered<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> R,
        keep: impl FnOnce(&R) -> bool,
    ) -> R {
        self.open();
        let result = work(self);
        self.close(keep(&result)).expect("one is open");
        result
    }

    fn finish(self, state_version: StateVersion) -> Result<BlockChanges, StateError> {
        let changes = self.changes(state_version);
        self.state.check()?;
        Ok(changes)
    }
}

impl<S: BlockState> Externalities for SavepointBlock<'_, S> {
    fn set_offchain_storage(&mut self, _key: &[u8], _value: Option<&[u8]>) {}

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(None, key)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.get(None, key)?;
        Some(H256(sp_crypto_hashing::blake2_256(&value)).encode())
    }

    fn child_storage_hash(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.get(Some(child.storage_key()), key)?;
        Some(H256(sp_crypto_hashing::blake2_256(&value)).encode())
    }

    fn child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.get(Some(child.storage_key()), key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.next(None, key)
    }

    fn next_child_storage_key(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.next(Some(child.storage_key()), key)
    }

    fn kill_child_storage(
        &mut self,
        child: &ChildInfo,
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.clear(Some(child.storage_key()), &[], limit, cursor)
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        // Roots of child tries are not removed like this.
        if starts_with_child_storage_key(prefix) {
            return NOTHING_REMOVED;
        }
        self.clear(None, prefix, limit, cursor)
    }

    fn clear_child_prefix(
        &mut self,
        child: &ChildInfo,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.clear(Some(child.storage_key()), prefix, limit, cursor)
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.set(None, &key, value.as_deref());
    }

    fn place_child_storage(&mut self, child: &ChildInfo, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.set(Some(child.storage_key()), &key, value.as_deref());
    }

    fn storage_root(&mut self, state_version: StateVersion) -> Vec<u8> {
        self.changes(state_version).state_root.encode()
    }

    fn child_storage_root(&mut self, child: &ChildInfo, state_version: StateVersion) -> Vec<u8> {
        let root = self.child_root(child, state_version);
        let empty = || {
            let empty = BTreeMap::<Vec<u8>, Vec<u8>>::new();
            <sp_trie::LayoutV1<sp_core::Blake2Hasher> as sp_trie::TrieConfiguration>::trie_root(
                &empty,
            )
            .encode()
        };
        root.unwrap_or_else(empty)
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let list = self.get(None, &key).unwrap_or_default();
        let element = Opaque(value);
        let appended = <Vec<Opaque> as EncodeAppend>::append_or_new(list, [&element]);
        // What is no list is replaced by one.
        let appended = appended.unwrap_or_else(|_| vec![element].encode());
        self.set(None, &key, Some(&appended));
    }

    fn storage_start_transaction(&mut self) {
        self.open();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.close(false)
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.close(true)
    }

    fn wipe(&mut self) {}

    fn commit(&mut self) {}

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        (0, 0, 0, 0)
    }

    fn reset_read_write_count(&mut self) {}

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        Vec::new()
    }

    fn set_whitelist(&mut self, _keys: Vec<TrackedStorageKey>) {}

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        Vec::new()
    }
}

impl<S> ExtensionStore for SavepointBlock<'_, S> {
    fn extension_by_type_id(&mut self, _id: TypeId) -> Option<&mut dyn Any> {
        None
    }

    fn register_extension_with_type_id(
        &mut self,
        _id: TypeId,
        _extension: Box<dyn Extension>,
    ) -> Result<(), Error> {
        Err(Error::ExtensionsAreNotSupported)
    }

    fn deregister_extension_by_type_id(&mut self, _id: TypeId) -> Result<(), Error> {
        Err(Error::ExtensionsAreNotSupported)
    }
}

/// Bytes that are encoded already.
struct Opaque(Vec<u8>);

impl Encode for Opaque {
    fn using_encoded<R, F: FnOnce(&[u8]) -> R>(&self, work: F) -> R {
        work(&self.0)
    }
}

impl codec::EncodeLike for Opaque {}
