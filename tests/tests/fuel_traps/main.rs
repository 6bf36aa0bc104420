//! Runs that trap count what the rules say, judged by a second instrumenter.
//!
//! The engine's own fuel forgets what was used since its last flush when a run traps, and flushes
//! elsewhere, so it is no oracle there. The naive instrumenter is: it knows at each operator the price
//! of everything begun, and which place that publishes was passed last. For a run that returns, our
//! count is the naive one. For one that traps, it is the naive one at the last place that publishes.
//!
//! Judged on the WebAssembly test suite and on random modules of two generators, without and with
//! comparing, and twice, since a count must not depend on anything but the run. Faults are planted, to
//! see that they are noticed.

mod forgetful;

use slackwater_executor::{
    GuestProfile,
    fuel::{Check, FUEL_MAX, HEADROOM_OFFSET, Instrumentation, START_EXPORT},
};
use slackwater_tests::{
    metered::{
        Outcome, empty, engine, imports_table, instrumented, meter, operators_fuel, set_word, value,
    },
    naive::{Counts, DEFAULT_PRICES, NAIVE_START, Prices, Publishing, count_every_operator},
    random_loops::trapping_module,
    random_smith::smith_module,
    wast_suite::{Stage, Step, steps, wast_files},
};
use wasmparser::Operator;
use wasmtime::{Engine, StoreLimits, StoreLimitsBuilder, Trap, Val};

use self::forgetful::{Forgotten, without_flush};

/// What the suite must give at least, so that a suite read in part is noticed.
const SUITE_TRAPS_MIN: usize = 2_000;
const SUITE_RETURNS_MIN: usize = 40_000;
/// Random modules of each generator.
const MODULES: usize = 300;
/// Those that faults are planted in.
const FAULTY_MODULES: usize = 60;
/// What functions of random modules are called with.
const ARGUMENTS: [i32; 4] = [0, 1, -1, 1_000_003];
/// More than a random module may use.
const PLENTY: u64 = 1_000_000;

/// How a module is changed before it is run.
#[derive(Clone)]
enum Way {
    /// By these prices, publishing where the other does.
    Naive(Prices, Instrumentation),
    Metered {
        instrumentation: Instrumentation,
        forgotten: Option<Forgotten>,
    },
}

impl Way {
    fn metered(check: Check) -> Self {
        Self::Metered {
            instrumentation: Instrumentation::new(check),
            forgotten: None,
        }
    }
}

/// Comparing, and nothing for sizes: what runs too long stops, and nothing else does.
fn scout() -> Way {
    let mut instrumentation = Instrumentation::new(Check::Synchronous);
    for size in ["size 64 bytes", "size element", "size page"] {
        let set = instrumentation.schedule.set(size, 0);
        set.expect("sizes may cost nothing");
    }
    Way::Metered {
        instrumentation,
        forgotten: None,
    }
}

/// Without comparing, the same again, and with comparing.
fn ways() -> Vec<Way> {
    [Check::None, Check::None, Check::Synchronous]
        .map(Way::metered)
        .to_vec()
}

/// Runs modules one way.
struct Side {
    stage: Stage,
    way: Way,
}

#[derive(Debug, Clone, Copy)]
enum Count {
    Naive(Counts),
    Metered(u64),
}

/// An outcome, and what was counted; nothing where there is no instance.
type Run = (Outcome, Option<Count>);

impl Side {
    fn new(way: Way, engine: &Engine, limits: fn() -> StoreLimits) -> Self {
        let stage = Stage::new(engine.clone(), limits);
        Self { stage, way }
    }

    /// Instantiates a module. `None` if it cannot be linked here.
    fn instantiate(&mut self, name: Option<&str>, wasm: &[u8]) -> Option<Run> {
        let (made, start) = match &self.way {
            Way::Naive(prices, instrumentation) => {
                let judged = instrumented(wasm, instrumentation);
                let publishing = Publishing::of(&judged);
                let naive = count_every_operator(wasm, *prices, &publishing);
                (naive, NAIVE_START)
            }
            Way::Metered {
                instrumentation,
                forgotten,
            } => {
                let made = instrumented(wasm, instrumentation).wasm;
                let made = match forgotten {
                    Some(forgotten) => without_flush(&made, *forgotten),
                    None => made,
                };
                (made, START_EXPORT)
            }
        };
        let (outcome, instance) = self.stage.instantiate(name, &made, Some(start))?;
        let count = instance.map(|instance| self.count(&instance));
        Some((outcome, count))
    }

    fn count(&mut self, instance: &wasmtime::Instance) -> Count {
        let store = &mut self.stage.store;
        match self.way {
            Way::Naive(..) => Count::Naive(Counts::of(store, instance)),
            Way::Metered { .. } => {
                let meter = meter(&mut *store, instance);
                Count::Metered(operators_fuel(store, meter))
            }
        }
    }

    /// Calls a function from an empty meter, under a limit that only guests that compare notice.
    fn call(&mut self, name: &str, function: &str, arguments: &[Val], limit: u64) -> Option<Run> {
        let instance = self.stage.instance(name)?;
        let store = &mut self.stage.store;
        match self.way {
            Way::Naive(..) => Counts::empty(store, &instance),
            Way::Metered { .. } => {
                let meter = meter(&mut *store, &instance);
                empty(&mut *store, meter);
                set_word(store, meter, HEADROOM_OFFSET, FUEL_MAX - limit);
            }
        }
        let outcome = self.stage.call(&instance, function, arguments)?;
        Some((outcome, Some(self.count(&instance))))
    }
}

/// What was compared, and how the counts of runs that trapped lie.
#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    skipped: usize,
    returned: usize,
    trapped: usize,
    overflowed: usize,
    too_long: usize,
    /// Runs that trapped after a place that publishes was passed.
    published: usize,
    /// Runs that trapped whose count is below or equal to that of everything begun.
    below: usize,
    equal: usize,
    /// The most by which it is below.
    most_below: u64,
    /// Runs that trapped by the digits of the naive count.
    by_magnitude: [usize; 7],
    /// What is wrong, of runs that returned and of runs that trapped.
    wrong_returns: Vec<String>,
    wrong_traps: Vec<String>,
}

impl Tally {
    /// Compares one run, made naively and by each way of counting.
    fn compare(&mut self, place: &str, naive: &Run, metered: &[Run]) {
        let (outcome, Some(Count::Naive(naive))) = naive else {
            assert!(metered.iter().all(|(_, count)| count.is_none()), "{place}");
            return;
        };
        assert_ne!(*outcome, Outcome::Trapped(None), "{place}: no trap");
        if *outcome == Outcome::Trapped(Some(Trap::StackOverflow)) {
            self.overflowed += 1;
            return;
        }
        let mut counts = Vec::new();
        for (metered, count) in metered {
            assert_eq!(outcome, metered, "{place}");
            let Some(Count::Metered(count)) = count else {
                panic!("{place}: no count");
            };
            counts.push(*count);
        }
        let complaint = counts
            .iter()
            .find_map(|count| judge(outcome, naive, *count));
        let impure = counts.iter().any(|count| *count != counts[0]);
        let complaint = complaint.or(impure.then(|| "it depends on the way".to_owned()));
        let complaint = complaint.map(|text| format!("{place}: {text}: {naive:?}, {counts:?}"));
        match outcome {
            Outcome::Returned(_) => {
                self.returned += 1;
                self.wrong_returns.extend(complaint);
            }
            Outcome::Trapped(_) => {
                self.trapped += 1;
                self.wrong_traps.extend(complaint);
                self.place_of(naive, counts[0]);
            }
        }
    }

    /// Where a count lies beside the naive ones.
    fn place_of(&mut self, naive: &Counts, count: u64) {
        self.published += usize::from(naive.published > 0);
        self.below += usize::from(count < naive.exact);
        self.equal += usize::from(count == naive.exact);
        let magnitude = naive.exact.max(1).ilog10() as usize;
        self.by_magnitude[magnitude.min(6)] += 1;
        self.most_below = self.most_below.max(naive.exact.saturating_sub(count));
    }

    fn demand_none_wrong(&self) {
        for wrong in [&self.wrong_returns, &self.wrong_traps] {
            assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong[0]);
        }
    }
}

/// What is wrong with a count.
fn judge(outcome: &Outcome, naive: &Counts, count: u64) -> Option<String> {
    let wrong = match outcome {
        Outcome::Returned(_) if count != naive.exact => "another count",
        Outcome::Returned(_) => return None,
        Outcome::Trapped(_) if count < naive.published => "less than was published",
        Outcome::Trapped(_) if count > naive.published => "more than was published",
        Outcome::Trapped(_) => return None,
    };
    Some(wrong.to_owned())
}

/// The naive side, and those that it judges.
struct Sides {
    naive: Side,
    metered: Vec<Side>,
    /// Goes before them into modules that may run long.
    scout: Side,
}

impl Sides {
    fn new(ways: Vec<Way>, engine: &Engine, limits: fn() -> StoreLimits) -> Self {
        let side = |way| Side::new(way, engine, limits);
        Self {
            naive: side(Way::Naive(
                DEFAULT_PRICES,
                Instrumentation::new(Check::None),
            )),
            metered: ways.into_iter().map(side).collect(),
            scout: side(scout()),
        }
    }

    fn stages(&mut self) -> impl Iterator<Item = &mut Stage> {
        let sides = [&mut self.naive, &mut self.scout];
        let sides = sides.into_iter().chain(&mut self.metered);
        sides.map(|side| &mut side.stage)
    }

    /// The runs of all sides but the scout; `None` if there are none.
    fn run(&mut self, run: impl Fn(&mut Side) -> Option<Run>) -> Option<(Run, Vec<Run>)> {
        let metered: Vec<_> = self.metered.iter_mut().filter_map(&run).collect();
        let naive = run(&mut self.naive)?;
        assert_eq!(metered.len(), self.metered.len(), "all sides, or none");
        Some((naive, metered))
    }
}

/// Runs the whole suite.
fn suite(ways: Vec<Way>) -> Option<Tally> {
    let mut sides = Sides::new(ways, &engine(true), StoreLimits::default);
    let mut tally = Tally::default();
    for (name, text) in wast_files()? {
        sides.stages().for_each(Stage::reset);
        for (line, step) in steps(&text) {
            let runs = match step {
                Step::Module { name, wasm } => {
                    if GuestProfile::Wide.validate(&wasm).is_err() || imports_table(&wasm) {
                        sides.stages().for_each(Stage::forget_latest);
                        continue;
                    }
                    tally.modules += 1;
                    sides.run(|side| side.instantiate(name.as_deref(), &wasm))
                }
                Step::Call {
                    instance,
                    function,
                    arguments: Some(arguments),
                } => sides.run(|side| side.call(&instance, &function, &arguments, FUEL_MAX)),
                Step::Call { .. } => None,
            };
            match runs {
                Some((naive, metered)) => {
                    tally.compare(&format!("{name}:{line}"), &naive, &metered);
                }
                None => tally.skipped += 1,
            }
        }
    }
    Some(tally)
}

fn small() -> StoreLimits {
    let limits = StoreLimitsBuilder::new().memory_size(4 << 20);
    limits.table_elements(10_000).build()
}

/// Calls every function that a random module exports.
fn run_random(place: &str, wasm: &[u8], sides: &mut Sides, tally: &mut Tally) {
    sides.stages().for_each(Stage::reset);
    sides.scout.instantiate(None, wasm);
    sides.run(|side| side.instantiate(None, wasm));
    let stage = &mut sides.naive.stage;
    let Some(instance) = stage.instance("") else {
        // A segment does not fit.
        tally.skipped += 1;
        return;
    };
    tally.modules += 1;
    let exports = instance.exports(&mut stage.store);
    let functions = exports.filter_map(|export| {
        let name = export.name().to_owned();
        export.into_func().map(|function| (name, function))
    });
    let functions: Vec<_> = functions.collect();
    for (name, function) in functions {
        let ty = function.ty(&sides.naive.stage.store);
        for argument in ARGUMENTS {
            let values = ty.params().map(|ty| value(&ty, argument));
            let Some(values) = values.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let scouted = sides.scout.call("", &name, &values, PLENTY);
            let (scouted, count) = scouted.expect("exported");
            if matches!(count, Some(Count::Metered(count)) if count > PLENTY) {
                tally.too_long += 1;
                return;
            }
            let runs = sides.run(|side| side.call("", &name, &values, FUEL_MAX));
            let (naive, metered) = runs.expect("exported");
            let overflow = Outcome::Trapped(Some(Trap::StackOverflow));
            let mut outcomes = metered.iter().chain([&naive]).map(|(outcome, _)| outcome);
            if scouted == overflow || outcomes.any(|outcome| *outcome == overflow) {
                // How deep the native stack goes depends on the frames, so the sides part here.
                tally.overflowed += 1;
                return;
            }
            tally.compare(&format!("{place}, {name}"), &naive, &metered);
        }
    }
}

/// Runs so many random modules.
fn random(modules: usize, ways: Vec<Way>, make: impl Fn(usize) -> Option<Vec<u8>>) -> Tally {
    random_of(modules, Sides::new(ways, &engine(true), small), make)
}

fn random_of(modules: usize, mut sides: Sides, make: impl Fn(usize) -> Option<Vec<u8>>) -> Tally {
    let mut tally = Tally::default();
    for number in 0..modules {
        match make(number) {
            Some(wasm) => run_random(&format!("module {number}"), &wasm, &mut sides, &mut tally),
            None => tally.skipped += 1,
        }
    }
    tally
}

/// How many random modules: a slice, or as many as asked for.
fn modules() -> usize {
    let asked = std::env::var("SLACKWATER_RANDOM_MODULES").ok();
    asked.map_or(MODULES, |count| count.parse().expect("a number"))
}

/// A module of our own generator that may trap.
fn loops(number: usize) -> Option<Vec<u8>> {
    let text = trapping_module(u64::try_from(number).expect("64 bits"));
    Some(wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[expect(clippy::print_stderr, reason = "how the counts lie is for the eyes")]
fn show(what: &str, tally: &Tally) {
    let wrong = (tally.wrong_returns.len(), tally.wrong_traps.len());
    eprintln!(
        "{what}: wrong {wrong:?} of {} and {}",
        tally.returned, tally.trapped
    );
    if wrong == (0, 0) {
        eprintln!("{tally:?}");
    }
}

#[test]
fn traps_of_the_suite_count_by_the_rules() {
    let Some(tally) = suite(ways()) else {
        return;
    };
    show("suite", &tally);
    tally.demand_none_wrong();
    assert!(tally.trapped >= SUITE_TRAPS_MIN, "{tally:?}");
    assert!(tally.returned >= SUITE_RETURNS_MIN, "{tally:?}");
}

#[test]
fn traps_of_a_general_generator_count_by_the_rules() {
    // Every third of its modules may trap.
    let tally = random(modules(), ways(), |number| smith_module(number * 3));
    show("general generator", &tally);
    tally.demand_none_wrong();
    assert!(tally.trapped >= tally.modules, "{tally:?}");
}

#[test]
fn traps_in_loops_and_calls_count_by_the_rules() {
    let tally = random(modules(), ways(), loops);
    show("loops", &tally);
    tally.demand_none_wrong();
    assert!(tally.trapped >= tally.modules, "{tally:?}");
    assert!(tally.published * 2 >= tally.trapped, "{tally:?}");
    let long: usize = tally.by_magnitude[3..].iter().sum();
    assert!(long * 20 >= tally.trapped, "{tally:?}");
}

/// Prices by which no two operators of control flow cost the same, some of them free by default.
const DEAR: [(&str, u32); 8] = [
    ("operator Block", 5),
    ("operator Br", 13),
    ("operator BrIf", 17),
    ("operator Else", 2),
    ("operator End", 3),
    ("operator I32Eqz", 19),
    ("operator If", 11),
    ("operator Loop", 7),
];

const DEAR_PRICES: Prices = Prices {
    invocation: 1,
    operator: |operator| match operator {
        Operator::Block { .. } => 5,
        Operator::Br { .. } => 13,
        Operator::BrIf { .. } => 17,
        Operator::Else => 2,
        Operator::End => 3,
        Operator::I32Eqz => 19,
        Operator::If { .. } => 11,
        Operator::Loop { .. } => 7,
        other => (DEFAULT_PRICES.operator)(other),
    },
};

#[test]
fn any_prices_are_counted() {
    let ways = [Check::None, Check::Synchronous].map(|check| {
        let mut instrumentation = Instrumentation::new(check);
        for (name, price) in DEAR {
            let set = instrumentation.schedule.set(name, price);
            set.expect("it is a price");
        }
        instrumentation
    });
    let naive = Way::Naive(DEAR_PRICES, ways[0].clone());
    let ways = ways.map(|instrumentation| Way::Metered {
        instrumentation,
        forgotten: None,
    });
    let engine = engine(true);
    for make in [loops, |number: usize| smith_module(number * 3)] {
        let sides = Sides {
            naive: Side::new(naive.clone(), &engine, small),
            ..Sides::new(ways.to_vec(), &engine, small)
        };
        let tally = random_of(modules(), sides, make);
        show("dear", &tally);
        tally.demand_none_wrong();
        assert!(tally.returned + tally.trapped >= tally.modules, "{tally:?}");
    }
}

/// Runs modules that count with this fault.
fn faulty(prices: &[(&str, u32)], forgotten: Option<Forgotten>) -> Tally {
    let mut instrumentation = Instrumentation::new(Check::None);
    for (name, price) in prices {
        let set = instrumentation.schedule.set(name, *price);
        set.expect("it is a price");
    }
    let way = Way::Metered {
        instrumentation,
        forgotten,
    };
    let tally = random(FAULTY_MODULES, vec![way], loops);
    show(&format!("{prices:?}, {forgotten:?}"), &tally);
    tally
}

#[test]
fn a_wrong_price_is_noticed() {
    for name in ["operator I32Add", "operator LocalSet", "function"] {
        let tally = faulty(&[(name, 2)], None);
        assert!(!tally.wrong_returns.is_empty(), "{name}");
    }
}

/// Operators that trap in these modules.
const TRAPPING: [&str; 4] = [
    "operator I32DivU",
    "operator I32RemS",
    "operator I32Load",
    "operator I32TruncF32S",
];

#[test]
fn a_wrong_price_of_what_traps_is_noticed_where_it_traps() {
    for (price, complaint) in [(0, "less than"), (40, "more than")] {
        let tally = faulty(&TRAPPING.map(|name| (name, price)), None);
        let wrong = tally.wrong_traps.iter();
        assert!(wrong.filter(|text| text.contains(complaint)).count() > 0);
    }
}

#[test]
fn a_forgotten_flush_is_noticed() {
    for number in 1..=4 {
        let tally = faulty(&[], Some(Forgotten::Number(number)));
        assert!(!tally.wrong_traps.is_empty(), "flush {number}");
    }
    let tally = faulty(&[], Some(Forgotten::BeforeUnreachable));
    assert!(!tally.wrong_traps.is_empty());
    assert!(
        tally.wrong_returns.is_empty(),
        "only runs that trap go there"
    );
}
