//! Instrumented modules count what wasmtime's own fuel counts, to the unit, and compute the same.
//!
//! Judged on every module of the WebAssembly test suite within the profile `wide`: each is run
//! twice, as it is with `consume_fuel`, and instrumented without it.

use slackwater_executor::{
    GuestProfile,
    fuel::{Check, FUEL_MAX, HEADROOM_OFFSET, Instrumentation, START_EXPORT},
};
use slackwater_tests::{
    metered::{
        Outcome, empty, engine, imports_table, instrumented, meter, operators_fuel, set_word,
    },
    wast_suite::{Stage, Step, steps, wast_files},
};
use wasmtime::{Instance, StoreLimits, Val};

/// What the suite must give at least, so that a suite read in part is noticed.
const CALLS_MIN: usize = 40_000;
const MODULES_MIN: usize = 1_500;
/// More than any test uses.
const PLENTY: u64 = 1 << 50;

/// Runs modules one way.
struct Side {
    stage: Stage,
    /// `None`: as they are, with the engine's own fuel.
    check: Option<Check>,
}

/// An outcome, and the fuel used.
type Run = (Outcome, u64);

impl Side {
    fn new(check: Option<Check>) -> Self {
        let stage = Stage::new(engine(check.is_some()), StoreLimits::default);
        Self { stage, check }
    }

    /// Instantiates a module. `None` if it cannot be linked here.
    fn instantiate(&mut self, name: Option<&str>, wasm: &[u8]) -> Option<Run> {
        let (outcome, instance) = match self.check {
            None => {
                self.stage.store.set_fuel(PLENTY).expect("fuel is on");
                self.stage.instantiate(name, wasm, None)?
            }
            Some(check) => {
                let made = instrumented(wasm, &Instrumentation::new(check));
                let start = Some(START_EXPORT);
                self.stage.instantiate(name, &made.wasm, start)?
            }
        };
        let used = instance.map_or(0, |instance| self.used(&instance));
        Some((outcome, used))
    }

    /// Fuel used since the last call of [`Self::refill`].
    fn used(&mut self, instance: &Instance) -> u64 {
        let store = &mut self.stage.store;
        if self.check.is_none() {
            return PLENTY - store.get_fuel().expect("fuel is on");
        }
        let meter = meter(&mut *store, instance);
        operators_fuel(store, meter)
    }

    fn refill(&mut self, instance: &Instance) {
        let store = &mut self.stage.store;
        if self.check.is_none() {
            return store.set_fuel(PLENTY).expect("fuel is on");
        }
        let meter = meter(&mut *store, instance);
        empty(&mut *store, meter);
        set_word(store, meter, HEADROOM_OFFSET, FUEL_MAX - PLENTY);
    }

    fn call(&mut self, name: &str, function: &str, arguments: &[Val]) -> Option<Run> {
        let instance = self.stage.instance(name)?;
        self.refill(&instance);
        let outcome = self.stage.call(&instance, function, arguments)?;
        Some((outcome, self.used(&instance)))
    }
}

#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    skipped_modules: usize,
    calls: usize,
    skipped_calls: usize,
    fuel: u64,
    traps: usize,
}

/// Runs one file both ways.
fn run_file(name: &str, text: &str, plain: &mut Side, metered: &mut Side, tally: &mut Tally) {
    plain.stage.reset();
    metered.stage.reset();
    for (line, step) in steps(text) {
        let place = format!("{name}:{line}");
        let (one, two) = match step {
            Step::Module { name, wasm } => {
                if GuestProfile::Wide.validate(&wasm).is_err() || imports_table(&wasm) {
                    tally.skipped_modules += 1;
                    plain.stage.forget_latest();
                    metered.stage.forget_latest();
                    continue;
                }
                tally.modules += 1;
                let one = plain.instantiate(name.as_deref(), &wasm);
                (one, metered.instantiate(name.as_deref(), &wasm))
            }
            Step::Call {
                arguments: None, ..
            } => {
                tally.skipped_calls += 1;
                continue;
            }
            Step::Call {
                instance,
                function,
                arguments: Some(arguments),
            } => {
                let one = plain.call(&instance, &function, &arguments);
                (one, metered.call(&instance, &function, &arguments))
            }
        };
        compare(&place, one, two, metered.check, tally);
    }
}

/// Both runs must end alike; if they return, they must have used the same fuel.
fn compare(
    place: &str,
    plain: Option<Run>,
    metered: Option<Run>,
    check: Option<Check>,
    tally: &mut Tally,
) {
    let ((one, fuel), (two, counted)) = match (plain, metered) {
        (Some(one), Some(two)) => (one, two),
        (None, None) => {
            tally.skipped_calls += 1;
            return;
        }
        (one, two) => panic!("{place}: {one:?} is not {two:?}"),
    };
    assert_eq!(one, two, "{place}");
    tally.calls += 1;
    match one {
        Outcome::Returned(_) => {
            assert_eq!(fuel, counted, "{place}: fuel, {check:?}");
            tally.fuel += fuel;
        }
        Outcome::Trapped(_) => tally.traps += 1,
    }
}

fn suite(check: Check) -> Option<Tally> {
    let (mut plain, mut metered) = (Side::new(None), Side::new(Some(check)));
    let mut tally = Tally::default();
    for (name, text) in wast_files()? {
        run_file(&name, &text, &mut plain, &mut metered, &mut tally);
    }
    Some(tally)
}

#[expect(clippy::print_stderr, reason = "what was skipped must be seen")]
fn check_suite(check: Check) {
    let Some(tally) = suite(check) else {
        return;
    };
    eprintln!("{check:?}: {tally:?}");
    assert!(tally.modules >= MODULES_MIN, "{tally:?}");
    assert!(tally.calls >= CALLS_MIN, "{tally:?}");
}

#[test]
fn the_suite_counts_and_computes_the_same() {
    check_suite(Check::None);
}

#[test]
fn the_suite_counts_and_computes_the_same_where_the_guest_compares() {
    check_suite(Check::Synchronous);
}
