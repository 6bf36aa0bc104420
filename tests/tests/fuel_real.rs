//! Fuel of real runtimes: counted like the engine's own, limited to the unit, and without effect on
//! results.

use std::path::PathBuf;

use slackwater_executor::{
    CallContext, CallLimits, CallOutcome, ExecutorConfig, Fuel, FuelUsed, Meter, TrapKind,
    block::{LeftOut, Offered, state_version_of},
    call_on_state_limited,
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::{
    BlockFixture, ChainSpec, ExpectedCall, expected_calls, guest, real_fixtures_or_skip,
};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::{
    Executor, crate_file_or_skip, executor_with, first_block_builder, load_blocks, signed_chain,
};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

fn executors() -> [Executor; 3] {
    [Meter::Slacked, Meter::Checked, Meter::Engine]
        .map(|meter| executor_with(ExecutorConfig::default().with_meter(meter)))
}

/// A call's outcome and fuel.
fn call(
    executor: &Executor,
    state: &MemoryState,
    call: (&str, &[u8]),
    limit: Option<Fuel>,
) -> (CallOutcome, Option<FuelUsed>) {
    let (method, input) = call;
    let context = CallContext::Offchain;
    let extensions = Extensions::new();
    let limits = limit.map_or_else(CallLimits::none, CallLimits::consensus);
    let called =
        call_on_state_limited(executor, state, context, method, input, extensions, &limits)
            .unwrap_or_else(|error| panic!("{method}: {error}"));
    (called.outcome, called.fuel)
}

#[test]
fn calls_on_genesis_states_use_what_the_engine_counts() {
    let file = "expected-calls.jsonl";
    let find = |spec: &str| Some(real_fixtures_or_skip(spec)?.join("genesis").join(spec));
    assert_eq!(
        compare_calls(file, find),
        real_fixtures_or_skip(file).map(|_| 26)
    );
}

#[test]
fn calls_on_relay_chains_use_what_the_engine_counts() {
    let file = "expected-calls-crate-polkadot-service-31.jsonl";
    let find = |spec: &str| {
        crate_file_or_skip("polkadot-service", "31.0.0", &format!("chain-specs/{spec}"))
    };
    assert_eq!(
        compare_calls(file, find),
        real_fixtures_or_skip(file).map(|_| 44)
    );
}

/// Compares the calls of a file; returns how many returned.
fn compare_calls(file: &str, find: impl Fn(&str) -> Option<PathBuf>) -> Option<usize> {
    let path = real_fixtures_or_skip(file)?.join("genesis").join(file);
    let executors = executors();
    let mut states = std::collections::BTreeMap::new();
    let mut compared = 0;
    for expected in expected_calls::load(&path).expect("loads") {
        let spec = expected.spec.clone();
        if !states.contains_key(&spec) {
            let genesis = ChainSpec::load(&find(&spec)?).expect("loads").genesis;
            let version = state_version_of(&executors[0], &genesis).expect("a runtime");
            // One chain's state at a time is enough memory.
            states.clear();
            states.insert(spec.clone(), MemoryState::new(genesis, version));
        }
        compared += usize::from(compare_call(&executors, &states[&spec], &expected));
    }
    Some(compared)
}

/// How a call ended, without what is for people, and all it used.
fn end(call: &(CallOutcome, Option<FuelUsed>)) -> (Result<&[u8], TrapKind>, Option<FuelUsed>) {
    let ended = match &call.0 {
        CallOutcome::Returned(output) => Ok(output.as_slice()),
        CallOutcome::Trapped(trap) => Err(trap.kind),
    };
    (ended, call.1)
}

/// What a call returned, and what its operators cost.
fn operators(call: &(CallOutcome, Option<FuelUsed>)) -> (&CallOutcome, Option<u64>) {
    (&call.0, call.1.map(|fuel| fuel.wasm))
}

/// Whether a call returns; then it must use what the engine counts, and be limited to the unit.
fn compare_call(executors: &[Executor; 3], state: &MemoryState, expected: &ExpectedCall) -> bool {
    let ExpectedCall {
        spec,
        function,
        param,
        ..
    } = expected;
    let [ours, checked, engine] = executors
        .each_ref()
        .map(|executor| call(executor, state, (function, param), None));
    assert_eq!(end(&ours), end(&checked), "{spec} {function}");
    let returns = matches!(ours.0, CallOutcome::Returned(_));
    assert_eq!(returns, matches!(engine.0, CallOutcome::Returned(_)));
    if !returns {
        return false;
    }
    assert_eq!(operators(&ours), operators(&engine), "{spec} {function}");
    // To the unit: what it used is enough, one less is not.
    let limited =
        |number: usize, limit| call(&executors[number], state, (function, param), Some(limit));
    let used = ours.1.expect("fuel is counted").total;
    for number in [0, 1] {
        assert_eq!(
            operators(&limited(number, used)),
            operators(&ours),
            "{spec} {function}"
        );
    }
    for (number, less) in [used.0 - 1, used.0 / 2, 0].into_iter().enumerate() {
        let less = Fuel(less);
        let (outcome, fuel) = limited(number % 2, less);
        let CallOutcome::Trapped(trap) = outcome else {
            panic!("{spec} {function}: {less} is not enough");
        };
        let fuel = fuel.map(|fuel| (fuel.total, fuel.limit));
        assert_eq!(
            (trap.kind, fuel),
            (TrapKind::OutOfFuel, Some((less, Some(less))))
        );
    }
    true
}

/// The calls that executors are compared by, on the runtime they are compared on.
#[test]
fn calls_of_the_published_benchmark_use_what_the_engine_counts() {
    let file = "benches/kusama_runtime.wasm";
    let Some(path) = crate_file_or_skip("sc-executor", "0.51.0", file) else {
        return;
    };
    let storage = Storage {
        top: [(CODE.to_vec(), std::fs::read(path).expect("readable"))].into(),
        ..Storage::default()
    };
    let state = MemoryState::new(storage, StateVersion::V1);
    let executors = executors();
    for (method, input) in [
        ("test_empty_return", [0].as_slice()),
        ("test_dirty_plenty_memory", &[0, 0, 0, 0, 16, 0, 0, 0]),
        ("test_dirty_plenty_memory", &[0, 0, 16, 0, 1, 0, 0, 0]),
        ("Core_version", &[]),
        ("Metadata_metadata", &[]),
    ] {
        let [ours, checked, engine] = executors
            .each_ref()
            .map(|executor| call(executor, &state, (method, input), None));
        assert!(matches!(ours.0, CallOutcome::Returned(_)), "{method}");
        assert_eq!(ours, checked, "{method}");
        assert_eq!(operators(&ours), operators(&engine), "{method}");
    }
}

/// Builds a block of a chain on its parent's state with a limit for each extrinsic.
fn build(
    executor: &Executor,
    fixture: &BlockFixture,
    extrinsics: &[Vec<u8>],
    limit: Option<Fuel>,
) -> (Vec<Offered>, sp_core::H256) {
    let version = match fixture.state_version {
        Some(0) => StateVersion::V0,
        _ => StateVersion::V1,
    };
    let state = MemoryState::new(fixture.state.clone(), version);
    let mut builder = first_block_builder(executor, fixture, &state);
    if let Some(limit) = limit {
        builder = builder.with_extrinsic_limit(limit);
    }
    let offered = extrinsics
        .iter()
        .map(|extrinsic| builder.push(extrinsic).expect("goes on"));
    let offered = offered.collect();
    (offered, builder.finish().expect("ends").changes.state_root)
}

/// Signed extrinsics that use more than they may are rolled back and left out, the block goes on,
/// and its root is that of the block built without them.
#[test]
fn a_signed_extrinsic_over_its_limit_leaves_no_trace() {
    let Some(fixture) = signed_chain(SignedChain::NodeTemplate) else {
        return;
    };
    let [slacked, ..] = executors();
    let unmetered = executor_with(ExecutorConfig::default().with_meter(Meter::Off));
    // The inherent of block 1, and the first funding transfer of block 2, valid there too.
    let inherent = fixture.blocks[0].body[0].clone();
    let transfer = fixture.blocks[1].body[1].clone();
    let offers = [inherent.clone(), transfer];
    let (all, with) = build(&slacked, &fixture, &offers, None);
    assert!(
        all.iter().all(|o| matches!(o, Offered::Included { .. })),
        "{all:?}"
    );
    // The inherent needs far less than a signed transfer.
    let used = all.iter().map(|offered| match offered {
        Offered::Included { fuel, .. } => fuel.expect("it is counted").total.0,
        Offered::LeftOut(_) => 0,
    });
    let used: Vec<_> = used.collect();
    assert!(used[0] + 1_000 < used[1], "{used:?}");
    let limit = Fuel(used[1] - 1);
    let (some, root) = build(&slacked, &fixture, &offers, Some(limit));
    assert!(matches!(some[0], Offered::Included { .. }), "{some:?}");
    assert_eq!(some[1], Offered::LeftOut(LeftOut::LocalLimit { limit }));
    let (_, without) = build(&unmetered, &fixture, &[inherent], None);
    assert_eq!(root, without);
    assert_ne!(root, with);
}

/// What never ends by itself, ends.
#[test]
fn an_endless_loop_of_our_guest_is_out_of_fuel() {
    let fixture = load_blocks(&guest::fixture_chain_path());
    let [slacked, ..] = executors();
    let sender = guest::Sender {
        who: guest_sudo(&fixture),
        nonce: 0,
        tip: 0,
    };
    let endless = guest::GuestExtrinsic::Trusted(sender, guest::GuestCall::EndlessLoop).encoded();
    let (offered, _) = build(&slacked, &fixture, &[endless], Some(Fuel(10_000_000)));
    assert_eq!(offered[0].name(), "local_limit", "{offered:?}");
}

fn guest_sudo(fixture: &BlockFixture) -> guest::Account {
    let sudo = fixture.state.top.get(guest::SUDO_KEY);
    sudo.map_or([0; 32], |sudo| {
        sudo.as_slice().try_into().expect("an account")
    })
}
