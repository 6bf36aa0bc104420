//! What the fixture chain of our own guest shows beyond conforming: every outcome, continuing on a
//! database, effects beside storage. It needs nothing but this repository.

use slackwater_executor::{
    CallContext, Durability, ExecutionPath,
    state::{Database, StateError},
};
use slackwater_runtime_fixtures::{BlockFixture, guest};
use slackwater_tests::{executor, load_blocks, replay, replay_onto, temporary_database};

fn chain() -> BlockFixture {
    load_blocks(&guest::fixture_chain_path())
}

#[test]
fn every_outcome_occurs_and_the_runtime_is_upgraded_on_the_way() {
    let chain = chain();
    let offered = || {
        chain
            .blocks
            .iter()
            .flat_map(|block| block.offered.iter().flatten())
    };
    for outcome in [
        "applied",
        "dispatch_error",
        "invalid",
        "trap",
        "native_stack",
    ] {
        let count = offered()
            .filter(|offer| offer.outcome.name() == outcome)
            .count();
        assert!(count >= 3, "{outcome} occurs {count} times");
    }
    let executor = executor();
    let (database, _folder) = temporary_database();
    replay_onto(&executor, &database, &chain, ExecutionPath::Split).expect("the chain replays");
    let view = database.view().expect("a head");
    let load = |context| slackwater_executor::block::load_runtime(&executor, &view, context);
    let (runtime, _) = load(CallContext::Offchain).expect("loads");
    assert_eq!(runtime.version().spec_version, 2);
}

/// A chain is continued where the database stands, and a foreign one is refused.
#[test]
fn replay_goes_on_after_reopening() {
    let (executor, chain) = (executor(), chain());
    let folder = tempfile::tempdir().expect("a folder");
    let half = chain.blocks.len() / 2;
    let first = BlockFixture {
        blocks: chain.blocks[..half].to_vec(),
        ..chain.clone()
    };
    {
        let database = Database::open(folder.path(), Durability::Sync).expect("opens");
        assert!(matches!(database.view(), Err(StateError::NoHead)));
        let done = replay_onto(&executor, &database, &first, ExecutionPath::Split);
        assert_eq!(done.expect("replays").len(), half);
    }
    let database = Database::open(folder.path(), Durability::Sync).expect("reopens");
    let rest = replay_onto(&executor, &database, &chain, ExecutionPath::Whole).expect("replays");
    assert_eq!(rest.len(), chain.blocks.len() - half);
    let again = replay_onto(&executor, &database, &chain, ExecutionPath::Whole).expect("replays");
    assert_eq!(again.len(), 0);
    let refused = replay_onto(&executor, &database, &first, ExecutionPath::Split);
    let error = refused
        .expect_err("the database is ahead of this fixture")
        .to_string();
    assert!(error.contains("does not continue"), "{error}");
}

/// What a block does beside storage comes back with its import, on both paths alike.
#[test]
fn effects_beside_storage_are_handed_to_whoever_imports() {
    let (executor, chain) = (executor(), chain());
    let effects = |path| {
        let replayed = replay(&executor, &chain, path).expect("the chain replays");
        let keys = replayed
            .iter()
            .flat_map(|block| &block.imported.offchain_index);
        keys.map(|((_, key), _)| key.clone()).collect::<Vec<_>>()
    };
    let split = effects(ExecutionPath::Split);
    assert!(
        !split.is_empty(),
        "the chain writes into the offchain index"
    );
    assert_eq!(split, effects(ExecutionPath::Whole));
}
