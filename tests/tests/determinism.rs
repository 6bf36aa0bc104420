//! One test for each row of docs/determinism.md: what a guest can see of its host, and what it does
//! beside storage.

use std::sync::Arc;

use slackwater_executor::{
    CallContext, CallError, CallOutcome, ExecutionError, ExecutorConfig, WasmExecutor,
    block::BlockExecution,
    call_on_state,
    host_functions::{HostFunctions, StandardHostFunctions},
    state::{BlockChanges, Extensions, MemoryState},
};
use slackwater_runtime_fixtures::guest::{
    GUEST_UPGRADED_WASM, GUEST_WASM, GuestCall, GuestExtrinsic, Sender, genesis,
};
use slackwater_tests::{executor, executor_with, temporary_database};
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, well_known_keys::CODE},
};
use sp_io::UseDalekExt;
use sp_state_machine::{Backend, IndexOperation};
use sp_trie::proof_size_extension::{
    ProofSizeExt, RecordedProofSizeEstimations, ReplayProofSizeProvider,
};

fn state_of(code: &[u8]) -> MemoryState {
    let top = [(CODE.to_vec(), code.to_vec())].into();
    MemoryState::new(
        Storage {
            top,
            ..Storage::default()
        },
        StateVersion::V1,
    )
}

fn call<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    code: &[u8],
    method: &str,
    input: &[u8],
    extensions: Extensions,
) -> (Vec<u8>, BlockChanges) {
    let state = state_of(code);
    let context = CallContext::Import;
    let called = call_on_state(executor, &state, context, method, input, extensions)
        .unwrap_or_else(|error| panic!("{method}: {error}"));
    match called.outcome {
        CallOutcome::Returned(output) => (output, called.changes.expect("it returned")),
        CallOutcome::Trapped(trap) => panic!("{method}: {trap}"),
    }
}

fn guest(method: &str, input: &[u8], extensions: Extensions) -> (Vec<u8>, BlockChanges) {
    call(&executor(), GUEST_WASM, method, input, extensions)
}

#[test]
fn the_guest_is_told_one_log_level_whatever_the_host_logs() {
    let leaky: WasmExecutor<StandardHostFunctions> =
        WasmExecutor::new(ExecutorConfig::default()).expect("the engine");
    let none = Extensions::new;
    for (level, leaked) in [(log::LevelFilter::Off, 0), (log::LevelFilter::Trace, 5)] {
        log::set_max_level(level);
        assert_eq!(guest("test_max_level", &[], none()).0, [3]);
        // The reference's function shows the setting; if it did not, this test could not fail.
        assert_eq!(
            call(&leaky, GUEST_WASM, "test_max_level", &[], none()).0,
            [leaked]
        );
    }
}

/// A subscriber that wants every span.
struct Everything;

impl tracing::Subscriber for Everything {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(7)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn guest_spans_are_off_whoever_subscribes() {
    let leaky: WasmExecutor<StandardHostFunctions> =
        WasmExecutor::new(ExecutorConfig::default()).expect("the engine");
    tracing::subscriber::with_default(Everything, || {
        assert_eq!(guest("test_tracing_enabled", &[], Extensions::new()).0, [0]);
        let leaked = call(
            &leaky,
            GUEST_WASM,
            "test_tracing_enabled",
            &[],
            Extensions::new(),
        )
        .0;
        assert_eq!(leaked, [1]);
    });
}

#[test]
fn the_proof_size_is_the_recorded_one_or_the_largest_number() {
    let without = guest("test_proof_size", &[], Extensions::new()).0;
    assert_eq!(without, u64::MAX.to_le_bytes());
    let recorded = RecordedProofSizeEstimations::from(vec![1_234u32]);
    let mut extensions = Extensions::new();
    extensions.register(ProofSizeExt::new(ReplayProofSizeProvider::from_recorded(
        recorded,
    )));
    assert_eq!(
        guest("test_proof_size", &[], extensions).0,
        1_234u64.to_le_bytes()
    );
}

#[test]
fn a_guest_can_read_the_version_of_other_code() {
    use codec::Decode;
    let (output, _) = guest(
        "test_runtime_version",
        GUEST_UPGRADED_WASM,
        Extensions::new(),
    );
    let version = Option::<Vec<u8>>::decode(&mut output.as_slice()).expect("an option");
    let version = sp_version::RuntimeVersion::decode(&mut version.expect("a version").as_slice());
    assert_eq!(version.expect("decodes").spec_version, 2);
    let (output, _) = guest("test_runtime_version", b"no wasm", Extensions::new());
    assert_eq!(output, [0], "no version");
}

/// The reference only parses code that states its version; so a body with wrong types does no harm.
#[test]
fn a_version_in_sections_is_read_without_validating_the_code() {
    let version = {
        use codec::Encode;
        sp_version::RuntimeVersion {
            spec_version: 9,
            ..Default::default()
        }
        .encode()
    };
    let mut code = wat::parse_str("(module (func (result i32) (i64.const 1)))").expect("wat");
    let section = [&[15], b"runtime_version".as_slice(), &version].concat();
    code.push(0);
    code.push(u8::try_from(section.len()).expect("short"));
    code.extend(section);
    assert!(executor().runtime(&code).is_err(), "it is not valid");
    let (output, _) = guest("test_runtime_version", &code, Extensions::new());
    assert_eq!(output[0], 1, "it has a version: {output:?}");
    let cut = guest(
        "test_runtime_version",
        &code[..code.len() - 1],
        Extensions::new(),
    )
    .0;
    assert_eq!(cut, [0]);
}

/// Verifies an all-zero signature by an all-zero key, which the two ed25519 libraries judge
/// differently.
const ZERO_SIGNATURE: &str = r#"(module
    (import "env" "memory" (memory 17))
    (import "env" "ext_crypto_ed25519_verify_version_1"
        (func $verify (param i32 i64 i32) (result i32)))
    (global (export "__heap_base") i32 (i32.const 65536))
    (func (export "verify") (param i32 i32) (result i64)
        (i32.store8 (i32.const 1024)
            (call $verify (i32.const 2048) (i64.const 0) (i32.const 4096)))
        (i64.const 0x100000400)))"#;

#[test]
fn ed25519_is_judged_by_the_rules_the_caller_chooses() {
    let code = wat::parse_str(ZERO_SIGNATURE).expect("wat");
    let verify = |extensions| call(&executor(), &code, "verify", &[], extensions).0;
    assert_eq!(verify(Extensions::new()), [1]);
    let mut dalek = Extensions::new();
    dalek.register(UseDalekExt);
    assert_eq!(verify(dalek), [0]);
}

#[test]
fn offchain_index_writes_are_handed_to_the_caller() {
    let (_, changes) = guest("test_offchain_index", &[], Extensions::new());
    let keys: Vec<_> = changes
        .offchain_index
        .iter()
        .map(|((_, key), _)| key.clone())
        .collect();
    assert_eq!(keys, [b"test:offchain".to_vec()]);
    assert_eq!(changes.keys(), 0, "state is untouched");
}

#[test]
fn transaction_index_operations_are_handed_to_the_caller() {
    let (_, changes) = guest("test_transaction_index", &[], Extensions::new());
    assert!(
        matches!(changes.transaction_index.as_slice(),
            [IndexOperation::Insert { extrinsic: 3, size: 5, hash }] if hash == &[7; 32]),
        "{:?}",
        changes.transaction_index,
    );
}

/// Indexes a transaction, then answers as the input says: an included or a refused extrinsic.
const INDEX_AND_ANSWER: &str = r#"(module
    (import "env" "memory" (memory 17))
    (import "env" "ext_transaction_index_index_version_1" (func $index (param i32 i32 i32)))
    (import "env" "ext_offchain_index_set_version_1" (func $offchain (param i64 i64)))
    (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
    (global (export "__heap_base") i32 (i32.const 65536))
    (func (export "BlockBuilder_apply_extrinsic") (param i32 i32) (result i64)
        (call $index (i32.const 1) (i32.const 9) (i32.const 4096))
        (call $offchain (i64.const 0x100000800) (i64.const 0x100000800))
        (call $set (i64.const 0x100000800) (i64.const 0x100000800))
        ;; 00 00 for a first byte of 0, 01 00 03 for any other.
        (i32.store8 (i32.const 1024) (i32.load8_u (local.get 0)))
        (i32.store8 (i32.const 1026) (i32.const 3))
        (if (result i64) (i32.load8_u (local.get 0))
            (then (i64.const 0x300000400)) (else (i64.const 0x200000400)))))"#;

#[test]
fn effects_beside_storage_are_rolled_back_with_their_extrinsic() {
    let state = state_of(&wat::parse_str(INDEX_AND_ANSWER).expect("wat"));
    let effects = |answers: &[u8]| {
        let mut execution =
            BlockExecution::new(&executor(), &state, CallContext::Build, Extensions::new())
                .expect("loads");
        for answer in answers {
            let outcome = execution.apply(&[*answer]).expect("an outcome").outcome;
            assert_eq!(outcome.is_included(), *answer == 0, "{outcome:?}");
        }
        let changes = execution.finish().expect("a root");
        (
            changes.transaction_index.len(),
            changes.offchain_index.len(),
            changes.keys(),
        )
    };
    assert_eq!(effects(&[0]), (1, 1, 1));
    assert_eq!(effects(&[1]), (0, 0, 0));
    assert_eq!(effects(&[1, 0, 1, 0, 1]), (2, 1, 1));
}

#[test]
fn native_stack_overflow_is_an_operational_error() {
    let state = state_of(GUEST_WASM);
    let deep = u32::MAX.to_le_bytes();
    let call = |config: ExecutorConfig, depth: &[u8]| {
        let context = CallContext::Import;
        call_on_state(
            &executor_with(config),
            &state,
            context,
            "test_recurse",
            depth,
            Extensions::new(),
        )
    };
    let error = call(ExecutorConfig::default(), &deep).expect_err("the stack is finite");
    assert!(
        matches!(
            error,
            ExecutionError::Call {
                source: CallError::NativeStack,
                ..
            }
        ),
        "{error}",
    );
    // How deep a guest gets is the machine's business: the same depth works on a larger stack.
    let depth = 2_000u32.to_le_bytes();
    assert!(call(ExecutorConfig::default(), &depth).is_ok());
    let small = ExecutorConfig {
        wasm_stack_bytes_max: 16 << 10,
        ..ExecutorConfig::default()
    };
    assert!(call(small, &depth).is_err());
}

#[test]
fn layers_a_guest_leaves_open_are_rolled_back() {
    let (_, changes) = guest("test_leave_transaction_open", &[], Extensions::new());
    let top = &changes.writes[&None];
    assert_eq!(
        top.get(b"test:outer".as_slice()),
        Some(&Some(b"before".to_vec()))
    );
    assert_eq!(top.len(), 1, "{top:?}");
}

/// `sp-state-machine` keeps the root of an earlier calculation when only appends follow; what is
/// committed must be the root of all changes.
#[test]
fn the_committed_root_covers_appends_after_the_last_calculation() {
    let executor = executor();
    let mut storage = Storage::default();
    storage.top.insert(CODE.to_vec(), GUEST_WASM.to_vec());
    let (database, _folder) = temporary_database();
    let prepared = database
        .prepare_state(&storage, StateVersion::V1)
        .expect("state");
    database
        .import_state(prepared, 0, H256::zero())
        .expect("imports");
    let view = database.view().expect("a head");
    let context = CallContext::Import;
    let called = call_on_state(
        &executor,
        &view,
        context,
        "test_append_after_root",
        &[],
        Extensions::new(),
    )
    .expect("an outcome");
    let changes = called.changes.expect("it returned");
    let top = &changes.writes[&None];
    let delta = top
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_deref()));
    assert_eq!(
        view.storage_root(delta, StateVersion::V1).0,
        changes.state_root
    );
    let CallOutcome::Returned(roots) = called.outcome else {
        panic!("it returned")
    };
    assert_ne!(
        roots[..32],
        *changes.state_root.as_bytes(),
        "the append came after the root"
    );
}

#[test]
fn a_child_trie_has_the_root_the_guest_saw() {
    let (root, changes) = guest("test_child_storage", &[], Extensions::new());
    let child = ChildInfo::new_default(b"test-child");
    let stored = &changes.writes[&None][child.prefixed_storage_key().as_slice()];
    assert_eq!(stored.as_ref(), Some(&root));
    assert_eq!(
        changes.writes[&Some(b"test-child".to_vec())].len(),
        3,
        "a, b and c were touched"
    );
}

/// Threads share an executor and give the same results; the runtime is compiled once.
#[test]
fn calls_on_many_threads_agree() {
    let executor = executor();
    let runtime = executor.runtime(GUEST_WASM).expect("loads");
    let sender = Sender {
        who: [1; 32],
        nonce: 0,
        tip: 0,
    };
    let call = GuestCall::Put {
        key: b"k".to_vec(),
        value: vec![7; 100],
    };
    let extrinsic = GuestExtrinsic::Trusted(sender, call).encoded();
    let storage = genesis(&[([1; 32], 1_000_000)], &[1; 32]);
    let state = MemoryState::new(storage, StateVersion::V1);
    let run = || {
        let mut execution =
            BlockExecution::new(&executor, &state, CallContext::Build, Extensions::new())
                .expect("loads");
        execution.apply(&extrinsic).expect("an outcome");
        execution.finish().expect("a root").state_root
    };
    let expected = run();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| [run(), run(), run()]))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), [expected; 3]);
        }
    });
    let again = executor.runtime(GUEST_WASM).expect("loads");
    assert!(Arc::ptr_eq(&runtime, &again));
}
