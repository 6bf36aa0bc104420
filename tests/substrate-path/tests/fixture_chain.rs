//! The fixture chain in the repository is the one that the author makes, and shows what it should.

#![expect(
    clippy::unwrap_used,
    reason = "the line that a test fails on is all a reader needs"
)]

use std::collections::BTreeSet;
use std::path::Path;

use slackwater_runtime_fixtures::block_fixture::changes_path;
use slackwater_runtime_fixtures::guest::{GUEST_UPGRADED_WASM, fixture_chain_path};
use slackwater_runtime_fixtures::{BlockFixture, OfferedOutcome, hexadecimal};
use slackwater_substrate_path::Oracle;
use slackwater_substrate_path::guest_chain::{BLOCKS, SEED, author};
use slackwater_substrate_path::header::HeaderFields;
use sp_core::storage::StateVersion;

fn committed() -> BlockFixture {
    BlockFixture::load(&fixture_chain_path()).unwrap()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn authoring_again_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest-chain.json");
    author(SEED, BLOCKS).unwrap().save(&path).unwrap();
    let message = "run author-fixture-chain and commit the result";
    assert!(read(&path) == read(&fixture_chain_path()), "{message}");
    let committed_changes = changes_path(&fixture_chain_path());
    assert!(
        read(&changes_path(&path)) == read(&committed_changes),
        "{message}"
    );
}

#[test]
fn another_seed_gives_another_chain() {
    let one = author(1, 16).unwrap();
    let two = author(2, 16).unwrap();
    assert_eq!(one.state.top, two.state.top);
    assert_ne!(one.blocks, two.blocks);
}

/// The genesis header has the root of the genesis state and that of an empty trie.
fn genesis_hash(fixture: &BlockFixture) -> [u8; 32] {
    let empty = "0x03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314";
    let empty = hexadecimal::decode("empty trie", empty).unwrap();
    let root = fixture.parent_state_root.unwrap();
    let header = [&[0; 32][..], &[0], &root, &empty, &[0]].concat();
    sp_crypto_hashing::blake2_256(&header)
}

#[test]
fn the_chain_is_linked_and_sealed() {
    let fixture = committed();
    assert!(fixture.blocks.len() >= 64);
    let mut parent_hash = genesis_hash(&fixture);
    for (block, number) in fixture.blocks.iter().zip(1..) {
        assert_eq!((block.number, block.parent_hash), (number, parent_hash));
        assert_eq!(block.hash, sp_crypto_hashing::blake2_256(&block.header));
        let sealed = HeaderFields::decode(&block.header).unwrap();
        let unsealed = HeaderFields::decode(&block.header_unsealed).unwrap();
        assert_eq!(sealed.items.len(), unsealed.items.len() + 1);
        assert_eq!(sealed.state_root, block.state_root);
        assert_eq!(sealed.extrinsics_root, block.extrinsics_root);
        parent_hash = block.hash;
    }
}

#[test]
fn the_body_is_what_was_offered_and_included() {
    for block in committed().blocks {
        let offered = block.offered.unwrap();
        let included = offered.iter().filter(|o| o.outcome.is_included());
        let included: Vec<_> = included.map(|o| &o.extrinsic).collect();
        assert_eq!(included, block.body.iter().collect::<Vec<_>>());
    }
}

/// Number of the call in an extrinsic with its length prefix, if it gets that far.
fn call_number(extrinsic: &[u8]) -> Option<u8> {
    let prefix = match extrinsic.first()? & 3 {
        0 => 1,
        1 => 2,
        _ => 4,
    };
    let payload = &extrinsic[prefix..];
    let sender = 32 + 4 + 8;
    match payload.first()? {
        0 => payload.get(1 + sender).copied(),
        1 => payload.get(1).copied(),
        2 => payload.get(1 + sender + 64).copied(),
        _ => None,
    }
}

#[test]
fn every_outcome_and_every_call_occurs() {
    let (mut outcomes, mut calls) = (BTreeSet::new(), BTreeSet::new());
    let mut errors = BTreeSet::new();
    for offered in committed()
        .blocks
        .into_iter()
        .flat_map(|b| b.offered.unwrap())
    {
        outcomes.insert(offered.outcome.name());
        calls.extend(call_number(&offered.extrinsic).map(|call| (call, offered.outcome.name())));
        errors.extend(offered.error.map(|error| (offered.outcome.name(), error)));
    }
    let expected = [
        "applied",
        "dispatch_error",
        "invalid",
        "native_stack",
        "trap",
    ];
    assert_eq!(outcomes, BTreeSet::from(expected));
    for call in (0..=16).chain([18, 19, 20, 22]) {
        assert!(calls.contains(&(call, "applied")), "call {call}");
    }
    for call in [0, 1, 17, 19] {
        assert!(calls.contains(&(call, "dispatch_error")), "call {call}");
    }
    // All that trap: not the endless loop, not the one that leaves a transaction open.
    for call in [32, 33, 36, 37, 38, 39, 41, 42] {
        assert!(calls.contains(&(call, "trap")), "call {call}");
    }
    assert!(calls.contains(&(35, "native_stack")));
    for error in [
        &[0, 0][..],
        &[0, 1],
        &[0, 2],
        &[0, 3],
        &[0, 4],
        &[0, 6],
        &[0, 7, 1],
        &[1, 1],
    ] {
        assert!(errors.contains(&("invalid", error.to_vec())), "{error:?}");
    }
    for variant in 0..15 {
        let found = errors
            .iter()
            .any(|(kind, error)| *kind == "dispatch_error" && error[0] == variant);
        assert!(found, "variant {variant} of DispatchError");
    }
}

#[test]
fn errors_are_stated_where_there_are_any() {
    for offered in committed()
        .blocks
        .into_iter()
        .flat_map(|b| b.offered.unwrap())
    {
        let has_error = matches!(
            offered.outcome,
            OfferedOutcome::DispatchError | OfferedOutcome::Invalid
        );
        assert_eq!(offered.error.is_some(), has_error);
    }
}

#[test]
fn importing_the_chain_ends_in_the_last_state_with_the_upgraded_runtime() {
    let fixture = committed();
    let mut oracle = Oracle::new(fixture.state, StateVersion::V1).unwrap();
    assert_eq!(Some(oracle.state_root()), fixture.parent_state_root);
    for block in &fixture.blocks {
        let changes = oracle
            .execute_block(&block.header_unsealed, &block.body)
            .unwrap();
        assert_eq!(Some(&changes.writes), block.expected_writes.as_ref());
        oracle.advance(changes);
        assert_eq!(oracle.state_root(), block.state_root);
    }
    let code = oracle.read(None, b":code").unwrap();
    assert!(code.as_deref() == Some(GUEST_UPGRADED_WASM));
}

#[test]
fn a_block_with_another_root_or_a_refused_extrinsic_is_not_executed() {
    let fixture = committed();
    let oracle = Oracle::new(fixture.state, StateVersion::V1).unwrap();
    let first = &fixture.blocks[0];
    let fails = |header: &[u8], body: &[Vec<u8>]| {
        let error = oracle.execute_block(header, body).map(|_| ()).unwrap_err();
        error.to_string()
    };
    let mut fields = HeaderFields::decode(&first.header_unsealed).unwrap();
    fields.state_root[0] ^= 1;
    assert!(fails(&fields.encoded(), &first.body).contains("state root differs"));
    let shorter = &first.body[..first.body.len() - 1];
    assert!(fails(&first.header_unsealed, shorter).contains("extrinsics root differs"));
    assert!(fails(&first.header, &first.body).contains("digest differs"));
    let twice = [&first.body[..], &first.body[..1]].concat();
    assert!(fails(&first.header_unsealed, &twice).contains("invalid extrinsic"));
}
