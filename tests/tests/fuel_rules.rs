//! The rules of metering, each on a module written for it: what is charged when a run traps, that
//! nothing runs for ever, that the meter is out of reach. Most are reports of other meters turned
//! into tests.

use slackwater_executor::fuel::{
    COUNTER_OFFSET, Check, FUEL_MAX, HEADROOM_OFFSET, InstrumentError, Instrumentation,
    METER_EXPORT, START_EXPORT, Schedule, instrument,
};
use slackwater_tests::metered::{engine, instrumented, meter, set_word, word};
use wasmtime::{Instance, Memory, Module, Store, Trap, Val};

/// An instrumented module, and its meter.
struct Metered {
    store: Store<()>,
    instance: Instance,
    meter: Memory,
}

fn metered(text: &str, check: Check) -> Metered {
    let wasm = wat::parse_str(text).expect("wat");
    let made = instrumented(&wasm, &Instrumentation::new(check));
    let engine = engine(true);
    let module = Module::new(&engine, &made.wasm).unwrap_or_else(|error| panic!("{error:#}"));
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("instantiates");
    let meter = meter(&mut store, &instance);
    Metered {
        store,
        instance,
        meter,
    }
}

impl Metered {
    /// Calls `run` with an argument, from an empty meter; returns the trap, if any, and the count.
    fn run(&mut self, argument: i32, limit: u64) -> (Option<Trap>, u64) {
        set_word(&mut self.store, self.meter, COUNTER_OFFSET, 0);
        set_word(
            &mut self.store,
            self.meter,
            HEADROOM_OFFSET,
            FUEL_MAX - limit,
        );
        let run = self
            .instance
            .get_func(&mut self.store, "run")
            .expect("a function");
        let arguments = [Val::I32(argument)];
        let mut results = vec![Val::I32(0); run.ty(&self.store).results().len()];
        let ended = run.call(&mut self.store, &arguments, &mut results);
        let trap = ended
            .err()
            .map(|error| *error.downcast_ref().expect("a trap"));
        (trap, word(&self.store, self.meter, COUNTER_OFFSET))
    }
}

fn count(text: &str, argument: i32) -> (Option<Trap>, u64) {
    let found = metered(text, Check::None).run(argument, FUEL_MAX);
    let checked = metered(text, Check::Synchronous).run(argument, FUEL_MAX);
    assert_eq!(found, checked, "comparing changes nothing");
    found
}

/// Counts down from its argument, then divides by zero.
const LOOP_THEN_TRAP: &str = r#"(module (func (export "run") (param i32) (result i32)
    (loop $again
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (br_if $again (local.get 0)))
    (i32.div_s (i32.const 1) (i32.const 0))))"#;

/// wasmtime#13802: what a run used before it trapped is not lost.
#[test]
fn iterations_before_a_trap_are_counted() {
    let (trap, few) = count(LOOP_THEN_TRAP, 10);
    assert_eq!(trap, Some(Trap::IntegerDivisionByZero));
    let (_, many) = count(LOOP_THEN_TRAP, 1_010);
    // local.get, i32.const, i32.sub, local.set, local.get, br_if.
    assert_eq!(many - few, 1_000 * 6);
}

/// wasmer#4219: a block that ends in a trap is paid for, be it by its barrier.
#[test]
fn a_block_is_paid_for_before_it_runs() {
    let straight = |end: &str| {
        let work = "(drop (i32.add (local.get 0) (i32.const 1)))".repeat(50);
        format!(r#"(module (func (export "run") (param i32) {work} {end}))"#)
    };
    let (trap, counted) = count(&straight("unreachable"), 0);
    assert_eq!(
        (trap, counted),
        (Some(Trap::UnreachableCodeReached), 1 + 150)
    );
    // Without a barrier between them, charge and trap belong to one block, and the count is that of
    // the last flush: what the caller published.
    let (trap, counted) = count(
        &straight("(drop (i32.rem_u (local.get 0) (i32.const 0)))"),
        0,
    );
    assert_eq!((trap, counted), (Some(Trap::IntegerDivisionByZero), 0));
}

/// wasmer#4256: both arms of a branch pay for what is before it, and for themselves alone.
#[test]
fn arms_of_a_branch_are_charged_each_for_itself() {
    let text = r#"(module (func (export "run") (param i32) (result i32)
        (drop (i32.add (local.get 0) (i32.const 1)))
        (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (i32.add (i32.const 1) (i32.const 1))))
            (else (i32.const 2)))))"#;
    // Invocation; get, const, add; get, if; the arm.
    assert_eq!(count(text, 1), (None, 1 + 3 + 2 + 5));
    assert_eq!(count(text, 0), (None, 1 + 3 + 2 + 1));
}

/// wasmer#999: a function without a loop is limited too.
#[test]
fn a_straight_line_over_the_limit_is_found_at_its_end() {
    let work = "(drop (i32.add (local.get 0) (i32.const 1)))".repeat(50);
    let text = format!(r#"(module (func (export "run") (param i32) {work}))"#);
    let mut metered = metered(&text, Check::Synchronous);
    assert_eq!(metered.run(0, 151), (None, 151));
    assert_eq!(
        metered.run(0, 150),
        (Some(Trap::UnreachableCodeReached), 151)
    );
}

/// wasmtime#5445: an access that can only be out of bounds traps, and what came before is paid for.
#[test]
fn an_access_that_is_always_out_of_bounds_is_a_trap() {
    let text = r#"(module (memory 1) (func $f) (func (export "run") (param i32)
        (call $f) (drop (i32.load offset=0xffffffff (local.get 0)))))"#;
    for check in [Check::None, Check::Synchronous] {
        let (trap, counted) = metered(text, check).run(1, FUEL_MAX);
        assert_eq!(trap, Some(Trap::MemoryOutOfBounds));
        // The callee publishes nothing, so nobody did before the load.
        assert_eq!(counted, 0, "{check:?}");
    }
}

/// wasmi#2038, wasm-instrument#38: a callee with very many locals is no way to get time for nothing.
#[test]
fn locals_take_no_time_that_is_not_paid_for() {
    let caller = |locals: usize| {
        let locals = "i64 ".repeat(locals);
        let text = format!(
            r#"(module (func $callee (local {locals}) (drop (local.get 0)))
                (func (export "run") (param i32)
                    (loop (call $callee)
                        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#
        );
        metered(&text, Check::None)
    };
    let (mut few, mut many) = (caller(1), caller(30_000));
    let time = |metered: &mut Metered| {
        let times = (0..9).map(|_| {
            let started = std::time::Instant::now();
            let (trap, counted) = metered.run(100_000, FUEL_MAX);
            assert_eq!((trap, counted), (None, 1 + 100_000 * 8));
            started.elapsed()
        });
        times.min().expect("some")
    };
    let (few, many) = (time(&mut few), time(&mut many));
    assert!(many < few * 20, "{many:?} for the fuel of {few:?}");
}

/// Whatever goes on for ever goes through a flush.
#[test]
fn everything_endless_stops() {
    // Sixteen functions, each calling the next twice: 2^17 calls without a loop.
    let tree: String = (0..16)
        .map(|n| format!("(func $f{n} (call $f{next}) (call $f{next}))", next = n + 1))
        .collect();
    let endless = [
        r#"(module (func (export "run") (param i32) (loop (br 0))))"#.to_owned(),
        r#"(module (func (export "run") (param i32) (loop (br_if 0 (i32.const 1)))))"#.to_owned(),
        r#"(module (func (export "run") (param i32)
            (loop (br_table 0 0 (local.get 0)))))"#
            .to_owned(),
        r#"(module (func (export "run") (param i32)
            (loop $a (loop $b (br_if $b (i32.const 0)) (br $a)))))"#
            .to_owned(),
        r#"(module (memory 1 20) (func (export "run") (param i32)
            (loop (drop (memory.grow (i32.const 0))) (br 0))))"#
            .to_owned(),
        r#"(module (memory 1) (func (export "run") (param i32)
            (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)) (br 0))))"#
            .to_owned(),
        format!(r#"(module {tree} (func $f16) (func (export "run") (param i32) (call $f0)))"#),
        r#"(module (table funcref (elem $nothing)) (func $nothing)
            (func (export "run") (param i32)
                (loop (call_indirect (i32.const 0)) (br 0))))"#
            .to_owned(),
    ];
    for text in endless {
        let (trap, counted) = metered(&text, Check::Synchronous).run(0, 100_000);
        assert_eq!(trap, Some(Trap::UnreachableCodeReached), "{text}");
        // A tree of calls publishes when it becomes large; everything else at each turn.
        let late = if text.contains("$f16") {
            2 * 16_384
        } else {
            100
        };
        assert!(
            (100_001..100_001 + late).contains(&counted),
            "{text}: {counted}"
        );
    }
    // Recursion ends at its limit before the stack does.
    let recursion = r#"(module (func $run (export "run") (param i32) (call $run (local.get 0))))"#;
    let (trap, counted) = metered(recursion, Check::Synchronous).run(0, 3_000);
    assert_eq!(trap, Some(Trap::UnreachableCodeReached));
    assert!((3_001..3_010).contains(&counted), "{counted}");
}

/// A start function is called by whoever instantiates, when the limit is set.
#[test]
fn a_start_function_is_limited_too() {
    let text = r#"(module (func $endless (loop (br 0))) (start $endless)
        (func (export "run") (param i32)))"#;
    let mut metered = metered(text, Check::Synchronous);
    set_word(
        &mut metered.store,
        metered.meter,
        HEADROOM_OFFSET,
        FUEL_MAX - 1_000,
    );
    let start = metered
        .instance
        .get_typed_func::<(), ()>(&mut metered.store, START_EXPORT);
    let ended = start.expect("it is exported").call(&mut metered.store, ());
    assert_eq!(
        ended.expect_err("endless").downcast_ref(),
        Some(&Trap::UnreachableCodeReached)
    );
}

#[test]
fn modules_that_could_touch_the_meter_are_refused() {
    let refused = |text: &str| {
        let wasm = wat::parse_str(text).expect("wat");
        instrument(&wasm, &Instrumentation::new(Check::None)).expect_err(text)
    };
    for name in [METER_EXPORT, START_EXPORT] {
        let text = format!(r#"(module (func (export "{name}")))"#);
        assert_eq!(refused(&text), InstrumentError::ReservedName { name });
    }
    let two = refused(r#"(module (memory 1) (memory 1))"#);
    assert_eq!(two, InstrumentError::Memories { memories: 2 });
    let imported = refused(r#"(module (import "m" "m" (memory 1)) (memory 1))"#);
    assert_eq!(imported, InstrumentError::Memories { memories: 2 });
    // Control flow that the pass does not know would go uncounted.
    for (body, expected) in [
        ("(func $f (return_call $f))", "tail_call"),
        ("(func (block (try_table (catch_all 0))))", "exceptions"),
        (
            "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
            "function_references",
        ),
    ] {
        let found = refused(&format!("(module {body})"));
        let InstrumentError::Feature { proposal, .. } = found else {
            panic!("{body}: {found:?}");
        };
        assert_eq!(proposal, expected);
    }
    // What is instrumented already is refused by its meter's name.
    let wasm = wat::parse_str(r#"(module (memory 1))"#).expect("wat");
    let once = instrumented(&wasm, &Instrumentation::new(Check::None));
    let twice = instrument(&once.wasm, &Instrumentation::new(Check::None));
    assert_eq!(
        twice,
        Err(InstrumentError::ReservedName { name: METER_EXPORT })
    );
}

#[test]
fn instrumenting_again_gives_the_same_bytes_and_prices_are_followed() {
    let wasm = wat::parse_str(LOOP_THEN_TRAP).expect("wat");
    let make = |schedule: &Schedule| {
        let instrumentation = Instrumentation {
            schedule: schedule.clone(),
            ..Instrumentation::new(Check::None)
        };
        instrumented(&wasm, &instrumentation)
    };
    let schedule = Schedule::default();
    assert_eq!(make(&schedule), make(&schedule));
    let mut dear = schedule.clone();
    dear.set("operator I32Sub", 1_000).expect("there is");
    assert_ne!(make(&schedule).wasm, make(&dear).wasm);
}
