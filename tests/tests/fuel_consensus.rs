//! Fuel as a rule of a chain: who is out of fuel, who finds the block full, what receipts say; and how
//! limits of one machine differ. On our guest's chain, whose extrinsics burn what they are asked to.

use slackwater_executor::{
    Block, BlockBuilder, CallError, ConsensusFuel, ExecutionPath, ExecutorConfig, Fuel, Meter,
    block::{
        BlockReceipts, BuildError, BuiltBlock, Cause, ImportError, LeftOut, Offered, ReplayError,
        execute, import_block, import_parent_state,
    },
    fuel::{CancelToken, Schedule},
    state::{Database, Extensions, Head, MemoryState},
};
use slackwater_runtime_fixtures::guest::{GuestCall, GuestExtrinsic, Sender, genesis};
use slackwater_tests::{Executor, PATHS, executor_with, rules_for_extrinsics, temporary_database};
use sp_core::{
    H256,
    storage::{StateVersion, Storage},
};

/// Far more than anything here uses but for what never ends.
const PLENTY: Fuel = Fuel(1 << 50);

fn storage() -> Storage {
    let accounts: Vec<_> = (1..=9).map(|who| ([who; 32], 1_000_000_000)).collect();
    genesis(&accounts, &[1; 32])
}

/// An extrinsic of an account's first nonce.
fn from(who: u8, call: GuestCall) -> Vec<u8> {
    let who = [who; 32];
    let (nonce, tip) = (0, 0);
    GuestExtrinsic::Trusted(Sender { who, nonce, tip }, call).encoded()
}

fn burn(who: u8, iterations: u64) -> Vec<u8> {
    from(who, GuestCall::Burn { iterations })
}

fn ruled(meter: Meter, rules: ConsensusFuel) -> Executor {
    let config = ExecutorConfig::default().with_meter(meter);
    executor_with(config.with_consensus_fuel(rules))
}

fn parent(state: &MemoryState) -> Head {
    Head {
        number: 0,
        hash: slackwater_executor::block::genesis_hash(state.state_root()),
        state_root: state.state_root(),
    }
}

/// Builds block 1 of the timestamp and these.
fn build(
    executor: &Executor,
    state: &MemoryState,
    extrinsics: &[Vec<u8>],
) -> Result<(Vec<Offered>, BuiltBlock), BuildError> {
    let (digest, extensions) = (Vec::new(), Extensions::new());
    let mut builder = BlockBuilder::new(executor, state, &parent(state), digest, extensions)?;
    let now = GuestExtrinsic::Unsigned(GuestCall::SetTimestamp { now: 6_000 });
    let inherent = builder.push_inherent(&now.encoded())?;
    assert_eq!(inherent.name(), "applied", "{inherent:?}");
    let offered: Result<Vec<_>, _> = extrinsics.iter().map(|one| builder.push(one)).collect();
    Ok((offered?, builder.finish()?))
}

fn names(offered: &[Offered]) -> Vec<&'static str> {
    offered.iter().map(Offered::name).collect()
}

/// The cause for which a block is refused.
fn refused(executor: &Executor, state: &MemoryState, block: &Block, path: ExecutionPath) -> String {
    match execute(executor, state, block, path, &Extensions::new) {
        Err(ReplayError::Diverged(divergence)) => match &divergence.cause {
            Cause::Trapped(trap) => trap.outcome_name().to_owned(),
            cause => format!("{cause:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_extrinsic_over_the_chains_limit_is_left_out_and_makes_a_block_invalid() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let free = ruled(Meter::Slacked, rules_for_extrinsics(PLENTY));
    let offers = [burn(1, 100), burn(2, 200_000), burn(3, 100)];
    let (offered, with) = build(&free, &state, &offers).expect("builds");
    assert_eq!(names(&offered), ["applied"; 3]);
    let (_, without) = build(&free, &state, &[burn(1, 100), burn(3, 100)]).expect("builds");
    let used = with.fuel.as_ref().expect("it is counted").extrinsics[2].total;
    for meter in [Meter::Slacked, Meter::Checked] {
        let strict = ruled(meter, rules_for_extrinsics(Fuel(used.0 - 1)));
        let (offered, built) = build(&strict, &state, &offers).expect("builds");
        assert_eq!(names(&offered), ["applied", "out_of_fuel", "applied"]);
        assert_eq!(built.changes.state_root, without.changes.state_root);
        for (path, name) in PATHS {
            assert_eq!(
                refused(&strict, &state, &with.block, path),
                "out_of_fuel",
                "{name}"
            );
            let fits = execute(&strict, &state, &built.block, path, &Extensions::new);
            let fits = fits.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(fits.receipts.fuel, built.receipts.fuel, "{name}");
            assert_eq!(fits.fuel, built.fuel, "{name}");
        }
        // To the unit.
        let just = ruled(meter, rules_for_extrinsics(used));
        let (offered, _) = build(&just, &state, &offers).expect("builds");
        assert_eq!(names(&offered), ["applied"; 3]);
    }
}

#[test]
fn what_does_not_fit_into_the_block_stays_outside_for_another() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let free = ruled(Meter::Slacked, rules_for_extrinsics(PLENTY));
    let offers = [burn(1, 10_000), burn(2, 10_000), burn(3, 10)];
    let (_, with) = build(&free, &state, &offers).expect("builds");
    let used = with.fuel.as_ref().expect("it is counted");
    let [inherent, first, second, third] = used.extrinsics.as_slice() else {
        panic!("{used:?}");
    };
    let block = Fuel(inherent.total.0 + first.total.0 + third.total.0);
    assert!(third.total < second.total);
    let rules = |extrinsic: u64| ConsensusFuel {
        block,
        ..rules_for_extrinsics(Fuel(extrinsic))
    };
    for meter in [Meter::Slacked, Meter::Checked] {
        // Within its own limit, but more than is left; one that needs less still fits.
        let full = ruled(meter, rules(second.total.0));
        let (offered, _) = build(&full, &state, &offers).expect("builds");
        assert_eq!(names(&offered), ["applied", "no_fuel_left", "applied"]);
        assert_eq!(offered[1], Offered::LeftOut(LeftOut::NoFuelLeft));
        for (path, name) in PATHS {
            assert_eq!(
                refused(&full, &state, &with.block, path),
                "NoFuelLeft",
                "{name}"
            );
        }
        // Over its own limit it is out of fuel, however much is left.
        let both = ruled(meter, rules(first.total.0 - 1));
        let (offered, _) = build(&both, &state, &offers).expect("builds");
        assert_eq!(names(&offered), ["out_of_fuel", "out_of_fuel", "applied"]);
    }
}

#[test]
fn beginning_and_ending_a_block_have_limits_of_their_own() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let free = ruled(Meter::Slacked, rules_for_extrinsics(PLENTY));
    let (_, with) = build(&free, &state, &[]).expect("builds");
    let used = with.fuel.expect("it is counted");
    let rules = rules_for_extrinsics(PLENTY);
    let initialize = Fuel(used.initialize.total.0 - 1);
    let finalize = Fuel(used.finalize.total.0 - 1);
    // What a block's extrinsics may use, they can use for writing keys, whose root is paid at its end.
    let block = used.extrinsics[0].total;
    let greedy = ConsensusFuel {
        finalize: Fuel(block.0 / 2),
        block,
        ..rules_for_extrinsics(PLENTY)
    };
    let refused_rules = slackwater_executor::WasmExecutor::<
        slackwater_executor::host_functions::SlackwaterHostFunctions,
    >::new(ExecutorConfig::default().with_consensus_fuel(greedy));
    let error = refused_rules
        .expect_err("it could not be ended")
        .to_string();
    assert!(error.contains("finalized"), "{error}");
    for (phase, rules) in [
        (
            "initialize",
            ConsensusFuel {
                initialize,
                ..rules
            },
        ),
        (
            "finalize",
            ConsensusFuel {
                initialize: used.initialize.total,
                finalize,
                block,
                ..rules
            },
        ),
    ] {
        let strict = ruled(Meter::Slacked, rules);
        let Err(BuildError::Trapped { phase: found, trap }) = build(&strict, &state, &[]) else {
            panic!("{phase} passes its limit");
        };
        assert_eq!((found, trap.outcome_name()), (phase, "out_of_fuel"));
        let judged = refused(&strict, &state, &with.block, ExecutionPath::Split);
        assert_eq!(judged, "out_of_fuel", "{phase}");
    }
}

#[test]
fn receipts_hold_fuel_where_it_is_in_consensus_and_only_there() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let offers = [burn(1, 1_000), from(2, GuestCall::HostCalls { count: 10 })];
    let receipts = |config: ExecutorConfig| -> BlockReceipts {
        let (_, built) = build(&executor_with(config), &state, &offers).expect("builds");
        built.receipts
    };
    let rules = rules_for_extrinsics(PLENTY);
    let ruled = ExecutorConfig::default().with_consensus_fuel(rules);
    let one = receipts(ruled.clone());
    let fuel = one.fuel.clone().expect("it is in consensus");
    assert_eq!(fuel.extrinsics.len(), 3);
    assert!(
        fuel.extrinsics[2].host > fuel.extrinsics[1].host,
        "{fuel:?}"
    );
    assert!(fuel.extrinsics[1].wasm > 1_000, "{fuel:?}");
    assert_eq!(receipts(ruled.clone().with_meter(Meter::Checked)), one);
    let mut schedule = Schedule::default();
    schedule.set("operator I32Add", 2).expect("a price");
    let dearer = receipts(ruled.with_schedule(schedule))
        .fuel
        .expect("in consensus");
    assert_ne!(dearer.rules, fuel.rules);
    assert!(dearer.extrinsics[1].wasm > fuel.extrinsics[1].wasm);
    for meter in [Meter::Off, Meter::Slacked, Meter::Checked] {
        let plain = receipts(ExecutorConfig::default().with_meter(meter));
        assert_eq!(plain.fuel, None, "{meter:?}");
        assert_eq!(plain.extrinsics, one.extrinsics, "{meter:?}");
    }
    let unmetered = ExecutorConfig::default().with_meter(Meter::Off);
    let refused = slackwater_executor::WasmExecutor::<
        slackwater_executor::host_functions::SlackwaterHostFunctions,
    >::new(unmetered.with_consensus_fuel(rules));
    let error = refused.expect_err("nobody would count").to_string();
    assert!(error.contains("Slacked"), "{error}");
}

/// A limit of this machine keeps a block from being judged, and leaves the database as it was.
#[test]
fn a_local_limit_never_judges_a_block() {
    let storage = storage();
    let state = MemoryState::new(storage.clone(), StateVersion::V1);
    let free = executor_with(ExecutorConfig::default());
    let (_, built) = build(&free, &state, &[burn(1, 200_000)]).expect("builds");
    let (database, _folder) = temporary_database();
    let first = &built.block;
    import_parent_state(&database, &storage, StateVersion::V1, first, None).expect("imports");
    let import = |database: &Database, executor: &Executor, path| {
        import_block(executor, database, first, path, None, &Extensions::new)
    };
    let limit = Fuel(1_000_000);
    for meter in [Meter::Slacked, Meter::Checked] {
        let config = ExecutorConfig::default().with_meter(meter);
        let careful = executor_with(config.with_local_limit(limit));
        for (path, name) in PATHS {
            let Err(ImportError::Replay(ReplayError::Execution(error))) =
                import(&database, &careful, path)
            else {
                panic!("{name} passes the limit");
            };
            assert!(
                matches!(error.call_error(), Some(CallError::LocalLimit { limit: found })
                    if *found == limit),
                "{name}: {error}"
            );
            assert_eq!(database.view().expect("opens").head().number, 0);
        }
        let (offered, left) = build(&careful, &state, &[burn(1, 200_000)]).expect("builds");
        assert_eq!(offered, [Offered::LeftOut(LeftOut::LocalLimit { limit })]);
        assert_eq!(left.block.extrinsics.len(), 1);
    }
    import(&database, &free, ExecutionPath::Split).expect("imports");
    assert_eq!(database.view().expect("opens").head().number, 1);
}

/// An author whose time is up cancels what runs, and ends the block.
#[test]
fn a_cancelled_extrinsic_is_left_out_and_the_block_ends() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let executor = executor_with(ExecutorConfig::default());
    let (_, without) = build(&executor, &state, &[]).expect("builds");
    let token = CancelToken::new();
    let (digest, extensions) = (Vec::new(), Extensions::new());
    let builder = BlockBuilder::new(&executor, &state, &parent(&state), digest, extensions);
    let mut builder = builder.expect("begins").with_cancel(token.clone());
    let now = GuestExtrinsic::Unsigned(GuestCall::SetTimestamp { now: 6_000 });
    builder.push_inherent(&now.encoded()).expect("goes on");
    let offered = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(30));
            token.cancel();
        });
        builder
            .push(&from(1, GuestCall::EndlessLoop))
            .expect("goes on")
    });
    assert_eq!(offered, Offered::LeftOut(LeftOut::Cancelled));
    let late = builder.push(&burn(2, 1)).expect("goes on");
    assert_eq!(late, Offered::LeftOut(LeftOut::Cancelled));
    let built = builder.finish().expect("ends");
    assert_eq!(built.changes.state_root, without.changes.state_root);
    assert_ne!(built.changes.state_root, H256::zero());
}

/// The guest's own ways of going wrong under a rule of fuel: endless loops and recursion among them.
#[test]
fn what_never_ends_by_itself_is_rolled_back() {
    let state = MemoryState::new(storage(), StateVersion::V1);
    let rules = rules_for_extrinsics(Fuel(20_000_000));
    let offers = [
        from(1, GuestCall::EndlessLoop),
        from(2, GuestCall::EndlessRecursion),
        from(3, GuestCall::HostCalls { count: u32::MAX }),
        from(4, GuestCall::AllocLoop { bytes: 65_536 }),
        burn(5, 10),
    ];
    let expected = [
        "out_of_fuel",
        "stack_exhausted",
        "out_of_fuel",
        "trap",
        "applied",
    ];
    let (_, without) = build(&ruled(Meter::Slacked, rules), &state, &offers[4..]).expect("builds");
    for meter in [Meter::Slacked, Meter::Checked] {
        let (offered, built) = build(&ruled(meter, rules), &state, &offers).expect("builds");
        assert_eq!(names(&offered), expected, "{meter:?}: {offered:?}");
        assert_eq!(built.changes.state_root, without.changes.state_root);
        assert_eq!(built.receipts, without.receipts);
    }
}
