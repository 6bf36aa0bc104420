//! Runtime calls on genesis states, against what an independent executor (smoldot) gave.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf};

use slackwater_executor::{
    CallContext, CallOutcome, ExecutorConfig, FuelUsed, InstanceMode, TrapKind,
    block::state_version_of,
    call_on_state,
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::{
    ChainSpec, ExpectedCall, ExpectedResult, expected_calls, real_fixtures_or_skip,
};
use slackwater_tests::{Executor, crate_file_or_skip, executor_with};
use sp_core::storage::well_known_keys::CODE;

/// Checks every line of a file of calls; `find` gives the path of a chain spec. Returns how many
/// calls returned, trapped, and named a method the runtime lacks.
fn check(file: &str, find: impl Fn(&str) -> Option<PathBuf>) -> Option<(usize, usize, usize)> {
    let calls = real_fixtures_or_skip(file)?.join("genesis").join(file);
    let calls = expected_calls::load(&calls).unwrap_or_else(|error| panic!("{error}"));
    let mut by_spec: BTreeMap<&str, Vec<&ExpectedCall>> = BTreeMap::new();
    for call in &calls {
        by_spec.entry(&call.spec).or_default().push(call);
    }
    let executors = [InstanceMode::Fresh, InstanceMode::Snapshot].map(|mode| {
        let config = ExecutorConfig::default().with_instances(mode);
        executor_with(config.with_verify_reset_every(Some(NonZeroU32::MIN)))
    });
    let mut counts = (0, 0, 0);
    for (spec, calls) in by_spec {
        let spec = ChainSpec::load(&find(spec)?).unwrap_or_else(|error| panic!("{error}"));
        let version = state_version_of(&executors[0], &spec.genesis).expect("loads");
        let runtime = spec
            .genesis
            .top
            .get(CODE)
            .map(|code| executors[1].runtime(code));
        let runtime = runtime.expect("it has code").expect("it loads");
        let state = MemoryState::new(spec.genesis, version);
        for call in calls {
            let [fresh, snapshot] = executors
                .each_ref()
                .map(|executor| check_call(executor, &state, call));
            assert_eq!(fresh.1, snapshot.1, "{} {}: fuel", call.spec, call.function);
            match snapshot.0 {
                Ended::Returned => counts.0 += 1,
                Ended::Trapped => counts.1 += 1,
                Ended::Missing => counts.2 += 1,
            }
        }
        assert!(runtime.is_resettable() && runtime.instances().made > 0);
    }
    assert_eq!(counts.0 + counts.1 + counts.2, calls.len());
    assert_eq!(executors[1].instances_differing(), 0);
    Some(counts)
}

enum Ended {
    Returned,
    Trapped,
    Missing,
}

fn check_call(
    executor: &Executor,
    state: &MemoryState,
    call: &ExpectedCall,
) -> (Ended, Option<FuelUsed>) {
    let name = format!("{} {}", call.spec, call.function);
    let context = CallContext::Offchain;
    let extensions = Extensions::new();
    let ours = call_on_state(
        executor,
        state,
        context,
        &call.function,
        &call.param,
        extensions,
    );
    let fuel = ours.as_ref().ok().and_then(|ours| ours.fuel);
    let ended = match (&call.result, ours) {
        (
            ExpectedResult::Returned {
                len,
                output,
                output_blake2_256,
                changes,
            },
            Ok(ours),
        ) => {
            let CallOutcome::Returned(bytes) = ours.outcome else {
                panic!("{name}: expected to return, ended as {:?}", ours.outcome);
            };
            assert_eq!(bytes.len() as u64, *len, "{name}: length of the output");
            assert_eq!(
                sp_crypto_hashing::blake2_256(&bytes),
                *output_blake2_256,
                "{name}"
            );
            if let Some(output) = output {
                assert_eq!(&bytes, output, "{name}: output");
            }
            let touched = ours
                .changes
                .expect("a call that returns has changes")
                .keys();
            assert_eq!(touched as u64, *changes, "{name}: keys touched");
            Ended::Returned
        }
        (ExpectedResult::Failed { .. }, Ok(ours)) => {
            let CallOutcome::Trapped(trap) = ours.outcome else {
                panic!("{name}: expected to fail, ended as {:?}", ours.outcome);
            };
            assert!(
                ours.changes.is_none(),
                "{name}: nothing is left of a call that traps"
            );
            let missing = trap.kind == TrapKind::MissingMethod;
            assert_eq!(missing, call.result.is_absent_function(), "{name}: {trap}");
            if missing {
                Ended::Missing
            } else {
                Ended::Trapped
            }
        }
        (_, Err(error)) => panic!("{name}: {error}"),
    };
    (ended, fuel)
}

#[test]
fn handed_out_genesis_states() {
    let file = "expected-calls.jsonl";
    let find = |spec: &str| Some(real_fixtures_or_skip(spec)?.join("genesis").join(spec));
    let Some((returned, trapped, missing)) = check(file, find) else {
        return;
    };
    assert_eq!((returned, trapped, missing), (26, 4, 14));
}

#[test]
fn genesis_states_of_the_relay_chains() {
    let file = "expected-calls-crate-polkadot-service-31.jsonl";
    let find = |spec: &str| {
        crate_file_or_skip("polkadot-service", "31.0.0", &format!("chain-specs/{spec}"))
    };
    let Some((returned, trapped, missing)) = check(file, find) else {
        return;
    };
    assert_eq!((returned, trapped, missing), (44, 5, 6));
}
