//! Real blocks: every root, header and write equals the chain's, by both paths.

use std::collections::BTreeMap;

use slackwater_executor::{
    ExecutionPath, GuestProfile, RuntimeBlob,
    runtime::{BLOCK_BUILDER_API, CODE_BYTES_MAX, CORE_API},
};
use slackwater_tests::{PATHS, REAL_BLOCKS, executor, real_blocks, replay, temporary_database};
use sp_core::storage::well_known_keys::CODE;

/// Blocks and extrinsics of each fixture, so that a fixture read in part is noticed.
const SIZES: [(&str, usize, usize); 4] = [
    ("westend-blocks-1-128", 128, 347),
    ("kusama-block-1", 1, 2),
    ("smoldot-child-trie-create-one", 1, 2),
    ("smoldot-runtime-host-2023-06-12", 1, 2),
];

#[test]
fn every_real_block_replays_by_both_paths() {
    let executor = executor();
    for (name, blocks, extrinsics) in SIZES {
        let Some(fixture) = real_blocks(name) else {
            return;
        };
        assert!(
            fixture
                .blocks
                .iter()
                .all(|block| block.expected_writes.is_some()),
            "{name}: the expected writes are absent",
        );
        for (path, path_name) in PATHS {
            let replayed = replay(&executor, &fixture, path)
                .unwrap_or_else(|error| panic!("{name}, {path_name}: {error}"));
            assert_eq!(replayed.len(), blocks, "{name}, {path_name}");
            let body: usize = replayed.iter().map(|block| block.extrinsics).sum();
            assert_eq!(body, extrinsics, "{name}, {path_name}");
            let head = replayed.last().map(|block| block.imported.head);
            let last = fixture
                .blocks
                .last()
                .map(|block| (block.number, block.state_root));
            assert_eq!(head.map(|head| (head.number, head.state_root.0)), last);
        }
    }
}

#[test]
fn the_split_path_tells_extrinsics_apart_and_the_whole_path_touches_every_key() {
    let executor = executor();
    for name in REAL_BLOCKS {
        let Some(fixture) = real_blocks(name) else {
            return;
        };
        let split = replay(&executor, &fixture, ExecutionPath::Split).expect(name);
        for block in &split {
            let receipts = block.imported.receipts.extrinsics.as_ref().expect("split");
            assert_eq!(receipts.len(), block.extrinsics, "{name}");
        }
        let whole = replay(&executor, &fixture, ExecutionPath::Whole).expect(name);
        for (block, expected) in whole.iter().zip(&fixture.blocks) {
            let writes = expected.expected_writes.as_ref().expect("they are present");
            assert_eq!(
                block.imported.keys_touched,
                writes.len(),
                "{name} {}",
                expected.number
            );
        }
    }
}

/// Every block is stored with its header, body and receipts, and the flat state holds exactly what
/// the writes of all blocks add up to.
#[test]
fn the_database_holds_blocks_and_the_final_state() {
    let executor = executor();
    let Some(fixture) = real_blocks("westend-blocks-1-128") else {
        return;
    };
    let (database, _folder) = temporary_database();
    slackwater_tests::replay_onto(&executor, &database, &fixture, ExecutionPath::Split)
        .expect("the fixture replays");
    let mut state: BTreeMap<_, _> = fixture.state.top.clone().into_iter().collect();
    for block in &fixture.blocks {
        let stored = database
            .block(block.number)
            .expect("readable")
            .expect("stored");
        assert_eq!(stored.header, block.header);
        assert_eq!(stored.extrinsics, block.body);
        assert_eq!(stored.hash.0, block.hash);
        for write in block.expected_writes.as_ref().expect("present") {
            match &write.value {
                Some(value) => state.insert(write.key.clone(), value.clone()),
                None => state.remove(&write.key),
            };
        }
    }
    let view = database.view().expect("a head");
    let pairs = sp_state_machine::Backend::pairs(&view, Default::default()).expect("iterates");
    let stored: BTreeMap<_, _> = pairs.map(|pair| pair.expect("readable")).collect();
    assert!(
        stored == state,
        "the flat state differs from the sum of all writes"
    );
}

/// Name, spec version, system version and the versions of Core and BlockBuilder of each runtime,
/// and whether it carries them in sections or has to be called.
#[test]
fn versions_are_read_from_sections_and_by_calling() {
    let executor = executor();
    for (fixture, name, spec, system, core, builder, embedded) in [
        ("westend-blocks-1-128", "westend", 1, 0, 2, 4, false),
        ("kusama-block-1", "kusama", 1020, 0, 2, 4, false),
        (
            "smoldot-child-trie-create-one",
            "swanky-node",
            3,
            1,
            4,
            6,
            true,
        ),
        (
            "smoldot-runtime-host-2023-06-12",
            "substrate-contracts-node",
            100,
            1,
            4,
            6,
            true,
        ),
    ] {
        let Some(fixture) = real_blocks(fixture) else {
            return;
        };
        let code = &fixture.state.top[CODE];
        let runtime = executor.runtime(code).expect(name);
        let version = runtime.version();
        assert_eq!(version.spec_name, name);
        assert_eq!(
            (version.spec_version, version.system_version),
            (spec, system),
            "{name}"
        );
        assert_eq!(version.transaction_version, 1, "{name}");
        assert_eq!(version.api_version(&CORE_API), Some(core), "{name}");
        assert_eq!(
            version.api_version(&BLOCK_BUILDER_API),
            Some(builder),
            "{name}"
        );
        let blob = RuntimeBlob::new(code, CODE_BYTES_MAX, GuestProfile::Substrate).expect(name);
        assert_eq!(
            blob.embedded_version().expect(name).is_some(),
            embedded,
            "{name}"
        );
        assert!(runtime.missing_host_functions().is_empty(), "{name}");
    }
}
