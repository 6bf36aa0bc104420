//! A signed contract call on a real runtime that burns its gas, under limits of fuel.

use slackwater_executor::{
    Block, ExecutionPath, ExecutorConfig, Fuel, Meter,
    block::{Cause, LeftOut, Offered, ReplayError, execute},
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::BlockFixture;
use slackwater_substrate_path::signed::{SignedChain, contract::endless_contract};
use slackwater_tests::{
    Executor, executor_with, first_block_builder, rules_for_extrinsics, signed_chain,
};
use sp_core::{H256, storage::StateVersion};

/// Gas the contract is given: hundreds of milliseconds of looping.
const GAS: u64 = 20_000_000;

/// Builds block 1 of its inherent and perhaps an extrinsic; returns what became of the last one.
fn build(
    executor: &Executor,
    fixture: &BlockFixture,
    state: &MemoryState,
    extrinsic: Option<&Vec<u8>>,
) -> (Offered, Block, H256) {
    let mut builder = first_block_builder(executor, fixture, state);
    let mut offered = builder
        .push_inherent(&fixture.blocks[0].body[0])
        .expect("goes on");
    assert_eq!(offered.name(), "applied", "{offered:?}");
    if let Some(extrinsic) = extrinsic {
        offered = builder.push(extrinsic).expect("goes on");
    }
    let built = builder.finish().expect("ends");
    (offered, built.block, built.changes.state_root)
}

fn total(offered: &Offered) -> Fuel {
    match offered {
        Offered::Included { fuel, .. } => fuel.expect("it is counted").total,
        Offered::LeftOut(why) => panic!("{why:?}"),
    }
}

#[test]
fn a_contract_call_over_its_limit_is_left_out_and_leaves_no_trace() {
    let Some(fixture) = signed_chain(SignedChain::Subtensor) else {
        return;
    };
    let case = endless_contract(&fixture, GAS).expect("signs");
    let state = MemoryState::new(case.state.clone(), StateVersion::V1);
    let free = executor_with(ExecutorConfig::default());
    let call = &case.extrinsic;
    let (offered, with_call, with_call_root) = build(&free, &fixture, &state, Some(call));
    assert_eq!(offered.name(), "applied", "{offered:?}");
    let calling = total(&offered);
    assert!(
        calling.0 > 100_000_000,
        "the contract did not run: {calling}"
    );
    let unmetered = executor_with(ExecutorConfig::default().with_meter(Meter::Off));
    let (_, _, without_root) = build(&unmetered, &fixture, &state, None);
    assert_ne!(with_call_root, without_root);
    for meter in [Meter::Slacked, Meter::Checked] {
        // By the chain's rules the call is out of fuel, by this machine's it is left out.
        let rules = rules_for_extrinsics(Fuel(calling.0 - 1));
        let strict = executor_with(
            ExecutorConfig::default()
                .with_meter(meter)
                .with_consensus_fuel(rules),
        );
        let (offered, _, root) = build(&strict, &fixture, &state, Some(call));
        assert_eq!(offered.name(), "out_of_fuel");
        assert_eq!(root, without_root);
        let limit = Fuel(calling.0 / 2);
        let careful = executor_with(
            ExecutorConfig::default()
                .with_meter(meter)
                .with_local_limit(limit),
        );
        let (offered, _, root) = build(&careful, &fixture, &state, Some(call));
        assert_eq!(offered, Offered::LeftOut(LeftOut::LocalLimit { limit }));
        assert_eq!(root, without_root);
        // A block with the call in it is invalid by the rules, and not judged under the limit.
        let path = ExecutionPath::Split;
        let judged = execute(&strict, &state, &with_call, path, &Extensions::new);
        let Err(ReplayError::Diverged(divergence)) = judged else {
            panic!("{judged:?}");
        };
        assert!(
            matches!(&divergence.cause, Cause::Trapped(trap) if trap.outcome_name() == "out_of_fuel"),
            "{divergence}"
        );
        let judged = execute(&careful, &state, &with_call, path, &Extensions::new);
        assert!(
            matches!(judged, Err(ReplayError::Execution(_))),
            "{judged:?}"
        );
    }
}
