//! The executor in the place of the Polkadot SDK's: beneath `sp-state-machine`, as clients call runtimes.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use sc_executor::{HeapAllocStrategy, WasmExecutionMethod, WasmExecutor};
use slackwater_executor::{
    CancelToken, CodeExecutorError, Fuel, HeapPages, InstanceMode, Meter, SlackwaterExecutor,
    TrapKind, host_functions::StandardHostFunctions,
};
use slackwater_runtime_fixtures::{ChainSpec, guest, real_fixtures_or_skip};
use slackwater_tests::load_blocks;
use sp_core::{
    Blake2Hasher, H256,
    storage::{StateVersion, Storage},
    traits::{CallContext, CodeExecutor, ReadRuntimeVersion, RuntimeCode, WrappedRuntimeCode},
};
use sp_externalities::Extensions;
use sp_state_machine::{
    BasicExternalities, InMemoryBackend, OverlayedChanges, StateMachine,
    backend::{BackendRuntimeCode, TryPendingCode},
};

type Backend = InMemoryBackend<Blake2Hasher>;

/// States with runtimes of several years.
fn states() -> Vec<(String, Storage)> {
    let guest = load_blocks(&guest::fixture_chain_path());
    let mut states = vec![(guest.name, guest.state)];
    if let Some(folder) = real_fixtures_or_skip("runtimes beneath sp-state-machine") {
        for name in ["smoldot-substrate-node-template", "subtensor-raonet"] {
            let spec = ChainSpec::load(&folder.join(format!("genesis/{name}.json")));
            states.push((name.to_owned(), spec.expect("a chain spec").genesis));
        }
    }
    states
}

const CONTEXTS: [CallContext; 3] = [
    CallContext::Offchain,
    CallContext::Onchain { import: false },
    CallContext::Onchain { import: true },
];

/// What a call leaves: its answer, and the root of the state behind it.
fn call<E: CodeExecutor>(
    executor: &E,
    backend: &Backend,
    (method, data): (&str, &[u8]),
    context: CallContext,
) -> (Result<Vec<u8>, String>, H256) {
    let code = BackendRuntimeCode::new(backend, TryPendingCode::No);
    let code = code.runtime_code().expect("there is code");
    let mut overlay = OverlayedChanges::<Blake2Hasher>::default();
    let mut extensions = Extensions::default();
    let mut machine = StateMachine::new(
        backend,
        &mut overlay,
        executor,
        method,
        data,
        &mut extensions,
        &code,
        context,
    );
    let answer = machine.execute().map_err(|error| error.to_string());
    drop(machine);
    let (root, _) = overlay.storage_root(backend, StateVersion::V1);
    (answer, root)
}

#[test]
fn calls_through_the_state_machine_are_those_of_the_reference() {
    let reference = WasmExecutor::<StandardHostFunctions>::builder()
        .with_execution_method(WasmExecutionMethod::Compiled {
            instantiation_strategy: sc_executor::WasmtimeInstantiationStrategy::PoolingCopyOnWrite,
        })
        .with_allow_missing_host_functions(true)
        .build();
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let ours: SlackwaterExecutor = SlackwaterExecutor::builder()
            .with_execution_method(mode)
            .with_allow_missing_host_functions(true)
            .build()
            .expect("an engine");
        for (name, storage) in states() {
            let backend: Backend = (storage, StateVersion::V1).into();
            let account = [7; 32];
            let calls: [(&str, &[u8]); 7] = [
                ("Core_version", &[]),
                ("Metadata_metadata", &[]),
                ("AccountNonceApi_account_nonce", &account),
                ("SessionKeys_decode_session_keys", &[0]),
                ("BlockBuilder_inherent_extrinsics", &[0]),
                ("BlockBuilder_finalize_block", &[]),
                ("No_such_method", &[]),
            ];
            let mut answered = 0;
            for call_made in calls {
                for context in CONTEXTS {
                    let (expected, root) = call(&reference, &backend, call_made, context);
                    let (found, our_root) = call(&ours, &backend, call_made, context);
                    let what = format!("{name}, {}, {context:?}", call_made.0);
                    assert_eq!(found.is_ok(), expected.is_ok(), "{what}: {found:?}");
                    if let (Ok(found), Ok(expected)) = (found, expected) {
                        assert_eq!(found, expected, "{what}");
                        assert_eq!(our_root, root, "{what}");
                        answered += 1;
                    }
                }
            }
            assert!(answered >= 6, "{name}: {answered} calls were answered");
        }
    }
}

#[test]
fn versions_are_read_as_the_reference_reads_them() {
    let reference = WasmExecutor::<StandardHostFunctions>::builder().build();
    let ours: SlackwaterExecutor = SlackwaterExecutor::builder().build().expect("an engine");
    for (name, storage) in states() {
        let code = &storage.top[&b":code"[..]];
        let read = |executor: &dyn ReadRuntimeVersion| {
            executor.read_runtime_version(code, &mut BasicExternalities::default())
        };
        assert_eq!(
            read(&ours).expect("a version"),
            read(&reference).expect("a version"),
            "{name}"
        );
    }
    let mut ext = BasicExternalities::default();
    ours.read_runtime_version(b"no code", &mut ext)
        .expect_err("no version");
}

/// A runtime that loops for ever, or calls the host for ever.
const ENDLESS: &str = r#"(module
    (import "env" "ext_logging_max_level_version_1" (func $host (result i32)))
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 1048576))
    (func (export "loops") (param i32 i32) (result i64)
        (loop $again (br $again)) (i64.const 0))
    (func (export "calls") (param i32 i32) (result i64)
        (loop $again (drop (call $host)) (br $again)) (i64.const 0))
    (func (export "traps") (param i32 i32) (result i64) (call $inner) (i64.const 0))
    (func $inner unreachable))"#;

/// Calls a method of it.
fn endless(
    executor: &SlackwaterExecutor,
    method: &str,
    context: CallContext,
) -> Result<Vec<u8>, CodeExecutorError> {
    let wasm = wat::parse_str(ENDLESS).expect("a module");
    let code = WrappedRuntimeCode(Cow::Owned(wasm));
    let code = RuntimeCode {
        code_fetcher: &code,
        heap_pages: None,
        hash: vec![1],
    };
    let (result, native) = executor.call(
        &mut BasicExternalities::default(),
        &code,
        method,
        &[],
        context,
    );
    assert!(!native);
    result
}

#[test]
fn an_endless_query_ends_by_its_deadline() {
    let deadline = Duration::from_millis(50);
    let period = Duration::from_millis(1);
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
            .with_meter(meter)
            .with_arbiter_period(period)
            .with_offchain_deadline(deadline)
            .build()
            .expect("an engine");
        // Loading counts too, and is not what is looked at here.
        let _compiled = endless(&executor, "traps", CallContext::Offchain);
        for method in ["loops", "calls"] {
            // The machine may be busy with something else: of some, the fastest.
            let took = (0..5).map(|_| {
                let begun = Instant::now();
                let error = endless(&executor, method, CallContext::Offchain);
                let error = error.expect_err("it is endless");
                assert!(
                    matches!(&error, CodeExecutorError::Deadline { deadline: of, .. } if *of == deadline),
                    "{error}"
                );
                begun.elapsed()
            });
            let took = took.min().expect("some");
            assert!(took >= deadline, "{took:?}");
            assert!(
                took < deadline + period + Duration::from_millis(5),
                "{meter:?}: {took:?}"
            );
        }
    }
}

#[test]
fn a_query_that_uses_too_much_fuel_says_so_and_blocks_do_not() {
    let limit = Fuel(1_000_000);
    let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
        .with_offchain_fuel(limit)
        .build()
        .expect("an engine");
    let error = endless(&executor, "loops", CallContext::Offchain).expect_err("endless");
    assert!(
        matches!(error, CodeExecutorError::Fuel { limit: of, .. } if of == limit),
        "{error}"
    );
    // On chain, this limit is none: somebody else has to end it.
    let token = CancelToken::new();
    let cancelled = executor
        .clone()
        .cancelled_by(token.clone())
        .expect("guests count");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| endless(&cancelled, "loops", CONTEXTS[1]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!running.is_finished());
        token.cancel();
        let error = running.join().expect("no panic").expect_err("cancelled");
        assert!(
            matches!(error, CodeExecutorError::Cancelled { .. }),
            "{error}"
        );
    });
    let limits = SlackwaterExecutor::<StandardHostFunctions>::builder()
        .with_meter(Meter::Off)
        .with_offchain_fuel(limit)
        .build();
    limits.expect_err("nobody would notice");
    let compat = SlackwaterExecutor::<StandardHostFunctions>::builder().with_compat();
    let compat = compat.build().expect("an engine");
    assert_eq!(compat.wasm_executor().config().meter, Meter::Off);
    let cancelled = compat.cancelled_by(CancelToken::new());
    cancelled.expect_err("nobody would notice");
}

#[test]
fn a_deadline_beyond_what_a_clock_can_say_is_none() {
    let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
        .with_offchain_deadline(Duration::MAX)
        .build()
        .expect("an engine");
    let error = endless(&executor, "traps", CallContext::Offchain).expect_err("it traps");
    assert!(
        matches!(error, CodeExecutorError::Trapped { .. }),
        "{error}"
    );
}

#[test]
fn code_that_is_loaded_later_than_the_deadline_is_not_called() {
    let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
        .with_offchain_deadline(Duration::ZERO)
        .build()
        .expect("an engine");
    for method in ["loops", "traps", "loops"] {
        let error = endless(&executor, method, CallContext::Offchain).expect_err("no time");
        assert!(
            matches!(error, CodeExecutorError::Deadline { .. }),
            "{method}: {error}"
        );
    }
}

#[test]
fn faults_are_typed_and_name_the_guests_functions() {
    let executor: SlackwaterExecutor = SlackwaterExecutor::builder().build().expect("an engine");
    match endless(&executor, "traps", CallContext::Offchain).expect_err("it traps") {
        CodeExecutorError::Trapped { trap, .. } => {
            assert_eq!(trap.kind, TrapKind::Unreachable);
            let backtrace = trap.backtrace.expect("a backtrace");
            assert!(backtrace.contains("inner"), "{backtrace}");
        }
        other => panic!("{other}"),
    }
    let mut ext = BasicExternalities::default();
    let (none, _) = executor.call(&mut ext, &RuntimeCode::empty(), "any", &[], CONTEXTS[0]);
    assert!(matches!(none, Err(CodeExecutorError::NoCode)), "{none:?}");
}

#[test]
fn heaps_are_those_of_the_context() {
    // A runtime that says how large its memory is.
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 17)
            (global (export "__heap_base") i32 (i32.const 1048576))
            (func (export "pages") (param i32 i32) (result i64)
                (i64.store (i32.const 8) (i64.extend_i32_u (memory.size)))
                (i64.const 34359738376)))"#,
    );
    let code = WrappedRuntimeCode(Cow::Owned(wasm.expect("a module")));
    let builder = WasmExecutor::<StandardHostFunctions>::builder();
    let reference = builder
        .with_onchain_heap_alloc_strategy(HeapAllocStrategy::Static { extra_pages: 10 })
        .with_offchain_heap_alloc_strategy(HeapAllocStrategy::Static { extra_pages: 20 })
        .build();
    let ours: SlackwaterExecutor = SlackwaterExecutor::builder()
        .with_onchain_heap_alloc_strategy(HeapPages::Static { extra: 10 })
        .with_offchain_heap_alloc_strategy(HeapPages::Static { extra: 20 })
        .build()
        .expect("an engine");
    for heap_pages in [None, Some(3)] {
        for context in CONTEXTS {
            let code = RuntimeCode {
                code_fetcher: &code,
                heap_pages,
                hash: vec![2],
            };
            let mut ext = BasicExternalities::default();
            let (expected, _) = reference.call(&mut ext, &code, "pages", &[], context);
            let (found, _) = ours.call(&mut ext, &code, "pages", &[], context);
            let (expected, found) = (expected.expect("answers"), found.expect("answers"));
            assert_eq!(found, expected, "{heap_pages:?}, {context:?}");
        }
    }
}
