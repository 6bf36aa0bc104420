//! What a block needs of its parent's state: recorded, it is enough to execute the block again, and nothing less is.

use slackwater_executor::{
    ExecutionPath,
    block::{Block, execute},
    state::{
        BlockChanges, BlockLayers, BlockState, Database, Extensions, ProofState, RecordingState,
        StateError,
    },
};
use slackwater_runtime_fixtures::{BlockFixture, guest};
use slackwater_tests::{
    executor, load_blocks, random::Random, real_blocks, replay_onto, temporary_database,
};
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, StorageChild},
};
use sp_externalities::{Externalities, ExternalitiesExt};
use sp_trie::{
    StorageProof,
    proof_size_extension::{ProofSizeExt, RecordedProofSizeEstimations, ReplayProofSizeProvider},
};

/// Nodes left out of a proof, one at a time.
const LEFT_OUT: usize = 6;

/// Executes every block of a fixture again, recording; on what was recorded; and on what was recorded but a node.
fn record_all(fixture: &BlockFixture) {
    let executor = executor();
    let (database, _folder) = temporary_database();
    let replayed = replay_onto(&executor, &database, fixture, ExecutionPath::Split);
    let blocks = replayed.expect("replays").len() as u64;
    let head = database.head().expect("readable").expect("a head").number;
    let mut random = Random(head);
    let (mut tried, mut refused) = (0, 0);
    for number in head - blocks + 1..=head {
        let record = database.block(number).expect("readable").expect("there");
        let block = Block::decode(&record.header, record.extrinsics).expect("decodes");
        let parent = database.view_at(number - 1).expect("kept");
        let recording = parent.recording();
        let recorded = execute(
            &executor,
            &recording,
            &block,
            ExecutionPath::Split,
            &Extensions::new,
        );
        let recorded = recorded.expect("executes").changes;
        let proof = recording.proof();
        let root = parent.head().state_root;
        let proven = |proof: StorageProof| {
            let state = ProofState::new(root, proof).ok()?;
            let executed = execute(
                &executor,
                &state,
                &block,
                ExecutionPath::Split,
                &Extensions::new,
            );
            // A block is judged by a whole proof only.
            assert_eq!(executed.is_ok(), state.check().is_ok(), "{executed:?}");
            Some(executed.ok()?.changes)
        };
        let again = proven(proof.clone()).expect("the proof is enough");
        assert_eq!(recorded.writes, again.writes, "block {number}");
        assert_eq!(recorded.state_root, again.state_root, "block {number}");
        let nodes: Vec<_> = proof.into_nodes().into_iter().collect();
        for _ in 0..LEFT_OUT {
            let mut less = nodes.clone();
            less.remove(random.index(nodes.len()));
            tried += 1;
            // Few are recorded that only recording asks for.
            match proven(StorageProof::new(less)) {
                Some(changes) => assert_eq!(changes.state_root, again.state_root),
                None => refused += 1,
            }
        }
    }
    assert!(
        refused * 20 > tried * 19,
        "{refused} of {tried} are refused"
    );
}

#[test]
fn a_proof_is_enough_for_the_guests_chain() {
    record_all(&load_blocks(&guest::fixture_chain_path()));
}

#[test]
fn a_proof_is_enough_for_real_blocks() {
    for name in ["kusama-block-1", "smoldot-child-trie-create-one"] {
        if let Some(fixture) = real_blocks(name) {
            record_all(&fixture);
        }
    }
}

/// A state of many keys, and a child trie.
fn database() -> (Database, tempfile::TempDir) {
    let (database, folder) = temporary_database();
    let mut random = Random(1);
    let mut entries = || {
        let entries = (0..400_u32).map(|number| (number.to_be_bytes().to_vec(), random.bytes(60)));
        entries.collect::<std::collections::BTreeMap<_, _>>()
    };
    let mut storage = Storage {
        top: entries(),
        ..Storage::default()
    };
    let child_info = ChildInfo::new_default(b"child");
    let data = entries();
    let child = StorageChild { data, child_info };
    storage.children_default.insert(b"child".to_vec(), child);
    let prepared = database.prepare_state(&storage, StateVersion::V1);
    let imported = database.import_state(prepared.expect("prepares"), 0, H256::zero());
    imported.expect("imports");
    (database, folder)
}

fn key(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Work in a layer, and whether that is kept.
type Layer<'a> = (bool, &'a dyn Fn(&mut dyn Externalities));

/// Runs these in a layer each.
fn run<S: BlockState>(state: &S, extensions: Extensions, layers: &[Layer<'_>]) -> BlockChanges {
    let mut block = BlockLayers::new(state, extensions);
    for (kept, work) in layers {
        let run = block.layered(|layers| layers.run(|ext| work(ext)), |_| *kept);
        run.expect("readable");
    }
    block.finish(StateVersion::V1).expect("a root")
}

fn good(ext: &mut dyn Externalities) {
    assert!(ext.storage(&key(7)).is_some());
    ext.set_storage(key(8), vec![1]);
    ext.clear_child_storage(&ChildInfo::new_default(b"child"), &key(9));
}

fn bad(ext: &mut dyn Externalities) {
    let child = ChildInfo::new_default(b"child");
    for number in 100..200 {
        assert!(ext.storage(&key(number)).is_some());
        assert!(ext.child_storage(&child, &key(number)).is_some());
    }
    let _ = ext.clear_prefix(&[0, 0, 1], None, None);
}

/// What a layer that is rolled back has read is not in the proof.
#[test]
fn layers_take_what_they_recorded_with_them() {
    let (database, _folder) = database();
    let view = database.view().expect("a head");
    let prove = |layers: &[Layer<'_>]| {
        let recording = view.recording();
        let changes = run(&recording, Extensions::new(), layers);
        (
            changes.state_root,
            recording.proof(),
            recording.proof_bytes(),
        )
    };
    let alone = prove(&[(true, &good)]);
    assert_eq!(alone, prove(&[(false, &bad), (true, &good), (false, &bad)]));
    let (_, kept, bytes) = prove(&[(true, &bad), (true, &good)]);
    assert!(kept.len() > 2 * alone.1.len() && bytes > 2 * alone.2);
}

/// Notes about what is asked for and changed are not in the proof, and begin when they are asked for.
#[test]
fn notes_change_no_proof() {
    let (database, _folder) = database();
    let view = database.view().expect("a head");
    let overwrite = |ext: &mut dyn Externalities| {
        for number in 200..300 {
            ext.set_storage(key(number), vec![2]);
        }
    };
    let prove = |noted: bool| {
        let recording = view.recording();
        let mut block = BlockLayers::new(&recording, Extensions::new());
        block
            .run(|ext| ext.set_storage(key(200), vec![1]))
            .expect("readable");
        if noted {
            block.record_access();
        }
        for kept in [false, true] {
            let run = block.layered(|layers| layers.run(|ext| overwrite(ext)), |_| kept);
            run.expect("readable");
            if let Some(access) = block.take_access() {
                assert_eq!(access.writes.len(), if kept { 100 } else { 0 });
                if let Some(change) = access.writes.get(&(None, key(200))) {
                    assert_eq!(change.before, Some(vec![1]));
                }
            }
        }
        let told = recording.proof_bytes();
        let changes = block.finish(StateVersion::V1).expect("a root");
        (changes.state_root, told, recording.proof())
    };
    assert_eq!(prove(true), prove(false));
}

/// Guests are told how large the proof is, and are told the same when the block is executed again.
#[test]
fn sizes_that_were_told_are_told_again() {
    let (database, _folder) = database();
    let view = database.view().expect("a head");
    let told = std::cell::RefCell::new(Vec::new());
    let ask = |mut ext: &mut dyn Externalities| {
        good(ext);
        let size = ext.extension::<ProofSizeExt>().expect("registered");
        let size = size.storage_proof_size();
        told.borrow_mut().push(size);
        ext.set_storage(b"size".to_vec(), size.to_le_bytes().to_vec());
    };
    let ask_late = |ext: &mut dyn Externalities| {
        bad(ext);
        ask(ext);
    };
    let recording: RecordingState<'_, '_> = view.recording();
    let (extension, sizes) = recording.proof_size();
    let mut extensions = Extensions::new();
    extensions.register(extension);
    let layers: [Layer<'_>; 3] = [(true, &ask), (false, &ask_late), (true, &ask)];
    let recorded = run(&recording, extensions, &layers);
    let first = told.take();
    assert_eq!(first.len(), 3);
    assert!(first[0] > 0 && first[1] > first[0] && first[2] < first[1]);

    // Whoever imports the block does not run what was left out of it.
    let replay = RecordedProofSizeEstimations(sizes.recorded_estimations().into());
    let mut extensions = Extensions::new();
    extensions.register(ProofSizeExt::new(ReplayProofSizeProvider::from(replay)));
    let replayed = run(&view, extensions, &[(true, &ask), (true, &ask)]);
    assert_eq!(told.take(), [first[0], first[2]]);
    assert_eq!(recorded.state_root, replayed.state_root);
}

#[test]
fn a_proof_of_another_state_is_refused() {
    let (database, _folder) = database();
    let view = database.view().expect("a head");
    let recording = view.recording();
    run(&recording, Extensions::new(), &[(true, &good)]);
    let error = ProofState::new(H256::repeat_byte(7), recording.proof()).expect_err("refused");
    assert!(matches!(error, StateError::Trie { .. }), "{error}");
}
