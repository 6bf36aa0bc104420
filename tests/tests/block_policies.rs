//! What building and replaying make of a runtime's answers, on small runtimes written for the case.

use slackwater_executor::{
    Block, CallContext, ExecutionError, ExecutionPath, TrapKind,
    block::{
        BlockBuilder, BuildError, Cause, Header, InclusionMode, Invalidity, LeftOut, Offered,
        ReplayError, Step, execute, load_runtime,
    },
    state::{Extensions, Head, MemoryState},
};
use slackwater_runtime_fixtures::guest::{GUEST_UPGRADED_WASM, GUEST_WASM};
use slackwater_tests::executor;
use sp_core::{
    H256,
    storage::{
        StateVersion, Storage,
        well_known_keys::{CODE, PENDING_CODE},
    },
};
use sp_runtime::traits::Header as _;
use sp_trie::proof_size_extension::{
    ProofSizeExt, RecordedProofSizeEstimations, ReplayProofSizeProvider,
};

fn state(entries: &[(&[u8], &[u8])]) -> MemoryState {
    let entries = entries
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()));
    let storage = Storage {
        top: entries.collect(),
        ..Storage::default()
    };
    MemoryState::new(storage, StateVersion::V1)
}

/// A runtime whose initialize answers `mode`, whose extrinsics answer with their own bytes, and
/// whose finalize, under the name `finalize`, answers with an empty header of number 1.
fn runtime(mode: &str, finalize: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "env" "memory" (memory 17))
        (global (export "__heap_base") i32 (i32.const 65536))
        (data (i32.const 1056) "\04")
        (func (export "Core_initialize_block") (param i32 i32) (result i64) {mode})
        (func (export "BlockBuilder_apply_extrinsic") (param i32 i32) (result i64)
            (i64.or (i64.extend_i32_u (local.get 0))
                (i64.shl (i64.extend_i32_u (local.get 1)) (i64.const 32))))
        (func (export "{finalize}") (param i32 i32) (result i64) (i64.const 0x6200000400)))"#
    );
    wat::parse_str(text).expect("wat")
}

const NOTHING: &str = "(i64.const 0)";
const FINALIZE: &str = "BlockBuilder_finalize_block";

fn one_byte(byte: u8) -> String {
    format!("(i32.store8 (i32.const 512) (i32.const {byte})) (i64.const 0x100000200)")
}

fn builder(
    state: &MemoryState,
) -> Result<
    BlockBuilder<'_, MemoryState, slackwater_executor::host_functions::SlackwaterHostFunctions>,
    BuildError,
> {
    let head = Head {
        number: 0,
        hash: H256::zero(),
        state_root: state.state_root(),
    };
    BlockBuilder::new(&executor(), state, &head, Vec::new(), Extensions::new())
}

#[test]
fn pending_code_goes_before_code_on_chain_only() {
    let both = state(&[(CODE, GUEST_WASM), (PENDING_CODE, GUEST_UPGRADED_WASM)]);
    let executor = executor();
    let spec = |state: &MemoryState, context| {
        let (runtime, _) = load_runtime(&executor, state, context).expect("loads");
        runtime.version().spec_version
    };
    assert_eq!(spec(&both, CallContext::Build), 2);
    assert_eq!(spec(&both, CallContext::Import), 2);
    assert_eq!(spec(&both, CallContext::Offchain), 1);
    let only = state(&[(CODE, GUEST_WASM)]);
    assert_eq!(spec(&only, CallContext::Import), 1);
}

#[test]
fn every_answer_of_initialize_is_understood() {
    for (mode, expected) in [
        (NOTHING.to_owned(), InclusionMode::AllExtrinsics),
        (one_byte(0), InclusionMode::AllExtrinsics),
        (one_byte(1), InclusionMode::OnlyInherents),
    ] {
        let state = state(&[(CODE, &runtime(&mode, FINALIZE))]);
        assert_eq!(builder(&state).expect("begins").mode(), expected);
    }
    for (mode, kind) in [
        (one_byte(2), TrapKind::UndecodableOutput),
        ("unreachable".to_owned(), TrapKind::Unreachable),
    ] {
        let state = state(&[(CODE, &runtime(&mode, FINALIZE))]);
        let Err(BuildError::Trapped {
            phase: "initialize",
            trap,
        }) = builder(&state)
        else {
            panic!("{mode} abandons the block")
        };
        assert_eq!(trap.kind, kind);
    }
}

#[test]
fn a_runtime_that_wants_inherents_only_gets_no_transactions() {
    let state = state(&[(CODE, &runtime(&one_byte(1), FINALIZE))]);
    let mut builder = builder(&state).expect("begins");
    let transaction = builder.push(&[0, 0]).expect("goes on");
    assert_eq!(transaction, Offered::LeftOut(LeftOut::OnlyInherents));
    let inherent = builder.push_inherent(&[0, 0]).expect("goes on");
    assert!(
        matches!(inherent, Offered::Included { index: 0, .. }),
        "{inherent:?}"
    );
}

#[test]
fn a_failing_mandatory_extrinsic_abandons_the_block() {
    let state = state(&[(CODE, &runtime(NOTHING, FINALIZE))]);
    let mut builder = builder(&state).expect("begins");
    builder.push(&[0, 0]).expect("goes on");
    let result = builder.push_inherent(&[1, 0, 8]);
    assert!(
        matches!(result, Err(BuildError::MandatoryFailed { index: 1 })),
        "{result:?}"
    );
}

#[test]
fn refused_extrinsics_are_left_out_when_building_and_fatal_when_replaying() {
    let state = state(&[(CODE, &runtime(NOTHING, FINALIZE))]);
    let mut builder = builder(&state).expect("begins");
    let stale = builder.push(&[1, 0, 3]).expect("goes on");
    assert_eq!(stale, Offered::LeftOut(LeftOut::Invalid(Invalidity::Stale)));
    let full = builder.push(&[1, 0, 6]).expect("goes on");
    assert_eq!(
        full,
        Offered::LeftOut(LeftOut::Invalid(Invalidity::ExhaustsResources))
    );
    let nonsense = builder.push(&[9]).expect("goes on");
    assert_eq!(nonsense.name(), "trap");
    let failed = builder.push(&[0, 1, 3, 6, 2, 0, 0, 0]).expect("goes on");
    assert_eq!(failed.name(), "dispatch_error");
    let built = builder.finish().expect("ends");
    assert_eq!(built.block.extrinsics, [[0, 1, 3, 6, 2, 0, 0, 0]]);

    let header = Header::new(
        1,
        H256::zero(),
        state.state_root(),
        H256::zero(),
        Default::default(),
    );
    let replay = |body: &[&[u8]]| {
        let extrinsics = body.iter().map(|extrinsic| extrinsic.to_vec()).collect();
        let block = Block {
            header: header.clone(),
            extrinsics,
        };
        match execute(
            &executor(),
            &state,
            &block,
            ExecutionPath::Split,
            &Extensions::new,
        ) {
            Err(ReplayError::Diverged(divergence)) => *divergence,
            other => panic!("{other:?}"),
        }
    };
    let found = replay(&[&[0, 0], &[1, 0, 3]]);
    assert_eq!(found.step, Step::Extrinsic(1));
    assert_eq!(found.cause, Cause::Refused(Invalidity::Stale));
    let found = replay(&[&[9]]);
    assert!(matches!(found.cause, Cause::Trapped(_)), "{found}");
    // An included extrinsic goes through, and then the empty header differs.
    let found = replay(&[&[0, 1, 3, 6, 2, 0, 0, 0]]);
    assert_eq!(found.step, Step::Finalize, "{found}");
}

/// Where the runtime takes only inherents, the split path runs the block whole first. Both runs find
/// the same things beside the storage, here the size of the proof.
#[test]
fn both_runs_of_a_block_of_inherents_find_their_extensions() {
    let asks = r#"(module
        (import "env" "memory" (memory 17))
        (import "env" "ext_storage_proof_size_storage_proof_size_version_1"
            (func $size (result i64)))
        (global (export "__heap_base") i32 (i32.const 65536))
        (data (i32.const 512) "\01")
        (data (i32.const 1056) "\04")
        (func $ask (if (i64.ne (call $size) (i64.const 77)) (then unreachable)))
        (func (export "Core_initialize_block") (param i32 i32) (result i64)
            (call $ask) (i64.const 0x100000200))
        (func (export "Core_execute_block") (param i32 i32) (result i64)
            (call $ask) (i64.const 0))
        (func (export "BlockBuilder_finalize_block") (param i32 i32) (result i64)
            (call $ask) (i64.const 0x6200000400)))"#;
    let state = state(&[(CODE, &wat::parse_str(asks).expect("wat"))]);
    // The runtime answers with an empty header of number 1, whose roots are zero.
    let header = Header::new(
        1,
        H256::zero(),
        state.state_root(),
        H256::zero(),
        Default::default(),
    );
    let block = Block {
        header,
        extrinsics: vec![],
    };
    let sizes = || {
        let mut extensions = Extensions::new();
        let recorded = RecordedProofSizeEstimations::from(vec![77u32; 3]);
        extensions.register(ProofSizeExt::new(ReplayProofSizeProvider::from_recorded(
            recorded,
        )));
        extensions
    };
    let run = |extensions: &dyn Fn() -> Extensions| match execute(
        &executor(),
        &state,
        &block,
        ExecutionPath::Split,
        extensions,
    ) {
        Err(ReplayError::Diverged(divergence)) => divergence.step,
        other => panic!("{other:?}"),
    };
    assert_eq!(run(&sizes), Step::Finalize, "every call found the size");
    assert_eq!(run(&Extensions::new), Step::Initialize);
    // The whole run comes before the rest of the split one, and is asked alike.
    let calls = std::cell::Cell::new(0);
    let first_only = || {
        calls.set(calls.get() + 1);
        if calls.get() == 1 {
            sizes()
        } else {
            Extensions::new()
        }
    };
    assert_eq!(run(&first_only), Step::ExecuteBlock);
    assert_eq!(calls.get(), 2);
}

#[test]
fn the_old_spelling_of_finalize_works() {
    let state = state(&[(CODE, &runtime(NOTHING, "BlockBuilder_finalise_block"))]);
    let built = builder(&state).expect("begins").finish().expect("ends");
    assert_eq!(built.block.header.number, 1);
    let without = self::state(&[(CODE, &runtime(NOTHING, "something_else"))]);
    let Err(BuildError::Trapped {
        phase: "finalize",
        trap,
    }) = builder(&without).expect("begins").finish()
    else {
        panic!("there is no such call")
    };
    assert_eq!(trap.kind, TrapKind::MissingMethod);
}

/// On the replaying side the same overflow that building leaves out is an operational error: the
/// machine that built the block had a larger stack.
#[test]
fn native_stack_is_left_out_when_building_and_operational_when_replaying() {
    let recursion = r#"(module
        (import "env" "memory" (memory 17))
        (global (export "__heap_base") i32 (i32.const 65536))
        (func $deep (param i32) (result i32)
            (i32.add (local.get 0) (call $deep (i32.add (local.get 0) (i32.const 1)))))
        (func (export "Core_initialize_block") (param i32 i32) (result i64) (i64.const 0))
        (func (export "BlockBuilder_apply_extrinsic") (param i32 i32) (result i64)
            (i64.extend_i32_u (call $deep (i32.const 0)))))"#;
    let state = state(&[(CODE, &wat::parse_str(recursion).expect("wat"))]);
    let mut builder = builder(&state).expect("begins");
    let offered = builder.push(&[0, 0]).expect("goes on");
    assert_eq!(offered, Offered::LeftOut(LeftOut::NativeStack));
    let header = Header::new(
        1,
        H256::zero(),
        H256::zero(),
        H256::zero(),
        Default::default(),
    );
    let block = Block {
        header,
        extrinsics: vec![vec![0, 0]],
    };
    let result = execute(
        &executor(),
        &state,
        &block,
        ExecutionPath::Split,
        &Extensions::new,
    );
    let Err(ReplayError::Execution(error)) = result else {
        panic!("{result:?}")
    };
    assert!(ExecutionError::is_native_stack(&error), "{error}");
}
