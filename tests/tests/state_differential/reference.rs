//! A block of operations on the executor's layers, the same on bare `sp-state-machine`, and the two compared.

use std::collections::BTreeMap;

use slackwater_executor::state::{
    BlockChanges, BlockLayers, BlockState, BlockTransaction, Change, Extensions, Place, WriteSet,
};
use slackwater_tests::savepoints::SavepointStore;
use sp_core::{
    Blake2Hasher, H256,
    storage::{
        ChildInfo, StateVersion, Storage, StorageChild, well_known_keys::is_child_storage_key,
    },
};
use sp_state_machine::{Ext, InMemoryBackend, OverlayedChanges};
use sp_trie::{LayoutV0, LayoutV1, TrieConfiguration};

use super::program::{Answer, GROUPS, Keys, Random, Run, without_roots};

pub(crate) type Reference = InMemoryBackend<Blake2Hasher>;

/// Runs one block of operations in the executor's layers, some of which are rolled back.
pub(crate) fn run_block<S: BlockState>(
    state: &S,
    random: &Random,
    version: StateVersion,
) -> (Vec<Answer>, BlockChanges) {
    let layers = BlockLayers::new(state, Extensions::new());
    run_layers(layers, random, version, |_, _| {})
}

/// The same in a RocksDB transaction of `store`. `state` has these contents.
pub(crate) fn run_savepoints<S: BlockState>(
    store: &SavepointStore,
    state: &S,
    contents: &Storage,
    random: &Random,
    version: StateVersion,
) -> (Vec<Answer>, BlockChanges) {
    store.hold(contents);
    run_layers(store.begin(state), random, version, |_, _| {})
}

/// Compares a block on our state with one in a RocksDB transaction, which answers with the root of its contents always:
/// `sp-state-machine`'s layers, and so ours, may answer guests with an earlier one.
pub(crate) fn compare_savepoints(
    ours: &(Vec<Answer>, BlockChanges),
    there: &(Vec<Answer>, BlockChanges),
    what: &str,
) {
    let answers = [&ours.0, &there.0].map(|answers| without_roots(answers));
    assert_eq!(
        answers[0], answers[1],
        "{what}: answers in a RocksDB transaction"
    );
    let [writes, other] = [&ours.1.writes, &there.1.writes].map(|writes| {
        let mut writes = writes.clone();
        let top = writes.entry(None).or_default();
        top.retain(|key, _| !is_child_storage_key(key));
        writes
    });
    assert_eq!(writes, other, "{what}: writes there");
    assert_eq!(ours.1.state_root, there.1.state_root, "{what}: root there");
}

/// The same with notes taken of what is asked for and changed, which have to be what was changed.
pub(crate) fn run_noted<S: BlockState>(
    state: &S,
    random: &Random,
    version: StateVersion,
) -> (Vec<Answer>, BlockChanges) {
    let mut layers = BlockLayers::new(state, Extensions::new());
    layers.record_access();
    let stored = |(child, key): &Place| match child {
        None => state.storage(key).expect("readable"),
        Some(child) => {
            let child = ChildInfo::new_default(child);
            state.child_storage(&child, key).expect("readable")
        }
    };
    let mut values = BTreeMap::new();
    let ran = run_layers(layers, random, version, |layers, kept| {
        let access = layers.take_access().expect("notes are taken");
        assert!(kept || access.writes.is_empty());
        for (place, Change { before, after }) in access.writes {
            assert_ne!(before, after, "{place:?}");
            let was = values.insert(place.clone(), after);
            assert_eq!(was.unwrap_or_else(|| stored(&place)), before, "{place:?}");
        }
    });
    // What was touched and not noted is as it was, but for roots, which a guest need not ask for.
    for (child, entries) in &ran.1.writes {
        for (key, value) in entries {
            let place = (child.clone(), key.clone());
            if child.is_some() || !is_child_storage_key(key) {
                let noted = values.remove(&place).unwrap_or_else(|| stored(&place));
                assert_eq!(&noted, value, "{place:?}");
            }
        }
    }
    values.retain(|(child, key), _| child.is_some() || !is_child_storage_key(key));
    assert_eq!(values, BTreeMap::new(), "noted and not changed");
    ran
}

fn run_layers<L: BlockTransaction>(
    mut layers: L,
    random: &Random,
    version: StateVersion,
    mut closed: impl FnMut(&mut L, bool),
) -> (Vec<Answer>, BlockChanges) {
    let mut run = Run::new(random, version, true);
    for _ in 0..GROUPS {
        let keep = run.random.below(3) > 0;
        let group = |layers: &mut L| layers.run(|ext| run.group(ext));
        layers.layered(group, |_| keep).expect("readable");
        closed(&mut layers, keep);
    }
    if run.random.below(2) == 0 {
        let root = layers.run(|ext| run.root(ext)).expect("readable");
        run.answers.push(root);
    }
    (run.answers, layers.finish(version).expect("a root"))
}

/// What the reference makes of a block.
pub(crate) struct Expected {
    answers: Vec<Answer>,
    /// Without roots of child tries, but for those that the program asked for.
    writes: WriteSet,
    /// May be one of earlier contents; nothing where the reference is not asked for roots.
    root: Option<H256>,
}

/// Runs the same block on the reference.
pub(crate) fn run_reference(
    backend: &Reference,
    random: &Random,
    version: StateVersion,
) -> Expected {
    let roots = random.keys == Keys::OneLength;
    let mut run = Run::new(random, version, roots);
    let mut extensions = Extensions::new();
    let mut overlay = OverlayedChanges::<Blake2Hasher>::default();
    for _ in 0..GROUPS {
        let keep = run.random.below(3) > 0;
        overlay.start_transaction();
        overlay.enter_runtime().expect("outside");
        run.group(&mut Ext::new(&mut overlay, backend, Some(&mut extensions)));
        overlay.exit_runtime().expect("inside");
        if keep {
            overlay.commit_transaction().expect("one is open");
        } else {
            overlay.rollback_transaction().expect("one is open");
        }
    }
    if run.random.below(2) == 0 {
        overlay.enter_runtime().expect("outside");
        let root = run.root(&mut Ext::new(&mut overlay, backend, Some(&mut extensions)));
        overlay.exit_runtime().expect("inside");
        run.answers.push(root);
    }
    // Draining calculates a root. Over an empty trie that is harmless whatever the keys are.
    let empty = Reference::default();
    let below = if roots { backend } else { &empty };
    let drained = overlay
        .drain_storage_changes(below, version)
        .expect("all layers are closed");
    let mut writes = WriteSet::new();
    writes.insert(None, drained.main_storage_changes.into_iter().collect());
    for (child, changes) in drained.child_storage_changes {
        if !changes.is_empty() {
            writes.insert(Some(child), changes.into_iter().collect());
        }
    }
    Expected {
        answers: run.answers,
        writes,
        root: roots.then_some(drained.transaction_storage_root),
    }
}

fn apply(storage: &mut Storage, writes: &WriteSet) {
    for (child, entries) in writes {
        let map = match child {
            None => &mut storage.top,
            Some(child) => {
                let (data, child_info) = (BTreeMap::new(), ChildInfo::new_default(child));
                let new = StorageChild { data, child_info };
                let children = &mut storage.children_default;
                &mut children.entry(child.clone()).or_insert(new).data
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
    storage.top.retain(|key, _| !is_child_storage_key(key));
    storage
        .children_default
        .retain(|_, child| !child.data.is_empty());
}

fn prefixed(child: &[u8]) -> Vec<u8> {
    ChildInfo::new_default(child)
        .into_prefixed_storage_key()
        .into_inner()
}

/// The root of these contents and, under their keys, those of the child tries; from scratch.
fn contents_root(storage: &Storage, version: StateVersion) -> (H256, BTreeMap<Vec<u8>, Vec<u8>>) {
    let root = |entries: &BTreeMap<Vec<u8>, Vec<u8>>| match version {
        StateVersion::V0 => LayoutV0::<Blake2Hasher>::trie_root(entries),
        StateVersion::V1 => LayoutV1::<Blake2Hasher>::trie_root(entries),
    };
    let children: BTreeMap<_, _> = storage
        .children_default
        .iter()
        .map(|(name, child)| (prefixed(name), root(&child.data).as_bytes().to_vec()))
        .collect();
    let mut top = storage.top.clone();
    top.extend(children.clone());
    (root(&top), children)
}

/// Compares a block on our state with the reference, and applies it to `storage`. Whether the
/// reference ended with a root of other contents.
pub(crate) fn compare_block(
    ours: &(Vec<Answer>, BlockChanges),
    mut expected: Expected,
    storage: &mut Storage,
    version: StateVersion,
    what: &str,
) -> bool {
    let (answers, changes) = ours;
    let comparable = match expected.root {
        Some(_) => answers.clone(),
        None => without_roots(answers),
    };
    assert_eq!(comparable, expected.answers, "{what}: answers");
    apply(storage, &expected.writes);
    let (root, child_roots) = contents_root(storage, version);
    assert_eq!(changes.state_root, root, "{what}: root of the contents");
    // Every child trie written to gets its new root. Where the reference was not asked for roots,
    // ours may also have left some of tries that were only looked at.
    let written = expected.writes.keys().flatten();
    let mut with_root: Vec<_> = written.map(|child| prefixed(child)).collect();
    if expected.root.is_none() {
        let top = changes.writes[&None].keys();
        with_root.extend(top.filter(|key| is_child_storage_key(key)).cloned());
    }
    let top = expected.writes.entry(None).or_default();
    for key in with_root {
        top.insert(key.clone(), child_roots.get(&key).cloned());
    }
    assert_eq!(changes.writes, expected.writes, "{what}: writes");
    let Some(reference_root) = expected.root.filter(|reference| *reference != root) else {
        return false;
    };
    // Neither `storage_append` nor rolling back what a guest left open makes the reference forget
    // the root it answered last.
    let mut since = answers
        .iter()
        .skip_while(|answer| **answer != Answer::Root(reference_root));
    assert!(
        since.any(|answer| matches!(answer, Answer::Appended | Answer::Abandoned)),
        "{what}: root {root:?}, but {reference_root:?} by the reference"
    );
    true
}
