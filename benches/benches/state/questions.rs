//! The questions.

use std::{collections::BTreeMap, time::Duration};

use codec::Encode;
use criterion::Criterion;
use slackwater_benches::{
    report::Report,
    turns::{Turns, timed},
};
use slackwater_executor::state::{
    BlockChanges, BlockLayers, BlockRecord, BlockTransaction, Database, DatabaseConfig, Extensions,
    Head, MemoryState, StateView, UncommittedBlock,
};
use slackwater_tests::savepoints::SavepointStore;
use sp_core::{
    H256,
    storage::{StateVersion, Storage},
};
use sp_externalities::Externalities;
use sp_state_machine::Backend;

use super::contents::{Chain, config, key, prefix, value};

/// Values of one reading.
const READ: u64 = 1_000;
/// Changes of one block.
const CHANGED: u64 = 10_000;
/// Of so many of them one removes its key, and one makes a new one.
const REMOVED: u64 = 10;
/// Of so many by one extrinsic.
const LAYER: usize = 50;
/// How long a block with them goes on.
const EXECUTION: Duration = Duration::from_millis(500);
/// Extrinsics of a block whose layers are compared.
const EXTRINSICS: u64 = 200;
/// Keys stepped over, or removed, in one walk.
const WALKED: u32 = 100;

/// A key of the state that comes up in this turn.
fn drawn(chain: &Chain, turn: u64, index: u64) -> u64 {
    let draw = sp_crypto_hashing::twox_64(&(turn, index).encode());
    u64::from_le_bytes(draw) % chain.keys
}

pub(crate) fn reads(criterion: &mut Criterion, chain: &Chain, report: &mut Report) {
    let fitting = DatabaseConfig {
        block_cache_bytes: 1 << 30,
        ..config(0, false)
    };
    for (question, config, again) in [
        ("read", config(0, false), false),
        ("read_in_memory", fitting, true),
        ("read_cached", config(256 << 20, false), true),
    ] {
        let database = chain.open_with(config);
        let view = database.view().expect("a head");
        let trie = view.trie();
        let keys = |turn| (0..READ).map(move |index| key(drawn(chain, turn, index)));
        let read = |turn, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
            let keys: Vec<_> = keys(turn).collect();
            timed(|| {
                keys.iter()
                    .filter_map(|key| read(key))
                    .map(|it| it.len())
                    .sum::<usize>()
            })
        };
        let ours = |turn| read(turn, &|key| view.storage(key).expect("readable"));
        let peer = |turn| read(turn, &|key| trie.storage(key).expect("readable"));
        assert_eq!(ours(0).0, peer(0).0);
        Turns {
            ours: &mut |turn| {
                if again {
                    ours(turn);
                }
                ours(turn).1
            },
            peer: &mut |turn| {
                if again {
                    peer(turn);
                }
                peer(turn).1
            },
        }
        .ask(criterion, question, 30, report);
    }
}

/// What a block changes.
fn delta(chain: &Chain, turn: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let change = |index| {
        let number = drawn(chain, turn, index);
        match index % REMOVED {
            0 => (key(number), None),
            1 => (key(chain.keys + number), Some(value(number, turn))),
            _ => (key(number), Some(value(number, turn))),
        }
    };
    (0..CHANGED).map(change).collect()
}

pub(crate) fn root(criterion: &mut Criterion, chain: &Chain, report: &mut Report) {
    let database = chain.open(0);
    let view = database.view().expect("a head");
    let trie = view.trie();
    fn root(
        state: &impl Backend<sp_core::Blake2Hasher>,
        chain: &Chain,
        turn: u64,
    ) -> (H256, Duration) {
        let delta = delta(chain, turn);
        let changes = || {
            delta
                .iter()
                .map(|(key, value)| (key.as_slice(), value.as_deref()))
        };
        timed(|| state.storage_root(changes(), StateVersion::V1).0)
    }
    assert_eq!(root(&view, chain, 0).0, root(&trie, chain, 0).0);
    Turns {
        ours: &mut |turn| root(&view, chain, turn).1,
        peer: &mut |turn| root(&trie, chain, turn).1,
    }
    .ask(criterion, "root", 20, report);
}

/// A block that changes this much, in so many layers, with `then` between its writes and its root.
fn written(view: &StateView<'_>, chain: &Chain, turn: u64, then: impl FnOnce()) -> Written {
    let mut layers = BlockLayers::new(view, Extensions::new());
    let delta: Vec<_> = delta(chain, turn).into_iter().collect();
    for part in delta.chunks(LAYER) {
        let guest = |ext: &mut dyn Externalities| {
            for (key, value) in part.iter().cloned() {
                ext.place_storage(key, value);
            }
        };
        layers.layered(|layers| layers.run(guest).expect("readable"), |()| true);
    }
    then();
    let (changes, root) = timed(|| layers.finish(StateVersion::V1).expect("a root"));
    Written { changes, root }
}

/// A block that was written.
struct Written {
    changes: BlockChanges,
    /// How long its root took.
    root: Duration,
}

/// Roots of blocks whose execution goes on for a while behind the writes, with and without a thread that reads ahead.
/// Both have the same caches, which were not used before.
pub(crate) fn roots_ahead(criterion: &mut Criterion, chain: &Chain, report: &mut Report) {
    let root = |turn, prefetch| {
        let database = chain.open_with(config(64 << 20, prefetch));
        let view = database.view().expect("a head");
        written(&view, chain, turn, || std::thread::sleep(EXECUTION)).root
    };
    Turns {
        ours: &mut |turn| root(turn, true),
        peer: &mut |turn| root(turn, false),
    }
    .ask(criterion, "root_ahead", 10, report);
}

fn record(number: u64, turn: u64) -> BlockRecord {
    BlockRecord {
        number,
        hash: H256::from_low_u64_be(turn),
        header: vec![0; 200],
        extrinsics: vec![vec![0; 150]; 1_000],
        receipts: vec![0; 6_000],
    }
}

/// The records of one block, as docs/state.md describes them: (column, key, value).
type Records = Vec<(&'static str, Vec<u8>, Option<Vec<u8>>)>;

/// The records that a commit of these changes writes.
fn records(
    bare: &rocksdb::DB,
    parent: Head,
    changes: &BlockChanges,
    block: &BlockRecord,
) -> Records {
    // What was there before comes from the other database, and is in no cache of ours.
    let flat = bare.cf_handle("flat").expect("there");
    let mut records = Records::new();
    let mut undo_flat = Vec::new();
    for (key, value) in &changes.writes[&None] {
        undo_flat.push((
            [&[0], key.as_slice()].concat(),
            bare.get_cf(flat, [&[0], key.as_slice()].concat())
                .expect("readable"),
        ));
        records.push(("flat", [&[0], key.as_slice()].concat(), value.clone()));
    }
    let mut undo_nodes = Vec::new();
    let nodes: BTreeMap<_, _> = changes.nodes.clone().drain().into_iter().collect();
    for (key, (node, count)) in nodes {
        let is_new = count > 0;
        // What a node that goes looked like is as long as one that comes.
        undo_nodes.push((key.clone(), (!is_new).then(|| vec![0_u8; 200])));
        records.push(("nodes", key, is_new.then_some(node)));
    }
    let number = block.number.to_be_bytes().to_vec();
    let stored = (block.hash, &block.header, &block.extrinsics).encode();
    let undo = (parent, undo_flat, undo_nodes).encode();
    let head = (block.number, block.hash, changes.state_root).encode();
    records.push(("blocks", number.clone(), Some(stored)));
    records.push(("receipts", number.clone(), Some(block.receipts.clone())));
    records.push(("undo", number, Some(undo)));
    records.push(("meta", b"head".to_vec(), Some(head)));
    records
}

/// A RocksDB with the same contents, written to without further ado.
fn bare(database: &Database, chain: &Chain, name: &str) -> rocksdb::DB {
    let copy = chain.folder.path().join(name);
    database.checkpoint(&copy).expect("copies");
    let mut options = rocksdb::Options::default();
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let columns = rocksdb::DB::list_cf(&options, &copy).expect("columns");
    let columns = columns.into_iter().map(|name| (name, options.clone()));
    rocksdb::DB::open_cf_with_opts(&options, &copy, columns).expect("opens")
}

/// With `undo`, what undoes the block is read while it is committed, and counts.
pub(crate) fn commit(criterion: &mut Criterion, chain: &Chain, undo: bool, report: &mut Report) {
    let database = chain.open(64 << 20);
    let question = if undo { "commit_undo" } else { "commit" };
    let bare = bare(&database, chain, question);
    // Nothing lies between the root of a block and our commit, so its records are made behind that; the other writes
    // them a turn later.
    let waiting = std::cell::RefCell::new(std::collections::VecDeque::new());
    let ours = |turn| {
        let view = database.view().expect("a head");
        let parent = *view.head();
        let changes = written(&view, chain, turn, || {}).changes;
        let record = record(parent.number + 1, turn);
        let same = changes.clone();
        let took = if undo {
            let commit = || database.commit(&parent, changes, &record);
            let (head, took) = timed(commit);
            head.expect("commits");
            took
        } else {
            let block = UncommittedBlock::new(&view, changes, record.clone()).expect("readable");
            timed(|| database.commit_block(&block).expect("commits")).1
        };
        let records = records(&bare, parent, &same, &record);
        waiting.borrow_mut().push_back(records);
        took
    };
    ours(0);
    Turns {
        ours: &mut |turn| ours(turn),
        peer: &mut |_| {
            let records = waiting.borrow_mut().pop_front().expect("one a turn");
            let write = || {
                let mut batch = rocksdb::WriteBatch::default();
                for (column, key, value) in &records {
                    let column = bare.cf_handle(column).expect("there");
                    match value {
                        Some(value) => batch.put_cf(column, key, value),
                        None => batch.delete_cf(column, key),
                    }
                }
                let mut options = rocksdb::WriteOptions::default();
                options.set_sync(true);
                bare.write_opt(batch, &options).expect("writes");
            };
            timed(write).1
        },
    }
    .ask(criterion, question, 20, report);
    let number = database.head().expect("readable").expect("a head").number;
    database
        .revert_to(number - number.min(200))
        .expect("goes back");
}

/// Walks, in the whole state and in a hundredth of it.
pub(crate) fn walks(criterion: &mut Criterion, whole: &Chain, part: &Chain, report: &mut Report) {
    let databases = [whole.open(0), part.open(0)];
    let views = [&databases[0], &databases[1]].map(|it| it.view().expect("a head"));
    let next_keys = |which: usize, turn: u64| {
        let mut layers = BlockLayers::new(&views[which], Extensions::new());
        let walk = |ext: &mut dyn Externalities| {
            let mut at = prefix(turn % 64);
            for _ in 0..WALKED {
                at = ext.next_storage_key(&at).expect("more keys");
            }
            at
        };
        timed(|| layers.run(walk).expect("readable")).1
    };
    Turns {
        ours: &mut |turn| next_keys(0, turn),
        peer: &mut |turn| next_keys(1, turn),
    }
    .ask(criterion, "next_key", 20, report);
    let clear = |which: usize, turn: u64| {
        let mut layers = BlockLayers::new(&views[which], Extensions::new());
        let clear = |ext: &mut dyn Externalities| {
            let removed = ext.clear_prefix(&prefix(turn % 64), Some(WALKED), None);
            assert_eq!(removed.backend, WALKED);
        };
        timed(|| layers.run(clear).expect("readable")).1
    };
    Turns {
        ours: &mut |turn| clear(0, turn),
        peer: &mut |turn| clear(1, turn),
    }
    .ask(criterion, "clear_prefix", 20, report);
}

/// A block of extrinsics, in layers in memory and in a RocksDB transaction with savepoints.
pub(crate) fn layers(criterion: &mut Criterion, report: &mut Report) {
    let top = (0..EXTRINSICS * 20).map(|number| (key(number), value(number, 0)));
    let contents = Storage {
        top: top.collect(),
        ..Storage::default()
    };
    let state = MemoryState::new(contents.clone(), StateVersion::V1);
    let store = SavepointStore::new(&contents);
    let ours = |turn| extrinsics(BlockLayers::new(&state, Extensions::new()), turn);
    let peer = |turn| extrinsics(store.begin(&state), turn);
    assert_eq!(ours(0).0, peer(0).0);
    Turns {
        ours: &mut |turn| ours(turn).1,
        peer: &mut |turn| peer(turn).1,
    }
    .ask(criterion, "layers", 20, report);
}

/// Executes a block; its root, and the time without calculating that.
fn extrinsics(mut block: impl BlockTransaction, turn: u64) -> (H256, Duration) {
    let ((), took) = timed(|| {
        for index in 0..EXTRINSICS {
            let extrinsic = |ext: &mut dyn Externalities| {
                for own in 0..10 {
                    let number = index * 20 + own;
                    ext.set_storage(key(number), value(number, turn));
                    ext.storage_append(b"events".to_vec(), value(number, turn).encode());
                }
            };
            let layer = block.layered(|block| block.run(extrinsic), |_| index % 10 != 0);
            layer.expect("readable");
        }
    });
    let changes = block.finish(StateVersion::V1).expect("a root");
    (changes.state_root, took)
}
