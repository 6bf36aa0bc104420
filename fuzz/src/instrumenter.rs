//! Modules, instrumented in every way.
//!
//! The first byte of an input says how a module is had: the other bytes are one, or draw one. What must hold for a module
//! that is valid within a profile: it is refused for a documented reason that a valid one can have, or the result is valid
//! and proved to count what it should, says so of each function, is refused as instrumented already, and is the same on
//! any number of threads. Of what is valid beyond the profiles, only the last is asked, and that nothing panics.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};
use slackwater_executor::{
    GuestProfile,
    fuel::{
        Check, DEPTH_BYTES_DEFAULT, InstrumentError, Instrumentation, Instrumented, instrument,
        prove,
    },
};
use slackwater_runtime_fixtures::kernels::KERNELS_WASM;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::smith::{self, Drawn};

const INPUT_BYTES_MAX: usize = 16 << 10;
/// Modules that are drawn and longer are left out.
const DRAWN_BYTES_MAX: usize = 64 << 10;

/// The bit that says that a module is drawn; else the bytes are one.
const DRAW: u8 = 0x80;

/// A pool of one thread and one of two.
fn pools() -> &'static [ThreadPool; 2] {
    static POOLS: OnceLock<[ThreadPool; 2]> = OnceLock::new();
    POOLS.get_or_init(|| {
        [1, 2].map(|threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads can be started")
        })
    })
}

/// Every way to instrument.
fn ways() -> &'static [Instrumentation] {
    static WAYS: OnceLock<Vec<Instrumentation>> = OnceLock::new();
    WAYS.get_or_init(|| {
        let mut ways = Vec::new();
        for check in [Check::None, Check::Synchronous] {
            for depth_bytes_max in [None, Some(DEPTH_BYTES_DEFAULT)] {
                let mut way = Instrumentation::new(check);
                way.depth_bytes_max = depth_bytes_max;
                ways.push(way);
            }
        }
        // What costs nothing by default does here.
        let mut dear = Instrumentation::new(Check::None);
        for (name, fuel) in [
            ("operator End", 3),
            ("operator Else", 2),
            ("operator Block", 5),
            ("operator Loop", 7),
            ("operator Br", 13),
            ("function", 70),
        ] {
            dear.schedule.set(name, fuel).expect("a price");
        }
        ways.push(dear);
        ways
    })
}

/// Instruments the module in an input, or drawn by it.
pub fn instrumenter(data: &[u8]) {
    let Some((form, bytes)) = data.split_first() else {
        return;
    };
    if bytes.len() > INPUT_BYTES_MAX {
        return;
    }
    if form & DRAW == 0 {
        return check(bytes);
    }
    let drawn = Drawn(form & !DRAW).module(bytes);
    if let Some(wasm) = drawn.filter(|wasm| wasm.len() <= DRAWN_BYTES_MAX) {
        check(&wasm);
    }
}

fn is_valid(wasm: &[u8], features: WasmFeatures) -> bool {
    let mut validator = Validator::new_with_features(features);
    validator.validate_all(wasm).is_ok()
}

/// Instruments a module in every way.
fn check(wasm: &[u8]) {
    let wide = GuestProfile::Wide.features();
    let is_wide = is_valid(wasm, wide);
    if !is_wide && !is_valid(wasm, WasmFeatures::all()) {
        return;
    }
    for way in ways() {
        let [one, two] = pools()
            .each_ref()
            .map(|pool| pool.install(|| instrument(wasm, way)));
        assert!(one == two, "it is the same on one thread and on two");
        match one {
            Ok(made) if is_wide => check_made(wasm, &made, way),
            Err(error) if is_wide => check_refused(&error),
            _ => {}
        }
    }
}

/// A result.
fn check_made(wasm: &[u8], made: &Instrumented, way: &Instrumentation) {
    // The meter is one memory more, and the counter one value more.
    let features =
        GuestProfile::Wide.features() | WasmFeatures::MULTI_MEMORY | WasmFeatures::MULTI_VALUE;
    let validated = Validator::new_with_features(features).validate_all(&made.wasm);
    if let Err(error) = validated {
        panic!("{way:?}: the result is not valid: {error}");
    }
    if let Err(error) = prove(wasm, &made.wasm, way) {
        panic!("{way:?}: {error}");
    }
    let payloads = Parser::new(0).parse_all(wasm);
    let bodies = payloads.filter(|it| matches!(it, Ok(Payload::CodeSectionEntry(_))));
    assert_eq!(made.functions.len(), bodies.count());
    let again = instrument(&made.wasm, way);
    assert!(
        matches!(again, Err(InstrumentError::ReservedName { .. })),
        "a result is known for one"
    );
}

/// Why a module of a profile may be refused.
fn check_refused(error: &InstrumentError) {
    match error {
        InstrumentError::ReservedName { .. }
        | InstrumentError::ForeignFunctions { .. }
        | InstrumentError::Signature { .. } => {}
        error => panic!("no reason to refuse a module of a profile: {error}"),
    }
}

/// Modules with what matters here: loops, calls, sizes, and what is refused.
const TEXTS: [&str; 8] = [
    r#"(module (memory (export "memory") 1) (func (export "f") (param i32) (result i32) (local i64)
        (loop $l (result i32) (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $l (local.get 0)) (local.get 0))))"#,
    r#"(module (import "env" "h" (func $h (param i32) (result i64))) (import "env" "memory" (memory 1))
        (table 4 funcref) (elem (i32.const 1) $f $h)
        (func $f (param i32) (result i64) (if (result i64) (local.get 0)
            (then (call $h (i32.const 1))) (else (call_indirect (param i32) (result i64)
                (i32.const 2) (local.get 0)))))
        (start $s) (func $s (drop (call $f (i32.const 3)))))"#,
    r#"(module (memory 1) (data $d "abc") (func (export "g") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)) (memory.init $d (local.get 0)
        (i32.const 0) (i32.const 2)) (data.drop $d) (drop (memory.grow (local.get 2)))))"#,
    r#"(module (func $r (param i64) (result i64) (block $b (block $c (br_table $b $c 0 1
        (i32.wrap_i64 (local.get 0)))) (return (i64.const 3))) (call $r (i64.sub (local.get 0)
        (i64.const 1)))) (export "r" (func $r)))"#,
    r#"(module (table 9 externref) (func (export "t") (param externref i32) (result i32 i64 externref)
        (drop (table.grow (local.get 0) (local.get 1))) (table.fill (i32.const 0) (local.get 0)
        (i32.const 1)) (i32.const 1) (i64.const 2) (table.get (local.get 1))))"#,
    r#"(module (func (export "v") (result v128) (i32x4.add (i32x4.splat (i32.const 1))
        (v128.const i32x4 1 2 3 4))) (func unreachable) (func nop))"#,
    r#"(module (import "env" "t" (table 1 funcref)) (func (export "x")))"#,
    r#"(module (memory 1) (memory 2) (func (export "x")))"#,
];

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), vec![0], b"\0\0asm\x01\0\0\0".to_vec()];
    let mut add = |form: u8, bytes: &[u8]| seeds.push([&[form], bytes].concat());
    for text in TEXTS {
        add(0, &wat::parse_str(text).expect("a module"));
    }
    add(0, KERNELS_WASM);
    for form in (DRAW..=u8::MAX).step_by(5) {
        add(form, &smith::bytes(form, 8 << (form & 3)));
    }
    seeds
}
