//! Short runs that reuse pages under an arbiter that arms them at random: no verdict may be false.
//!
//! Runs with room are refuelled at random moments, which protects their page, pauses them at a
//! safepoint, and lets them go on; some are cancelled from outside at random; some are over their limit
//! by one unit. What each must give is known beforehand. A seeded slice here; the campaign is
//! `SLACKWATER_SHORT_RUNS=10000000 cargo test --release --workspace --test fuel_torture -- --nocapture`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use slackwater_executor::{
    CallError, CallLimits, CallOutcome, Called, CancelToken, ExecutorConfig, Fuel, HeapPages,
    LocalLimit, Meter, Runtime, TrapKind,
    fuel::{OnOverrun, Refuel},
};
use slackwater_tests::{Executor, executor_with};
use sp_state_machine::BasicExternalities;

/// Runs where nothing else is asked for.
const RUNS: usize = 40_000;
/// Threads that run guests.
const THREADS: usize = 2;
/// Longest loop of a run, in turns.
const TURNS_MAX: u64 = 2_000;

/// Loops as often as its input says, and returns a number made of all turns.
const GUEST: &str = r#"(module
    (memory (export "memory") 1)
    (global (export "__heap_base") i32 (i32.const 1024))
    (func $turn (param i64) (result i64)
        (i64.add (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.const 1442695)))
    (func (export "run") (param $at i32) (param i32) (result i64)
        (local $turns i64) (local $made i64)
        (local.set $turns (i64.load (local.get $at)))
        (block $done (loop $again
            (br_if $done (i64.eqz (local.get $turns)))
            (local.set $turns (i64.sub (local.get $turns) (i64.const 1)))
            (local.set $made (call $turn (local.get $made)))
            (br $again)))
        (i64.store (i32.const 64) (local.get $made))
        (i64.const 0x800000040)))"#;

/// Numbers of a linear congruence: the same for a seed, everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        let Self(state) = self;
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }
}

/// What a run of so many turns gives.
fn made(turns: u64) -> u64 {
    (0..turns).fold(0_u64, |made, _| {
        made.wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695)
    })
}

/// What happened to all runs.
#[derive(Debug, Default)]
struct Tally {
    returned: AtomicUsize,
    out_of_fuel: AtomicUsize,
    over_local: AtomicUsize,
    cancelled: AtomicUsize,
    /// Times a page was armed although its run had to go on.
    armed: AtomicUsize,
}

/// One thread's work.
struct Runner<'a> {
    executor: &'a Executor,
    runtime: &'a Runtime,
    tally: Arc<Tally>,
    numbers: Numbers,
    /// Fuel of a run of no turns, and of each turn.
    prices: (u64, u64),
    ext: BasicExternalities,
}

impl Runner<'_> {
    fn call(&mut self, turns: u64, limits: &CallLimits) -> Result<Called, CallError> {
        let heap = HeapPages::Static { extra: 1 };
        let input = turns.to_le_bytes();
        self.executor
            .call_limited(self.runtime, &mut self.ext, "run", &input, heap, limits)
    }

    fn used(&self, turns: u64) -> u64 {
        let (none, each) = self.prices;
        none + turns * each
    }

    /// The run must have gone to its end.
    fn returned(&self, turns: u64, ended: Result<Called, CallError>) {
        let called = ended.unwrap_or_else(|error| panic!("{turns} turns: {error}"));
        let CallOutcome::Returned(output) = &called.outcome else {
            panic!("{turns} turns: {:?}", called.outcome);
        };
        assert_eq!(
            output.as_slice(),
            made(turns).to_le_bytes(),
            "{turns} turns"
        );
        let fuel = called.fuel.expect("it is counted").total;
        assert_eq!(fuel, Fuel(self.used(turns)), "{turns} turns");
        self.tally.returned.fetch_add(1, Ordering::Relaxed);
    }

    /// One run of a random kind.
    fn run(&mut self, to_cancel: &AtomicU64, tokens: &[CancelToken]) {
        let turns = self.numbers.next(TURNS_MAX);
        let used = self.used(turns);
        match self.numbers.next(6) {
            0 => {
                let ended = self.call(turns, &CallLimits::none());
                self.returned(turns, ended);
            }
            1 => {
                let ended = self.call(turns, &CallLimits::consensus(Fuel(used)));
                self.returned(turns, ended);
            }
            2 => {
                let less = Fuel(used - 1 - self.numbers.next(used / 2));
                let called = self.call(turns, &CallLimits::consensus(less));
                let called = called.unwrap_or_else(|error| panic!("{turns} turns: {error}"));
                let CallOutcome::Trapped(trap) = called.outcome else {
                    panic!("{turns} turns with {less}");
                };
                assert_eq!(trap.kind, TrapKind::OutOfFuel);
                assert_eq!(called.fuel.map(|fuel| fuel.total), Some(less));
                self.tally.out_of_fuel.fetch_add(1, Ordering::Relaxed);
            }
            3 => {
                let less = Fuel(used - 1);
                let ended = self.call(turns, &CallLimits::local(less));
                assert!(
                    matches!(ended, Err(CallError::LocalLimit { limit }) if limit == less),
                    "{turns} turns: {ended:?}"
                );
                self.tally.over_local.fetch_add(1, Ordering::Relaxed);
            }
            4 => {
                let slot = self.numbers.next(tokens.len() as u64);
                let token = tokens[usize::try_from(slot).expect("few")].clone();
                to_cancel.store(slot, Ordering::Relaxed);
                match self.call(turns, &CallLimits::none().with_cancel(token)) {
                    Err(CallError::Cancelled) => {
                        self.tally.cancelled.fetch_add(1, Ordering::Relaxed);
                    }
                    ended => self.returned(turns, ended),
                }
            }
            _ => {
                let step = self.numbers.next(used) + 100;
                let armed = Arc::clone(&self.tally);
                let limits = CallLimits::local(LocalLimit {
                    fuel: Fuel(1),
                    on_overrun: OnOverrun::Refuel(Arc::new(move |Fuel(used)| {
                        armed.armed.fetch_add(1, Ordering::Relaxed);
                        Refuel::Extend(Fuel(used + step))
                    })),
                });
                let ended = self.call(turns, &limits);
                self.returned(turns, ended);
            }
        }
    }
}

fn prices(executor: &Executor, runtime: &Runtime) -> (u64, u64) {
    let mut ext = BasicExternalities::default();
    let mut fuel = |turns: u64| {
        let (heap, limits) = (HeapPages::Static { extra: 1 }, CallLimits::none());
        let input = turns.to_le_bytes();
        let called = executor.call_limited(runtime, &mut ext, "run", &input, heap, &limits);
        let fuel = called.expect("an outcome").fuel.expect("it is counted");
        fuel.total.0
    };
    let (none, thousand) = (fuel(0), fuel(1_000));
    assert_eq!((thousand - none) % 1_000, 0);
    (none, (thousand - none) / 1_000)
}

#[test]
#[expect(clippy::print_stderr, reason = "what happened is to be seen")]
fn no_verdict_is_false() {
    let asked = std::env::var("SLACKWATER_SHORT_RUNS").ok();
    let runs = asked.map_or(RUNS, |runs| runs.parse().expect("a number"));
    let config = ExecutorConfig::default()
        .with_meter(Meter::Slacked)
        .with_instances_max(4)
        .with_arbiter_period(Duration::from_micros(1));
    let executor = executor_with(config);
    let code = wat::parse_str(GUEST).expect("wat");
    let runtime = executor.runtime(&code).expect("loads");
    let prices = prices(&executor, &runtime);
    let tally = Arc::new(Tally::default());
    let done = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (executor, runtime, done) = (&executor, &runtime, &done);
            let mut runner = Runner {
                executor,
                runtime,
                tally: Arc::clone(&tally),
                numbers: Numbers(thread as u64 + 1),
                prices,
                ext: BasicExternalities::default(),
            };
            scope.spawn(move || {
                let to_cancel = AtomicU64::new(u64::MAX);
                while done.load(Ordering::Relaxed) < runs {
                    let tokens: Vec<_> = (0..8).map(|_| CancelToken::new()).collect();
                    // Somebody else cancels while this thread runs; new tokens after each batch.
                    std::thread::scope(|scope| {
                        scope.spawn(|| cancel_one(&to_cancel, &tokens));
                        for _ in 0..200 {
                            runner.run(&to_cancel, &tokens);
                        }
                        to_cancel.store(0, Ordering::Relaxed);
                    });
                    done.fetch_add(200, Ordering::Relaxed);
                }
            });
        }
    });
    let all = done.load(Ordering::Relaxed);
    eprintln!("{all} runs in {:?}: {tally:?}", started.elapsed());
    for happened in [
        &tally.returned,
        &tally.out_of_fuel,
        &tally.over_local,
        &tally.armed,
    ] {
        assert!(happened.load(Ordering::Relaxed) > all / 100, "{tally:?}");
    }
    assert!(tally.cancelled.load(Ordering::Relaxed) > 0, "{tally:?}");
}

/// Cancels the token that a run was last given, once one was, at some moment of it.
fn cancel_one(to_cancel: &AtomicU64, tokens: &[CancelToken]) {
    loop {
        let slot = to_cancel.swap(u64::MAX, Ordering::Relaxed);
        if let Some(token) = usize::try_from(slot).ok().and_then(|slot| tokens.get(slot)) {
            token.cancel();
            return;
        }
        std::thread::yield_now();
    }
}
