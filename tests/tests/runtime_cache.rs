//! Compiled code on disk and in memory: what a second start costs, that nothing damaged runs, that compiling keeps nobody
//! waiting, and that code which is made again does the same.

#![expect(clippy::print_stdout, reason = "figures are for whoever runs this")]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use slackwater_executor::{
    CallContext, CallOutcome, ExecutorConfig, Fuel, HeapPages, InstanceMode, Meter, WasmExecutor,
    call_on_state,
    fuel::Schedule,
    host_functions::SlackwaterHostFunctions,
    runtime::{Compilation, Optimisation, RuntimeCacheConfig, RuntimeCacheCounts},
    state::MemoryState,
};
use slackwater_runtime_fixtures::{crate_file_or_skip, guest};
use slackwater_tests::{load_blocks, random::Random};
use sp_core::storage::{StateVersion, Storage};
use sp_externalities::Extensions;
use sp_state_machine::BasicExternalities;

type Executor = WasmExecutor<SlackwaterHostFunctions>;

/// A cache in a folder within `folder`, which others may enter.
fn cached(folder: &Path) -> ExecutorConfig {
    let cache = RuntimeCacheConfig::new(folder.join("code"));
    ExecutorConfig::default().with_runtime_cache(cache)
}

fn executor(config: ExecutorConfig) -> Executor {
    Executor::new(config).expect("an engine")
}

fn counts(executor: &Executor) -> RuntimeCacheCounts {
    executor.runtime_cache_counts().expect("there is a cache")
}

fn kusama() -> Option<Vec<u8>> {
    let path = crate_file_or_skip("sc-executor", "0.51.0", "benches/kusama_runtime.wasm")?;
    Some(std::fs::read(path).expect("readable"))
}

/// The only file of a folder.
fn file_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).expect("a folder");
    let file = files.next().expect("a file").expect("readable").path();
    assert!(files.next().is_none(), "there is one file");
    file
}

/// A runtime that answers with four bytes.
fn answering(answer: u32) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 17) (global (mut i32) (i32.const {answer}))
            (global (export "__heap_base") i32 (i32.const 1048576))
            (data (i32.const 16) "\01\02\03\04")
            (func (export "answer") (param i32 i32) (result i64)
                (i32.store (i32.const 8) (i32.add (global.get 0) (i32.load (i32.const 16))))
                (global.set 0 (i32.const 0))
                (i64.const 17179869192)))"#
    );
    wat::parse_str(text).expect("a module")
}

/// What it answers.
fn answer(executor: &Executor, code: &[u8]) -> (Vec<u8>, Option<Fuel>) {
    let runtime = executor.runtime(code).expect("loads");
    let mut ext = BasicExternalities::default();
    let limits = slackwater_executor::CallLimits::none();
    let heap = HeapPages::default();
    let called = executor.call_limited(&runtime, &mut ext, "answer", &[], heap, &limits);
    let called = called.expect("it runs");
    let CallOutcome::Returned(answer) = called.outcome else {
        panic!("{:?}", called.outcome)
    };
    (answer, called.fuel.map(|fuel| fuel.total))
}

/// Must hold: with a warm cache, Kusama's code is ready in a fiftieth of the time that compiling takes.
#[test]
fn a_second_start_costs_a_fiftieth_of_compiling() {
    let Some(code) = kusama() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ready = |folder: &Path| {
        let executor = executor(cached(folder));
        let begun = Instant::now();
        let runtime = executor.runtime(&code).expect("loads");
        let time = begun.elapsed();
        assert_eq!(runtime.version().spec_version, 9190);
        (time, counts(&executor))
    };
    let (cold, missed) = ready(folder.path());
    assert_eq!((missed.misses, missed.hits, missed.stored), (1, 0, 1));
    let mut warm: Vec<_> = (0..5)
        .map(|_| {
            let (warm, found) = ready(folder.path());
            assert_eq!((found.misses, found.hits), (0, 1));
            warm
        })
        .collect();
    warm.sort();
    let ratio = cold.as_secs_f64() / warm[2].as_secs_f64();
    println!(
        "Kusama 9190: compiled in {cold:.1?}, from the cache in {:.1?} ({:.1?} to {:.1?}): {ratio:.0} times faster",
        warm[2], warm[0], warm[4]
    );
    // The machine may be busy with something else: of some, the fastest.
    assert!(warm[0] * 50 <= cold, "{:?} of {cold:?}", warm[0]);
}

/// The state of a chain, and calls on it.
fn state(code: &[u8]) -> MemoryState {
    let chain = load_blocks(&guest::fixture_chain_path());
    let mut storage: Storage = chain.state;
    storage.top.insert(b":code".to_vec(), code.to_vec());
    MemoryState::new(storage, StateVersion::V1)
}

#[test]
fn code_from_the_cache_answers_as_compiled_code_does() {
    let guest = load_blocks(&guest::fixture_chain_path()).state.top[&b":code"[..]].clone();
    let codes = [Some(guest), kusama()];
    for code in codes.into_iter().flatten() {
        let state = state(&code);
        for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
            let folder = tempfile::tempdir().expect("a folder");
            let config = cached(folder.path()).with_instances(mode);
            let asked = |executor: &Executor| {
                let calls = ["Core_version", "Metadata_metadata", "No_such_method"];
                calls.map(|method| {
                    let context = CallContext::Offchain;
                    let extensions = Extensions::new();
                    let call = call_on_state(executor, &state, context, method, &[], extensions);
                    let call = call.expect("it runs");
                    (call.outcome, call.fuel, call.allocation)
                })
            };
            let compiled = asked(&executor(config.clone()));
            let again = executor(config);
            assert_eq!(asked(&again), compiled);
            assert_eq!(counts(&again).misses, 0);
            assert!(counts(&again).hits > 0);
        }
    }
}

#[test]
fn forms_that_are_needed_later_are_kept_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let code = answering(5);
    let both = |executor: &Executor| {
        let runtime = executor.runtime(&code).expect("loads");
        // More at once than the pool has room for.
        assert!(runtime.has_method("answer"));
        answer(executor, &code)
    };
    let config = |mode, pooled| {
        cached(folder.path())
            .with_instances(mode)
            .with_instances_max(pooled)
    };
    let first = both(&executor(config(InstanceMode::Snapshot, 1)));
    assert_eq!(first.0, 0x0403_0206_u32.to_le_bytes());
    let mixed = ExecutorConfig {
        offchain_instances: InstanceMode::Fresh,
        ..config(InstanceMode::Snapshot, 1)
    };
    let state = {
        let storage = Storage {
            top: [(b":code".to_vec(), code.clone())].into(),
            ..Default::default()
        };
        MemoryState::new(storage, StateVersion::V1)
    };
    for misses in [1, 0] {
        let executor = executor(mixed.clone());
        let context = CallContext::Offchain;
        let call = call_on_state(&executor, &state, context, "answer", &[], Extensions::new());
        let call = call.expect("it runs");
        assert_eq!(call.outcome, CallOutcome::Returned(first.0.clone()));
        assert_eq!(call.fuel.map(|fuel| fuel.total), first.1);
        assert_eq!(counts(&executor).misses, misses);
    }
}

/// Must hold: a file with any byte flipped never runs.
#[test]
fn a_file_with_any_byte_flipped_is_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let code = answering(5);
    // One engine serves all, for it is not what is tested; each flip has an executor's memory of its own.
    let config = || {
        cached(folder.path())
            .with_instances_max(1)
            .with_meter(Meter::Checked)
    };
    let expected = answer(&executor(config()), &code);
    let file = file_in(&folder.path().join("code"));
    let whole = std::fs::read(&file).expect("stored");
    let mut random = Random::at(10, 0);
    let flips = 1_000;
    for number in 0..flips {
        let mut flipped = whole.clone();
        let at = usize::try_from(random.draw()).expect("64 bits") % flipped.len();
        flipped[at] ^= 1 << (random.draw() % 8);
        std::fs::write(&file, &flipped).expect("written");
        let executor = executor(config());
        assert_eq!(answer(&executor, &code), expected, "flip {number} at {at}");
        let counts = counts(&executor);
        assert_eq!(
            (counts.hits, counts.refused),
            (0, 1),
            "flip {number} at {at}"
        );
        assert_eq!(
            std::fs::read(&file).expect("stored anew").len(),
            whole.len()
        );
    }
    std::fs::write(&file, &whole).expect("written");
    let executor = executor(config());
    assert_eq!(answer(&executor, &code), expected);
    assert_eq!(counts(&executor).hits, 1, "the test would tell");
}

#[test]
fn what_is_made_otherwise_has_another_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let code = answering(5);
    let mut schedule = Schedule::default();
    schedule.set("function", 2).expect("there is this price");
    let configs = [
        cached(folder.path()),
        cached(folder.path()).with_meter(Meter::Checked),
        cached(folder.path()).with_meter(Meter::Off),
        cached(folder.path()).with_schedule(schedule),
        cached(folder.path()).with_instances(InstanceMode::Fresh),
        ExecutorConfig {
            canonicalize_nans: false,
            ..cached(folder.path())
        },
        ExecutorConfig {
            code_bytes_max: 1 << 20,
            ..cached(folder.path())
        },
        cached(folder.path()).with_compilation(Compilation {
            optimisation: Optimisation::None,
            ..Compilation::default()
        }),
    ];
    for (number, config) in configs.iter().enumerate() {
        let executor = executor(config.clone());
        answer(&executor, &code);
        let counts = counts(&executor);
        assert_eq!((counts.misses, counts.stored), (1, 1), "{number}");
    }
    for config in configs {
        let executor = executor(config);
        answer(&executor, &code);
        assert_eq!(counts(&executor).hits, 1);
    }
    // What only says how many or how long is in no name.
    let other = cached(folder.path())
        .with_instances_cached_max(3)
        .with_arbiter_period(Duration::from_millis(7));
    let executor = executor(other);
    answer(&executor, &code);
    assert_eq!(counts(&executor).hits, 1);
}

/// Must hold: while a third runtime compiles, sixteen threads call two others, and no call takes more than a twentieth of
/// the time that compiling does.
#[test]
fn compiling_keeps_no_call_waiting() {
    let Some(kusama) = kusama() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let executor = executor(cached(folder.path()));
    let runtimes = [answering(5), answering(6)];
    for code in &runtimes {
        answer(&executor, code);
    }
    let done = AtomicBool::new(false);
    let (compiling, calls) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|number| {
                let (executor, done, code) = (&executor, &done, &runtimes[number % 2]);
                scope.spawn(move || {
                    let mut calls = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        answer(executor, code);
                        calls.push((begun, begun.elapsed()));
                        // A node's threads wait for requests too.
                        std::thread::sleep(Duration::from_micros(500));
                    }
                    calls
                })
            })
            .collect();
        let begun = Instant::now();
        executor.runtime(&kusama).expect("loads");
        let compiling = (begun, begun.elapsed());
        done.store(true, Ordering::Relaxed);
        let calls: Vec<_> = callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("no panic"))
            .collect();
        (compiling, calls)
    });
    let (begun, time) = compiling;
    let longest = calls.iter().map(|(_, took)| *took).max().expect("calls");
    println!(
        "Compiled in {time:.1?}; meanwhile {} calls, the longest {longest:.1?}: {:.2} % of it",
        calls.len(),
        100.0 * longest.as_secs_f64() / time.as_secs_f64()
    );
    assert!(longest * 20 <= time, "{longest:?} of {time:?}");
    // Calls end throughout it.
    for part in 0..10 {
        let from = begun + time * part / 10;
        let until = begun + time * (part + 1) / 10;
        let ended = calls.iter().map(|(begun, took)| *begun + *took);
        let within = ended.filter(|end| (from..until).contains(end)).count();
        assert!(within > 0, "no call ended in tenth {part}");
    }
}

#[test]
fn the_same_code_is_compiled_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let executor = executor(cached(folder.path()));
    let code = answering(7);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| answer(&executor, &code));
        }
    });
    let counts = counts(&executor);
    assert_eq!((counts.misses, counts.hits, counts.stored), (1, 0, 1));
}

#[test]
fn code_made_quickly_is_replaced_and_does_the_same() {
    let Some(code) = kusama() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let quick = Compilation {
        quick_first: true,
        ..Compilation::default()
    };
    let state = state(&code);
    let metadata = |executor: &Executor| {
        let (context, method) = (CallContext::Offchain, "Metadata_metadata");
        let call = call_on_state(executor, &state, context, method, &[], Extensions::new());
        let call = call.expect("it runs");
        (call.outcome, call.fuel)
    };
    let begun = Instant::now();
    let executor = executor(cached(folder.path()).with_compilation(quick));
    let for_queries = || {
        let runtime = executor.runtime_for(&code, CallContext::Offchain);
        runtime.expect("loads")
    };
    let first = for_queries();
    let ready = begun.elapsed();
    assert!(first.is_provisional());
    let provisional = metadata(&executor);
    // Blocks wait.
    let context = CallContext::Import;
    let for_blocks = executor.runtime_for(&code, context).expect("loads");
    assert!(!for_blocks.is_provisional());
    assert!(!for_queries().is_provisional());
    println!(
        "ready after {ready:.1?}, as it should be after {:.1?}",
        begun.elapsed()
    );
    assert_eq!(metadata(&executor), provisional);
    assert_eq!(counts(&executor).stored, 1, "only what is good is kept");
    // The next process has it at once.
    let next = self::executor(cached(folder.path()).with_compilation(quick));
    let offchain = next.runtime_for(&code, CallContext::Offchain);
    assert!(!offchain.expect("loads").is_provisional());
    assert_eq!(metadata(&next), provisional);
}

/// Where nobody asks for blocks, it is replaced all the same.
#[test]
fn code_made_quickly_is_replaced_by_itself() {
    let quick = Compilation {
        quick_first: true,
        ..Compilation::default()
    };
    let executor = executor(ExecutorConfig::default().with_compilation(quick));
    let code = answering(7);
    let is_provisional = || {
        let runtime = executor.runtime_for(&code, CallContext::Offchain);
        runtime.expect("loads").is_provisional()
    };
    is_provisional();
    let patience = Instant::now() + Duration::from_secs(60);
    while is_provisional() {
        assert!(Instant::now() < patience, "it is never made better");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What blocks ask for first is never provisional.
    let code = answering(8);
    assert!(!executor.runtime(&code).expect("loads").is_provisional());
    assert!(!is_provisional());
}
