//! Host functions panic where a guest misuses them, and clients' states where they cannot be read. A node installs a hook that
//! ends the process at a panic, unless the thread has said that it unwinds.
//!
//! The hook is the whole process's, so what is tested runs in a process of its own.

#![expect(clippy::print_stderr, reason = "the child says how far it came")]

use std::{borrow::Cow, env, process::Command};

use slackwater_executor::{
    CodeExecutorError, InstanceMode, SlackwaterExecutor, host_functions::StandardHostFunctions,
};
use sp_core::traits::{
    CallContext, CodeExecutor, ReadRuntimeVersion, RuntimeCode, WrappedRuntimeCode,
};
use sp_state_machine::BasicExternalities;

/// Set for the child.
const CHILD: &str = "SLACKWATER_HOST_PANICS_CHILD";
const NAME: &str = "a_panic_of_a_host_function_does_not_end_a_node";

/// Each makes a function of `sp-io` panic.
const CARELESS: &str = r#"(module
    (import "env" "ext_storage_rollback_transaction_version_1" (func $rollback))
    (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (import "env" "ext_offchain_timestamp_version_1" (func $time (result i64)))
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 1048576))
    (func (export "rolls_back") (param i32 i32) (result i64) (call $rollback) (i64.const 0))
    (func (export "allocates") (param i32 i32) (result i64)
        (loop $again (drop (call $malloc (i32.const 33554432))) (br $again)) (i64.const 0))
    (func (export "asks_the_time") (param i32 i32) (result i64) (call $time))
    (func (export "Core_version") (param i32 i32) (result i64) (call $rollback) (i64.const 0)))"#;

fn check<E: CodeExecutor + ReadRuntimeVersion>(executor: &E, is_trap: impl Fn(&E::Error) -> bool) {
    let wasm = wat::parse_str(CARELESS).expect("a module");
    let fetcher = WrappedRuntimeCode(Cow::Borrowed(&wasm));
    let code = RuntimeCode {
        code_fetcher: &fetcher,
        heap_pages: None,
        hash: vec![1],
    };
    let import = CallContext::Onchain { import: true };
    for context in [CallContext::Offchain, import] {
        for method in ["rolls_back", "allocates", "asks_the_time"] {
            let mut ext = BasicExternalities::default();
            let (result, _) = executor.call(&mut ext, &code, method, &[], context);
            let error = result.expect_err("it panics");
            assert!(is_trap(&error), "{method}: {error:?}");
            eprintln!("{method} trapped");
        }
    }
    let mut ext = BasicExternalities::default();
    let version = executor.read_runtime_version(&wasm, &mut ext);
    version.expect_err("it panics");
}

fn child() {
    sp_panic_handler::set("nowhere", "none");
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        // The standard functions are those a node may keep; ours are tested where they panic, too.
        let standard: SlackwaterExecutor<StandardHostFunctions> = SlackwaterExecutor::builder()
            .with_execution_method(mode)
            .build()
            .expect("an engine");
        let trapped =
            |error: &CodeExecutorError| matches!(error, CodeExecutorError::Trapped { .. });
        check(&standard, trapped);
        let ours: SlackwaterExecutor = SlackwaterExecutor::builder()
            .with_execution_method(mode)
            .build()
            .expect("an engine");
        check(&ours, trapped);
    }
    let reference = sc_executor::WasmExecutor::<StandardHostFunctions>::builder().build();
    check(&reference, |_| true);
}

#[test]
fn a_panic_of_a_host_function_does_not_end_a_node() {
    if env::var_os(CHILD).is_some() {
        child();
        return;
    }
    let own = env::current_exe().expect("this program");
    let output = Command::new(own)
        .args(["--exact", NAME, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .expect("it runs again");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(said.matches(" trapped").count(), 5 * 2 * 3, "{said}");
}
