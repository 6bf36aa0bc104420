//! An extrinsic that does everything an extrinsic can do, and then ends badly, leaves nothing of it: not in the block,
//! not in what its receipts and fuel say of others, not in an extension, not in the instance the next one runs in.
//!
//! A block with such an extrinsic between two good ones is compared with one of the good ones alone. That each effect
//! is there, and would be seen, is shown by the same extrinsic where it ends well.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use slackwater_executor::{
    ExecutorConfig, Fuel, HeapPages, InstanceMode,
    block::{BlockBuilder, BlockReceipts, Offered},
    state::{Extensions, Head, MemoryState, WriteSet},
};
use slackwater_tests::{Executor, executor_with, rules_for_extrinsics};
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, StorageChild, well_known_keys::CODE},
};
use sp_trie::{ProofSizeProvider, proof_size_extension::ProofSizeExt};

/// Its extrinsics are two bytes: what it does, and a number.
const GUEST: &str = r#"(module
    (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
    (import "env" "ext_storage_clear_version_1" (func $clear (param i64)))
    (import "env" "ext_storage_append_version_1" (func $append (param i64 i64)))
    (import "env" "ext_storage_clear_prefix_version_1" (func $clear_prefix (param i64)))
    (import "env" "ext_storage_root_version_2" (func $root (param i32) (result i64)))
    (import "env" "ext_default_child_storage_set_version_1"
        (func $set_child (param i64 i64 i64)))
    (import "env" "ext_default_child_storage_storage_kill_version_1"
        (func $kill_child (param i64)))
    (import "env" "ext_transaction_index_index_version_1" (func $index (param i32 i32 i32)))
    (import "env" "ext_transaction_index_renew_version_1" (func $renew (param i32 i32)))
    (import "env" "ext_offchain_index_set_version_1" (func $offchain (param i64 i64)))
    (import "env" "ext_offchain_index_clear_version_1" (func $offchain_clear (param i64)))
    (import "env" "ext_storage_start_transaction_version_1" (func $start))
    (import "env" "ext_storage_commit_transaction_version_1" (func $commit))
    (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (import "env" "ext_storage_proof_size_storage_proof_size_version_1"
        (func $proof_size (result i64)))
    (memory (export "memory") 20)
    (global (export "__heap_base") i32 (i32.const 131072))
    (global $dirty (mut i32) (i32.const 0))
    (data (i32.const 64) "good\00\00\00\00.new\00\00\00\00.old\00\00\00\00gone\00\00\00\00")
    (data (i32.const 96) "many\00\00\00\00list\00\00\00\00born\00\00\00\00kill\00\00\00\00")
    (data (i32.const 128) "open\00\00\00\00off.")
    (data (i32.const 512) "\00\00\01\00\03")
    (data (i32.const 1056) "\04")

    ;; Three quarters of the heap.
    (func $malloc_much (result i32)
        (drop (call $malloc (i32.const 0x2000000)))
        (drop (call $malloc (i32.const 0x2000000)))
        (call $malloc (i32.const 0x2000000)))

    ;; Writes down what a clean instance is like, in each way an extrinsic can.
    (func $good (param $number i32)
        (i32.store8 (i32.const 68) (local.get $number))
        (i32.store (i32.const 200) (global.get $dirty))
        (i32.store (i32.const 204) (i32.load (i32.const 300)))
        (i32.store (i32.const 208) (i32.load (i32.const 140000)))
        (i32.store (i32.const 212) (memory.size))
        (i32.store (i32.const 216) (call $malloc (i32.const 1000)))
        (i64.store (i32.const 224) (call $proof_size))
        (call $set (i64.const 0x500000040) (i64.const 0x20000000c8))
        (call $append (i64.const 0x400000068) (i64.const 0x100000044))
        (call $set_child (i64.const 0x400000040) (i64.const 0x500000040) (i64.const 0x400000040))
        (call $index (local.get $number) (i32.const 5) (i32.const 400))
        (call $offchain (i64.const 0x500000040) (i64.const 0x400000040)))

    ;; Everything else; leaves a storage transaction open.
    (func $effects
        (global.set $dirty (i32.const 1))
        (i32.store (i32.const 300) (i32.const 7))
        (i32.store (i32.const 140000) (i32.const 7))
        (drop (memory.grow (i32.const 3)))
        (i32.store (call $malloc_much) (i32.const 7))
        (call $set (i64.const 0x400000048) (i64.const 0x400000048))
        (call $set (i64.const 0x400000050) (i64.const 0x400000048))
        (call $clear (i64.const 0x400000058))
        (call $clear_prefix (i64.const 0x400000060))
        (call $append (i64.const 0x400000068) (i64.const 0x100000048))
        (call $set_child (i64.const 0x400000070) (i64.const 0x400000048) (i64.const 0x400000048))
        (call $kill_child (i64.const 0x400000078))
        (drop (call $root (i32.const 1)))
        (call $index (i32.const 77) (i32.const 5) (i32.const 400))
        (call $renew (i32.const 78) (i32.const 400))
        (call $offchain (i64.const 0x400000048) (i64.const 0x400000048))
        (call $offchain_clear (i64.const 0x400000088))
        (drop (call $proof_size))
        (call $start)
        (drop (call $proof_size))
        (call $set (i64.const 0x400000080) (i64.const 0x400000048)))

    (func $deep (call $deep))

    (func (export "Core_initialize_block") (param i32 i32) (result i64) (i64.const 0))
    (func (export "BlockBuilder_finalize_block") (param i32 i32) (result i64)
        (i64.const 0x6200000400))
    (func (export "BlockBuilder_apply_extrinsic") (param $at i32) (param i32) (result i64)
        (local $what i32) (local $number i32)
        (local.set $what (i32.load8_u (local.get $at)))
        (local.set $number (i32.load8_u offset=1 (local.get $at)))
        (if (local.get $what) (then (call $effects)))
        (block $ended (block $deep (block $loop (block $trap (block $refuse
        (block $both (block $open (block $close (block $good
            (br_table $good $close $open $both $refuse $trap $loop $deep (local.get $what)))
            (call $good (local.get $number)) (drop (call $malloc_much)) (br $ended))
            (call $commit) (br $ended))
            (br $ended))
            (call $commit) (call $good (local.get $number)) (br $ended))
            (return (i64.const 0x300000202)))
            (unreachable))
            (loop (br 0)))
            (call $deep))
        (i64.const 0x200000200)))"#;

/// What an extrinsic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum What {
    Good,
    /// The effects, all layers closed; included.
    Effects,
    /// The effects, one layer left open; included.
    LeftOpen,
    /// The effects, then what is good, in one instance.
    EffectsAndGood,
    Refused,
    Trap,
    Loop,
    Recursion,
}

/// What ends badly.
const BAD: [What; 4] = [What::Refused, What::Trap, What::Loop, What::Recursion];

/// An extension whose state is its layers: in each, how often a guest asked in it. Tells a guest how often was asked
/// in all.
#[derive(Clone)]
struct Asked(Arc<Mutex<Vec<usize>>>);

impl Asked {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(vec![0])))
    }

    fn layers(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl ProofSizeProvider for Asked {
    fn estimate_encoded_size(&self) -> usize {
        let mut layers = self.layers();
        *layers.last_mut().expect("the lowest stays") += 1;
        layers.iter().sum()
    }

    fn start_transaction(&mut self, _host: bool) {
        self.layers().push(0);
    }

    fn rollback_transaction(&mut self, _host: bool) {
        self.layers().pop().expect("one was opened");
    }

    fn commit_transaction(&mut self, _host: bool) {
        let mut layers = self.layers();
        let asked = layers.pop().expect("one was opened");
        *layers.last_mut().expect("the lowest stays") += asked;
    }
}

fn state() -> MemoryState {
    let entry = |key: &[u8]| (key.to_vec(), vec![9; 40]);
    let keys = [b".old".as_slice(), b"gone", b"many1", b"many2", b"other"];
    let mut top: BTreeMap<_, _> = keys.map(entry).into();
    top.insert(CODE.to_vec(), wat::parse_str(GUEST).expect("wat"));
    // A list of one element.
    top.insert(b"list".to_vec(), vec![4, 1]);
    let child_info = ChildInfo::new_default(b"kill");
    let data = [entry(b"a"), entry(b"b")].into();
    let child = StorageChild { data, child_info };
    let children_default = [(b"kill".to_vec(), child)].into();
    let storage = Storage {
        top,
        children_default,
    };
    MemoryState::new(storage, StateVersion::V1)
}

/// All that is left of a block.
#[derive(Debug, PartialEq)]
struct Left {
    included: Vec<Offered>,
    body: Vec<Vec<u8>>,
    receipts: BlockReceipts,
    writes: WriteSet,
    root: H256,
    nodes: BTreeMap<Vec<u8>, (Vec<u8>, i32)>,
    offchain: String,
    index: String,
    /// Layers of the extension.
    asked: Vec<usize>,
}

/// Builds a block of these; returns what is left of it, and the names of what was left out.
fn build(executor: &Executor, body: &[What]) -> (Left, Vec<&'static str>) {
    let state = state();
    let parent = Head {
        number: 0,
        hash: H256::zero(),
        state_root: state.state_root(),
    };
    let asked = Asked::new();
    let mut extensions = Extensions::new();
    extensions.register(ProofSizeExt::new(asked.clone()));
    let builder = BlockBuilder::new(executor, &state, &parent, Vec::new(), extensions);
    let mut builder = builder.expect("begins");
    let (mut included, mut left_out) = (Vec::new(), Vec::new());
    for what in body {
        // Good ones are numbered among themselves.
        let number = u8::try_from(included.len()).expect("few");
        match builder.push(&[*what as u8, number]).expect("goes on") {
            offered @ Offered::Included { .. } => included.push(offered),
            offered @ Offered::LeftOut(_) => left_out.push(offered.name()),
        }
    }
    let mut built = builder.finish().expect("ends");
    let nodes = built.changes.nodes.drain().into_iter();
    let left = Left {
        included,
        body: built.block.extrinsics,
        receipts: built.receipts,
        writes: built.changes.writes,
        root: built.changes.state_root,
        nodes: nodes.collect(),
        offchain: format!("{:?}", built.changes.offchain_index),
        index: format!("{:?}", built.changes.transaction_index),
        asked: asked.layers().clone(),
    };
    (left, left_out)
}

/// Executors under the chain's limit and under this machine's, with the names of how the bad ones end there.
fn executors(mode: InstanceMode) -> [(Executor, [&'static str; 4]); 2] {
    let limit = Fuel(200_000_000);
    let config = ExecutorConfig::default()
        .with_instances(mode)
        .with_onchain_heap(HeapPages::Dynamic {
            maximum: Some(2_068),
        });
    let ruled = config
        .clone()
        .with_consensus_fuel(rules_for_extrinsics(limit));
    let local = config.with_local_limit(limit);
    let by_rule = ["invalid", "trap", "out_of_fuel", "stack_exhausted"];
    let by_machine = ["invalid", "trap", "local_limit", "native_stack"];
    [
        (executor_with(ruled), by_rule),
        (executor_with(local), by_machine),
    ]
}

const MODES: [InstanceMode; 2] = [InstanceMode::Snapshot, InstanceMode::Fresh];

#[test]
fn what_ends_badly_leaves_none_of_its_effects() {
    for mode in MODES {
        for (executor, names) in executors(mode) {
            let (alone, none) = build(&executor, &[What::Good, What::Good]);
            assert_eq!((alone.included.len(), none.len()), (2, 0));
            assert_eq!(alone.asked, [2]);
            for (bad, name) in BAD.into_iter().zip(names) {
                let body = [What::Good, bad, What::Good];
                let (left, left_out) = build(&executor, &body);
                assert_eq!(left_out, [name], "{mode:?}, {bad:?}");
                assert_eq!(left, alone, "{mode:?}, {bad:?}");
            }
            // All of them, and again.
            let body = [BAD.as_slice(), &[What::Good], &BAD, &[What::Good], &BAD].concat();
            let (left, left_out) = build(&executor, &body);
            assert_eq!(left_out, [names, names, names].concat(), "{mode:?}");
            assert_eq!(left, alone, "{mode:?}");
        }
    }
}

/// The control: where it ends well, each effect is there.
#[test]
fn what_ends_well_leaves_each_of_its_effects() {
    for mode in MODES {
        for (executor, _) in executors(mode) {
            let (with, none) = build(&executor, &[What::Good, What::Effects, What::Good]);
            assert_eq!((with.included.len(), none.len()), (3, 0));
            let top = &with.writes[&None];
            let value = Some(b".new".to_vec());
            for (key, expected) in [
                (b".new".as_slice(), value.clone()),
                (b".old", value.clone()),
                (b"gone", None),
                (b"many1", None),
                (b"many2", None),
                (b"list", Some(vec![16, 1, 0, b'.', 2])),
                (b"open", value.clone()),
            ] {
                assert_eq!(top.get(key), Some(&expected), "{}", key.escape_ascii());
            }
            assert_eq!(
                with.writes[&Some(b"born".to_vec())][b".new".as_slice()],
                value
            );
            let killed = &with.writes[&Some(b"kill".to_vec())];
            assert!(killed.len() == 2 && killed.values().all(Option::is_none));
            for part in ["Insert { extrinsic: 77", "Renew { extrinsic: 78"] {
                assert!(with.index.contains(part), "{}", with.index);
            }
            for part in ["SetValue([46, 110, 101, 119])", "Remove"] {
                assert!(with.offchain.contains(part), "{}", with.offchain);
            }
            assert_eq!(with.asked, [4]);
            // What was left open is rolled back, in the extension too, and all else is there.
            let (open, _) = build(&executor, &[What::Good, What::LeftOpen, What::Good]);
            let top = &open.writes[&None];
            assert!(!top.contains_key(b"open".as_slice()));
            assert_eq!(top.get(b".new".as_slice()), Some(&value));
            assert_eq!(open.asked, [3]);
        }
    }
}

/// The control of the instance: what is good in an instance that is not clean any more sees each difference.
#[test]
fn an_instance_that_is_not_clean_would_be_seen() {
    for mode in MODES {
        for (executor, _) in executors(mode) {
            let seen = |what| {
                let (left, _) = build(&executor, &[what]);
                let value = left.writes[&None][b"good\0".as_slice()].clone();
                let value = value.expect("written");
                let words = value.chunks_exact(4).map(<[u8]>::to_vec);
                words.collect::<Vec<_>>()
            };
            let (clean, dirty) = (seen(What::Good), seen(What::EffectsAndGood));
            // A global, two words of memory, its size, what the allocator gives, how often was asked.
            for field in [0, 1, 2, 3, 4, 6] {
                assert_ne!(clean[field], dirty[field], "{mode:?}, field {field}");
            }
        }
    }
}
