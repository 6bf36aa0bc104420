//! The one call per fixture fails when a fixture states something wrong, whatever it is.

use slackwater_executor::host_functions::SlackwaterHostFunctions;
use slackwater_runtime_fixtures::{
    BlockFixture, Configuration, OfferedOutcome, Refusal, RefusedBlock, check_fixture,
};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::signed_chain;

/// The first blocks, with every class of error and refusal among them.
fn chain() -> Option<BlockFixture> {
    let mut chain = signed_chain(SignedChain::NodeTemplate)?;
    chain.blocks.truncate(6);
    Some(chain)
}

/// What the check says of a fixture.
fn verdict(fixture: &BlockFixture) -> Result<(), String> {
    let default = &Configuration::all()[..1];
    check_fixture::<SlackwaterHostFunctions>(fixture, default)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Position of an offer with this outcome: block and offer.
fn find(fixture: &BlockFixture, outcome: OfferedOutcome) -> (usize, usize) {
    let blocks = fixture.blocks.iter().enumerate();
    let mut found = blocks.filter_map(|(block, stated)| {
        let mut offers = stated.offered.iter().flatten();
        let offer = offers.position(|offer| offer.outcome == outcome)?;
        Some((block, offer))
    });
    found.next().expect("it occurs")
}

#[test]
fn a_wrong_outcome_or_error_is_found() {
    let Some(chain) = chain() else {
        return;
    };
    assert_eq!(verdict(&chain), Ok(()));
    for (outcome, stated, words) in [
        (
            OfferedOutcome::Applied,
            OfferedOutcome::Trap,
            "the receipt is",
        ),
        (OfferedOutcome::Trap, OfferedOutcome::Invalid, "trap came"),
        (
            OfferedOutcome::Invalid,
            OfferedOutcome::Trap,
            " is stated, invalid 0x00",
        ),
        (
            OfferedOutcome::DispatchError,
            OfferedOutcome::Applied,
            "the receipt is",
        ),
    ] {
        let (block, offer) = find(&chain, outcome);
        let mut wrong = chain.clone();
        wrong.blocks[block].offered.as_mut().expect("stated")[offer].outcome = stated;
        let found = verdict(&wrong).expect_err("a wrong outcome");
        assert!(found.contains(words), "{found}");
        assert!(found.contains(&format!("block {}", block + 1)), "{found}");
    }
    for (outcome, words) in [
        (OfferedOutcome::DispatchError, "the receipt is"),
        (OfferedOutcome::Invalid, "offer"),
    ] {
        let (block, offer) = find(&chain, outcome);
        let mut wrong = chain.clone();
        let offered = wrong.blocks[block].offered.as_mut().expect("stated");
        *offered[offer]
            .error
            .as_mut()
            .and_then(|error| error.last_mut())
            .expect("bytes") ^= 1;
        let found = verdict(&wrong).expect_err("a wrong error");
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn other_offers_are_found() {
    let Some(chain) = chain() else {
        return;
    };
    let (block, offer) = find(&chain, OfferedOutcome::DispatchError);
    let mut missing = chain.clone();
    missing.blocks[block]
        .offered
        .as_mut()
        .expect("stated")
        .remove(offer);
    let found = verdict(&missing).expect_err("an offer is missing");
    assert!(found.contains("the receipt is"), "{found}");
    let mut swapped = chain.clone();
    // Funding transfers of one sender: out of order, the nonce is wrong.
    swapped.blocks[1]
        .offered
        .as_mut()
        .expect("stated")
        .swap(1, 2);
    let found = verdict(&swapped).expect_err("the order is wrong");
    assert!(found.contains("build: block 2, offer 1"), "{found}");
    let mut more = chain;
    let offers = more.blocks[1].offered.as_mut().expect("stated");
    offers.insert(1, offers[0].clone());
    let found = verdict(&more).expect_err("an offer too many");
    assert!(found.contains("the receipt is"), "{found}");
}

/// Neither what is offered nor what is refused goes unchecked because a block says less.
#[test]
fn offers_of_some_blocks_only_are_found() {
    let Some(mut chain) = chain() else {
        return;
    };
    chain.blocks[0].offered = None;
    let found = verdict(&chain).expect_err("one block does not state its offers");
    assert!(found.contains("5 of 6 blocks state"), "{found}");
    for block in &mut chain.blocks {
        block.offered = None;
    }
    assert_eq!(verdict(&chain), Ok(()));
    chain.blocks[5].refused[0].header.pop();
    let found = verdict(&chain).expect_err("a refused block does not decode");
    assert!(found.contains("does not decode"), "{found}");
}

#[test]
fn other_roots_and_writes_are_found() {
    let Some(chain) = chain() else {
        return;
    };
    let mut write = chain.clone();
    let writes = write.blocks[3].expected_writes.as_mut().expect("stated");
    let value = writes.iter_mut().find_map(|write| write.value.as_mut());
    value.expect("a value").push(0);
    let found = verdict(&write).expect_err("a wrong write");
    assert!(found.contains("block 4, writes"), "{found}");
    let mut root = chain;
    root.blocks[3].state_root[0] ^= 1;
    let found = verdict(&root).expect_err("a wrong root");
    assert!(found.contains("block 4"), "{found}");
}

#[test]
fn blocks_that_are_not_refused_as_stated_are_found() {
    let Some(chain) = chain() else {
        return;
    };
    let last = chain.blocks.last().expect("blocks");
    let offered = last.offered.as_ref().expect("stated");
    let offered: Vec<_> = offered
        .iter()
        .map(|offer| offer.extrinsic.clone())
        .collect();
    let kept = |refusal| RefusedBlock {
        case: "nothing is wrong with it".to_owned(),
        refusal,
        header: last.header_unsealed.clone(),
        extrinsics: match refusal {
            Refusal::Import | Refusal::ImportWhole => last.body.clone(),
            _ => offered.clone(),
        },
    };
    for refusal in Refusal::ALL {
        let mut wrong = chain.clone();
        wrong.blocks[5].refused = vec![kept(refusal)];
        let found = verdict(&wrong).expect_err("it is not refused");
        assert!(found.contains("nothing is wrong with it"), "{found}");
        assert!(found.contains(refusal.name()), "{found}");
    }
    // The right block under the wrong step.
    for (step, other) in [
        (Refusal::BuildInitialize, Refusal::BuildFinalize),
        (Refusal::BuildMandatory, Refusal::BuildInitialize),
        (Refusal::BuildFinalize, Refusal::BuildMandatory),
    ] {
        let mut wrong = chain.clone();
        let refused = &mut wrong.blocks[5].refused;
        let case = refused.iter_mut().find(|case| case.refusal == step);
        case.expect("it occurs").refusal = other;
        let found = verdict(&wrong).expect_err("the step is another");
        assert!(found.contains(other.name()), "{found}");
    }
}
