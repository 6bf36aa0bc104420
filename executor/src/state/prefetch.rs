//! Reading ahead for roots. A guest asks for the root of a block at its end, but what a kept layer has written is known
//! before: a thread looks for those keys meanwhile, so that the nodes a root is calculated over are in the cache then,
//! and the values that undoing the block needs. From when a root is asked for, it looks for those values only: the root
//! reads its nodes by itself.
//!
//! Invariant: it fills the cache and gathers what undoes the block, and does nothing else, so results are the same with
//! and without it, whenever it runs: what it gathers was read while the database had the state that is asked about.
//! What it fails to read is read again by who needs it. Cost: a thread, begun by the first key; where it is behind,
//! keys are left out.

use std::{
    collections::HashSet,
    hash::BuildHasher,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use foldhash::fast::RandomState;
use rocksdb::DB;
use sp_core::{Blake2Hasher, H256, storage::ChildInfo};
use sp_state_machine::{Backend, TrieBackendBuilder, TrieBackendStorage};
use sp_trie::{DBValue, prefixed_key};

use super::{
    Place,
    before::Gathered,
    cache::{Epoch, ReadCache, Value},
    columns::column,
    journal::Patches,
    node_reader::Prefix,
    patch::{Patch, node_in, value_in},
    schema::{CF_FLAT, CF_NODES, FlatSpace},
};

/// Keys that are remembered as looked for.
const RECENT: usize = 1 << 14;

/// Batches that may wait: those of a block. The view holds their keys as well.
const QUEUE: usize = 4_096;

/// Keys of a state to be looked for.
pub(super) struct Wanted {
    pub(super) state_root: H256,
    /// As the view has it.
    pub(super) epoch: Option<Epoch>,
    /// As the view has them.
    pub(super) patches: Vec<Arc<Patch>>,
    /// As the view has them.
    pub(super) recent: Patches,
    pub(super) keys: Vec<Place>,
    /// Where values are gathered; gone when nobody needs them any more.
    pub(super) gathered: Weak<Gathered>,
}

enum Task {
    Look(Wanted),
    #[cfg(test)]
    Answer(SyncSender<()>),
}

/// The thread that reads ahead for a database. Dropping it waits until it has closed the database.
pub(super) struct Prefetch {
    /// `None` while it ends, and where no thread could be begun.
    queue: Option<SyncSender<Task>>,
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
}

impl Prefetch {
    pub(super) fn new(rocksdb: &Arc<DB>, cache: &Arc<ReadCache>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (queue, tasks) = sync_channel(QUEUE);
        let nodes = Nodes {
            rocksdb: Arc::clone(rocksdb),
            cache: Arc::clone(cache),
            patches: Vec::new(),
            recent: Arc::new([]),
        };
        let thread = Builder::new().name("slackwater-prefetch".to_owned());
        let thread = thread.spawn({
            let ends = Arc::clone(&ends);
            move || work(&tasks, &nodes, &ends)
        });
        match thread {
            Ok(thread) => Self {
                queue: Some(queue),
                thread: Some(thread),
                ends,
            },
            Err(reason) => {
                log::warn!(target: "slackwater::state", "nothing is read ahead: {reason}");
                Self {
                    queue: None,
                    thread: None,
                    ends,
                }
            }
        }
    }

    /// Has these keys looked for, unless too many are waiting.
    pub(super) fn look(&self, wanted: Wanted) {
        if let Some(queue) = &self.queue {
            // Whoever needs them reads them.
            let _full = queue.try_send(Task::Look(wanted));
        }
    }

    /// Waits until all was looked for.
    #[cfg(test)]
    fn settle(&self) {
        let (done, wait) = sync_channel(1);
        let queue = self.queue.as_ref().expect("a thread");
        queue.send(Task::Answer(done)).expect("it runs");
        wait.recv().expect("it answers");
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended, too.
            let _ended = thread.join();
        }
    }
}

fn work(tasks: &Receiver<Task>, nodes: &Nodes, ends: &AtomicBool) {
    let mut recent = Recent::default();
    for task in tasks {
        match task {
            Task::Look(wanted) => nodes.clone().look(wanted, &mut recent, ends),
            #[cfg(test)]
            Task::Answer(done) => done.send(()).expect("somebody waits"),
        }
    }
}

/// Keys whose nodes were looked for lately. They are in the cache, for whoever changes a node keeps the new one there;
/// since they may have left it, all are forgotten now and then.
#[derive(Default)]
struct Recent {
    hasher: RandomState,
    hashes: HashSet<u64, RandomState>,
}

impl Recent {
    /// Whether it was not among them.
    fn insert(&mut self, child: &Option<Vec<u8>>, key: &[u8]) -> bool {
        if self.hashes.len() >= RECENT {
            self.hashes.clear();
        }
        self.hashes.insert(self.hasher.hash_one((child, key)))
    }
}

/// Reads nodes into the cache.
#[derive(Clone)]
struct Nodes {
    rocksdb: Arc<DB>,
    cache: Arc<ReadCache>,
    patches: Vec<Arc<Patch>>,
    recent: Patches,
}

impl Nodes {
    fn look(mut self, wanted: Wanted, recent: &mut Recent, ends: &AtomicBool) {
        let Wanted {
            state_root,
            epoch,
            patches,
            recent: journaled,
            keys,
            gathered,
        } = wanted;
        self.patches = patches;
        self.recent = journaled;
        let values = self.clone();
        let trie = TrieBackendBuilder::new(self, state_root).build();
        for (child, key) in keys {
            let Some(gathered) = gathered.upgrade().filter(|_| !ends.load(Ordering::Relaxed))
            else {
                return;
            };
            if let Some(epoch) = epoch.filter(|_| gathered.wants_values()) {
                let flat = FlatSpace::of(child.as_deref()).key(&key);
                values.value(epoch, flat, &gathered);
            }
            if gathered.is_rooting() || !recent.insert(&child, &key) {
                continue;
            }
            // Where the state has changed meanwhile there may be no such nodes any more.
            let _value = match child {
                None => trie.storage(&key),
                Some(child) => trie.child_storage(&ChildInfo::new_default(&child), &key),
            };
        }
    }

    /// A value as it is in the database.
    fn read(&self, key: &[u8]) -> Result<Value, rocksdb::Error> {
        if let Some(value) = value_in(self.recent.iter(), key) {
            return Ok(value.map(Arc::from));
        }
        let column = column(&self.rocksdb, CF_FLAT);
        let value = self.rocksdb.get_pinned_cf(column, key)?;
        Ok(value.as_deref().map(Arc::from))
    }

    /// Reads a value into the cache, unless it is there, and gathers it.
    fn value(&self, epoch: Epoch, key: Vec<u8>, gathered: &Gathered) {
        if value_in(&self.patches, &key).is_some() {
            return;
        }
        if let Some(value) = self.cache.value(epoch, &key) {
            gathered.keep_value(key, value);
            return;
        }
        if self.cache.epoch() != Some(epoch) {
            return;
        }
        if let Ok(value) = self.read(&key) {
            // If the state has changed meanwhile it is of another.
            if self.cache.keep_value(epoch, &key, value.clone()) {
                gathered.keep_value(key, value);
            }
        }
    }
}

impl TrieBackendStorage<Blake2Hasher> for Nodes {
    fn get(&self, hash: &H256, prefix: Prefix<'_>) -> Result<Option<DBValue>, String> {
        let key = prefixed_key::<Blake2Hasher>(hash, prefix);
        if let Some(node) = node_in(self.patches.iter(), &key) {
            return Ok(Some(node.to_vec()));
        }
        if let Some(node) = self.cache.node(&key) {
            return Ok(Some(node.to_vec()));
        }
        if let Some(node) = node_in(self.recent.iter(), &key) {
            return Ok(Some(node.to_vec()));
        }
        let column = column(&self.rocksdb, CF_NODES);
        let node = self.rocksdb.get_cf(column, &key);
        let node = node.map_err(|error| error.to_string())?;
        if let Some(node) = &node {
            self.cache.keep_node(&key, Arc::from(node.as_slice()));
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use sp_core::storage::{StateVersion, Storage};
    use sp_externalities::{Extensions, Externalities};

    use super::super::{
        BlockChanges, BlockLayers, BlockRecord, Database, DatabaseConfig, Durability, StateView,
        UncommittedBlock,
        patch::{Patch, node_in},
    };

    const VERSION: StateVersion = StateVersion::V1;
    const KEYS: u32 = 3_000;
    const CHANGED: u32 = 50;

    fn storage() -> Storage {
        let entries =
            || (0..KEYS).map(|n| (n.to_be_bytes().to_vec(), vec![n.to_be_bytes()[3]; 60]));
        let mut storage = Storage {
            top: entries().collect(),
            ..Storage::default()
        };
        let child = sp_core::storage::ChildInfo::new_default(b"child");
        let contents = sp_core::storage::StorageChild {
            data: entries().collect(),
            child_info: child,
        };
        storage.children_default.insert(b"child".to_vec(), contents);
        storage
    }

    fn database(prefetch: bool) -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let config = DatabaseConfig {
            prefetch,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        let database = Database::open_with(folder.path(), config).expect("opens");
        let prepared = database.prepare_state(&storage(), VERSION).expect("state");
        let head = database.import_state(prepared, 0, Default::default());
        head.expect("imports");
        drop(database);
        let database = Database::open_with(folder.path(), config).expect("opens");
        (database, folder)
    }

    /// A block that writes keys from `offset` on, and in a layer that is rolled back, other keys; `then` looks at what
    /// there is before the root is calculated.
    fn block(view: &StateView<'_>, offset: u32, then: impl FnOnce()) -> BlockChanges {
        let mut layers = BlockLayers::new(view, Extensions::new());
        for (first, kept) in [(0, true), (1, false), (2, true)] {
            layers.layered(
                |layers| {
                    let guest = |ext: &mut dyn Externalities| {
                        for number in 0..CHANGED {
                            let key = (number * 20 + offset + first).to_be_bytes().to_vec();
                            let child = sp_core::storage::ChildInfo::new_default(b"child");
                            ext.place_storage(key.clone(), Some(vec![1; 61]));
                            ext.place_child_storage(&child, key, Some(vec![2; 61]));
                        }
                    };
                    layers.run(guest).expect("readable");
                },
                |()| kept,
            );
        }
        then();
        layers.finish(VERSION).expect("a root")
    }

    /// Which of the nodes that the block removes are in the cache.
    fn cached(database: &Database, changes: &BlockChanges) -> (usize, usize) {
        let nodes = changes.nodes.clone().drain();
        let removed = nodes.iter().filter(|(_, (_, count))| *count < 0);
        let found = removed
            .clone()
            .filter(|(key, _)| database.cache().node(key).is_some());
        (found.count(), removed.count())
    }

    #[test]
    fn what_a_kept_layer_writes_is_read_ahead_and_what_is_rolled_back_is_not() {
        let (plain, _folder) = database(false);
        let view = plain.view().expect("a head");
        let expected = block(&view, 0, || assert!(!plain.reads_ahead()));
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let rolled_back = |key: u32| {
            let space = super::FlatSpace::top();
            let epoch = ahead.cache().epoch().expect("a state");
            ahead.cache().value(epoch, &space.key(&key.to_be_bytes()))
        };
        let changes = block(&view, 0, || {
            ahead.prefetch().expect("on").settle();
            let (found, removed) = cached(&ahead, &expected);
            assert!(removed > CHANGED as usize, "{removed} nodes");
            assert_eq!(found, removed);
            assert_eq!(rolled_back(0), Some(Some(vec![0; 60].into())));
            assert_eq!(rolled_back(1), None);
        });
        assert_eq!(changes.state_root, expected.state_root);
    }

    #[test]
    fn behind_a_root_values_are_read_ahead_and_nodes_are_not() {
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let place = (None, 0_u32.to_be_bytes().to_vec());
        let gathered = std::sync::Arc::new(super::Gathered::new(true));
        gathered.begin_root();
        let wanted = super::Wanted {
            state_root: view.head().state_root,
            epoch: ahead.cache().epoch(),
            patches: Vec::new(),
            recent: std::sync::Arc::new([]),
            keys: vec![place.clone()],
            gathered: std::sync::Arc::downgrade(&gathered),
        };
        let prefetch = ahead.prefetch().expect("on");
        prefetch.look(wanted);
        prefetch.settle();
        let epoch = ahead.cache().epoch().expect("a state");
        let key = super::FlatSpace::top().key(&place.1);
        assert_eq!(
            ahead.cache().value(epoch, &key),
            Some(Some(vec![0; 60].into()))
        );
        let root = sp_trie::prefixed_key::<sp_core::Blake2Hasher>(
            &view.head().state_root,
            sp_trie::EMPTY_PREFIX,
        );
        assert!(ahead.cache().node(&root).is_none());
        assert_eq!(gathered.value(&key), Some(Some(vec![0; 60])));
    }

    /// As many keys as [`block`] keeps, and those of the child's root.
    const KEPT: usize = CHANGED as usize * 2 * 2;

    #[test]
    fn all_that_undoes_a_block_is_gathered_while_it_is_executed() {
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let changes = block(&view, 0, || ahead.prefetch().expect("on").settle());
        let before = changes.before.of(view.head()).expect("of its state");
        let patch = Patch::new(changes.writes, changes.nodes);
        let values = patch.flat.keys();
        let unknown: Vec<_> = values.filter(|key| before.value(key).is_none()).collect();
        // Nobody writes the roots of child tries.
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert!(unknown[0].ends_with(b":child_storage:default:child"));
        assert_eq!(patch.flat.len(), KEPT + 1);
        let nodes = before.nodes();
        let is_unknown = |key: &Vec<u8>| nodes.get(key).is_none();
        let removed = patch.nodes.iter().filter(|(_, node)| node.is_none());
        let unknown = removed.clone().filter(|(key, _)| is_unknown(key));
        // Values of that length are nodes by themselves, which a root does not look at.
        assert_eq!(unknown.count(), KEPT);
        assert!(removed.count() > KEPT + CHANGED as usize);
    }

    #[test]
    fn what_is_read_when_the_state_is_another_is_not_gathered() {
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let key = 0_u32.to_be_bytes().to_vec();
        let flat = super::FlatSpace::top().key(&key);
        let look = |epoch| {
            let gathered = std::sync::Arc::new(super::Gathered::new(true));
            let prefetch = ahead.prefetch().expect("on");
            prefetch.look(super::Wanted {
                state_root: view.head().state_root,
                epoch,
                patches: Vec::new(),
                recent: std::sync::Arc::new([]),
                keys: vec![(None, key.clone())],
                gathered: std::sync::Arc::downgrade(&gathered),
            });
            prefetch.settle();
            gathered.value(&flat)
        };
        let epoch = ahead.cache().epoch();
        assert_eq!(look(epoch), Some(Some(vec![0; 60])));
        let mut layers = BlockLayers::new(&view, Extensions::new());
        let write = |ext: &mut dyn Externalities| ext.place_storage(key.clone(), Some(vec![9]));
        layers.run(write).expect("readable");
        let changes = layers.finish(VERSION).expect("a root");
        let committed = ahead.commit(view.head(), changes, &record(1));
        committed.expect("commits");
        assert_eq!(look(epoch), None);
        assert_eq!(look(ahead.cache().epoch()), Some(Some(vec![9])));
    }

    #[test]
    fn a_root_hands_over_what_open_layers_have_written_and_nothing_is_read_for_who_is_gone() {
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let key = 0_u32.to_be_bytes().to_vec();
        let flat = super::FlatSpace::top().key(&key);
        let epoch = ahead.cache().epoch().expect("a state");
        let mut layers = BlockLayers::new(&view, Extensions::new());
        // Not in a layer that was kept.
        let guest = |ext: &mut dyn Externalities| {
            ext.place_storage(key.clone(), Some(vec![1]));
            ahead.prefetch().expect("on").settle();
            assert_eq!(ahead.cache().value(epoch, &flat), None);
            ext.storage_root(VERSION);
            ahead.prefetch().expect("on").settle();
            let read = ahead.cache().value(epoch, &flat);
            assert_eq!(read, Some(Some(vec![0; 60].into())));
        };
        layers.run(guest).expect("readable");
        let gathered = std::sync::Arc::new(super::Gathered::new(true));
        let other = 1_u32.to_be_bytes().to_vec();
        let wanted = super::Wanted {
            state_root: view.head().state_root,
            epoch: Some(epoch),
            patches: Vec::new(),
            recent: std::sync::Arc::new([]),
            keys: vec![(None, other.clone())],
            gathered: std::sync::Arc::downgrade(&gathered),
        };
        drop(gathered);
        ahead.prefetch().expect("on").look(wanted);
        ahead.prefetch().expect("on").settle();
        let flat = super::FlatSpace::top().key(&other);
        assert_eq!(ahead.cache().value(epoch, &flat), None);
    }

    fn record(number: u64) -> BlockRecord {
        BlockRecord {
            number,
            hash: Default::default(),
            header: Vec::new(),
            extrinsics: Vec::new(),
            receipts: Vec::new(),
        }
    }

    #[test]
    fn states_on_uncommitted_blocks_are_read_ahead_as_well() {
        let (ahead, _folder) = database(true);
        let view = ahead.view().expect("a head");
        let changes = block(&view, 0, || {});
        let first = UncommittedBlock::new(&view, changes, record(1)).expect("readable");
        drop(view);
        let view = ahead.view_on(&first).expect("on the head");
        let (plain, _plain) = database(false);
        let view_of_plain = plain.view_on(&first).expect("on the head");
        let expected = block(&view_of_plain, 5, || {});
        let changes = block(&view, 5, || {
            ahead.prefetch().expect("on").settle();
            let nodes = expected.nodes.clone().drain();
            let removed = nodes.iter().filter(|(key, (_, count))| {
                // Those of the block below are in memory anyway.
                *count < 0 && node_in([&first.patch], key).is_none()
            });
            let mut removed = removed.peekable();
            assert!(removed.peek().is_some());
            for (key, _) in removed {
                assert!(ahead.cache().node(key).is_some());
            }
        });
        assert_eq!(changes.state_root, expected.state_root);
        // Dropping waits for the thread, so that the folder can be opened again at once.
        let path = ahead.path().to_owned();
        drop((view, first));
        drop(ahead);
        Database::open_with(&path, DatabaseConfig::default()).expect("closed");
    }
}
