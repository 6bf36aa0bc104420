//! What instances that are kept cost a process: memory, mappings, descriptors. One test at a time, as they
//! measure the process.

#![expect(clippy::print_stdout, reason = "figures of what was measured")]

use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};

use slackwater_executor::{
    CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, LocalLimit, MemoryStrategy, Runtime,
    fuel::{OnOverrun, Refuel},
};
use slackwater_runtime_fixtures::guest::GUEST_WASM;
use slackwater_tests::{Executor, crate_file_or_skip, executor_with, runs};
use sp_state_machine::BasicExternalities;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn returns(
    executor: &Executor,
    runtime: &Runtime,
    method: &str,
    input: &[u8],
    limits: &CallLimits,
) {
    let mut ext = BasicExternalities::default();
    let heap = HeapPages::default();
    let called = executor.call_limited(runtime, &mut ext, method, input, heap, limits);
    let outcome = called.expect("an outcome").outcome;
    assert!(matches!(outcome, CallOutcome::Returned(_)), "{outcome:?}");
}

/// Has so many calls of `method` under way at the same time: each is paused until all of them are.
fn at_once(executor: &Executor, runtime: &Runtime, calls: usize, method: &str, inputs: &[Vec<u8>]) {
    let barrier = Arc::new(Barrier::new(calls));
    std::thread::scope(|scope| {
        for number in 0..calls {
            let barrier = Arc::clone(&barrier);
            let input = &inputs[number % inputs.len()];
            let work = move || {
                let callback = move |_used| {
                    barrier.wait();
                    Refuel::Extend(Fuel(1 << 50))
                };
                let mut limits = CallLimits::none();
                limits.local = Some(LocalLimit {
                    fuel: Fuel(0),
                    on_overrun: OnOverrun::Refuel(Arc::new(callback)),
                });
                returns(executor, runtime, method, input, &limits);
            };
            let builder = std::thread::Builder::new().stack_size(2 << 20);
            builder.spawn_scoped(scope, work).expect("a thread");
        }
    });
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).expect("this process").count()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process");
    maps.lines().count()
}

/// Kilobytes of private memory of this process.
fn private_kilobytes() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("this process");
    let line = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Dirty:"));
    line.filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
        .sum()
}

/// Many instances at once, what they keep, and that they go.
#[test]
fn idle_instances_cost_little_and_any_number_can_run() {
    let _alone = alone();
    let Some(path) = crate_file_or_skip("sc-executor", "0.51.0", "benches/kusama_runtime.wasm")
    else {
        return;
    };
    let code = std::fs::read(path).expect("readable");
    let executor = executor_with(ExecutorConfig::default().with_instances_cached_max(2_000));
    let runtime = executor.runtime(&code).expect("loads");
    returns(
        &executor,
        &runtime,
        "Core_version",
        &[],
        &CallLimits::none(),
    );
    let descriptors = entries("/proc/self/fd");
    let (mapped, private) = (mappings(), private_kilobytes());
    const INSTANCES: usize = 64;
    for _ in 0..8 {
        at_once(
            &executor,
            &runtime,
            INSTANCES,
            "Core_version",
            &[Vec::new()],
        );
    }
    assert_eq!(runtime.instances().waiting, INSTANCES as u64);
    assert_eq!(entries("/proc/self/fd"), descriptors);
    let each = (mappings() - mapped) / INSTANCES;
    let kilobytes = private_kilobytes().saturating_sub(private) / INSTANCES;
    println!("{each} mappings and {kilobytes} KiB of private memory for each idle instance");
    assert!(each <= 16, "{each} mappings");
    assert!(kilobytes <= 512, "{kilobytes} KiB");

    // Pages all over the memory, other ones for each.
    let inputs: Vec<_> = (0..97_u32)
        .map(|number| {
            let start = 0x100_0000 + number * 0xa_1000;
            [start.to_le_bytes(), 16_u32.to_le_bytes()].concat()
        })
        .collect();
    const MANY: usize = 1_000;
    for _ in 0..3 {
        at_once(
            &executor,
            &runtime,
            MANY,
            "test_dirty_plenty_memory",
            &inputs,
        );
    }
    let waiting = runtime.instances().waiting;
    assert_eq!(waiting, MANY as u64);
    let each = (mappings() - mapped) / MANY;
    println!("{each} mappings for each of {MANY}");
    assert!(each <= 16, "{each} mappings");
    executor.set_instances_cached_max(4);
    assert!(runtime.instances().waiting <= 4);
    // What remains is of threads that ended, whose stacks and heaps the library keeps.
    assert!(mappings() < mapped + 4 * MANY, "{} {mapped}", mappings());
    let counts = runtime.instances();
    assert_eq!((counts.differing, counts.failed), (0, 0), "{counts:?}");
}

/// Slots that nobody takes any more keep no memory.
#[test]
fn instances_that_nobody_uses_give_memory_back() {
    let _alone = alone();
    // The other strategies keep none anyway.
    let executor = executor_with(ExecutorConfig::default().with_memory(MemoryStrategy::Auto));
    let runtime = executor.runtime(GUEST_WASM).expect("loads");
    let dirty = [0x40_0000_u32.to_le_bytes(), 16_u32.to_le_bytes()].concat();
    const INSTANCES: usize = 16;
    let method = "test_dirty_plenty_memory";
    for _ in 0..8 {
        at_once(
            &executor,
            &runtime,
            INSTANCES,
            method,
            std::slice::from_ref(&dirty),
        );
    }
    let busy = private_kilobytes();
    for _ in 0..20_000 {
        returns(
            &executor,
            &runtime,
            "test_empty_return",
            &[0],
            &CallLimits::none(),
        );
    }
    let idle = private_kilobytes();
    let counts = runtime.instances();
    println!("{busy} KiB, {idle} KiB with idle instances, {counts:?}");
    assert_eq!((counts.differing, counts.failed), (0, 0), "{counts:?}");
    assert!(counts.waiting >= INSTANCES as u64 / 2, "{counts:?}");
    // A megabyte each, but for those that are used.
    assert!(idle + 12 * 1_024 < busy, "{busy} KiB, then {idle} KiB");
}

#[test]
fn millions_of_calls_leave_nothing_behind() {
    let _alone = alone();
    let executor = executor_with(ExecutorConfig::default());
    let runtime = executor.runtime(GUEST_WASM).expect("loads");
    let input = [0x20_0000_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    let some = |calls: usize| {
        for number in 0..calls {
            let (method, input) = match number % 50 {
                0 => ("test_dirty_plenty_memory", input.as_slice()),
                _ => ("test_empty_return", &[0_u8] as &[u8]),
            };
            returns(&executor, &runtime, method, input, &CallLimits::none());
        }
    };
    some(5_000);
    let before = (entries("/proc/self/fd"), mappings());
    let private = private_kilobytes();
    some(runs("SLACKWATER_FLAT_CALLS", 100_000));
    let counts = runtime.instances();
    assert_eq!(counts.made, 1, "{counts:?}");
    let after = (entries("/proc/self/fd"), mappings());
    let grown = private_kilobytes().saturating_sub(private);
    println!("descriptors and mappings: {before:?}, then {after:?}; {grown} KiB more");
    assert!(grown < 2_048, "{grown} KiB");
    assert!(after.0 <= before.0 + 4 && after.1 <= before.1 + 40);
}
