//! Nothing runs for ever: every overrun ends, with one verdict, at any timing of the arbiter, on any
//! number of threads, whoever compares; and leaves nothing behind.
//!
//! `SLACKWATER_OVERRUN_RUNS=1000 cargo test --release --workspace --test fuel_stops -- --nocapture`
//! runs each case so often, and prints how far counters had come.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use slackwater_executor::{
    CallLimits, CancelToken, ExecutorConfig, Fuel, FuelUsed, LocalLimit, Meter,
    fuel::{OnOverrun, Refuel},
};
use slackwater_tests::{
    Executor, executor_with,
    overruns::{OVERRUNS, PROFILE, guest, run, state_with, verdict},
    rules_for_extrinsics,
};

const LIMIT: Fuel = Fuel(3_000_000);
/// Runs of each case, for each meter and number of threads.
const RUNS: usize = 24;

fn runs(otherwise: usize) -> usize {
    let asked = std::env::var("SLACKWATER_OVERRUN_RUNS").ok();
    asked.map_or(otherwise, |runs| runs.parse().expect("a number"))
}

/// Where fuel is in consensus, depth is limited.
fn with_depth() -> ExecutorConfig {
    ExecutorConfig {
        profile: PROFILE,
        ..ExecutorConfig::default()
    }
    .with_consensus_fuel(rules_for_extrinsics(Fuel(1 << 60)))
}

/// Periods of arbiters, from busy to sleepy.
fn period(number: usize) -> Duration {
    let micros = [7, 90, 400, 1_000, 1_700][number % 5] + (number as u64 * 37) % 50;
    Duration::from_micros(micros)
}

fn executor(meter: Meter, number: usize) -> Executor {
    executor_with(
        with_depth()
            .with_meter(meter)
            .with_arbiter_period(period(number))
            .with_instances_max(16),
    )
}

/// Counts how far runs had come when they were stopped, as the executor tells people.
struct Listener(Mutex<BTreeMap<u64, usize>>);

static LISTENER: Listener = Listener(Mutex::new(BTreeMap::new()));

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "slackwater::fuel"
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let counted = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        if let Some(counted) = counted.filter(|_| self.enabled(record.metadata())) {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.entry(counted).or_default() += 1;
        }
    }

    fn flush(&self) {}
}

/// Runs the cases on so many threads; returns each case's verdicts.
fn verdicts(
    meter: Meter,
    threads: usize,
    runs: usize,
    limits: &CallLimits,
) -> BTreeMap<&'static str, BTreeMap<String, usize>> {
    let seen = Mutex::new(BTreeMap::<_, BTreeMap<_, _>>::new());
    let states: Vec<_> = OVERRUNS.iter().map(|case| (case, case.state())).collect();
    // Each executor has a period of its own, and is used by all threads.
    for (number, executor) in (0..5).map(|number| (number, executor(meter, number))) {
        let share = runs.div_ceil(5 * threads);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (seen, states, executor) = (&seen, &states, &executor);
                scope.spawn(move || {
                    for turn in 0..states.len() * share {
                        let (case, state) = &states[(turn + thread + number) % states.len()];
                        let ended = verdict(&run(executor, state, limits));
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        *seen.entry(case.name).or_default().entry(ended).or_default() += 1;
                    }
                });
            }
        });
    }
    seen.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "how far counters had come is to be seen"
)]
fn every_overrun_has_one_verdict_and_leaves_nothing() {
    log::set_logger(&LISTENER).expect("no other logger");
    log::set_max_level(log::LevelFilter::Debug);
    let limits = CallLimits::consensus(LIMIT);
    let mut all = BTreeMap::<_, BTreeMap<_, usize>>::new();
    for meter in [Meter::Slacked, Meter::Checked] {
        for threads in [1, 2, 8] {
            let found = verdicts(meter, threads, runs(RUNS), &limits);
            for (case, verdicts) in found {
                for (verdict, count) in verdicts {
                    *all.entry(case).or_default().entry(verdict).or_default() += count;
                }
            }
        }
        let mut seen = LISTENER.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (least, most) = (seen.keys().next(), seen.keys().next_back());
        eprintln!(
            "{meter:?}: {} counts of {} overruns, from {least:?} to {most:?}",
            seen.len(),
            seen.values().sum::<usize>(),
        );
        // Whoever looks from outside finds another count each time.
        assert!(
            meter == Meter::Checked || seen.len() > 100,
            "{}",
            seen.len()
        );
        seen.clear();
    }
    log::set_max_level(log::LevelFilter::Off);
    assert_eq!(all.len(), OVERRUNS.len());
    for case in OVERRUNS {
        let verdicts = &all[case.name];
        assert_eq!(verdicts.len(), 1, "{}: {verdicts:?}", case.name);
        let verdict = verdicts.keys().next().expect("one");
        // The stack ends before this limit does, and always at the same count.
        let expected = if case.deep {
            "StackExhausted".to_owned()
        } else {
            format!(
                "OutOfFuel, {:?}, None keys",
                Some(FuelUsed {
                    total: LIMIT,
                    limit: Some(LIMIT),
                    ..FuelUsed::default()
                })
            )
        };
        assert!(verdict.starts_with(&expected), "{}: {verdict}", case.name);
        assert!(verdict.ends_with("None keys"), "{}: {verdict}", case.name);
    }
}

/// Without a limit of fuel, recursion ends at the limit of depth, everywhere at the same count.
#[test]
fn deep_recursion_is_stack_exhausted_before_the_native_stack_is() {
    let mut all = BTreeMap::<_, BTreeMap<_, usize>>::new();
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor = executor(meter, 3);
        for case in OVERRUNS.iter().filter(|case| case.deep) {
            let state = case.state();
            for _ in 0..3 {
                let ended = verdict(&run(&executor, &state, &CallLimits::none()));
                *all.entry(case.name).or_default().entry(ended).or_default() += 1;
            }
        }
    }
    assert_eq!(all.len(), 3);
    for (case, verdicts) in &all {
        assert_eq!(verdicts.len(), 1, "{case}: {verdicts:?}");
        assert!(
            verdicts
                .keys()
                .all(|verdict| verdict.starts_with("StackExhausted")),
            "{case}: {verdicts:?}"
        );
    }
    // Without a limit of depth, it is this machine's business.
    let free = executor_with(ExecutorConfig {
        profile: PROFILE,
        ..ExecutorConfig::default()
    });
    let deep = OVERRUNS.iter().find(|case| case.deep).expect("there is");
    let ended = run(&free, &deep.state(), &CallLimits::none());
    assert!(ended.expect_err("no outcome").is_native_stack());
}

/// From the start of a call to its end, for a guest that is over its limit at once.
#[test]
#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
fn an_overrun_ends_within_a_period_and_a_millisecond() {
    let executor = executor(Meter::Slacked, 3);
    let period = executor.config().arbiter_period;
    // It calls no host function, which would notice by itself.
    let silent = r#"(module
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "run") (param i32 i32) (result i64) (loop (br 0)) (i64.const 0)))"#;
    let state = state_with(wat::parse_str(silent).expect("wat"), 0);
    let limits = CallLimits::consensus(Fuel(1));
    let latencies = |threads: usize, runs: usize| {
        let all = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..runs {
                        let started = Instant::now();
                        let ended = run(&executor, &state, &limits);
                        let took = started.elapsed();
                        assert!(verdict(&ended).starts_with("OutOfFuel"));
                        all.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(took);
                    }
                });
            }
        });
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable();
        all
    };
    latencies(1, 20);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores, 16] {
        let all = latencies(threads, runs(60));
        let at = |percent: usize| all[(all.len() - 1) * percent / 100];
        eprintln!("{threads} threads: median {:?}, p99 {:?}", at(50), at(99));
        assert!(at(50) > period / 10, "somebody else noticed: {:?}", at(50));
        if threads <= cores {
            // The tail is the machine's: it is judged where the machine is quiet, on demand.
            let quiet = std::env::var_os("SLACKWATER_OVERRUN_RUNS").is_some();
            let judged = at(if quiet { 99 } else { 50 });
            assert!(judged <= period + Duration::from_millis(1), "{judged:?}");
        }
    }
}

/// A call that was cancelled ends so; one that is over its limit besides is out of fuel.
#[test]
fn cancelling_ends_a_call_and_is_no_verdict() {
    let state = OVERRUNS[0].state();
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor = executor(meter, 3);
        let token = CancelToken::new();
        let limits = CallLimits::none().with_cancel(token.clone());
        let ended = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&executor, &state, &limits));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!running.is_finished());
            token.cancel();
            running.join().expect("ends")
        });
        assert_eq!(verdict(&ended), "cancelled", "{meter:?}");
        // One that has been cancelled before is not begun.
        let late = run(&executor, &state, &limits);
        assert_eq!(verdict(&late), "cancelled", "{meter:?}");
        // The chain's limit was passed long before it was cancelled, whoever noticed first.
        let token = CancelToken::new();
        let both = CallLimits::consensus(Fuel(1)).with_cancel(token.clone());
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(200));
                token.cancel();
            });
            run(&executor, &state, &both)
        });
        let ended = verdict(&ended);
        assert!(ended.starts_with("OutOfFuel"), "{meter:?}: {ended}");
        // Of two limits the smaller one decides, however far the run came.
        for (local, expected) in [(LIMIT.0 / 2, "over 1500000 fuel"), (LIMIT.0, "OutOfFuel")] {
            let two = CallLimits::consensus(LIMIT).with_local(Fuel(local));
            for _ in 0..20 {
                let ended = verdict(&run(&executor, &state, &two));
                assert!(ended.starts_with(expected), "{meter:?}: {ended}");
            }
        }
        let local = CallLimits::local(LIMIT).with_cancel(CancelToken::new());
        let ended = run(&executor, &state, &local);
        assert_eq!(verdict(&ended), "over 3000000 fuel of this machine");
    }
}

/// A run that is refuelled goes on where it was, and computes what it would have.
#[test]
fn a_run_is_paused_extended_and_stopped() {
    // Counts to a hundred million and writes the number.
    let code = guest(
        "(func $work (local $i i64)
            (loop
                (br_if 0 (i64.ne (local.tee $i (i64.add (local.get $i) (i64.const 1)))
                    (i64.const 100000000))))
            (i64.store (i32.const 64) (local.get $i))
            (call $write))",
    );
    let state = state_with(code, 0);
    let executor = executor(Meter::Slacked, 2);
    let plain = run(&executor, &state, &CallLimits::none()).expect("returns");
    let asked = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let limit = |stop_at: usize| {
        let (asked, last) = (Arc::clone(&asked), Arc::clone(&last));
        CallLimits::local(LocalLimit {
            fuel: Fuel(1_000),
            on_overrun: OnOverrun::Refuel(Arc::new(move |Fuel(used)| {
                // A pause: nothing is counted meanwhile.
                std::thread::sleep(Duration::from_millis(2));
                assert!(last.swap(used, Ordering::SeqCst) < used);
                if asked.fetch_add(1, Ordering::SeqCst) == stop_at {
                    return Refuel::Stop;
                }
                Refuel::Extend(Fuel(used + 100_000))
            })),
        })
    };
    let refuelled = run(&executor, &state, &limit(usize::MAX)).expect("returns");
    assert!(asked.swap(0, Ordering::SeqCst) > 5);
    assert_eq!(refuelled.fuel, plain.fuel);
    let root = |call: &slackwater_executor::StateCall| {
        call.changes.as_ref().map(|changes| changes.state_root)
    };
    assert_eq!(root(&refuelled), root(&plain));
    last.store(0, Ordering::SeqCst);
    let stopped = run(&executor, &state, &limit(2));
    assert!(verdict(&stopped).contains("of this machine"), "{stopped:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    // Where pages cannot be protected, nothing can be paused.
    let checked = self::executor(Meter::Checked, 2);
    let refused = run(&checked, &state, &limit(0)).expect_err("cannot pause");
    assert!(refused.to_string().contains("Slacked"), "{refused}");
}
