//! The chains of signed extrinsics are the ones their author makes, and show what they should.

#![expect(
    clippy::unwrap_used,
    reason = "the line that a test fails on is all a reader needs"
)]

use std::collections::{BTreeMap, BTreeSet};

use codec::{Compact, Decode};
use slackwater_runtime_fixtures::{
    BlockFixture, FixtureBlock, Offered, OfferedOutcome, Refusal, hexadecimal,
    real_fixtures_or_skip,
};
use slackwater_substrate_path::Oracle;
use slackwater_substrate_path::oracle::{decode_all, state_version};
use slackwater_substrate_path::signed::{
    BLOCKS, FULL_BLOCKS, PENDING_CODE_BLOCK, SEED, SET_CODE_BLOCK, SETTLED_BLOCK, SignedChain,
    author, store,
};

/// Runs a test on each chain, unless the real fixtures are absent and may be.
fn on_each(test: impl Fn(SignedChain, BlockFixture)) {
    for chain in SignedChain::ALL {
        if let Some(fixture) = store::load(chain).unwrap() {
            test(chain, fixture);
        }
    }
}

fn offered(fixture: &BlockFixture) -> impl Iterator<Item = &Offered> {
    fixture
        .blocks
        .iter()
        .flat_map(|b| b.offered.iter().flatten())
}

/// Whether an extrinsic carries a signature: format 4 with the highest bit set.
fn is_signed(extrinsic: &[u8]) -> bool {
    let mut rest = extrinsic;
    Compact::<u32>::decode(&mut rest).is_ok() && rest.first() == Some(&0x84)
}

#[test]
fn authoring_again_gives_the_same_bytes() {
    let Some(fixtures) = real_fixtures_or_skip("authoring signed chains") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for chain in SignedChain::ALL {
        let path = dir.path().join("chain.json");
        let fixture = author(chain, &fixtures, SEED, BLOCKS, |_| {}).unwrap();
        fixture.save(&path).unwrap();
        assert_eq!(store::digest(&path).unwrap(), chain.digest(), "{chain:?}");
    }
}

#[test]
fn another_seed_gives_another_chain() {
    let Some(fixtures) = real_fixtures_or_skip("authoring signed chains") else {
        return;
    };
    let author = |seed| author(SignedChain::NodeTemplate, &fixtures, seed, 19, |_| {}).unwrap();
    let (one, two) = (author(1), author(2));
    assert_eq!(one.state.top, two.state.top);
    assert_ne!(one.blocks, two.blocks);
}

/// So a damaged file is not believed.
#[test]
fn a_damaged_chain_has_another_digest() {
    let Some(path) = store::path(SignedChain::NodeTemplate).unwrap() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("chain.json");
    BlockFixture::load(&path).unwrap().save(&copy).unwrap();
    assert_eq!(store::digest(&copy).unwrap(), store::digest(&path).unwrap());
    let mut text = std::fs::read(&copy).unwrap();
    let last = text.len() - 2;
    text[last] = b' ';
    std::fs::write(&copy, text).unwrap();
    assert_ne!(store::digest(&copy).unwrap(), store::digest(&path).unwrap());
}

#[test]
fn most_extrinsics_are_signed_and_come_from_many_accounts() {
    on_each(|chain, fixture| {
        assert!(fixture.blocks.len() >= 200, "{chain:?}");
        let body = || fixture.blocks.iter().flat_map(|block| &block.body);
        let signed: Vec<_> = body().filter(|extrinsic| is_signed(extrinsic)).collect();
        assert!(signed.len() * 10 > body().count() * 9, "{chain:?}");
        let signer = |extrinsic: &[u8]| {
            let mut rest = extrinsic;
            Compact::<u32>::decode(&mut rest).unwrap();
            <[u8; 32]>::try_from(&rest[2..34]).unwrap()
        };
        let signers: BTreeSet<_> = signed.iter().map(|extrinsic| signer(extrinsic)).collect();
        assert!(signers.len() >= 48, "{chain:?}: {}", signers.len());
    });
}

/// Every class of outcome, on a runtime that encodes errors of modules in the old way and on one
/// that does so in the new.
#[test]
fn every_class_of_error_occurs() {
    on_each(|chain, fixture| {
        let mut counts = BTreeMap::new();
        for offer in offered(&fixture) {
            *counts.entry(offer.outcome.name()).or_insert(0) += 1;
        }
        for class in ["applied", "dispatch_error", "invalid", "trap"] {
            assert!(counts[class] >= 20, "{chain:?}: {counts:?}");
        }
        let of = |outcome| {
            let offers = offered(&fixture).filter(move |offer| offer.outcome == outcome);
            let errors = offers.filter_map(|offer| offer.error.as_deref());
            errors.collect::<BTreeSet<_>>()
        };
        let invalid = of(OfferedOutcome::Invalid);
        // Payment, Future, Stale, BadProof, AncientBirthBlock, ExhaustsResources, CannotLookup.
        let (payment, future, stale, bad_proof) = ([0, 1], [0, 2], [0, 3], [0, 4]);
        let (ancient, exhausted, cannot_lookup) = ([0, 5], [0, 6], [1, 0]);
        for error in [
            payment,
            future,
            stale,
            bad_proof,
            ancient,
            exhausted,
            cannot_lookup,
        ] {
            assert!(
                invalid.contains(&error[..]),
                "{chain:?}: {error:?} is absent"
            );
        }
        let own: &[&[u8]] = match chain {
            // MandatoryValidation.
            SignedChain::NodeTemplate => &[&[0, 9]],
            // Call, BadSigner.
            SignedChain::Subtensor => &[&[0, 0], &[0, 10]],
        };
        assert!(own.iter().all(|error| invalid.contains(error)), "{chain:?}");
        let failed = of(OfferedOutcome::DispatchError);
        let errors: &[&[u8]] = match chain {
            // CannotLookup, BadOrigin; errors of Balances and Sudo in one byte.
            SignedChain::NodeTemplate => &[&[1], &[2], &[3, 5, 2], &[3, 5, 3], &[3, 7, 0]],
            // The same; an error of Sudo in four bytes; errors of tokens and of arithmetic.
            SignedChain::Subtensor => &[&[1], &[2], &[3, 12, 0, 0, 0, 0], &[7, 2], &[8, 0]],
        };
        for error in errors {
            assert!(failed.contains(error), "{chain:?}: {error:?} is absent");
        }
    });
}

#[test]
fn every_kind_of_refused_block_occurs() {
    on_each(|chain, fixture| {
        let refused = fixture.blocks.iter().flat_map(|block| &block.refused);
        let kinds: BTreeSet<_> = refused.map(|refused| refused.refusal.name()).collect();
        let all: BTreeSet<_> = Refusal::ALL.into_iter().map(Refusal::name).collect();
        assert_eq!(kinds, all, "{chain:?}");
    });
}

#[test]
fn full_blocks_hold_all_that_fits() {
    on_each(|chain, fixture| {
        for number in FULL_BLOCKS {
            let block = &fixture.blocks[number as usize - 1];
            let offered = block.offered.as_deref().unwrap();
            let exhausted = |offer: &&Offered| offer.error.as_deref() == Some(&[0, 6]);
            assert!(offered.iter().filter(exhausted).count() >= 3, "{chain:?}");
            assert!(exhausted(&offered.last().unwrap()), "{chain:?}");
        }
        if chain == SignedChain::NodeTemplate {
            // The inherent, and as many transfers as was found elsewhere.
            assert_eq!(
                fixture.blocks[FULL_BLOCKS[0] as usize - 1].body.len(),
                1 + 4_673
            );
        }
    });
}

/// The oracle with the state after a block.
fn after(fixture: &BlockFixture, number: u32) -> Oracle {
    let version = state_version(fixture.state_version);
    let mut oracle = Oracle::new(fixture.state.clone(), version).unwrap();
    for block in &fixture.blocks[..number as usize] {
        let changes = oracle
            .execute_block(&block.header_unsealed, &block.body)
            .unwrap();
        oracle.advance(changes);
        assert_eq!(oracle.state_root(), block.state_root);
    }
    oracle
}

/// The version that a state's `:code` says it has.
fn spec_version(oracle: &Oracle) -> u32 {
    let version = oracle.call("Core_version", &[]).unwrap().output.unwrap();
    let names = <(String, String, u32, u32)>::decode(&mut version.as_slice());
    names.unwrap().3
}

/// Extrinsics offered in a block that were signed for another version than the runtime's.
fn bad_proofs(block: &FixtureBlock) -> usize {
    let offers = block.offered.iter().flatten();
    offers
        .filter(|offer| offer.error.as_deref() == Some(&[0, 4]))
        .count()
}

#[test]
fn the_runtime_is_replaced_by_code_and_by_pending_code() {
    on_each(|chain, fixture| {
        let first = chain.spec_version();
        let before = after(&fixture, SET_CODE_BLOCK - 1);
        assert_eq!(spec_version(&before), first);
        assert_eq!(spec_version(&after(&fixture, SET_CODE_BLOCK)), first + 1);
        // What is pending is run on chain only.
        let pending = after(&fixture, PENDING_CODE_BLOCK);
        assert_eq!(spec_version(&pending), first + 1);
        assert!(pending.read(None, b":pending_code").unwrap().is_some());
        let settled = after(&fixture, SETTLED_BLOCK);
        assert_eq!(spec_version(&settled), first + 2);
        assert_eq!(settled.read(None, b":pending_code").unwrap(), None);
        for number in [SET_CODE_BLOCK, PENDING_CODE_BLOCK] {
            // The next block refuses what was signed for the version before, and takes what was
            // signed for its own.
            let next = &fixture.blocks[number as usize];
            assert_eq!(bad_proofs(next), 1, "{chain:?} {number}");
            assert!(next.body.iter().filter(|e| is_signed(e)).count() >= 2);
        }
        // Each runtime noted that it was new when its first block began.
        let noted = |number: u32| {
            let key = "0x26aa394eea5630e07c48ae0c9558cef7f9cce9c888469bb1a0dceaa129672ef8";
            let key = hexadecimal::decode("key", key).unwrap();
            let writes = fixture.blocks[number as usize].expected_writes.as_ref();
            let write = writes.unwrap().iter().find(|write| write.key == key);
            let noted = write.unwrap().value.clone().unwrap();
            decode_all::<(Compact<u32>, String)>(&noted).unwrap().0.0
        };
        assert_eq!(noted(SET_CODE_BLOCK), first + 1);
        assert_eq!(noted(PENDING_CODE_BLOCK), first + 2);
    });
}

#[test]
fn both_generations_of_block_builders_are_there() {
    on_each(|chain, fixture| {
        let oracle = Oracle::new(fixture.state, state_version(fixture.state_version)).unwrap();
        let version = oracle.call("Core_version", &[]).unwrap().output.unwrap();
        let head =
            <(String, String, u32, u32, u32, Vec<([u8; 8], u32)>)>::decode(&mut &version[..]);
        let apis: BTreeMap<_, _> = head.unwrap().5.into_iter().collect();
        let api = |name: &str| apis[&sp_crypto_hashing::blake2_64(name.as_bytes())];
        let expected = match chain {
            SignedChain::NodeTemplate => (3, 5),
            SignedChain::Subtensor => (5, 6),
        };
        assert_eq!((api("Core"), api("BlockBuilder")), expected);
    });
}
