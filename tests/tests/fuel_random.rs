//! Random modules count what the engine counts, and compute the same: a seeded slice here, as many as
//! `SLACKWATER_RANDOM_MODULES` says on demand. They are those of a general generator, which use
//! everything there is but do little, and our own, which run long through loops and calls.

use slackwater_executor::fuel::{Check, Instrumentation, instrument};
use slackwater_tests::{
    metered::{Outcome, engine, meter, operators_fuel, value},
    random_loops::looping_module,
    random_smith::smith_module,
};
use wasmtime::{Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, Val};

const MODULES: usize = 400;
/// What functions are called with.
const ARGUMENTS: [i32; 4] = [0, 1, -1, 1_000_003];
/// More than a module may use here; one that would is skipped.
const PLENTY: u64 = 30_000_000;

struct Side {
    store: Store<StoreLimits>,
    instance: Instance,
    metered: bool,
}

impl Side {
    fn new(module: &Module, metered: bool) -> Option<Self> {
        let engine = module.engine();
        let limits = StoreLimitsBuilder::new()
            .memory_size(4 << 20)
            .table_elements(10_000);
        let mut store = Store::new(engine, limits.build());
        store.limiter(|limits| limits);
        if !metered {
            store.set_fuel(PLENTY).expect("fuel is on");
        }
        let instance = Instance::new(&mut store, module, &[]).ok()?;
        Some(Self {
            store,
            instance,
            metered,
        })
    }

    fn call(&mut self, name: &str, argument: i32) -> Option<(Outcome, u64)> {
        let before = self.used();
        let function = self.instance.get_func(&mut self.store, name)?;
        let ty = function.ty(&self.store);
        let arguments = ty.params().map(|ty| value(&ty, argument));
        let arguments: Option<Vec<Val>> = arguments.collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        let ended = function.call(&mut self.store, &arguments?, &mut results);
        let outcome = Outcome::of(ended, &results);
        Some((outcome, self.used() - before))
    }

    fn used(&mut self) -> u64 {
        if !self.metered {
            return PLENTY - self.store.get_fuel().expect("fuel is on");
        }
        let meter = meter(&mut self.store, &self.instance);
        operators_fuel(&self.store, meter)
    }
}

/// What the random modules did.
#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    skipped: usize,
    returned: usize,
    trapped: usize,
    overflowed: usize,
    too_long: usize,
    /// Modules by the digits of the fuel of their dearest call that returned.
    by_magnitude: [usize; 9],
}

/// A module as it is, counting, and comparing, in new instances; `None` if it cannot be instantiated.
fn sides(modules: &[Module; 3]) -> Option<[Side; 3]> {
    let [plain, counting, checked] = modules;
    Some([
        Side::new(plain, false)?,
        Side::new(counting, true)?,
        Side::new(checked, true)?,
    ])
}

/// Runs a module both ways.
fn compare(number: usize, wasm: &[u8], engines: &[Engine; 3], tally: &mut Tally) {
    let make = |check| {
        instrument(wasm, &Instrumentation::new(check))
            .expect("instruments")
            .wasm
    };
    let compile = |engine, wasm: &[u8]| Module::new(engine, wasm).expect("compiles");
    let modules = [
        compile(&engines[0], wasm),
        compile(&engines[1], &make(Check::None)),
        compile(&engines[2], &make(Check::Synchronous)),
    ];
    let Some(mut all) = sides(&modules) else {
        tally.skipped += 1;
        return;
    };
    tally.modules += 1;
    let exports = all[0].instance.exports(&mut all[0].store);
    let names: Vec<_> = exports.map(|export| export.name().to_owned()).collect();
    let mut dearest = 0;
    let calls = names
        .iter()
        .flat_map(|name| ARGUMENTS.map(|argument| (name, argument)));
    for (name, argument) in calls {
        let [plain, counting, checked] = &mut all;
        let Some((one, fuel)) = plain.call(name, argument) else {
            continue;
        };
        if one == Outcome::Trapped(Some(Trap::OutOfFuel)) {
            tally.too_long += 1;
            break;
        }
        let two = counting.call(name, argument).expect("the same exports");
        let three = checked.call(name, argument).expect("the same exports");
        let overflow = Outcome::Trapped(Some(Trap::StackOverflow));
        if [&one, &two.0, &three.0].contains(&&overflow) {
            // How deep the native stack goes depends on the frames, which counting makes larger.
            tally.overflowed += 1;
        } else {
            assert_eq!(two, three, "module {number}, {name}");
            assert_eq!(one, two.0, "module {number}, {name}");
        }
        match one {
            Outcome::Returned(_) if two.0 != overflow && three.0 != overflow => {
                assert_eq!(fuel, two.1, "module {number}, {name}");
                dearest = dearest.max(fuel);
                tally.returned += 1;
            }
            // Both forget what was used since their last flush, but do not flush at the same places. A
            // module that lost its patience has none left.
            _ => {
                tally.trapped += 1;
                all = sides(&modules).expect("it was instantiated before");
            }
        }
    }
    let magnitude = dearest.max(1).ilog10() as usize;
    tally.by_magnitude[magnitude.min(8)] += 1;
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.skipped += other.skipped;
        self.returned += other.returned;
        self.trapped += other.trapped;
        self.overflowed += other.overflowed;
        self.too_long += other.too_long;
        for (sum, count) in self.by_magnitude.iter_mut().zip(other.by_magnitude) {
            *sum += count;
        }
    }
}

/// Runs as many modules as asked for, on all cores. The histogram is for the eyes.
#[expect(clippy::print_stderr, reason = "the histogram is for the eyes")]
fn run(make: impl Fn(usize) -> Option<Vec<u8>> + Sync) -> Tally {
    let asked = std::env::var("SLACKWATER_RANDOM_MODULES").ok();
    let modules = asked.map_or(MODULES, |count| count.parse().expect("a number"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |thread: usize| {
        let engines = [engine(false), engine(true), engine(true)];
        let mut tally = Tally::default();
        for number in (thread..modules).step_by(threads) {
            match make(number) {
                Some(wasm) => compare(number, &wasm, &engines, &mut tally),
                None => tally.skipped += 1,
            }
        }
        tally
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let share = &share;
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || share(thread)))
            .collect();
        for thread in running {
            tally.add(&thread.join().expect("no module differs"));
        }
    });
    eprintln!("{tally:?}");
    assert!(tally.modules * 10 >= modules * 9, "{tally:?}");
    assert!(tally.returned >= modules, "{tally:?}");
    // Enough of them run more than 10,000 fuel through loops and calls.
    let long: usize = tally.by_magnitude[4..].iter().sum();
    assert!(long * 10 >= tally.modules * 3, "{tally:?}");
    tally
}

#[test]
fn modules_of_a_general_generator_count_and_compute_the_same() {
    run(smith_module);
}

#[test]
fn modules_that_run_long_count_and_compute_the_same() {
    run(|number| {
        let text = looping_module(u64::try_from(number).expect("64 bits"));
        Some(wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    });
}
