//! What users of a node's executor ask to be limited, beside fuel and time: memory over all instances, and what guests log.
//! And what a guest did with its heap, compared with the reference.

use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::{LevelFilter, Log, Metadata, Record};
use sc_executor::WasmExecutor as Reference;
use slackwater_executor::{
    CallContext, CallError, CancelToken, CodeExecutorError, ExecutorConfig, InstanceMode,
    SlackwaterExecutor, WasmExecutor, call_on_state,
    host_functions::{LogLimits, SlackwaterHostFunctions, StandardHostFunctions},
    state::MemoryState,
};
use slackwater_runtime_fixtures::crate_file_or_skip;
use sp_core::{
    storage::{StateVersion, Storage},
    traits::{CallContext as ClientContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode},
};
use sp_externalities::Extensions;
use sp_state_machine::BasicExternalities;

/// A runtime that allocates so many mebibytes, one after the other, as its input says; or grows its memory by as many.
const HUNGRY: &str = r#"(module
    (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 1048576))
    (func (export "allocates") (param $at i32) (param $length i32) (result i64)
        (local $left i32)
        (local.set $left (i32.load8_u (local.get $at)))
        (block $done (loop $again
            (br_if $done (i32.eqz (local.get $left)))
            (drop (call $malloc (i32.const 1000000)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $again)))
        (i64.const 0))
    (func (export "holds") (param $at i32) (param $length i32) (result i64)
        (drop (call $malloc (i32.const 10000000)))
        (loop $again (br $again))
        (i64.const 0))
    (func (export "grows") (param $at i32) (param $length i32) (result i64)
        (drop (memory.grow (i32.mul (i32.const 16) (i32.load8_u (local.get $at)))))
        (i64.const 0)))"#;

const OFFCHAIN: ClientContext = ClientContext::Offchain;

fn call(
    executor: &SlackwaterExecutor,
    wat: &str,
    method: &str,
    input: &[u8],
    context: ClientContext,
) -> Result<Vec<u8>, CodeExecutorError> {
    let wasm = wat::parse_str(wat).expect("a module");
    let code = WrappedRuntimeCode(Cow::Owned(wasm));
    let code = RuntimeCode {
        code_fetcher: &code,
        heap_pages: None,
        hash: wat.as_bytes().to_vec(),
    };
    let mut ext = BasicExternalities::default();
    executor.call(&mut ext, &code, method, input, context).0
}

#[test]
fn memory_is_limited_over_all_calls_off_chain() {
    let budget = 24 << 20;
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let mut config = ExecutorConfig::default()
            .with_instances(mode)
            .with_memory_budget(budget);
        config.offchain_heap = slackwater_executor::HeapPages::Dynamic { maximum: None };
        let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
            .with_config(config)
            .build()
            .expect("an engine");
        let used = || {
            let budget = executor.wasm_executor().memory_budget();
            budget.expect("there is one").used()
        };
        for method in ["allocates", "grows"] {
            let off_chain = |megabytes| {
                call(
                    &executor,
                    HUNGRY,
                    method,
                    &[megabytes],
                    ClientContext::Offchain,
                )
            };
            off_chain(10).unwrap_or_else(|error| panic!("{mode:?}, {method}: {error}"));
            let error = off_chain(40).expect_err("it is too much");
            let refused = matches!(
                &error,
                CodeExecutorError::Call { source: CallError::MemoryBudget { bytes_max }, .. } if *bytes_max == budget
            );
            assert!(refused, "{mode:?}, {method}: {error}");
            assert_eq!(used(), 0, "it goes with its call");
            off_chain(10).expect("the next one is as before");
            // Blocks go on.
            let on_chain = ClientContext::Onchain { import: true };
            call(&executor, HUNGRY, method, &[40], on_chain).expect("it is for a block");
            assert_eq!(used(), 0);
        }
    }
}

#[test]
fn calls_at_the_same_time_share_the_budget() {
    // Room for three that hold something: 16 MiB, for the allocator doubles what it is asked for, and its code's 17 pages.
    let (held, budget) = (16 << 20, 60 << 20);
    let config = ExecutorConfig::default().with_memory_budget(budget);
    let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
        .with_config(config)
        .build()
        .expect("an engine");
    let budget = executor.wasm_executor().memory_budget();
    let budget = budget.expect("there is one");
    let token = CancelToken::new();
    let holding = executor.clone().cancelled_by(token.clone());
    let holding = holding.expect("guests count");
    let one = || call(&executor, HUNGRY, "allocates", &[10], OFFCHAIN);
    one().expect("there is room for one");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let held = call(&holding, HUNGRY, "holds", &[0], OFFCHAIN);
                let error = held.expect_err("it never returns");
                assert!(
                    matches!(error, CodeExecutorError::Cancelled { .. }),
                    "{error}"
                );
            });
        }
        let until = Instant::now() + Duration::from_secs(60);
        while budget.used() < 3 * held && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(budget.used() >= 3 * held, "all three of them hold it");
        let refused = one();
        token.cancel();
        assert!(
            matches!(
                refused,
                Err(CodeExecutorError::Call {
                    source: CallError::MemoryBudget { .. },
                    ..
                })
            ),
            "{refused:?}"
        );
    });
    assert_eq!(budget.used(), 0, "all of it has been given back");
    one().expect("there is room again");
}

#[test]
fn a_heap_is_told_as_the_reference_tells_it() {
    let path = crate_file_or_skip("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let Some(path) = path else { return };
    let code = std::fs::read(path).expect("readable");
    let blob = sc_executor_common::runtime_blob::RuntimeBlob::uncompress_if_needed(&code);
    let reference = Reference::<StandardHostFunctions>::builder()
        .with_allow_missing_host_functions(true)
        .build();
    let (answer, expected) = reference.uncached_call_with_allocation_stats(
        blob.expect("a runtime"),
        &mut BasicExternalities::default(),
        true,
        "Metadata_metadata",
        &[],
    );
    answer.expect("it answers");
    let expected = expected.expect("statistics");
    let storage = Storage {
        top: [(b":code".to_vec(), code)].into(),
        ..Storage::default()
    };
    let state = MemoryState::new(storage, StateVersion::V1);
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let config = ExecutorConfig::default().with_instances(mode);
        let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config).expect("an engine");
        for _ in 0..2 {
            let (context, method) = (CallContext::Offchain, "Metadata_metadata");
            let called = call_on_state(&executor, &state, context, method, &[], Extensions::new());
            let found = called.expect("it answers").allocation;
            assert_eq!(found.bytes, expected.bytes_allocated);
            assert_eq!(found.bytes_peak, expected.bytes_allocated_peak);
            assert_eq!(found.bytes_sum, expected.bytes_allocated_sum);
            assert_eq!(found.address_space, expected.address_space_used);
            assert!(found.bytes_peak > 100_000, "{found:?}");
        }
    }
}

/// Keeps what is logged.
struct Kept(Mutex<Vec<(String, String)>>);

impl Log for Kept {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let target = record.target().to_owned();
        if ["chatter", "runtime", "slackwater::guest"].contains(&target.as_str()) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((target, record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

/// A runtime that logs as many messages as its input is long, each as many times ten bytes as a byte of it says.
const CHATTY: &str = r#"(module
    (import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))
    (import "env" "ext_misc_print_num_version_1" (func $number (param i64)))
    (import "env" "ext_misc_print_hex_version_1" (func $hexadecimal (param i64)))
    (import "env" "ext_misc_print_utf8_version_1" (func $text (param i64)))
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 1048576))
    (data (i32.const 16) "chatter")
    (func (export "prints") (param i32 i32) (result i64)
        (call $number (i64.const 7))
        (call $hexadecimal (i64.const 4294967312))
        (call $text (i64.const 30064771088))
        (i64.const 0))
    (func (export "chats") (param $at i32) (param $length i32) (result i64)
        (memory.fill (i32.const 1024) (i32.const 97) (i32.const 4096))
        (block $done (loop $again
            (br_if $done (i32.eqz (local.get $length)))
            (call $log (i32.const 2) (i64.const 30064771088)
                (i64.or (i64.const 1024)
                    (i64.shl (i64.mul (i64.const 10) (i64.load8_u (local.get $at))) (i64.const 32))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br $again)))
        (i64.const 0)))"#;

#[test]
fn what_guests_log_is_limited_and_said_once() {
    log::set_logger(&KEPT).expect("the only logger");
    log::set_max_level(LevelFilter::Debug);
    let wat = CHATTY.replace(
        "(memory.fill (i32.const 1024) (i32.const 97) (i32.const 4096))",
        "(local $i i32) (loop $fill (i32.store8 (i32.add (i32.const 1024) (local.get $i)) (i32.const 97))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4096))))",
    );
    let chats = |limits: LogLimits, method: &str, input: &[u8]| {
        let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
            .with_config(ExecutorConfig::default().with_log_limits(limits))
            .build()
            .expect("an engine");
        for _ in 0..2 {
            call(&executor, &wat, method, input, OFFCHAIN).expect("it chats");
        }
        let mut kept = KEPT.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *kept);
        let (said, warned): (Vec<_>, Vec<_>) = kept
            .into_iter()
            .partition(|(target, _)| target != "slackwater::guest");
        let lengths: Vec<_> = said.iter().map(|(_, message)| message.len()).collect();
        let (first, second) = lengths.split_at(lengths.len() / 2);
        assert_eq!(first, second, "each call has the same room");
        (first.to_vec(), warned.len() / 2)
    };
    let input = [1, 50, 2, 100, 3, 4];
    assert_eq!(
        chats(LogLimits::default(), "chats", &input),
        (vec![10, 500, 20, 1_000, 30, 40], 0)
    );
    // A line counts with its target, and 64 bytes.
    let line = 64 + 7;
    let limits = LogLimits {
        message_bytes_max: 100,
        call_bytes_max: 4 * line + 10 + 100 + 20 + 100,
    };
    // Two are cut, which is said of the first; the last two have no room, which is said of the first.
    assert_eq!(chats(limits, "chats", &input), (vec![10, 100, 20, 100], 2));
    let limits = LogLimits {
        call_bytes_max: 3 * line + 1 + 2,
        ..limits
    };
    // A digit, two digits for a byte, and one that finds no room.
    assert_eq!(chats(limits, "prints", &[5]), (vec![1, 2], 1));
    // What nobody sees counts for nothing.
    log::set_max_level(LevelFilter::Info);
    assert_eq!(chats(limits, "prints", &[5]), (vec![], 0));
}
