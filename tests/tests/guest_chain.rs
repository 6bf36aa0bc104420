//! The fixture chain of our own guest: replayed by both paths, and built anew from what was offered,
//! with every outcome there is. It needs nothing but this repository.

use slackwater_executor::{
    Block, CallContext, Durability, ExecutionPath,
    block::{BlockBuilder, Offered},
    state::{Database, Extensions, StateError},
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureBlock, guest};
use slackwater_tests::{PATHS, executor, load_blocks, replay, replay_onto, temporary_database};
use sp_core::storage::StateVersion;
use sp_runtime::DigestItem;

const BLOCKS_MIN: usize = 64;

fn chain() -> BlockFixture {
    load_blocks(&guest::fixture_chain_path())
}

#[test]
fn the_chain_replays_by_both_paths() {
    let (executor, chain) = (executor(), chain());
    assert!(chain.blocks.len() >= BLOCKS_MIN);
    for (path, name) in PATHS {
        let replayed = replay(&executor, &chain, path).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(replayed.len(), chain.blocks.len());
    }
}

#[test]
fn receipts_are_those_of_the_included_extrinsics() {
    let (executor, chain) = (executor(), chain());
    let replayed = replay(&executor, &chain, ExecutionPath::Split).expect("the chain replays");
    for (replayed, block) in replayed.iter().zip(&chain.blocks) {
        let offered = block
            .offered
            .as_ref()
            .expect("the chain says what was offered");
        let expected: Vec<_> = offered
            .iter()
            .filter(|offer| offer.outcome.is_included())
            .collect();
        let receipts = replayed
            .imported
            .receipts
            .extrinsics
            .as_ref()
            .expect("split");
        assert_eq!(receipts.len(), expected.len(), "block {}", block.number);
        for (receipt, offer) in receipts.iter().zip(expected) {
            assert_eq!(
                receipt.result.name(),
                offer.outcome.name(),
                "block {}",
                block.number
            );
        }
    }
}

fn pre_runtime(block: &Block) -> Vec<DigestItem> {
    let logs = block.header.digest.logs.iter();
    logs.filter(|item| matches!(item, DigestItem::PreRuntime(..)))
        .cloned()
        .collect()
}

/// Builds one block from what was offered and compares outcome, body, header and root.
fn build(executor: &slackwater_tests::Executor, database: &Database, expected: &FixtureBlock) {
    let number = expected.number;
    let chain_block = Block::decode(&expected.header_unsealed, expected.body.clone()).expect("ok");
    let view = database.view().expect("a head");
    let parent = *view.head();
    let digest = pre_runtime(&chain_block);
    let mut builder = BlockBuilder::new(executor, &view, &parent, digest, Extensions::new())
        .unwrap_or_else(|error| panic!("block {number}: {error}"));
    for (at, offer) in expected
        .offered
        .as_ref()
        .expect("offered")
        .iter()
        .enumerate()
    {
        let result = builder.push(&offer.extrinsic).expect("the block goes on");
        assert_eq!(
            result.name(),
            offer.outcome.name(),
            "block {number}, offer {at}: {result:?}"
        );
        assert_eq!(
            matches!(result, Offered::Included { .. }),
            offer.outcome.is_included()
        );
    }
    let mut built = builder.finish().expect("the block ends");
    assert_eq!(built.block, chain_block, "block {number}");
    assert_eq!(
        built.changes.state_root.0, expected.state_root,
        "block {number}"
    );
    // Store it under the hash the chain knows it by, seals included.
    built.block = Block::decode(&expected.header, expected.body.clone()).expect("decodes");
    let record = built.record();
    database
        .commit(&parent, built.changes, &record)
        .expect("commits");
}

#[test]
fn building_from_what_was_offered_gives_the_same_chain() {
    let (executor, chain) = (executor(), chain());
    let (database, _folder) = temporary_database();
    let prepared = database
        .prepare_state(&chain.state, StateVersion::V1)
        .expect("state");
    database
        .import_state(prepared, 0, chain.blocks[0].parent_hash.into())
        .expect("imports");
    for block in &chain.blocks {
        build(&executor, &database, block);
    }
    let head = database.head().expect("readable").expect("a head");
    let last = chain.blocks.last().expect("blocks");
    assert_eq!(
        (head.number, head.hash.0, head.state_root.0),
        (last.number, last.hash, last.state_root)
    );
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
