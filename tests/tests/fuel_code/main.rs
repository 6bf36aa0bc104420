//! What the compiler makes of a flush: the machine code of instrumented functions, taken apart.
//!
//! That a guest can be stopped rests on stores that its added code makes to the meter: one for each
//! flush, and one in every cycle. A compiler may think them redundant, as a later one of the same place
//! follows or the value seems the same. Here each is found again in what the engine compiles, under the
//! executor's settings. The stores are recognised by following the base of the meter from the context it
//! is loaded from through registers and stack slots; controls say that a missing one is missed.

mod machine;

use std::sync::LazyLock;

use iced_x86::Instruction;
use machine::{Complaint, Function, Pursuit, complaint, meter_of};
use slackwater_executor::fuel::{Check, DEPTH_BYTES_DEFAULT, Instrumentation, instrument};
use slackwater_tests::random_loops::looping_module;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Module, OptLevel, PoolingAllocationConfig,
};

/// Random modules whose cycles are looked at.
const RANDOM_MODULES: u64 = 40;

/// An engine with all of the executor's settings that decide what code is made.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut pool = PoolingAllocationConfig::default();
    pool.max_memory_size(4 << 30)
        .total_memories(2)
        .max_memories_per_module(2)
        .total_tables(1)
        .total_core_instances(1);
    let mut config = Config::new();
    config
        .wasm_multi_memory(true)
        .wasm_tail_call(false)
        .cranelift_opt_level(OptLevel::SpeedAndSize)
        .cranelift_nan_canonicalization(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).expect("an engine")
});

/// The code of all functions of a module.
fn compiled(wasm: &[u8]) -> Vec<Vec<u8>> {
    let module = Module::new(&ENGINE, wasm).unwrap_or_else(|error| panic!("{error:#}"));
    let text = module.text();
    let functions = module.functions();
    functions
        .map(|function| text[function.offset..][..function.len].to_vec())
        .collect()
}

/// What is instrumented, and how many loops there are. The last function of each module has an
/// empty loop: all it does when instrumented is to charge and publish. All of the others can be reached.
struct Case {
    text: String,
    loops: usize,
}

/// A module with these definitions, a memory of its own, and a function to call.
fn case(loops: usize, definitions: &str) -> Case {
    let text = format!(
        r#"(module (memory (export "memory") 1) {definitions}
            (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
            (func $probe (loop)))"#
    );
    Case { text, loops }
}

/// Functions that work on so many values at once that they do not fit into registers.
fn crowded() -> Case {
    let parameters = "i64 ".repeat(24);
    let each = |write: fn(usize) -> String| (0..24).map(write).collect::<String>();
    let work = each(|n| {
        let other = (n * 7 + 5) % 24;
        format!(
            "(local.set {n} (i64.mul (local.get {n}) (i64.rotl (local.get {other}) (i64.const 9))))"
        )
    });
    let sum = each(|n| format!("(local.set 0 (i64.xor (local.get 0) (local.get {n})))"));
    case(
        2,
        &format!(
            r#"(func (param {parameters}) (result i64)
                (loop $outer
                    (loop $inner {work} (br_if $inner (i64.eqz (local.get 3))))
                    (drop (call $leaf (i32.const 1)))
                    {work}
                    (br_if $outer (i64.eqz (local.get 4))))
                {sum} (local.get 0))"#
        ),
    )
}

fn cases() -> Vec<Case> {
    let count_down = "(local.set 0 (i32.sub (local.get 0) (i32.const 1)))";
    let mut cases = vec![
        // Loops in loops, without any other store.
        case(
            2,
            &format!(
                "(func (param i32) (loop $a (loop $b {count_down} (br_if $b (local.get 0)))
                    (br_if $a (local.get 0))))"
            ),
        ),
        case(1, "(func (loop (br_if 0 (i32.const 1))))"),
        case(2, "(func (loop $a (loop $b (br_if $b (i32.const 0))) (br_if $a (i32.const 0))))"),
        // A loop that can be gone round in several ways.
        case(
            1,
            &format!(
                "(func (param i32) (block $out (loop $a {count_down}
                    (br_if $a (i32.and (local.get 0) (i32.const 1)))
                    (if (i32.and (local.get 0) (i32.const 2)) (then (br $a)))
                    (br_table $a $out $a $out (local.get 0)))))"
            ),
        ),
        // Calls, one after the other, and with a condition between them.
        case(
            0,
            "(func (param i32) (result i32)
                (call $leaf (call $leaf (call $leaf (call $leaf (local.get 0))))))",
        ),
        case(
            0,
            "(func (param i32) (drop (call $leaf (i32.const 1)))
                (if (local.get 0) (then (nop)) (else (nop)))
                (br_if 0 (local.get 0))
                (if (local.get 0) (then (drop (call $leaf (i32.const 2)))))
                (drop (call $leaf (i32.const 3))))",
        ),
        // Recursion.
        case(
            0,
            "(func $fib (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (local.get 0))
                    (else (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))",
        ),
        // Calls and growth in a loop.
        case(
            1,
            &format!(
                "(func (param i32) (loop $a {count_down} (drop (memory.grow (call $leaf (local.get 0))))
                    (br_if $a (local.get 0))))"
            ),
        ),
        crowded(),
    ];
    // The guest's own stores between those to the meter, to a memory of its own or another's.
    let stores = format!(
        "(func (param i32) (loop $a {count_down}
            (i64.store (local.get 0) (i64.const 7))
            (i64.store (i32.const 0) (i64.add (i64.load (local.get 0)) (i64.const 1)))
            (br_if $a (local.get 0))))"
    );
    cases.push(case(1, &stores));
    let imported = r#"(module (import "env" "memory" (memory 1))"#;
    cases.push(Case {
        text: format!("{imported} {stores} (func $probe (loop)))"),
        loops: 1,
    });
    cases
}

/// All that may be added to a guest, and the same where everything is free that may be: then a counter
/// changes as little as it can.
fn instrumentations() -> Vec<Instrumentation> {
    let mut all = Vec::new();
    for check in [Check::None, Check::Synchronous] {
        for depth_bytes_max in [None, Some(DEPTH_BYTES_DEFAULT)] {
            let mut made = Instrumentation::new(check);
            made.depth_bytes_max = depth_bytes_max;
            all.push(made.clone());
            for (name, _) in made.schedule.clone().rows() {
                // Some can not be free.
                let _refused = made.schedule.set(&name, 0);
            }
            all.push(made);
        }
    }
    all
}

/// An instrumented module, compiled.
struct Compiled {
    /// The code of each function, and how many flushes were added to it.
    functions: Vec<(Vec<u8>, usize)>,
    /// Where the context has the base of the meter.
    meter: u64,
}

/// Compiles what instrumentation makes of a module whose last function has an empty loop.
fn instrumented(text: &str, instrumentation: &Instrumentation) -> Compiled {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let made = instrument(&wasm, instrumentation).expect("instruments");
    let flushes = made.functions.iter();
    let flushes = flushes.map(|stats| usize::try_from(stats.safepoints).expect("small"));
    let functions: Vec<_> = compiled(&made.wasm).into_iter().zip(flushes).collect();
    let (probe, flushes) = functions.last().expect("there is a probe");
    assert_eq!(*flushes, 1, "the probe does nothing but publish");
    let meter = meter_of(&Function::read(probe));
    Compiled { functions, meter }
}

/// Whether machine code of this machine can be taken apart.
#[expect(clippy::print_stderr, reason = "what was skipped must be seen")]
fn is_known_machine() -> bool {
    let known = cfg!(target_arch = "x86_64");
    if !known {
        eprintln!("skipped: only x86-64 code is looked at");
    }
    known
}

#[test]
fn every_flush_is_a_store_of_its_own_and_in_every_cycle_there_is_one() {
    if !is_known_machine() {
        return;
    }
    for Case { text, loops } in cases() {
        for instrumentation in instrumentations() {
            let Compiled { functions, meter } = instrumented(&text, &instrumentation);
            let mut headers = 0;
            for (code, flushes) in functions {
                let function = Function::read(&code);
                let found = complaint(&function, meter, flushes);
                assert_eq!(found, None, "{text}\n{function}");
                headers += function.loop_headers().len();
            }
            assert!(headers >= loops, "{headers} loops in {text}");
        }
    }
}

#[test]
fn there_is_a_store_in_every_cycle_of_random_functions() {
    if !is_known_machine() {
        return;
    }
    let mut headers = 0;
    for number in 0..RANDOM_MODULES {
        let text = looping_module(number);
        let (rest, _) = text.rsplit_once(')').expect("a module");
        let text = format!("{rest} (func $probe (loop)))");
        let made = instrumented(&text, &Instrumentation::new(Check::None));
        for (code, _) in made.functions {
            let function = Function::read(&code);
            // Not all that is written is reached.
            let found = complaint(&function, made.meter, 0);
            assert_eq!(found, None, "module {number}\n{function}");
            headers += function.loop_headers().len();
        }
    }
    assert!(headers > 500, "{headers} loops");
}

/// The same code without one of its stores.
fn without(code: &[u8], store: &Instruction) -> Vec<u8> {
    let mut code = code.to_vec();
    let at = usize::try_from(store.ip()).expect("small");
    code[at..at + store.len()].fill(0x90);
    code
}

/// A control: whichever store is taken out of the machine code, it is missed.
#[test]
fn a_store_that_is_taken_out_is_missed() {
    if !is_known_machine() {
        return;
    }
    let (mut fewer, mut cycles) = (0, 0);
    for case in cases() {
        let made = instrumented(&case.text, &Instrumentation::new(Check::None));
        for (code, flushes) in made.functions {
            let function = Function::read(&code);
            for store in Pursuit::new(&function, made.meter).stores() {
                let less = without(&code, &function.0[&store].instruction);
                match complaint(&Function::read(&less), made.meter, flushes) {
                    None => panic!("{store:x} is not missed in {}\n{function}", case.text),
                    Some(Complaint::Fewer { .. }) => fewer += 1,
                    Some(Complaint::Cycle) => cycles += 1,
                }
            }
        }
    }
    assert!(fewer > 15 && cycles > 5, "{fewer}, {cycles}");
}

/// A control: modules written by hand, which count badly or well.
#[test]
fn a_store_that_is_not_written_is_missed() {
    if !is_known_machine() {
        return;
    }
    let found = |body: &str, flushes: usize| {
        let text = format!(
            r#"(module (memory 1) (memory $meter (export "meter") 1 1) (func $leaf)
                (func (param i32) (local i64) {body})
                (func $probe (i64.store $meter (i32.const 0) (i64.const 1))))"#
        );
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
        let functions: Vec<_> = compiled(&wasm)
            .iter()
            .map(|code| Function::read(code))
            .collect();
        let [_leaf, function, probe] = &functions[..] else {
            panic!("{} functions", functions.len());
        };
        complaint(function, meter_of(probe), flushes)
    };
    let flush = "(local.set 1 (i64.add (local.get 1) (i64.const 1)))
        (i64.store $meter (i32.const 0) (local.get 1))";
    let again = "(br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))";
    assert_eq!(found(&format!("(loop {flush} {again})"), 1), None);
    let around = [
        format!("(loop {again})"),
        format!("{flush} (loop {again}) {flush}"),
        // In the outer of two loops only.
        format!("(loop {flush} (loop {again}) {again})"),
        // On one of two ways only.
        format!("(loop (if (i32.and (local.get 0) (i32.const 1)) (then {flush})) {again})"),
        // To the guest's memory.
        format!("(loop (i64.store (i32.const 0) (local.get 1)) {again})"),
        // To other words of the meter, or half of the counter.
        format!("(loop (i64.store $meter offset=8 (i32.const 0) (local.get 1)) {again})"),
        format!("(loop (i64.store $meter (local.get 0) (local.get 1)) {again})"),
        format!("(loop (i32.store $meter (i32.const 0) (local.get 0)) {again})"),
        // A load, which may go.
        format!("(loop (drop (i64.load $meter (i32.const 0))) {again})"),
    ];
    for body in around {
        assert_eq!(found(&body, 0), Some(Complaint::Cycle), "{body}");
    }
    let calls = format!("(call $leaf) {flush} (call $leaf) (call $leaf)");
    let (stores, flushes) = (1, 2);
    let fewer = Complaint::Fewer { stores, flushes };
    assert_eq!(found(&calls, flushes), Some(fewer));
}
