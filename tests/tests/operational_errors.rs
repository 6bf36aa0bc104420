//! What depends on this machine is an error of its own and never an answer a guest or a receipt
//! could hold.

use std::fs;

use slackwater_executor::{
    CallContext, CallError, CallOutcome, Durability, ExecutionError, ExecutorConfig, InstanceMode,
    RuntimeError, call_on_state,
    state::{Database, Extensions, MemoryState},
};
use slackwater_runtime_fixtures::guest::{GUEST_WASM, fixture_chain_path};
use slackwater_tests::{executor_with, load_blocks};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

/// A runtime without version sections: only calling it tells its version, one byte of it here.
const WITHOUT_SECTIONS: &str = r#"(module
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 65536))
    (data (i32.const 1024) "\04")
    (func (export "Core_version") (param i32 i32) (result i64) (i64.const 0x100000400)))"#;

fn state() -> MemoryState {
    let top = [(CODE.to_vec(), GUEST_WASM.to_vec())].into();
    let storage = Storage {
        top,
        ..Storage::default()
    };
    MemoryState::new(storage, StateVersion::V1)
}

/// The guest asks for the version of other code, which takes a second instance. There is always one more.
#[test]
fn a_nested_call_finds_an_instance_whatever_the_pool_holds() {
    let code = wat::parse_str(WITHOUT_SECTIONS).expect("wat");
    let (state, method) = (state(), "test_runtime_version");
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        for slots in [1, 2] {
            let config = ExecutorConfig::default()
                .with_instances(mode)
                .with_instances_max(slots)
                .with_instances_cached_max(slots);
            let executor = executor_with(config);
            let context = CallContext::Import;
            let extensions = Extensions::new();
            let called = call_on_state(&executor, &state, context, method, &code, extensions);
            let outcome = called.expect("there is an instance").outcome;
            assert_eq!(outcome, CallOutcome::Returned(vec![1, 4, 4]), "{mode:?}");
        }
    }
}

/// The other code never answers. Where fuel is not in consensus, how long one waits for it is this machine's choice.
#[test]
fn a_nested_call_that_this_machine_stops_is_not_answered_to_the_guest() {
    let endless =
        WITHOUT_SECTIONS.replace("(i64.const 0x100000400)", "(loop (br 0)) (i64.const 0)");
    let code = wat::parse_str(endless).expect("wat");
    let (state, method) = (state(), "test_runtime_version");
    for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
        let executor = executor_with(ExecutorConfig::default().with_instances(mode));
        let (context, extensions) = (CallContext::Import, Extensions::new());
        let called = call_on_state(&executor, &state, context, method, &code, extensions);
        let error = called.expect_err("there is no answer");
        let ExecutionError::Call { method, source } = &error else {
            panic!("{mode:?}: {error}");
        };
        assert_eq!(method, "Core_version");
        assert!(matches!(source, CallError::LocalLimit { .. }), "{source}");
    }
}

/// A runtime whose version could not be asked for is not kept with a wrong one.
#[test]
fn a_version_that_could_not_be_asked_for_is_not_cached() {
    let endless =
        WITHOUT_SECTIONS.replace("(i64.const 0x100000400)", "(loop (br 0)) (i64.const 0)");
    let code = wat::parse_str(endless).expect("wat");
    let executor = executor_with(ExecutorConfig::default());
    for _ in 0..2 {
        let error = executor.runtime(&code).expect_err("it never answers");
        assert!(matches!(error, RuntimeError::VersionCall { .. }), "{error}");
    }
    let code = wat::parse_str(WITHOUT_SECTIONS).expect("wat");
    let error = executor.runtime(&code).expect_err("one byte is no version");
    assert!(matches!(error, RuntimeError::Version { .. }), "{error}");
}

/// However far the creation of a database came before the process died, opening it again works.
#[test]
fn an_interrupted_creation_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str| Database::open(&folder.path().join(name), Durability::Sync);
    let marker = |name: &str| folder.path().join(name).join("SLACKWATER_CREATION");
    // Only the marker; the marker and a part of RocksDB's files; all but the removal of the marker.
    fs::create_dir(folder.path().join("begun")).expect("made");
    fs::write(marker("begun"), "").expect("written");
    fs::create_dir(folder.path().join("partly")).expect("made");
    fs::write(marker("partly"), "").expect("written");
    {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        rocksdb::DB::open(&options, folder.path().join("partly")).expect("made");
    }
    drop(open("whole").expect("made"));
    fs::write(marker("whole"), "").expect("written");
    for name in ["begun", "partly", "whole"] {
        let database = open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(database.head().expect("readable"), None);
        assert!(!marker(name).exists(), "{name}");
        drop(database);
        drop(open(name).unwrap_or_else(|error| panic!("{name}, again: {error}")));
    }
    // A marker never costs data.
    let chain = load_blocks(&fixture_chain_path());
    let database = open("whole").expect("opens");
    let state = database
        .prepare_state(&chain.state, StateVersion::V1)
        .expect("state");
    let head = database
        .import_state(state, 0, [7; 32].into())
        .expect("imports");
    drop(database);
    fs::write(marker("whole"), "").expect("written");
    assert_eq!(
        open("whole").expect("opens").head().expect("readable"),
        Some(head)
    );
    // A fresh file system is an empty folder.
    fs::create_dir_all(folder.path().join("mount/lost+found")).expect("made");
    drop(open("mount").expect("opens"));
}

/// A start function runs guest code, so its faults are the guest's.
#[test]
fn a_fault_in_the_start_function_is_the_guest_s() {
    for start in ["unreachable", "(call $missing)"] {
        let text = format!(
            r#"(module (import "env" "ext_made_up_version_1" (func $missing))
                (memory (export "memory") 17)
                (global (export "__heap_base") i32 (i32.const 65536))
                (func $start {start}) (start $start)
                (func (export "f") (param i32 i32) (result i64) (i64.const 0)))"#
        );
        let top = [(CODE.to_vec(), wat::parse_str(text).expect("wat"))].into();
        let storage = Storage {
            top,
            ..Storage::default()
        };
        let state = MemoryState::new(storage, StateVersion::V1);
        let context = CallContext::Build;
        let executor = executor_with(ExecutorConfig::default());
        let called = call_on_state(&executor, &state, context, "f", &[], Extensions::new());
        let outcome = called.expect("an outcome").outcome;
        assert!(
            matches!(outcome, CallOutcome::Trapped(_)),
            "{start}: {outcome:?}"
        );
    }
}
