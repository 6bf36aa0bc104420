//! State at one block: values read flat, by one lookup each; roots calculated over the stored trie
//! nodes.
//!
//! Between it and the snapshot there are the blocks of the journal, whose patches it is read through, the later ones first. A
//! state that is not the head's is read through more of them: those of blocks that are not
//! committed, or one that undoes the blocks behind it.
//!
//! Invariant: all reads of a view see one database snapshot, whatever is committed meanwhile. A
//! failing read is remembered and reported by [`BlockState::check`]; results after it are void.
//! Cost: a read is one RocksDB lookup, the next key one seek, or one step of a walk, a root proportional to the changed
//! keys times the depth of the trie.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sp_core::{
    Blake2Hasher, H256, Hasher,
    storage::{ChildInfo, StateVersion},
};
use sp_state_machine::{
    Backend, BackendTransaction, IterArgs, StateMachineStats, StorageKey, StorageValue,
    TrieBackend, TrieBackendBuilder, UsageInfo,
};
use sp_trie::MerkleValue;

use super::{
    Before, BlockState, DeltaDigest, Head, Place, StateError, UncommittedBlock,
    before::Gathered,
    cache::Epoch,
    db::{Database, decoded},
    delta::{DeltaHasher, effective_delta},
    flat_iter::FlatIter,
    journal::Patches,
    node_reader::NodeReader,
    patch::{Patch, node_in, value_in},
    prefetch::Wanted,
    schema::{CF_FLAT, CF_NODES, CF_UNDO, FlatSpace, number_key},
    undo::Undo,
    walker::Walker,
    written::Written,
};

/// A node as bytes of one's own, and as the cache has it.
type ReadNode = (Vec<u8>, Arc<[u8]>);

/// A consistent, read-only view of the state after one block.
pub struct StateView<'db> {
    database: &'db Database,
    /// Goes before the snapshot, which it reads.
    walker: Walker<'db>,
    snapshot: rocksdb::Snapshot<'db>,
    head: Head,
    /// The state that the snapshot shows, where cached values may be of it.
    epoch: Option<Epoch>,
    /// What lies above the head of the snapshot, the topmost first.
    patches: Vec<Arc<Patch>>,
    /// What lies between that head and what the snapshot shows.
    recent: Patches,
    /// Where the last walk began in each of these.
    cursors: Mutex<Vec<usize>>,
    /// The uncommitted block whose state this is.
    on: Option<Arc<UncommittedBlock>>,
    /// What is written over it, where something reads ahead.
    written: Option<Written>,
    /// What undoing a block on it needs, as far as it was read.
    gathered: Arc<Gathered>,
    fault: Mutex<Option<StateError>>,
    last_delta: Mutex<Option<DeltaDigest>>,
}

impl std::fmt::Debug for StateView<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StateView")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl<'db> StateView<'db> {
    pub(super) fn new(
        database: &'db Database,
        snapshot: rocksdb::Snapshot<'db>,
        head: Head,
        epoch: Option<Epoch>,
        recent: Patches,
    ) -> Self {
        Self {
            database,
            walker: Walker::default(),
            snapshot,
            head,
            epoch,
            patches: Vec::new(),
            recent,
            cursors: Mutex::default(),
            on: None,
            written: database.reads_ahead().then(Written::default),
            gathered: Arc::new(Gathered::new(database.gathers())),
            fault: Mutex::new(None),
            last_delta: Mutex::new(None),
        }
    }

    /// The block whose state this is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn set_head(&mut self, head: Head) {
        self.head = head;
    }

    /// Whether it is the state of the head.
    pub(super) fn is_heads(&self) -> bool {
        self.patches.is_empty()
    }

    /// What is to be written to the columns, and is not there yet.
    pub(super) fn journaled(&self) -> Patch {
        let patches = self.recent.iter().rev();
        Patch::together(patches.map(|patch| patch.as_ref().clone()))
    }

    /// All entries of `column` in this snapshot, without what is in the journal.
    pub(super) fn entries(&self, column: &'static str) -> rocksdb::DBRawIterator<'_> {
        self.snapshot.raw_iterator_cf(self.database.column(column))
    }

    /// The bytes under `key` in `column` in this snapshot, without what is in the journal.
    pub(super) fn bytes(
        &self,
        column: &'static str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.snapshot.get_cf(self.database.column(column), key)?)
    }

    /// Shows what is below through one more patch.
    pub(super) fn read_through(&mut self, patch: Patch) {
        self.patches.insert(0, Arc::new(patch));
    }

    /// What lies above the head of the database, the topmost first.
    pub(super) fn patches(&self) -> &[Arc<Patch>] {
        &self.patches
    }

    /// Makes it the state of `head`, which these patches lead to.
    pub(super) fn show(&mut self, head: Head, patches: Vec<Arc<Patch>>) {
        self.head = head;
        self.patches = patches;
    }

    /// Makes it the state of an uncommitted block, whose patches these are.
    pub(super) fn stand_on(&mut self, block: &Arc<UncommittedBlock>, patches: Vec<Arc<Patch>>) {
        self.head = *block.head();
        self.patches = patches;
        self.on = Some(Arc::clone(block));
    }

    /// The uncommitted block whose state this is, if it is one's.
    pub(super) fn on(&self) -> Option<&Arc<UncommittedBlock>> {
        self.on.as_ref()
    }

    /// Whether the database keeps what undoes blocks.
    pub(super) fn keeps_history(&self) -> bool {
        self.database.history() > 0
    }

    /// What undoes the head, as of this snapshot; `None` if that is not kept.
    pub(super) fn undo(&self) -> Result<Option<Undo>, StateError> {
        decoded(CF_UNDO, self.bytes(CF_UNDO, &number_key(self.head.number))?)
    }

    /// What the patches say of a key of the column `flat`.
    fn patched(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        value_in(&self.patches, key)
    }

    /// The value under a key of the column `flat`, which may have been gathered already.
    pub(super) fn flat_before(
        &self,
        key: &[u8],
        gathered: Option<&Gathered>,
    ) -> Result<Option<Vec<u8>>, StateError> {
        match gathered.and_then(|gathered| gathered.value(key)) {
            Some(value) => Ok(value),
            None => self.flat(key),
        }
    }

    /// The value under a key of the column `flat`.
    pub(super) fn flat(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = self.patched(key) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        if let Some(value) = self.cached(key) {
            return Ok(value.map(|value| value.to_vec()));
        }
        let value = self.stored(key)?;
        if let Some(epoch) = self.epoch {
            let cache = self.database.cache();
            cache.keep_value(epoch, key, value.as_deref().map(Arc::from));
        }
        Ok(value)
    }

    /// The same, and not from the cache.
    pub(super) fn uncached(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.patched(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.stored(key),
        }
    }

    /// What the cache knows of a key of the column `flat`.
    fn cached(&self, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        self.database.cache().value(self.epoch?, key)
    }

    /// The value under a key of the column `flat`, in the database.
    fn stored(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = value_in(self.recent.iter(), key) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        let column = self.database.column(CF_FLAT);
        let value = self.snapshot.get_cf(column, key);
        self.noted(value.map_err(StateError::from))
    }

    /// The node under a key of the column `nodes`.
    pub(super) fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let node = self.read_node(key)?;
        Ok(node.map(|(bytes, _)| bytes))
    }

    /// A node over which a root is calculated.
    pub(super) fn node_gathered(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, StateError> {
        let Some((bytes, node)) = self.read_node(&key)? else {
            return Ok(None);
        };
        self.gathered.keep_node(key, node);
        Ok(Some(bytes))
    }

    /// A node, from the cache or for it.
    fn read_node(&self, key: &[u8]) -> Result<Option<ReadNode>, StateError> {
        let cache = self.database.cache();
        if let Some(node) = cache.node(key) {
            return Ok(Some((node.to_vec(), node)));
        }
        let Some(bytes) = self.stored_node(key)? else {
            return Ok(None);
        };
        let node: Arc<[u8]> = Arc::from(bytes.as_slice());
        cache.keep_node(key, Arc::clone(&node));
        Ok(Some((bytes, node)))
    }

    /// The same, and not from the cache.
    pub(super) fn stored_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(node) = node_in(self.patches.iter().chain(self.recent.iter()), key) {
            return Ok(Some(node.to_vec()));
        }
        let column = self.database.column(CF_NODES);
        self.noted(self.snapshot.get_cf(column, key).map_err(StateError::from))
    }

    /// What is written so far stays: has keys looked for, once there are some.
    fn settle(&self) {
        if let Some(keys) = self.written.as_ref().and_then(Written::settle) {
            self.look(keys);
        }
    }

    fn look(&self, keys: Vec<Place>) {
        if let Some(prefetch) = self.database.prefetch() {
            prefetch.look(Wanted {
                state_root: self.head.state_root,
                epoch: self.epoch,
                patches: self.patches.clone(),
                recent: Arc::clone(&self.recent),
                keys,
                gathered: Arc::downgrade(&self.gathered),
            });
        }
    }

    /// A root is asked for: keys of layers that are still open are looked for now or never.
    fn root_begins(&self) {
        let keys = self.written.as_ref().map(Written::take).unwrap_or_default();
        if !keys.is_empty() {
            self.look(keys);
        }
        self.gathered.begin_root();
    }

    /// Keeps the first fault and passes the result on.
    pub(super) fn noted<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn note(&self, error: &StateError) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| error.clone());
    }

    fn get(&self, space: &FlatSpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.flat(&space.key(key))
    }

    fn exists(&self, space: &FlatSpace, key: &[u8]) -> Result<bool, StateError> {
        let key = space.key(key);
        if let Some(value) = self.patched(&key) {
            return Ok(value.is_some());
        }
        if let Some(value) = self.cached(&key) {
            return Ok(value.is_some());
        }
        if let Some(value) = value_in(self.recent.iter(), &key) {
            return Ok(value.is_some());
        }
        let column = self.database.column(CF_FLAT);
        let found = self.snapshot.get_pinned_cf(column, &key);
        let exists = found.map(|value| value.is_some());
        let exists = self.noted(exists.map_err(StateError::from))?;
        if let Some(epoch) = self.epoch.filter(|_| !exists) {
            self.database.cache().keep_value(epoch, &key, None);
        }
        Ok(exists)
    }

    /// Whether `key` is in the state. A failing read is noted, and voids the root it is asked for.
    fn may_exist(&self, space: &FlatSpace, key: &[u8]) -> bool {
        self.exists(space, key).unwrap_or(true)
    }

    /// Up to `count` keys of `space` at or after `start` (bytes within the space). Values, which may be
    /// large, are left where they are.
    pub(super) fn scan(
        &self,
        space: &FlatSpace,
        start: &[u8],
        count: usize,
    ) -> Result<VecDeque<Vec<u8>>, StateError> {
        let start = space.key(start);
        let begin = || self.database.entries_as_of(CF_FLAT, &self.snapshot);
        let mut entries = self.walker.walk(&start, begin);
        let patches = self.patches.iter().chain(self.recent.iter());
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.resize(self.patches.len() + self.recent.len(), 0);
        let patches = patches.zip(cursors.iter_mut());
        let patches = patches.map(|(patch, cursor)| patch.from(&start, cursor).peekable());
        let mut patches: Vec<_> = patches.collect();
        let mut found = VecDeque::new();
        while found.len() < count {
            let patched = patches.iter_mut().filter_map(|patch| patch.peek());
            let patched = patched.map(|(key, _)| *key).min();
            let stored = entries.key();
            let Some(key) = stored.into_iter().chain(patched).min().map(<[u8]>::to_vec) else {
                break;
            };
            let Some(stripped) = space.strip(&key) else {
                break;
            };
            // Who is topmost decides.
            let mut decided = None;
            for patch in &mut patches {
                if let Some((_, is_there)) = patch.next_if(|(patched, _)| *patched == key) {
                    decided = decided.or(Some(is_there));
                }
            }
            if decided.unwrap_or(true) {
                found.push_back(stripped.to_vec());
            }
            // It rests where the next walk is likely to begin.
            if found.len() < count && entries.key() == Some(&key) {
                entries.next();
            }
        }
        self.noted(entries.status().map_err(StateError::from))?;
        self.walker.rest(entries);
        Ok(found)
    }

    fn next_key(&self, space: &FlatSpace, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let after = [key, &[0]].concat();
        Ok(self.scan(space, &after, 1)?.pop_front())
    }

    /// The trie over the stored nodes of this view: the same state, read by a walk from the root.
    pub fn trie(&self) -> TrieBackend<NodeReader<'_, 'db>, Blake2Hasher> {
        self.trie_by(NodeReader::new(self))
    }

    fn trie_by<'v>(
        &self,
        nodes: NodeReader<'v, 'db>,
    ) -> TrieBackend<NodeReader<'v, 'db>, Blake2Hasher> {
        TrieBackendBuilder::new(nodes, self.head.state_root).build()
    }

    /// The trie, for a root that is asked for.
    fn trie_of_root(&self) -> TrieBackend<NodeReader<'_, 'db>, Blake2Hasher> {
        self.root_begins();
        self.trie_by(NodeReader::gathering(self))
    }
}

impl BlockState for StateView<'_> {
    fn check(&self) -> Result<(), StateError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    fn last_root_delta(&self) -> Option<DeltaDigest> {
        *self
            .last_delta
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn beside(&self) -> Option<Self> {
        let mut beside = self.database.view().ok()?;
        if self.epoch.is_none() || beside.epoch != self.epoch {
            return None;
        }
        beside.head = self.head;
        beside.patches.clone_from(&self.patches);
        beside.written = None;
        beside.gathered = Arc::new(Gathered::new(false));
        Some(beside)
    }

    fn before(&self) -> Before {
        Before::new(self.head, &self.gathered)
    }

    fn written(&self, child: Option<&ChildInfo>, key: &[u8]) {
        self.gathered.write();
        if let Some(written) = &self.written {
            written.add(child, key);
        }
    }

    fn open_layer(&self) {
        // What the block itself has written stays.
        self.settle();
    }

    fn close_layer(&self, kept: bool) {
        if kept {
            self.settle();
        } else if let Some(written) = &self.written {
            written.forget();
        }
    }
}

impl<'db> Backend<Blake2Hasher> for StateView<'db> {
    type Error = StateError;
    type TrieBackendStorage = NodeReader<'db, 'db>;
    type RawIter = FlatIter<'db>;

    fn storage(&self, key: &[u8]) -> Result<Option<StorageValue>, StateError> {
        self.get(&FlatSpace::top(), key)
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<H256>, StateError> {
        Ok(self.storage(key)?.map(|value| Blake2Hasher::hash(&value)))
    }

    fn closest_merkle_value(&self, key: &[u8]) -> Result<Option<MerkleValue<H256>>, StateError> {
        let value = self.trie().closest_merkle_value(key);
        self.noted(value.map_err(|reason| StateError::Trie { reason }))
    }

    fn child_closest_merkle_value(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<MerkleValue<H256>>, StateError> {
        let value = self.trie().child_closest_merkle_value(child_info, key);
        self.noted(value.map_err(|reason| StateError::Trie { reason }))
    }

    fn child_storage(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageValue>, StateError> {
        self.get(&FlatSpace::child(child_info.storage_key()), key)
    }

    fn child_storage_hash(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<H256>, StateError> {
        Ok(self
            .child_storage(child_info, key)?
            .map(|value| Blake2Hasher::hash(&value)))
    }

    fn exists_storage(&self, key: &[u8]) -> Result<bool, StateError> {
        self.exists(&FlatSpace::top(), key)
    }

    fn exists_child_storage(&self, child_info: &ChildInfo, key: &[u8]) -> Result<bool, StateError> {
        self.exists(&FlatSpace::child(child_info.storage_key()), key)
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<StorageKey>, StateError> {
        self.next_key(&FlatSpace::top(), key)
    }

    fn next_child_storage_key(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageKey>, StateError> {
        self.next_key(&FlatSpace::child(child_info.storage_key()), key)
    }

    fn storage_root<'a>(
        &self,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, BackendTransaction<Blake2Hasher>) {
        let trie = self.trie_of_root();
        let top = FlatSpace::top();
        let mut hasher = DeltaHasher::new();
        let delta = delta.inspect(|(key, value)| hasher.add(key, *value));
        let delta = effective_delta(delta, |key| self.may_exist(&top, key));
        let root = trie.storage_root(delta.into_iter(), state_version);
        self.gathered.end_root();
        *self
            .last_delta
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(hasher.finish());
        root
    }

    fn child_storage_root<'a>(
        &self,
        child_info: &ChildInfo,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, bool, BackendTransaction<Blake2Hasher>) {
        let trie = self.trie_of_root();
        let child = FlatSpace::child(child_info.storage_key());
        let delta = effective_delta(delta, |key| self.may_exist(&child, key));
        trie.child_storage_root(child_info, delta.into_iter(), state_version)
    }

    fn raw_iter(&self, args: IterArgs<'_>) -> Result<FlatIter<'db>, StateError> {
        Ok(FlatIter::new(&args))
    }

    fn register_overlay_stats(&self, _stats: &StateMachineStats) {}

    fn usage_info(&self) -> UsageInfo {
        UsageInfo::empty()
    }
}
