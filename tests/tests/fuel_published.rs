//! Counts that others publish: finite-wasm and wasm-instrument, with our prices set to theirs.
//!
//! Both charge 1 for every operator but `else` and `end`, which are free. What does not align is left
//! out, and this is all of it:
//!
//! - Both charge for locals. Ours cannot, so prices of locals are taken off, or, where every function
//!   called has the same number, made the price of an invocation.
//! - finite-wasm charges for `loop` at each pass, ours when it is entered. Its modules are therefore
//!   run with `loop` free and a `nop` behind each.
//! - finite-wasm charges for bytes one by one, ours by 64; sizes are not compared with it.
//! - wasm-instrument charges what follows a branch back to a loop even when it is jumped over (its unit
//!   test `branch_outer_loop`, where the `else` arm branches), so such a run is not compared. Nor are
//!   endless ones, and bodies that are no valid functions are compared where `nop` can stand for their
//!   operators.
//! - An invocation costs at least 1 here and nothing there, so every module is run at two prices for it,
//!   and what invocations cost is taken off.
//!
//! The figures of finite-wasm (near/finite-wasm, commit a93bdb13560a6b86c89841d71018ec7e5e88f565) are
//! what the instrumented modules in `tests/snaps/*.wast@instrumented.snap` charge through
//! `finite_wasm_gas`, and through the last argument of its functions for bulk operators, when the file
//! is run; they are those of the test suite, so that our copy of the suite stands in for its text, for
//! files that are the same in both. It charges before each operator that may trap, so that its count is
//! right where a run traps: the naive oracle is judged by that.
//!
//! Those of wasm-instrument (paritytech/wasm-instrument, commit
//! 0b222d76fde9cd928534374419a8555f9214830c) are the constants in `tests/expectations/gas/*_host_fn.wat`
//! and in the unit tests of `src/gas_metering/mod.rs`. The modules are restated.

use std::convert::Infallible;

use slackwater_executor::{
    GuestProfile,
    fuel::{COUNTER_OFFSET, Check, Instrumentation, START_EXPORT},
};
use slackwater_tests::{
    metered::{Outcome, empty, engine, instrumented, meter, operators_fuel, word},
    naive::{Counts, NAIVE_START, Prices, count_every_operator},
    wast_suite::{Stage, Step, steps, wast_files},
};
use wasm_encoder::{
    CodeSection, Instruction, Module,
    reencode::{Error, Reencode},
};
use wasmparser::{FunctionBody, Operator, Parser};
use wasmtime::{StoreLimits, Trap, Val};

/// By file of the suite: calls that return, what finite-wasm charges for them, calls that trap, what it
/// charges for those.
const FILES: &[(&str, u64, u64, u64, u64)] = &[
    ("address", 206, 412, 49, 98),
    ("align", 47, 1_361, 1, 3),
    ("block", 52, 369, 0, 0),
    ("br", 76, 289, 0, 0),
    ("br_if", 88, 499, 0, 0),
    ("bulk", 86, 249, 18, 68),
    ("call", 69, 201_334, 1, 6),
    ("call_indirect", 114, 886_188, 18, 59),
    ("const", 300, 300, 0, 0),
    ("conversions", 526, 1_052, 67, 134),
    ("endianness", 68, 2_512, 0, 0),
    ("exports", 6, 15, 0, 0),
    ("f32", 2_500, 7_400, 0, 0),
    ("f32_bitwise", 360, 1_044, 0, 0),
    ("f32_cmp", 2_400, 7_200, 0, 0),
    ("f64", 2_500, 7_400, 0, 0),
    ("f64_bitwise", 360, 1_044, 0, 0),
    ("f64_cmp", 2_400, 7_200, 0, 0),
    ("fac", 6, 2_108, 0, 0),
    ("float_memory", 84, 192, 0, 0),
    ("forward", 4, 548, 0, 0),
    ("func_ptrs", 20, 57, 6, 12),
    ("i32", 364, 1_051, 10, 30),
    ("i64", 374, 1_071, 10, 30),
    ("int_exprs", 75, 273, 14, 42),
    ("int_literals", 30, 56, 0, 0),
    ("labels", 25, 453, 0, 0),
    ("left-to-right", 95, 5_009, 0, 0),
    ("load", 37, 166, 0, 0),
    ("local_get", 19, 95, 0, 0),
    ("local_set", 19, 107, 0, 0),
    ("local_tee", 55, 323, 0, 0),
    ("memory_copy", 4_335, 3_942_864, 18, 72),
    ("memory_fill", 19, 3_932_327, 6, 24),
    ("memory_redundancy", 7, 82, 0, 0),
    ("memory_size", 36, 68, 0, 0),
    ("memory_trap", 10, 32, 170, 467),
    ("nop", 83, 443, 0, 0),
    ("return", 63, 172, 0, 0),
    ("simd_address", 36, 90, 6, 15),
    ("simd_align", 8, 29, 0, 0),
    ("simd_bit_shift", 211, 765, 0, 0),
    ("simd_bitwise", 139, 636, 0, 0),
    ("simd_boolean", 259, 1_010, 0, 0),
    ("simd_const", 265, 358, 0, 0),
    ("simd_conversions", 232, 606, 0, 0),
    ("simd_f32x4", 772, 2_300, 0, 0),
    ("simd_f32x4_arith", 1_803, 5_342, 0, 0),
    ("simd_f32x4_cmp", 2_581, 7_932, 0, 0),
    ("simd_f32x4_pmin_pmax", 3_872, 11_616, 0, 0),
    ("simd_f32x4_rounding", 176, 352, 0, 0),
    ("simd_f64x2", 793, 2_362, 0, 0),
    ("simd_f64x2_arith", 1_806, 5_352, 0, 0),
    ("simd_f64x2_cmp", 2_659, 8_166, 0, 0),
    ("simd_f64x2_pmin_pmax", 3_872, 11_616, 0, 0),
    ("simd_f64x2_rounding", 176, 352, 0, 0),
    ("simd_i16x8_arith", 181, 539, 0, 0),
    ("simd_i16x8_arith2", 151, 493, 0, 0),
    ("simd_i16x8_cmp", 433, 1_488, 0, 0),
    ("simd_i16x8_extadd_pairwise_i8x16", 16, 32, 0, 0),
    ("simd_i16x8_extmul_i8x16", 104, 312, 0, 0),
    ("simd_i16x8_q15mulr_sat_s", 26, 78, 0, 0),
    ("simd_i16x8_sat_arith", 204, 624, 0, 0),
    ("simd_i32x4_arith", 181, 539, 0, 0),
    ("simd_i32x4_arith2", 121, 383, 0, 0),
    ("simd_i32x4_cmp", 433, 1_488, 0, 0),
    ("simd_i32x4_extadd_pairwise_i16x8", 16, 32, 0, 0),
    ("simd_i32x4_extmul_i16x8", 104, 312, 0, 0),
    ("simd_i32x4_trunc_sat_f32x4", 102, 204, 0, 0),
    ("simd_i32x4_trunc_sat_f64x2", 102, 204, 0, 0),
    ("simd_i64x2_arith", 187, 557, 0, 0),
    ("simd_i64x2_arith2", 21, 43, 0, 0),
    ("simd_i64x2_cmp", 102, 306, 0, 0),
    ("simd_i64x2_extmul_i32x4", 104, 312, 0, 0),
    ("simd_i8x16_arith", 121, 354, 0, 0),
    ("simd_i8x16_arith2", 184, 582, 0, 0),
    ("simd_i8x16_cmp", 413, 1_428, 0, 0),
    ("simd_i8x16_sat_arith", 188, 576, 0, 0),
    ("simd_int_to_int_extend", 228, 456, 0, 0),
    ("simd_lane", 274, 809, 0, 0),
    ("simd_load", 17, 67, 0, 0),
    ("simd_load16_lane", 32, 96, 0, 0),
    ("simd_load32_lane", 20, 60, 0, 0),
    ("simd_load64_lane", 12, 36, 0, 0),
    ("simd_load8_lane", 48, 144, 0, 0),
    ("simd_load_extend", 72, 174, 12, 24),
    ("simd_load_splat", 80, 180, 32, 64),
    ("simd_load_zero", 23, 56, 4, 8),
    ("simd_splat", 158, 469, 0, 0),
    ("simd_store", 17, 85, 0, 0),
    ("simd_store16_lane", 32, 320, 0, 0),
    ("simd_store32_lane", 20, 200, 0, 0),
    ("simd_store64_lane", 12, 120, 0, 0),
    ("simd_store8_lane", 48, 480, 0, 0),
    ("stack", 5, 1_128, 0, 0),
    ("start", 10, 42, 0, 0),
    ("store", 9, 45, 0, 0),
    ("switch", 26, 456, 0, 0),
    ("table_copy", 117, 359, 460, 970),
    ("table_fill", 27, 56, 2, 8),
    ("table_get", 5, 16, 4, 8),
    ("table_set", 9, 25, 6, 20),
    ("table_size", 36, 84, 0, 0),
    ("traps", 0, 0, 32, 74),
    ("unwind", 41, 216, 8, 27),
];

/// By function of the suite: file, name, arguments, how many parameters and locals each function has
/// that is called, what finite-wasm charges with 1 for each of those.
const CALLS: &[(&str, &str, &[i64], u32, u64)] = &[
    (
        "fac",
        "fac-rec",
        &[25],
        1,
        25 * (4 + 5 + 1 + 1) + (4 + 1 + 1),
    ),
    (
        "fac",
        "fac-iter",
        &[25],
        3,
        3 + 5 + 25 * (5 + 8 + 1) + (5 + 1) + 1,
    ),
    ("fac", "fac-iter-named", &[25], 3, 365),
    ("fac", "fac-opt", &[25], 2, 2 + 7 + 24 * 13 + 1),
    ("call", "fac", &[25], 1, 255),
    ("call", "fac-acc", &[25, 1], 2, 306),
    ("call", "fib", &[20], 1, 218_906),
    ("call", "even", &[100], 1, 805),
    ("call", "even", &[77], 1, 621),
    ("labels", "loop1", &[], 1, 55),
    ("labels", "loop2", &[], 1, 83),
    ("labels", "loop4", &[8], 2, 46),
    ("labels", "switch", &[1], 1, 14),
    ("stack", "fac-expr", &[25], 3, 365),
];

/// What a function of two `i32` is called with, and the constants charged on the way.
type Paths = &'static [([i32; 2], &'static [u64])];

/// wasm-instrument: a name of its, the body of our function, its paths, and what of the constants is
/// for locals. A `drop` at the end of a path is ours, where its function returns a value.
const BLOCKS: &[(&str, &str, Paths, u64)] = &[
    (
        "simple.wat, its first function",
        "(if (local.get 0) (then (loop (drop (i32.const 5)))))",
        &[([1, 0], &[2, 1, 2]), ([0, 0], &[2])],
        0,
    ),
    (
        "simple.wat, its second function",
        "(block)",
        &[([0, 0], &[1])],
        0,
    ),
    (
        "branch.wat",
        "(local i32 i32)
        (block (local.set 2 (i32.const 0)) (local.set 3 (i32.const 1))
            (local.set 3 (i32.add (local.get 2) (local.tee 2 (local.get 3))))
            (br_if 0 (local.get 0))
            (local.set 3 (i32.add (local.get 2) (local.tee 2 (local.get 3)))))
        (drop (local.get 3))",
        &[([1, 0], &[15, DROP]), ([0, 0], &[15, 5, DROP])],
        2,
    ),
    (
        "call.wat",
        "(local i32) (local.set 2 (call $add (local.get 0) (local.get 1))) (drop (local.get 2))",
        &[([1, 2], &[6, 3, DROP])],
        1,
    ),
    (
        "ifs.wat",
        "(drop (if (result i32) (local.get 0)
            (then (i32.add (local.get 0) (i32.const 1))) (else (i32.popcnt (local.get 0)))))",
        &[([1, 0], &[2, 3, DROP]), ([0, 0], &[2, 2, DROP])],
        0,
    ),
    (
        "start.wat, which traps at its end",
        "(call $host (i32.const 8) (f32.const 4)) (unreachable)",
        &[([0, 0], &[4])],
        0,
    ),
    ("unit test `simple`", "(nop)", &[([0, 0], &[1])], 0),
    (
        "unit test `nested`",
        "(nop) (block (nop) (nop) (nop)) (nop)",
        &[([0, 0], &[6])],
        0,
    ),
    (
        "unit test `ifelse`",
        "(if (local.get 0) (then (nop) (nop) (nop)) (else (nop) (nop))) (nop)",
        &[([1, 0], &[3, 3]), ([0, 0], &[3, 2])],
        0,
    ),
    (
        "unit test `branch_innermost`",
        "(nop) (block (nop) (nop) (br 0) (nop) (nop)) (nop)",
        &[([0, 0], &[6])],
        0,
    ),
    (
        "unit test `branch_outer_block`",
        "(nop) (block (if (local.get 0) (then (nop) (nop) (br_if 1 (local.get 1)))) (nop) (nop)) (nop)",
        &[([0, 0], &[5, 2]), ([1, 1], &[5, 4]), ([1, 0], &[5, 4, 2])],
        0,
    ),
    (
        "unit test `branch_outer_loop`",
        "(nop) (loop (if (local.get 0)
            (then (br_if 0 (local.get 1)))
            (else (nop) (nop) (br_if 1 (local.get 1))))
            (nop) (nop)) (nop)",
        &[
            ([1, 0], &[3, 4, 2]),
            ([1, 1], &[3, 4, 2]),
            ([0, 0], &[3, 4, 4]),
        ],
        0,
    ),
    (
        "unit test `return_from_func`",
        "(if (local.get 0) (then (return))) (nop)",
        &[([1, 0], &[2, 1]), ([0, 0], &[2, 1])],
        0,
    ),
    (
        "unit test `branch_from_if_not_else`",
        "(nop) (block (if (local.get 0) (then (br 1)) (else (br 0))) (nop) (nop)) (nop)",
        &[([1, 0], &[5, 1]), ([0, 0], &[5, 1, 2])],
        0,
    ),
];

/// What a `drop` costs.
const DROP: u64 = 1;

/// Every operator at 1 but these and `else` and `end`, and this much for an invocation.
fn prices(free: &[&str], invocation: u32) -> Instrumentation {
    let mut instrumentation = Instrumentation::new(Check::None);
    let schedule = &mut instrumentation.schedule;
    for (name, _) in schedule.rows() {
        let Some(operator) = name.strip_prefix("operator ") else {
            continue;
        };
        let is_free = ["Else", "End"].contains(&operator) || free.contains(&operator);
        let set = schedule.set(&name, u32::from(!is_free));
        set.expect("it is a price");
    }
    let set = schedule.set("function", invocation);
    set.expect("it is a price");
    instrumentation
}

/// The same for the naive oracle, where an invocation can be free.
const FINITE_WASM: Prices = Prices {
    invocation: 0,
    operator: |operator| match operator {
        Operator::Else | Operator::End | Operator::Loop { .. } => 0,
        _ => 1,
    },
};

/// Puts a `nop` first in each loop.
struct PayAtEachPass;

impl Reencode for PayAtEachPass {
    type Error = Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            let is_loop = matches!(operator, Operator::Loop { .. });
            function.instruction(&self.instruction(operator)?);
            if is_loop {
                function.instruction(&Instruction::Nop);
            }
        }
        code.function(&function);
        Ok(())
    }
}

fn paid_at_each_pass(wasm: &[u8]) -> Vec<u8> {
    let mut module = Module::new();
    let made = PayAtEachPass.parse_core_module(&mut module, Parser::new(0), wasm);
    made.expect("it can be encoded again");
    module.finish()
}

/// A stage for modules instrumented with these prices.
struct Priced {
    stage: Stage,
    instrumentation: Instrumentation,
}

impl Priced {
    fn new(instrumentation: Instrumentation) -> Self {
        let stage = Stage::new(engine(true), StoreLimits::default);
        Self {
            stage,
            instrumentation,
        }
    }

    fn instantiate(&mut self, name: Option<&str>, wasm: &[u8]) {
        let made = instrumented(wasm, &self.instrumentation);
        self.stage.instantiate(name, &made.wasm, Some(START_EXPORT));
    }

    /// What became of a call, and what its operators and invocations cost; `None` if it cannot be made.
    fn call(&mut self, instance: &str, function: &str, with: &[Val]) -> Option<(Outcome, u64)> {
        let instance = self.stage.instance(instance)?;
        let meter = meter(&mut self.stage.store, &instance);
        empty(&mut self.stage.store, meter);
        let outcome = self.stage.call(&instance, function, with)?;
        Some((outcome, operators_fuel(&self.stage.store, meter)))
    }
}

/// The same at two prices of an invocation: 1, and 2.
struct Pair([Priced; 2]);

impl Pair {
    fn new(free: &[&str]) -> Self {
        Self([1, 2].map(|invocation| Priced::new(prices(free, invocation))))
    }

    fn instantiate(&mut self, name: Option<&str>, wasm: &[u8]) {
        for priced in &mut self.0 {
            priced.instantiate(name, wasm);
        }
    }

    /// What became of a call, and what its operators cost.
    fn call(&mut self, instance: &str, function: &str, with: &[Val]) -> Option<(Outcome, u64)> {
        let [one, two] = &mut self.0;
        let (outcome, at_one) = one.call(instance, function, with)?;
        let (same, at_two) = two.call(instance, function, with)?;
        assert_eq!(outcome, same, "{function}");
        Some((outcome, 2 * at_one - at_two))
    }
}

/// Runs a file of the suite: what [`FILES`] says of it, by the naive oracle, and what our guests
/// counted for the calls that returned.
fn run_file(text: &str) -> (u64, u64, u64, u64, u64) {
    let mut naive = Stage::new(engine(true), StoreLimits::default);
    let mut pair = Pair::new(&["Loop"]);
    let (mut returned, mut fuel, mut trapped, mut lost, mut ours) = (0, 0, 0, 0, 0);
    for (line, step) in steps(text) {
        match step {
            Step::Module { name, wasm } => {
                if GuestProfile::Wide.validate(&wasm).is_err() {
                    naive.forget_latest();
                    pair.0.iter_mut().for_each(|one| one.stage.forget_latest());
                    continue;
                }
                let wasm = paid_at_each_pass(&wasm);
                let counting = count_every_operator(&wasm, FINITE_WASM, &[]);
                naive.instantiate(name.as_deref(), &counting, Some(NAIVE_START));
                pair.instantiate(name.as_deref(), &wasm);
            }
            Step::Call {
                instance,
                function,
                arguments: Some(arguments),
            } => {
                let Some((outcome, counted)) = pair.call(&instance, &function, &arguments) else {
                    continue;
                };
                let instance = naive.instance(&instance).expect("as with the others");
                Counts::empty(&mut naive.store, &instance);
                let same = naive.call(&instance, &function, &arguments);
                assert_eq!(same.as_ref(), Some(&outcome), "line {line}");
                let exact = Counts::of(&mut naive.store, &instance).exact;
                match outcome {
                    Outcome::Returned(_) => {
                        assert_eq!(counted, exact, "line {line}");
                        (returned, fuel, ours) = (returned + 1, fuel + exact, ours + counted);
                    }
                    // The file only says that this happens.
                    Outcome::Trapped(Some(Trap::StackOverflow)) => {}
                    Outcome::Trapped(_) => (trapped, lost) = (trapped + 1, lost + exact),
                }
            }
            Step::Call { .. } => {}
        }
    }
    (returned, fuel, trapped, lost, ours)
}

#[test]
fn files_of_the_suite_cost_what_finite_wasm_charges() {
    let Some(files) = wast_files() else {
        return;
    };
    for (name, returned, fuel, trapped, lost) in FILES {
        let found = run_file(&files[&format!("{name}.wast")]);
        assert_eq!(found, (*returned, *fuel, *trapped, *lost, *fuel), "{name}");
    }
}

fn integer(value: &Val) -> Option<i64> {
    match value {
        Val::I32(value) => Some(i64::from(*value)),
        Val::I64(value) => Some(*value),
        _ => None,
    }
}

/// What the first call of this function with these arguments costs.
fn first_call(text: &str, function: &str, with: &[i64], invocation: u32) -> u64 {
    let mut priced = Priced::new(prices(&["Loop"], invocation));
    for (_, step) in steps(text) {
        match step {
            Step::Module { wasm, .. } => priced.instantiate(None, &paid_at_each_pass(&wasm)),
            Step::Call {
                function: called,
                arguments: Some(arguments),
                ..
            } if called == function => {
                let integers: Option<Vec<_>> = arguments.iter().map(integer).collect();
                if integers.as_deref() == Some(with) {
                    let called = priced.call("", function, &arguments);
                    let (outcome, fuel) = called.expect("it can be called");
                    assert!(matches!(outcome, Outcome::Returned(_)), "{outcome:?}");
                    return fuel;
                }
            }
            Step::Call { .. } => {}
        }
    }
    panic!("{function} is not called with {with:?}");
}

#[test]
fn calls_cost_what_finite_wasm_charges_with_their_locals() {
    let Some(files) = wast_files() else {
        return;
    };
    for (file, function, with, locals, fuel) in CALLS {
        let found = first_call(&files[&format!("{file}.wast")], function, with, *locals);
        assert_eq!(found, *fuel, "{file}, {function} of {with:?}");
    }
}

/// The file `tests/local/regression-45-loop-instrumentation.wast` of finite-wasm, in other words: 1 for
/// the outer loop, 7 for each of seven passes of those inside, of which the innermost is entered anew
/// each time.
#[test]
fn nested_loops_cost_what_finite_wasm_charges() {
    let text = r#"(module (func (export "run") (param i32)
        (loop (loop $second (loop
            (br_table $second $second $second $second $second $second $second 3
                (local.tee 0 (i32.add (local.get 0) (i32.const 1)))))))))"#;
    let mut pair = Pair::new(&["Loop"]);
    pair.instantiate(
        None,
        &paid_at_each_pass(&wat::parse_str(text).expect("wat")),
    );
    let called = pair.call("", "run", &[Val::I32(0)]);
    assert_eq!(called, Some((Outcome::Returned(Vec::new()), 1 + 7 * 7)));
}

#[test]
fn blocks_cost_what_wasm_instrument_charges() {
    for (name, body, paths, locals) in BLOCKS {
        let text = format!(
            r#"(module
            (import "spectest" "print_i32_f32" (func $host (param i32 f32)))
            (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
            (func (export "run") (param i32 i32) {body}))"#
        );
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (with, charged) in *paths {
            let mut pair = Pair::new(&[]);
            pair.instantiate(None, &wasm);
            let arguments = with.map(Val::I32);
            let (outcome, fuel) = pair.call("", "run", &arguments).expect("it can be called");
            let charged: u64 = charged.iter().sum();
            assert_eq!(fuel, charged - locals, "{name} of {with:?}");
            let trap = Outcome::Trapped(Some(Trap::UnreachableCodeReached));
            let traps = body.contains("unreachable");
            assert_eq!(outcome == trap, traps, "{name}: {outcome:?}");
        }
    }
}

/// The unit test `simple_grow` of wasm-instrument: 2, and 10,000 for each page that is asked for, given
/// or not.
#[test]
fn pages_cost_what_wasm_instrument_charges() {
    let text = r#"(module (memory 0 1) (global i32 (i32.const 42))
        (func (export "run") (result i32) (memory.grow (global.get 0))))"#;
    let mut instrumentation = prices(&[], 1);
    let set = instrumentation.schedule.set("size page", 10_000);
    set.expect("it is a price");
    let mut priced = Priced::new(instrumentation);
    priced.instantiate(None, &wat::parse_str(text).expect("wat"));
    let (outcome, operators) = priced.call("", "run", &[]).expect("it can be called");
    assert_eq!(outcome, Outcome::Returned(vec!["I32(-1)".to_owned()]));
    let invocation = 1;
    assert_eq!(operators, invocation + 2);
    let instance = priced.stage.instance("").expect("it is there");
    let meter = meter(&mut priced.stage.store, &instance);
    let total = word(&priced.stage.store, meter, COUNTER_OFFSET);
    assert_eq!(total, invocation + 2 + 42 * 10_000);
}
