//! A database beside what it should hold, and what befalls both.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use slackwater_executor::state::{
    BlockChanges, BlockRecord, CommitError, Database, DatabaseConfig, Durability, Head,
    MemoryState, StateError, StateView, UncommittedBlock,
};
use slackwater_tests::savepoints::SavepointStore;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, well_known_keys::is_child_storage_key},
};
use sp_state_machine::{Backend, IterArgs};

use super::{
    program::{Keys, Random},
    reference::{
        Reference, compare_block, compare_savepoints, run_block, run_noted, run_reference,
        run_savepoints,
    },
};

/// Most blocks on blocks that are not committed.
const FORK_MAX: u64 = 3;
/// One program of so many goes back far, one looks at an earlier state.
const FAR: u64 = 8;
const LOOKS: u64 = 4;
/// One block of so many is executed in a RocksDB transaction as well.
const SAVEPOINTS: u64 = 16;
/// Iterations compared behind each program.
const ITERATIONS: usize = 4;
/// Blocks that can be undone.
const HISTORY: u64 = 40;
/// Room of each kind that the database has in memory. It is opened often.
const MEMORY_BYTES: usize = 1 << 20;

/// Every way of iterating gives the same keys and values.
fn compare_iteration(view: &StateView<'_>, memory: &Reference, random: &mut Random, what: &str) {
    for _ in 0..ITERATIONS {
        let (prefix, start) = (random.lookup(), random.lookup());
        let prefix = (random.below(2) == 0).then_some(prefix);
        let start = (random.below(2) == 0).then_some(start);
        let exclusive = random.below(2) == 0;
        let child = (random.below(2) == 0).then(|| random.child());
        let args = || {
            let mut args = IterArgs::default();
            args.prefix = prefix.as_deref();
            args.start_at = start.as_deref();
            args.start_at_exclusive = exclusive;
            args.child_info = child.clone();
            args
        };
        let ours = view.pairs(args()).expect("iterates");
        let ours: Vec<_> = ours.map(|pair| pair.expect("ok")).collect();
        let theirs = memory.pairs(args()).expect("iterates");
        let theirs: Vec<_> = theirs.map(|pair| pair.expect("ok")).collect();
        assert_eq!(ours, theirs, "{what}: prefix {prefix:?}, start {start:?}");
    }
}

/// A database, and what it should hold.
pub(crate) struct Twin {
    /// `None` only while it is opened again.
    database: Option<Database>,
    folder: tempfile::TempDir,
    version: StateVersion,
    keys: Keys,
    /// The head, and the blocks that can be reverted to before it.
    states: VecDeque<(Head, Storage)>,
    savepoints: SavepointStore,
    pub(crate) tally: Tally,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) blocks: usize,
    pub(crate) reverted: usize,
    pub(crate) reopened: usize,
    pub(crate) looked: usize,
    pub(crate) forks: usize,
    pub(crate) savepoints: usize,
    /// Blocks for which the reference has an outdated root.
    pub(crate) outdated: usize,
}

/// A block that is not committed, and the contents it leads to.
type Pending = (Arc<UncommittedBlock>, Storage);

impl Twin {
    pub(crate) fn new(version: StateVersion, keys: Keys) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Self::open(&folder);
        let storage = Storage::default();
        let prepared = database.prepare_state(&storage, version).expect("state");
        let head = database.import_state(prepared, 0, H256::zero());
        Self {
            database: Some(database),
            folder,
            version,
            keys,
            savepoints: SavepointStore::new(&storage),
            states: VecDeque::from([(head.expect("imports"), storage)]),
            tally: Tally::default(),
        }
    }

    fn open(folder: &tempfile::TempDir) -> Database {
        let config = DatabaseConfig {
            history_blocks: HISTORY,
            journal_blocks: 2,
            write_buffer_bytes: MEMORY_BYTES,
            cache_bytes: MEMORY_BYTES,
            block_cache_bytes: MEMORY_BYTES,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        Database::open_with(folder.path(), config).expect("opens")
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("open")
    }

    fn latest(&self) -> &(Head, Storage) {
        self.states.back().expect("the head is kept")
    }

    /// Runs a block on a view, and on the reference; the changes, and the contents with them.
    fn block(
        &mut self,
        view: &StateView<'_>,
        storage: &Storage,
        random: &mut Random,
        what: &str,
    ) -> (BlockChanges, Storage) {
        random.next();
        let version = self.version;
        let reference = Reference::from((storage.clone(), version));
        let root = view.head().state_root;
        assert_eq!(*reference.root(), root, "{what}: parent root");
        let ours = run_block(view, random, version);
        // Our layers over another backend: the same roots also where the reference has none.
        let memory = MemoryState::new(storage.clone(), version);
        let (answers, _) = run_noted(&memory, random, version);
        assert_eq!(ours.0, answers, "{what}: answers in memory");
        if random.clone().below(SAVEPOINTS) == 0 {
            let there = run_savepoints(&self.savepoints, &memory, storage, random, version);
            compare_savepoints(&ours, &there, what);
            self.tally.savepoints += 1;
        }
        let expected = run_reference(&reference, random, version);
        let mut storage = storage.clone();
        let outdated = compare_block(&ours, expected, &mut storage, version, what);
        self.tally.outdated += usize::from(outdated);
        self.tally.blocks += 1;
        (ours.1, storage)
    }

    /// A block on a view, not committed.
    fn pending(
        &mut self,
        view: &StateView<'_>,
        storage: &Storage,
        random: &mut Random,
        what: &str,
    ) -> Pending {
        let (changes, storage) = self.block(view, storage, random, what);
        let record = record(view.head().number + 1, random);
        let block = UncommittedBlock::new(view, changes, record).expect("readable");
        (block, storage)
    }

    /// Up to so many blocks on the head, each on the one before, and none committed.
    fn fork(&mut self, database: &Database, random: &mut Random, what: &str) -> Vec<Pending> {
        let (_, storage) = self.latest().clone();
        let view = database.view().expect("a head");
        let mut fork = vec![self.pending(&view, &storage, random, what)];
        for _ in 0..random.below(FORK_MAX) {
            let (below, storage) = fork.last().expect("one").clone();
            let view = database.view_on(&below).expect("on the head");
            fork.push(self.pending(&view, &storage, random, what));
        }
        fork
    }

    /// Two forks, of which the first is committed.
    fn forks(&mut self, database: &Database, random: &mut Random, what: &str) {
        let (chosen, other) = (
            self.fork(database, random, what),
            self.fork(database, random, what),
        );
        let (last, storage) = chosen.last().expect("one").clone();
        // Executed on blocks that are in the database when it is committed.
        let view = database.view_on(&last).expect("on the head");
        let above = self.block(&view, &storage, random, what);
        drop(view);
        for (block, storage) in chosen {
            let head = database.commit_block(&block).expect("on the head");
            self.states.push_back((head, storage));
            // The blocks above stand on one that is committed now.
            let view = database.view_on(&last).expect("on the head");
            assert_eq!(view.head(), last.head(), "{what}");
        }
        let view = database.view_on(&last).expect("the head");
        compare_contents(&view, &storage, what);
        drop(view);
        let (changes, storage) = above;
        let record = record(last.head().number + 1, random);
        let head = database.commit(last.head(), changes, &record);
        self.states.push_back((head.expect("commits"), storage));
        for (block, _) in other {
            assert!(matches!(
                database.view_on(&block),
                Err(StateError::NotOnHead { .. })
            ));
            assert!(matches!(
                database.commit_block(&block),
                Err(CommitError::StaleParent { .. })
            ));
        }
        self.tally.forks += 1;
    }

    fn commit(&mut self, database: &Database, random: &mut Random, what: &str) {
        let (head, storage) = self.latest().clone();
        let view = database.view().expect("a head");
        let (changes, storage) = self.block(&view, &storage, random, what);
        drop(view);
        let record = record(head.number + 1, random);
        let head = database.commit(&head, changes, &record).expect("commits");
        self.states.push_back((head, storage));
    }

    fn revert(&mut self, database: &Database, random: &mut Random, what: &str) {
        let most = self.states.len() - 1;
        let back = match random.below(FAR) {
            0 => random.index(most + 1),
            _ => most.min(1),
        };
        self.states.truncate(self.states.len() - back);
        let (head, storage) = self.latest();
        let reverted = database.revert_to(head.number).expect("within the window");
        assert_eq!(reverted, *head, "{what}");
        let view = database.view().expect("a head");
        compare_contents(&view, storage, what);
        self.tally.reverted += back;
    }

    /// Looks at an earlier state, and executes on it.
    fn look(&mut self, database: &Database, random: &mut Random, what: &str) {
        let number = random.index(self.states.len());
        let (head, storage) = self.states[number].clone();
        let view = database.view_at(head.number).expect("within the window");
        assert_eq!(*view.head(), head, "{what}");
        compare_contents(&view, &storage, what);
        let reference = Reference::from((storage.clone(), self.version));
        compare_iteration(&view, &reference, random, what);
        self.block(&view, &storage, random, what);
        self.tally.looked += 1;
    }

    pub(crate) fn program(&mut self, number: usize) {
        let mut random = Random {
            numbers: slackwater_tests::random::Random(number as u64 ^ 0x5eed),
            keys: self.keys,
        };
        let what = format!("program {number} ({:?}, {:?})", self.version, self.keys);
        let database = self.database.take().expect("open");
        if random.below(2) == 0 {
            self.forks(&database, &mut random, &what);
        } else {
            self.commit(&database, &mut random, &what);
        }
        // Of the states before the head as many as blocks can be undone.
        let kept = usize::try_from(HISTORY).expect("small") + 1;
        while self.states.len() > kept {
            self.states.pop_front();
        }
        let oldest = self.states[0].0.number;
        assert_eq!(database.oldest_state().expect("readable"), oldest, "{what}");
        if random.below(LOOKS) == 0 {
            self.look(&database, &mut random, &what);
        }
        self.revert(&database, &mut random, &what);
        drop(database);
        self.database = Some(Self::open(&self.folder));
        self.tally.reopened += 1;
        let view = self.database().view().expect("a head");
        let (head, storage) = self.latest();
        assert_eq!(view.head(), head, "{what}");
        let reference = Reference::from((storage.clone(), self.version));
        compare_iteration(&view, &reference, &mut random, &what);
    }
}

fn record(number: u64, random: &mut Random) -> BlockRecord {
    BlockRecord {
        number,
        hash: H256::from_low_u64_be(random.next()),
        header: Vec::new(),
        extrinsics: Vec::new(),
        receipts: Vec::new(),
    }
}

/// All of a state is what it should be.
fn compare_contents(view: &StateView<'_>, storage: &Storage, what: &str) {
    let pairs = |child: Option<&ChildInfo>| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut args = IterArgs::default();
        args.child_info = child.cloned();
        let pairs = view.pairs(args).expect("iterates");
        let pairs = pairs.map(|pair| pair.expect("readable"));
        pairs
            .filter(|(key, _)| child.is_some() || !is_child_storage_key(key))
            .collect()
    };
    assert_eq!(pairs(None), storage.top, "{what}: contents");
    for name in [b"a".as_slice(), b"ab", b"b", b"c"] {
        let child = storage.children_default.get(name);
        let expected = child.map(|child| child.data.clone()).unwrap_or_default();
        let found = pairs(Some(&ChildInfo::new_default(name)));
        assert_eq!(found, expected, "{what}: child {name:?}");
    }
}
