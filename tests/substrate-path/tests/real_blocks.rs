//! The oracle agrees with real chains and with another executor: same roots, same writes.

#![expect(
    clippy::unwrap_used,
    reason = "the line that a test fails on is all a reader needs"
)]

use slackwater_runtime_fixtures::{BlockFixture, real_fixtures_or_skip};
use slackwater_substrate_path::Oracle;
use slackwater_substrate_path::oracle::state_version;
use sp_core::storage::StateVersion;

fn replay(name: &str, version: StateVersion) {
    let Some(dir) = real_fixtures_or_skip(name) else {
        return;
    };
    let fixture = BlockFixture::load(&dir.join(format!("blocks/{name}.json"))).unwrap();
    let mut oracle = Oracle::new(fixture.state, version).unwrap();
    for block in &fixture.blocks {
        let changes = oracle
            .execute_block(&block.header_unsealed, &block.body)
            .unwrap();
        let expected = block.expected_writes.as_ref().unwrap();
        for write in expected {
            assert!(
                changes.writes.contains(write),
                "{name}: {write:?} is absent"
            );
        }
        assert_eq!(changes.writes.len(), expected.len(), "{name}");
        assert_eq!(changes.state_root, block.state_root, "{name}");
        oracle.advance(changes);
    }
}

#[test]
fn westend_from_genesis() {
    replay("westend-blocks-1-128", state_version(None));
}

#[test]
fn kusama_block_one() {
    replay("kusama-block-1", state_version(None));
}

#[test]
fn a_contract_that_creates_a_child_trie() {
    replay("smoldot-child-trie-create-one", StateVersion::V1);
}

#[test]
fn a_contract_upload() {
    replay("smoldot-runtime-host-2023-06-12", StateVersion::V1);
}
