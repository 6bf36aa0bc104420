//! The search for the dearest operators, continued: control flow, calls, and memory far away. What is
//! dear here is not one operator but what it makes the processor, or the kernel, do.

use super::{
    guest::{COUNT_LOCALS, FIELD, FIELD_BYTES, Guest, circle, random_field, written_field},
    measure::{Bench, Setting},
    operators::price_of,
};

/// Steps in a round.
const STEPS: u32 = 64;
/// Bytes of random numbers for choices that no predictor learns.
const RANDOM_BYTES: u32 = 1 << 20;
/// Bytes of a page of most kernels.
const PAGE_BYTES: u32 = 4_096;
/// Bytes of fresh memory there are for a call.
const FRESH_BYTES: u32 = 120 << 20;
/// Loops one behind the other.
const LOOPS: u32 = 4_096;
/// Locals that a loop carries from round to round.
const CARRIED: u32 = 1_000;
/// Blocks around each other.
const NESTING: u32 = 64;

/// All patterns.
pub(super) fn benches() -> Vec<Bench> {
    let mut benches = vec![
        loops(),
        tight_loop(),
        nesting(),
        call(),
        call_of_carrying_loop(),
        call_indirect(),
    ];
    benches.extend(choices());
    benches.extend(far_memory());
    benches.extend(fresh_memory());
    benches.extend([page_crossing(), growth_by_nothing(), growth_refused()]);
    benches
}

/// A row about `operator`, of which there are `units` in a round.
fn row(name: &str, operator: &str, units: u32, guest: &Guest) -> Bench {
    let bench = Bench::guest(name, guest);
    bench.units(units).tests(price_of(operator), 1.0)
}

fn times(count: u32, step: impl Fn(u32) -> String) -> String {
    (0..count).map(step).collect()
}

/// Loops that are entered and left at once: each publishes the count, and a loop costs nothing.
fn loops() -> Bench {
    let guest = Guest {
        body: times(LOOPS, |_| "(loop)".to_owned()),
        ..Guest::default()
    };
    row("loop, 4,096 in a row", "loop", LOOPS, &guest)
}

fn tight_loop() -> Bench {
    let guest = Guest {
        locals: COUNT_LOCALS.to_owned(),
        body: super::guest::repeated(1_000, ""),
        ..Guest::default()
    };
    row("br_if, a loop that only counts", "br_if", 1_000, &guest)
}

/// Out of many blocks at once.
fn nesting() -> Bench {
    let outermost = NESTING - 1;
    let inner = format!("(br_if {outermost} (local.get $rounds))");
    let guest = Guest {
        body: format!(
            "{}{inner}{}",
            "(block ".repeat(NESTING as usize),
            ")".repeat(NESTING as usize)
        ),
        ..Guest::default()
    };
    row("block, 64 deep", "block", NESTING, &guest)
}

fn call() -> Bench {
    let guest = Guest {
        items: "(func $nothing)".to_owned(),
        body: times(STEPS, |_| "(call $nothing)".to_owned()),
        ..Guest::default()
    };
    row("call of an empty function", "call", STEPS, &guest)
}

/// A function whose locals are all in use where a loop begins: each is zeroed first.
fn call_of_carrying_loop() -> Bench {
    let add = |number| {
        format!("(local.set $l{number} (i64.add (local.get $l{number}) (i64.const {number})))")
    };
    let guest = Guest {
        items: format!(
            "(func $carry (param $go i32) {}
                (loop $again (if (local.get $go) (then {} (br $again)))))",
            times(CARRIED, |number| format!("(local $l{number} i64)")),
            times(CARRIED, add)
        ),
        body: times(STEPS, |_| "(call $carry (i32.const 0))".to_owned()),
        ..Guest::default()
    };
    row("call, 1,000 locals in a loop", "call", STEPS, &guest)
}

const TABLE: &str = "(type $step (func (param i32) (result i32)))
    (table 8 8 funcref) (elem (i32.const 0) $f0 $f1 $f2 $f3 $f4 $f5 $f6 $f7)";

fn functions() -> String {
    let function = |number| {
        format!("(func $f{number} (type $step) (i32.add (local.get 0) (i32.const {number})))")
    };
    format!("{TABLE} {}", times(8, function))
}

fn call_indirect() -> Bench {
    let step = |number: u32| format!("i32.const {} call_indirect (type $step) ", number % 8);
    let guest = Guest {
        items: functions(),
        locals: "(local $x i32)".to_owned(),
        body: format!("local.get $x {} local.set $x", times(STEPS, step)),
        ..Guest::default()
    };
    row("call_indirect", "call_indirect", STEPS, &guest)
}

/// Branches and calls that depend on random numbers.
fn choices() -> Vec<Bench> {
    let random = |number| format!("(i32.load8_u offset={} (local.get $p))", FIELD + number);
    let guest = |step: &dyn Fn(u32) -> String| Guest {
        items: functions(),
        locals: format!("{COUNT_LOCALS} (local $p i32) (local $x i32)"),
        setup: random_field(RANDOM_BYTES),
        body: format!(
            "{} (local.set $p (i32.and (i32.const {})
                (i32.add (local.get $p) (i32.const {STEPS}))))",
            times(STEPS, step),
            RANDOM_BYTES - 1
        ),
        ..Guest::default()
    };
    let branch = |number| {
        format!(
            "(if (i32.and (i32.const 1) {}) (then
                (local.set $x (i32.add (local.get $x) (i32.const {number})))))",
            random(number)
        )
    };
    let table = |number| {
        format!(
            "(block $out (block $3 (block $2 (block $1 (block $0
                (br_table $0 $1 $2 $3 (i32.and (i32.const 3) {})))
                (local.set $x (i32.const 7)) (br $out))
                (local.set $x (i32.const 9)) (br $out))
                (local.set $x (i32.const 11)) (br $out))
                (local.set $x (i32.const 13)))",
            random(number)
        )
    };
    let indirect = |number| {
        format!(
            "(local.set $x (call_indirect (type $step) (local.get $x)
                (i32.and (i32.const 7) {})))",
            random(number)
        )
    };
    vec![
        row("if, unpredictable", "if", STEPS, &guest(&branch)),
        row("br_table, unpredictable", "br_table", STEPS, &guest(&table)),
        row(
            "call_indirect, unpredictable",
            "call_indirect",
            STEPS,
            &guest(&indirect),
        ),
    ]
}

/// Loads and stores in memory that was touched before and that no cache holds.
fn far_memory() -> Vec<Bench> {
    let chase = Guest {
        locals: format!("{COUNT_LOCALS} (local $x i32)"),
        setup: format!("{} (local.set $x (i32.const {FIELD}))", circle(FIELD_BYTES)),
        body: format!(
            "local.get $x {} local.set $x",
            "i32.load ".repeat(STEPS as usize)
        ),
        ..Guest::default()
    };
    // Every step is on another page, and in another line of it.
    let stride = PAGE_BYTES + 64;
    let strided = |step: &dyn Fn(u32) -> String| Guest {
        locals: format!("{COUNT_LOCALS} (local $p i32) (local $x i64)"),
        setup: written_field(FIELD_BYTES),
        body: format!(
            "{} (local.set $p (i32.and (i32.const {})
                (i32.add (local.get $p) (i32.const {}))))",
            times(STEPS, step),
            FIELD_BYTES - 1,
            STEPS * stride
        ),
        ..Guest::default()
    };
    let load = |number| {
        format!(
            "(local.set $x (i64.xor (local.get $x) (i64.load offset={} (local.get $p))))",
            FIELD + number * stride
        )
    };
    let store = |number| {
        format!(
            "(i64.store offset={} (local.get $p) (i64.const {number}))",
            FIELD + number * stride
        )
    };
    vec![
        row("i32.load, a chase over 64 MiB", "i32.load", STEPS, &chase),
        row(
            "i64.load, strides over 64 MiB",
            "i64.load",
            STEPS,
            &strided(&load),
        ),
        row(
            "i64.store, strides over 64 MiB",
            "i64.store",
            STEPS,
            &strided(&store),
        ),
    ]
}

/// Loads and stores that are the first on their page: the kernel has to provide it.
fn fresh_memory() -> Vec<Bench> {
    const PAGES: u32 = 16;
    let rounds_max = FRESH_BYTES / (PAGES * PAGE_BYTES);
    let guest = |step: &str| {
        let step = |number: u32| step.replace('#', &(FIELD + number * PAGE_BYTES).to_string());
        Guest {
            locals: "(local $p i32) (local $x i64)".to_owned(),
            body: format!(
                "{} (local.set $p (i32.add (local.get $p) (i32.const {})))",
                times(PAGES, step),
                PAGES * PAGE_BYTES
            ),
            ..Guest::default()
        }
    };
    let load = guest("(local.set $x (i64.xor (local.get $x) (i64.load offset=# (local.get $p))))");
    let store = guest("(i64.store offset=# (local.get $p) (i64.const 1))");
    vec![
        row("i64.load, first of a page", "i64.load", PAGES, &load).at_most(rounds_max),
        row("i64.store, first of a page", "i64.store", PAGES, &store).at_most(rounds_max),
    ]
}

/// A store that two pages share, and a load that waits for it.
fn page_crossing() -> Bench {
    let at = 65_536 - 4;
    let step = format!(
        "(i64.store offset={at} (local.get $p) (local.get $x))
        (local.set $x (i64.load offset={at} (local.get $p)))"
    );
    let guest = Guest {
        locals: "(local $p i32) (local $x i64)".to_owned(),
        body: step.repeat(STEPS as usize),
        ..Guest::default()
    };
    let name = "i64.store, i64.load across pages";
    row(name, "i64.store", STEPS, &guest)
}

/// Growth by no page, for which there is no size to pay.
fn growth_by_nothing() -> Bench {
    let guest = Guest {
        body: "(drop (memory.grow (i32.const 0)))".repeat(STEPS as usize),
        ..Guest::default()
    };
    row("memory.grow by 0 pages", "memory.grow", STEPS, &guest)
}

/// Growth by one page where none is left.
fn growth_refused() -> Bench {
    let guest = Guest {
        body: "(drop (memory.grow (i32.const 1)))".repeat(STEPS as usize),
        ..Guest::default()
    };
    let bench = row("memory.grow, refused", "memory.grow", STEPS, &guest);
    bench.on(Setting::Plain)
}
