//! Every fixture under every configuration, by one call each.

use slackwater_executor::host_functions::SlackwaterHostFunctions;
use slackwater_runtime_fixtures::{
    BlockFixture, Configuration, check_fixture, conformance::Way, guest,
};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::{REAL_BLOCKS, load_blocks, real_blocks, signed_chain};

/// Checks a fixture; `ways` is how many there are to run it.
fn check(fixture: &BlockFixture, ways: usize) {
    let configurations = Configuration::all();
    let runs = check_fixture::<SlackwaterHostFunctions>(fixture, &configurations)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(runs.len(), ways * configurations.len(), "{}", fixture.name);
    let refused: usize = fixture.blocks.iter().map(|block| block.refused.len()).sum();
    for run in runs {
        assert_eq!(run.blocks, fixture.blocks.len());
        assert_eq!(run.refused, if run.way == Way::Split { refused } else { 0 });
    }
}

#[test]
fn real_blocks_conform() {
    for name in REAL_BLOCKS {
        if let Some(fixture) = real_blocks(name) {
            check(&fixture, 2);
        }
    }
}

#[test]
fn the_chain_of_our_guest_conforms() {
    check(&load_blocks(&guest::fixture_chain_path()), 3);
}

#[test]
fn the_signed_chain_on_the_node_template_conforms() {
    if let Some(fixture) = signed_chain(SignedChain::NodeTemplate) {
        check(&fixture, 3);
    }
}

#[test]
fn the_signed_chain_on_subtensor_conforms() {
    if let Some(fixture) = signed_chain(SignedChain::Subtensor) {
        check(&fixture, 3);
    }
}
