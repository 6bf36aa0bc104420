//! Random programs of storage operations on the database's state and on `sp-state-machine`'s
//! in-memory trie, block after block with a commit between: the same answers, writes and roots.

use std::collections::BTreeMap;

use slackwater_executor::state::{
    BlockLayers, BlockRecord, BlockState, Database, Extensions, MemoryState, WriteSet,
};
use slackwater_tests::temporary_database;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, StorageChild},
};
use sp_externalities::Externalities;
use sp_state_machine::{Backend, IterArgs};

const PROGRAMS: u64 = 500;
const BLOCKS: u64 = 4;
const OPERATIONS: u64 = 60;

/// SplitMix64: the same programs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Few and short, so that keys meet, contain each other, and border on each other.
    fn key(&mut self) -> Vec<u8> {
        let length = self.below(4);
        (0..length)
            .map(|_| [0, 1, 0x10, 0xff][self.index(4)])
            .collect()
    }

    /// Short, or longer than what the second trie version keeps within a node.
    fn value(&mut self) -> Vec<u8> {
        let length = [1, 4, 31, 32, 33, 90][self.index(6)];
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn child(&mut self) -> ChildInfo {
        ChildInfo::new_default([b"a".as_slice(), b"ab", b"b"][self.index(3)])
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("small")
    }

    fn limit(&mut self) -> Option<u32> {
        [None, Some(0), Some(1), Some(3)][self.index(4)]
    }
}

/// One random operation; what it answers, as text.
fn operate(ext: &mut dyn Externalities, random: &mut Random, open: &mut u32) -> String {
    let (key, child) = (random.key(), random.child());
    match random.below(18) {
        0..=2 => {
            ext.set_storage(key, random.value());
            String::new()
        }
        3 => {
            ext.clear_storage(&key);
            String::new()
        }
        4 => {
            // A key of its own, which only ever holds a list.
            let element = random.value();
            ext.storage_append(b"list".to_vec(), codec::Encode::encode(&element));
            String::new()
        }
        5 => format!("{:?}", ext.storage(&key)),
        6 => format!(
            "{:?} {:?}",
            ext.exists_storage(&key),
            ext.storage_hash(&key)
        ),
        7 => format!("{:?}", ext.next_storage_key(&key)),
        8 => {
            let results = ext.clear_prefix(&key, random.limit(), None);
            format!(
                "{:?} {} {} {}",
                results.maybe_cursor, results.backend, results.unique, results.loops
            )
        }
        9 | 10 => {
            ext.set_child_storage(&child, key, random.value());
            String::new()
        }
        11 => {
            ext.clear_child_storage(&child, &key);
            String::new()
        }
        12 => format!(
            "{:?} {:?}",
            ext.child_storage(&child, &key),
            ext.next_child_storage_key(&child, &key)
        ),
        13 => {
            let results = ext.kill_child_storage(&child, random.limit(), None);
            format!(
                "{:?} {} {}",
                results.maybe_cursor, results.unique, results.loops
            )
        }
        14 => {
            let results = ext.clear_child_prefix(&child, &key, random.limit(), None);
            format!(
                "{:?} {} {}",
                results.maybe_cursor, results.unique, results.loops
            )
        }
        15 => {
            ext.storage_start_transaction();
            *open += 1;
            String::new()
        }
        16 if *open > 0 => {
            *open -= 1;
            if random.below(2) == 0 {
                ext.storage_commit_transaction().expect("one is open");
            } else {
                ext.storage_rollback_transaction().expect("one is open");
            }
            String::new()
        }
        _ => format!("{:?}", ext.child_storage_root(&child, StateVersion::V1)),
    }
}

/// Runs one block of operations, some of it in layers that are rolled back.
fn run_block<S: BlockState>(
    state: &S,
    seed: u64,
    version: StateVersion,
) -> (
    Vec<String>,
    WriteSet,
    H256,
    slackwater_executor::state::BlockChanges,
) {
    let mut random = Random(seed);
    let mut answers = Vec::new();
    let mut layers = BlockLayers::new(state, Extensions::new());
    for _ in 0..OPERATIONS / 10 {
        let keep = random.below(3) > 0;
        let answer = |layers: &mut BlockLayers<'_, S>| {
            let mut open = 0;
            layers.run(|ext| {
                (0..10)
                    .map(|_| operate(ext, &mut random, &mut open))
                    .collect::<Vec<_>>()
            })
        };
        answers.extend(layers.layered(answer, |_| keep).expect("readable"));
    }
    let root = layers
        .run(|ext| ext.storage_root(version))
        .expect("readable");
    let changes = layers.finish(version).expect("a root");
    answers.push(format!("{root:?}"));
    (answers, changes.writes.clone(), changes.state_root, changes)
}

fn apply(storage: &mut Storage, writes: &WriteSet) {
    for (child, entries) in writes {
        let map = match child {
            None => &mut storage.top,
            Some(child) => {
                let new = || StorageChild {
                    data: BTreeMap::new(),
                    child_info: ChildInfo::new_default(child),
                };
                &mut storage
                    .children_default
                    .entry(child.clone())
                    .or_insert_with(new)
                    .data
            }
        };
        for (key, value) in entries {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
    }
    // The roots of child tries follow from their contents.
    storage
        .top
        .retain(|key, _| !key.starts_with(b":child_storage:"));
    storage
        .children_default
        .retain(|_, child| !child.data.is_empty());
}

/// Every way of iterating gives the same keys and values.
fn compare_iteration(database: &Database, memory: &MemoryState, random: &mut Random, what: &str) {
    let view = database.view().expect("a head");
    for _ in 0..20 {
        let (prefix, start) = (random.key(), random.key());
        let args = || IterArgs::default();
        let mut chosen = args();
        if random.below(2) == 0 {
            chosen.prefix = Some(&prefix);
        }
        if random.below(2) == 0 {
            chosen.start_at = Some(&start);
            chosen.start_at_exclusive = random.below(2) == 0;
        }
        if random.below(2) == 0 {
            chosen.child_info = Some(random.child());
        }
        let again = || {
            let mut copy = args();
            copy.prefix = chosen.prefix;
            copy.start_at = chosen.start_at;
            copy.start_at_exclusive = chosen.start_at_exclusive;
            copy.child_info = chosen.child_info.clone();
            copy
        };
        let ours: Vec<_> = view
            .pairs(again())
            .expect("iterates")
            .map(|p| p.expect("ok"))
            .collect();
        let theirs = memory
            .pairs(again())
            .expect("iterates")
            .map(|p| p.expect("ok"));
        let theirs: Vec<_> = theirs.collect();
        assert_eq!(
            ours, theirs,
            "{what}: prefix {:?}, start {:?}",
            chosen.prefix, chosen.start_at
        );
    }
}

#[test]
fn random_programs_agree_with_the_reference() {
    for program in 0..PROGRAMS {
        let version = if program % 2 == 0 {
            StateVersion::V0
        } else {
            StateVersion::V1
        };
        let (database, _folder) = temporary_database();
        let mut storage = Storage::default();
        let prepared = database.prepare_state(&storage, version).expect("state");
        let mut head = database
            .import_state(prepared, 0, H256::zero())
            .expect("imports");
        let mut random = Random(program ^ 0x5eed);
        for number in 1..=BLOCKS {
            let what = format!("program {program}, block {number}");
            let seed = random.next();
            let view = database.view().expect("a head");
            let memory = MemoryState::new(storage.clone(), version);
            assert_eq!(memory.state_root(), head.state_root, "{what}: parent root");
            let ours = run_block(&view, seed, version);
            let theirs = run_block(&memory, seed, version);
            assert_eq!(ours.0, theirs.0, "{what}: answers");
            assert_eq!(ours.1, theirs.1, "{what}: writes");
            assert_eq!(ours.2, theirs.2, "{what}: root");
            apply(&mut storage, &ours.1);
            let record = BlockRecord {
                number,
                hash: H256::from_low_u64_be(number),
                header: Vec::new(),
                extrinsics: Vec::new(),
                receipts: Vec::new(),
            };
            let parent = *view.head();
            drop(view);
            head = database.commit(&parent, ours.3, &record).expect("commits");
            let memory = MemoryState::new(storage.clone(), version);
            compare_iteration(&database, &memory, &mut random, &what);
        }
    }
}

/// trie-db (as of 0.32), asked to remove an absent key that others begin with, removes one of those
/// or panics. The state must not follow it there.
#[test]
fn removing_an_absent_key_changes_nothing() {
    let entry = |key: &[u8]| (key.to_vec(), vec![7; 40]);
    for extra in [vec![], vec![entry(&[1, 0x10, 0x10])]] {
        for version in [StateVersion::V0, StateVersion::V1] {
            let mut storage = Storage::default();
            storage
                .top
                .extend([entry(&[1, 0x10]), entry(&[1, 0x10, 0]), entry(&[2])]);
            storage.top.extend(extra.clone());
            let (database, _folder) = temporary_database();
            let prepared = database.prepare_state(&storage, version).expect("state");
            let head = database
                .import_state(prepared, 0, H256::zero())
                .expect("imports");
            let view = database.view().expect("a head");
            let memory = MemoryState::new(storage, version);
            assert_eq!(memory.state_root(), head.state_root);
            assert_eq!(root_without(&view, &[1], version), head.state_root);
            assert_eq!(root_without(&memory, &[1], version), head.state_root);
            assert_ne!(root_without(&view, &[2], version), head.state_root);
        }
    }
}

fn root_without<S: BlockState>(state: &S, key: &[u8], version: StateVersion) -> H256 {
    let mut layers = BlockLayers::new(state, Extensions::new());
    layers.run(|ext| ext.clear_storage(key)).expect("readable");
    layers.finish(version).expect("a root").state_root
}
