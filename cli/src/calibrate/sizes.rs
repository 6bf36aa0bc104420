//! What is paid for by its size: bytes and elements handled in bulk, pages a memory grows by.
//!
//! Invariant: fresh memory is fresh in every call, for each gets an instance of its own.

use super::{
    guest::{COUNT_LOCALS, FIELD, FIELD_BYTES, Guest, PAGE_BYTES, repeated, written_field},
    measure::{Bench, Setting},
    operators::price_of,
};

/// Lengths of bulk operations, and how people call them.
const LENGTHS: [(u32, &str); 4] = [
    (64, "64 bytes"),
    (4 << 10, "4 KiB"),
    (64 << 10, "64 KiB"),
    (4 << 20, "4 MiB"),
];
/// The price of bytes, and how many are paid for together.
const BYTES_PRICE: &str = "size 64 bytes";
const BYTES: u32 = 64;
/// Elements of the table that bulk operations work on.
const ELEMENTS: u32 = 8_192;
/// The most pages a guest grows by in one call, so that neither addresses nor memory run out.
const PAGES_MAX: u32 = 30_000;
const TOUCHED_PAGES_MAX: u32 = 2_000;

/// All of them.
pub(super) fn benches() -> Vec<Bench> {
    let mut benches = Vec::new();
    for (length, name) in LENGTHS {
        benches.push(bulk("memory.fill", length, name, true));
        benches.push(bulk("memory.fill", length, name, false));
        benches.push(bulk("memory.copy", length, name, true));
        benches.push(bulk("memory.copy", length, name, false));
    }
    benches.push(memory_init());
    benches.extend(nothing());
    benches.extend(tables());
    benches.push(growth(1));
    benches.push(growth(16));
    benches.push(growth_touched(1));
    benches.push(growth_touched(16));
    benches
}

/// A bulk operation on one stretch of memory after the other, on memory never touched before or on
/// memory that was written to.
fn bulk(operator: &str, length: u32, length_name: &str, fresh: bool) -> Bench {
    // A copy has its source in the other half.
    let half = FIELD_BYTES / 2;
    let step = match operator {
        "memory.fill" => format!(
            "(memory.fill (i32.add (local.get $p) (i32.const {FIELD})) (i32.const 7)
                (i32.const {length}))"
        ),
        _ => format!(
            "(memory.copy (i32.add (local.get $p) (i32.const {FIELD}))
                (i32.add (local.get $p) (i32.const {})) (i32.const {length}))",
            FIELD + half
        ),
    };
    let guest = Guest {
        locals: format!("{COUNT_LOCALS} (local $p i32)"),
        setup: match (fresh, operator) {
            (true, _) => String::new(),
            (false, "memory.fill") => written_field(half),
            (false, _) => written_field(FIELD_BYTES),
        },
        body: format!(
            "{step} (local.set $p (i32.and (i32.const {})
                (i32.add (local.get $p) (i32.const {length}))))",
            half - 1
        ),
        ..Guest::default()
    };
    let memory = if fresh { "fresh" } else { "old" };
    let bench = Bench::guest(
        format!("{operator}, {length_name}, {memory} memory"),
        &guest,
    )
    .on(Setting::Wide)
    .tests(BYTES_PRICE, f64::from(length / BYTES));
    if fresh {
        bench.at_most(half / length)
    } else {
        bench
    }
}

fn memory_init() -> Bench {
    let length = 16 << 10;
    let guest = Guest {
        items: format!("(data $passive \"{}\")", "x".repeat(length as usize)),
        body: format!(
            "(memory.init $passive (i32.const {PAGE_BYTES}) (i32.const 0) (i32.const {length}))"
        ),
        ..Guest::default()
    };
    Bench::guest("memory.init, 16 KiB", &guest)
        .on(Setting::Wide)
        .tests(BYTES_PRICE, f64::from(length / BYTES))
}

/// Bulk operations on nothing, for which there is no size to pay.
fn nothing() -> Vec<Bench> {
    let rows = [
        ("memory.fill", "memory.fill"),
        ("memory.copy", "memory.copy"),
        ("memory.init", "memory.init $passive"),
        ("table.fill", "table.fill $t"),
        ("table.copy", "table.copy $t $t"),
        ("table.init", "table.init $t $functions"),
    ];
    let bench = |(name, operator): (&str, &str)| {
        let second = if name == "table.fill" {
            "(ref.func $f)"
        } else {
            "(i32.const 0)"
        };
        let step = format!("({operator} (i32.const 0) {second} (i32.const 0))");
        let guest = Guest {
            items: format!("(data $passive \"x\") {}", table()),
            body: step.repeat(16),
            ..Guest::default()
        };
        Bench::guest(format!("{name} of nothing"), &guest)
            .on(Setting::Wide)
            .units(16)
            .tests(price_of(name), 1.0)
    };
    rows.into_iter().map(bench).collect()
}

/// A table, and a passive segment of as many elements.
fn table() -> String {
    format!(
        "(table $t {ELEMENTS} 60000 funcref) (func $f) (elem $functions func {})",
        "$f ".repeat(ELEMENTS as usize)
    )
}

fn tables() -> Vec<Bench> {
    let rows = [
        (
            "table.fill",
            "(table.fill $t (i32.const 0) (ref.func $f) (i32.const 8192))",
            ELEMENTS,
            u32::MAX,
        ),
        (
            "table.copy",
            "(table.copy $t $t (i32.const 4096) (i32.const 0) (i32.const 4096))",
            ELEMENTS / 2,
            u32::MAX,
        ),
        (
            "table.init",
            "(table.init $t $functions (i32.const 0) (i32.const 0) (i32.const 8192))",
            ELEMENTS,
            u32::MAX,
        ),
        (
            "table.grow",
            "(drop (table.grow $t (ref.func $f) (i32.const 1)))",
            1,
            50_000,
        ),
    ];
    let bench = |(name, body, elements, rounds_max): (&str, &str, u32, u32)| {
        let guest = Guest {
            items: table(),
            body: body.to_owned(),
            ..Guest::default()
        };
        Bench::guest(format!("{name}, each of {elements}"), &guest)
            .on(Setting::Wide)
            .units(elements)
            .at_most(rounds_max)
            .tests("size element", 1.0)
    };
    rows.into_iter().map(bench).collect()
}

/// Growth by so many pages, for each.
fn growth(pages: u32) -> Bench {
    let guest = Guest {
        body: format!("(drop (memory.grow (i32.const {pages})))"),
        ..Guest::default()
    };
    Bench::guest(format!("memory.grow by {pages}, each page"), &guest)
        .on(Setting::Growing)
        .units(pages)
        .at_most(PAGES_MAX / pages)
        .tests("size page", 1.0)
}

/// As [`growth`], and a store to every 4 KiB of what came.
fn growth_touched(pages: u32) -> Bench {
    let touch = "(i64.store (local.get $at) (i64.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))";
    let guest = Guest {
        locals: COUNT_LOCALS.to_owned(),
        body: format!(
            "(local.set $at (i32.shl (memory.grow (i32.const {pages})) (i32.const 16))) {}",
            repeated(pages * PAGE_BYTES / 4_096, touch)
        ),
        ..Guest::default()
    };
    Bench::guest(
        format!("memory.grow by {pages}, touched, each page"),
        &guest,
    )
    .on(Setting::Growing)
    .units(pages)
    .at_most(TOUCHED_PAGES_MAX / pages)
    .tests("size page", 1.0)
}
