//! What was recorded of a chain is found again: in both modes, on any number of threads, from a fixture and from a database.

use std::{num::NonZeroUsize, sync::Mutex};

use slackwater_executor::{
    BlockBuilder, Durability, ExecutionPath, ExecutorConfig, InstanceMode, Meter,
    profile::profiled,
    recording::{
        Recorder, Recording, RecordingFile, RecordingWriter, Verifier, VerifyError, VerifyStat,
    },
    runtime::Compilation,
    state::{Database, DatabaseConfig, Extensions, Head, MemoryState},
    timing::{BlockCall, Phase},
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureChain, guest};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::{
    Executor, REAL_BLOCKS, executor, executor_with, load_blocks, real_blocks, replay_onto,
    signed_chain,
};
use sp_core::storage::StateVersion;

fn threads(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads).expect("some")
}

fn verify(
    executor: &Executor,
    chain: &FixtureChain,
    recording: &Recording,
    count: usize,
) -> Result<VerifyStat, VerifyError> {
    let verifier = Verifier::new(executor, recording).with_threads(threads(count));
    let parent = chain.parent_state().expect("readable");
    verifier.verify(parent, chain.blocks(), &|_block| {})
}

/// Records a chain into a file, and verifies that.
fn record_and_verify(fixture: &BlockFixture) {
    let executor = executor();
    let chain = FixtureChain::open(&executor, fixture).expect("a chain");
    let recording = chain.record(&executor, &fixture.name).expect("records");
    let Recording::Memory(head, blocks) = recording else {
        panic!("it is in memory");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording");
    let mut writer = RecordingWriter::create(&path, &head).expect("begins");
    for block in &blocks {
        writer.add(block).expect("written");
    }
    let bytes = writer.finish().expect("finished");
    assert_eq!(bytes, path.metadata().expect("there").len());
    let recording = Recording::File(RecordingFile::open(&path).expect("opens"));
    assert_eq!((recording.head(), recording.len()), (&head, blocks.len()));
    for (index, block) in blocks.iter().enumerate() {
        assert_eq!(&recording.block(index).expect("readable"), block);
    }
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let executor = executor_with(ExecutorConfig::default().with_instances(mode));
        for count in [1, 2] {
            let verified = verify(&executor, &chain, &recording, count);
            let stat = verified.unwrap_or_else(|error| panic!("{mode:?}, {count}: {error}"));
            // A thread has a block to do.
            let threads = count.min(blocks.len());
            assert_eq!((stat.blocks, stat.threads), (blocks.len(), threads));
            if count > 1 && blocks.len() > 1 {
                assert!(stat.ranges > 1, "a range has a rebuilt state: {stat:?}");
            }
        }
    }
}

#[test]
fn the_chain_of_our_guest_is_found_again() {
    record_and_verify(&load_blocks(&guest::fixture_chain_path()));
}

#[test]
fn real_blocks_are_found_again() {
    for name in REAL_BLOCKS {
        if let Some(fixture) = real_blocks(name) {
            record_and_verify(&fixture);
        }
    }
}

#[test]
fn the_signed_chain_on_the_node_template_is_found_again() {
    if let Some(fixture) = signed_chain(SignedChain::NodeTemplate) {
        record_and_verify(&fixture);
    }
}

#[test]
fn the_signed_chain_on_subtensor_is_found_again() {
    if let Some(fixture) = signed_chain(SignedChain::Subtensor) {
        record_and_verify(&fixture);
    }
}

/// The first blocks of our guest's chain.
fn short_chain() -> BlockFixture {
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(24);
    fixture
}

#[test]
fn a_database_is_recorded_and_verified_within_its_history() {
    let fixture = short_chain();
    let executor = executor();
    let folder = tempfile::tempdir().expect("a folder");
    let config = DatabaseConfig {
        history_blocks: 10,
        ..DatabaseConfig::new(Durability::Buffered)
    };
    let database = Database::open_with(folder.path(), config).expect("opens");
    replay_onto(&executor, &database, &fixture, ExecutionPath::Split).expect("replays");
    let oldest = database.oldest_state().expect("readable");
    assert_eq!(oldest, 14);
    database.stack_at(oldest - 1).expect_err("out of reach");
    let head = database.head().expect("readable").expect("there");
    let parent = || database.stack_at(oldest).expect("within reach");
    let mut recorder = Recorder::new(&executor, parent(), "database".to_owned(), false);
    let blocks = (oldest..head.number).map(|_| recorder.next(&database).expect("records"));
    let blocks: Vec<_> = blocks.collect();
    assert_eq!(
        blocks.last().map(|block| block.state_root),
        Some(head.state_root)
    );
    let recording = Recording::Memory(recorder.head().clone(), blocks);
    for count in [1, 2, 8] {
        let verifier = Verifier::new(&executor, &recording).with_threads(threads(count));
        let verified = verifier.verify(parent(), &database, &|_block| {});
        verified.unwrap_or_else(|error| panic!("{count}: {error}"));
    }
    assert_eq!(
        database.head().expect("readable"),
        Some(head),
        "nothing is written"
    );
    // The same blocks, from the fixture.
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let whole = chain.record(&executor, "fixture").expect("records");
    for index in 0..10 {
        let of_fixture = whole.block(14 + index).expect("there");
        assert_eq!(recording.block(index).expect("there"), of_fixture);
    }
}

#[test]
fn digests_are_verified_on_one_thread() {
    let fixture = short_chain();
    let executor = executor();
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let parent = chain.parent_state().expect("readable");
    let mut recorder = Recorder::new(&executor, parent, "digests".to_owned(), true);
    let blocks = chain.blocks().iter();
    let blocks = blocks.map(|_| recorder.next(chain.blocks()).expect("records"));
    let blocks = blocks.collect();
    let recording = Recording::Memory(recorder.head().clone(), blocks);
    let stat = verify(&executor, &chain, &recording, 4).expect("as recorded");
    assert_eq!((stat.threads, stat.ranges), (1, 1));
}

#[test]
fn who_does_not_count_fuel_compares_the_rest() {
    let fixture = short_chain();
    let counting = executor();
    let off = executor_with(ExecutorConfig::default().with_meter(Meter::Off));
    let chain = FixtureChain::open(&counting, &fixture).expect("a chain");
    for (one, other) in [(&counting, &off), (&off, &counting)] {
        let recording = chain.record(one, "one").expect("records");
        verify(other, &chain, &recording, 2).expect("as recorded");
    }
}

#[test]
fn runs_under_other_rules_are_not_compared() {
    let fixture = short_chain();
    let executor = executor();
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let recording = chain.record(&executor, "one").expect("records");
    let mut schedule = ExecutorConfig::default().schedule;
    schedule.set("function", 7).expect("a price");
    let config = ExecutorConfig::default();
    let others = [
        config.clone().with_schedule(schedule),
        ExecutorConfig {
            canonicalize_nans: false,
            ..config.clone()
        },
        config.with_consensus_fuel(slackwater_tests::rules_for_extrinsics(
            slackwater_executor::Fuel(1 << 40),
        )),
    ];
    for other in others {
        let verified = verify(&executor_with(other), &chain, &recording, 1);
        assert!(
            matches!(verified, Err(VerifyError::Rules { .. })),
            "{verified:?}"
        );
    }
}

#[test]
fn consensus_fuel_is_recorded_and_found_again() {
    let fixture = short_chain();
    let rules = slackwater_tests::rules_for_extrinsics(slackwater_executor::Fuel(1 << 40));
    let executor = executor_with(ExecutorConfig::default().with_consensus_fuel(rules));
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let recording = chain.record(&executor, "ruled").expect("records");
    assert!(recording.head().rules.fuel_rules.is_some());
    verify(&executor, &chain, &recording, 2).expect("as recorded");
}

#[test]
fn time_is_told_by_phase_and_call() {
    let fixture = short_chain();
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let executor = executor_with(ExecutorConfig::default().with_instances(mode));
        let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
        let recording = chain.record(&executor, "timed").expect("records");
        let timings = Mutex::new(Vec::new());
        let verifier = Verifier::new(&executor, &recording).timed();
        let parent = chain.parent_state().expect("readable");
        let verified = verifier.verify(parent, chain.blocks(), &|block| {
            let timing = block.timing.cloned().expect("asked for");
            timings
                .lock()
                .expect("sane")
                .push((block.recorded.number, timing));
        });
        verified.expect("as recorded");
        let timings = timings.into_inner().expect("sane");
        assert_eq!(timings.len(), fixture.blocks.len());
        for ((number, timing), block) in timings.iter().zip(&fixture.blocks) {
            assert_eq!(*number, block.number, "in order on one thread");
            let extrinsics = block.body.iter().map(|_| BlockCall::Extrinsic);
            let expected: Vec<_> = std::iter::once(BlockCall::Initialize)
                .chain(extrinsics)
                .chain([BlockCall::Finalize])
                .collect();
            let calls: Vec<_> = timing.calls.iter().map(|(call, _)| *call).collect();
            assert_eq!(calls, expected);
            for phase in [
                Phase::Instantiate,
                Phase::Wasm,
                Phase::Host,
                Phase::Storage,
                Phase::Reset,
                Phase::Root,
            ] {
                assert!(!timing.phases.of(phase).is_zero(), "{mode:?}, {phase:?}");
            }
            assert!(
                timing.phases.of(Phase::Commit).is_zero(),
                "nothing is committed"
            );
        }
    }
}

/// Where the state costs nothing, every unit of fuel is told by some function.
#[test]
fn a_profile_is_what_functions_told() {
    let fixture = short_chain();
    let mut config = ExecutorConfig::default();
    let free = config.schedule.rows();
    for (name, _) in free.iter().filter(|(name, _)| name.starts_with("state ")) {
        config.schedule.set(name, 0).expect("a price");
    }
    config.compilation.profile_fuel = true;
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let executor = executor_with(config.clone().with_instances(mode));
        let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
        let (recording, profile) = profiled(|| chain.record(&executor, "profiled"));
        let recording = recording.expect("records");
        let blocks = (0..recording.len()).map(|index| recording.block(index).expect("there"));
        let calls: Vec<_> = blocks
            .flat_map(|block| block.calls().cloned().collect::<Vec<_>>())
            .collect();
        let used = calls.iter().map(|call| call.fuel.expect("counted"));
        let used: u64 = used.map(|fuel| fuel.wasm + fuel.size + fuel.host).sum();
        assert_eq!(profile.total(), used);
        for line in profile.folded().lines() {
            assert!(!line.contains("(state"), "{line}");
        }
        // Beside counting it, nothing is done.
        let plain = executor_with(ExecutorConfig {
            compilation: Compilation::default(),
            ..config.clone()
        });
        verify(&plain, &chain, &recording, 2).expect("as recorded");
    }
}

/// However deep a guest calls, its profile stays small.
#[test]
fn a_profile_of_a_deep_recursion_is_shallow() {
    let mut config = ExecutorConfig::default();
    config.compilation.profile_fuel = true;
    let executor = executor_with(config);
    let who = [1; 32];
    let state = MemoryState::new(guest::genesis(&[(who, 1 << 50)], &who), StateVersion::V1);
    let parent = Head {
        number: 0,
        hash: Default::default(),
        state_root: state.state_root(),
    };
    let (nonce, tip) = (0, 0);
    let sender = guest::Sender { who, nonce, tip };
    let call = guest::GuestCall::EndlessRecursion;
    let extrinsic = guest::GuestExtrinsic::Trusted(sender, call).encoded();
    let (offered, profile) = profiled(|| {
        let builder = BlockBuilder::new(&executor, &state, &parent, vec![], Extensions::new());
        builder.expect("begins").push(&extrinsic).expect("goes on")
    });
    assert_eq!(offered.name(), "native_stack", "{offered:?}");
    let deepest = profile.folded();
    let deepest = deepest.lines().map(|line| line.matches(';').count()).max();
    assert!(deepest > Some(50) && deepest < Some(300), "{deepest:?}");
}
