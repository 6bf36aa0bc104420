//! What is instrumented is proved to count what it should, module by module; and a proof that cannot fail
//! would be worth nothing, so faults of every kind are planted.

#![expect(clippy::print_stdout, reason = "what was proved")]

use std::collections::BTreeMap;

use slackwater_executor::{
    RuntimeBlob,
    fuel::{
        COUNTER_OFFSET, Check, DEPTH_BYTES_DEFAULT, DEPTH_OFFSET, HEADROOM_OFFSET, Instrumentation,
        Proof, ProofFault, instrument, prove,
    },
    runtime::CODE_BYTES_MAX,
};
use slackwater_runtime_fixtures::{
    ChainSpec, guest::GUEST_WASM, kernels::KERNELS_WASM, real_fixtures_or_skip,
};
use slackwater_tests::{
    crate_file_or_skip,
    random_loops::trapping_module,
    random_smith::smith_module,
    wast_suite::{Step, steps, wast_files},
};
use sp_core::storage::well_known_keys::CODE;
use wasm_encoder::{BlockType, CodeSection, Instruction, MemArg, Module, RawSection};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Every way to instrument.
fn ways() -> Vec<Instrumentation> {
    let mut ways = Vec::new();
    for check in [Check::None, Check::Synchronous] {
        for depth_bytes_max in [None, Some(DEPTH_BYTES_DEFAULT)] {
            let mut way = Instrumentation::new(check);
            way.depth_bytes_max = depth_bytes_max;
            ways.push(way);
        }
    }
    let mut dear = Instrumentation::new(Check::None);
    for (name, fuel) in [
        ("operator End", 3),
        ("operator Else", 2),
        ("operator Block", 5),
        ("operator Loop", 7),
        ("operator If", 11),
        ("operator Br", 13),
        ("operator BrIf", 17),
        ("operator I32Eqz", 19),
        ("function", 70),
    ] {
        dear.schedule.set(name, fuel).expect("a price");
    }
    ways.push(dear);
    ways
}

/// Instruments a module in every way, if it can be, and proves it.
fn check(name: &str, wasm: &[u8]) -> Proof {
    let mut sum = Proof::default();
    for way in ways() {
        let Ok(made) = instrument(wasm, &way) else {
            continue;
        };
        let proof = prove(wasm, &made.wasm, &way);
        let proof = proof.unwrap_or_else(|error| panic!("{name}, {:?}: {error}", way.check));
        sum.functions += proof.functions;
        sum.operators += proof.operators;
    }
    sum
}

#[test]
fn real_runtimes_are_proved() {
    let file = "benches/kusama_runtime.wasm";
    let mut codes = vec![
        ("guest".to_owned(), GUEST_WASM.to_vec()),
        ("kernels".to_owned(), KERNELS_WASM.to_vec()),
    ];
    if let Some(path) = crate_file_or_skip("sc-executor", "0.51.0", file) {
        codes.push(("Kusama".to_owned(), std::fs::read(path).expect("readable")));
    }
    if let Some(fixtures) = real_fixtures_or_skip("genesis states") {
        let genesis = std::fs::read_dir(fixtures.join("genesis")).expect("a folder");
        for path in genesis.map(|entry| entry.expect("readable").path()) {
            // The folder holds calls, too.
            let Some(code) = ChainSpec::load(&path)
                .ok()
                .and_then(|spec| spec.genesis.top.get(CODE).cloned())
            else {
                continue;
            };
            codes.push((path.display().to_string(), code));
        }
    }
    for (name, code) in codes {
        let profile = slackwater_executor::GuestProfile::Substrate;
        let blob = RuntimeBlob::new(&code, CODE_BYTES_MAX, profile).expect("a runtime");
        println!("{name}: {:?}", check(&name, blob.wasm()));
    }
}

#[test]
fn the_test_suite_is_proved() {
    let mut sum = Proof::default();
    let Some(files) = wast_files() else {
        return;
    };
    for (name, text) in files {
        for (line, step) in steps(&text) {
            if let Step::Module { wasm, .. } = step {
                let proof = check(&format!("{name}:{line}"), &wasm);
                sum.functions += proof.functions;
                sum.operators += proof.operators;
            }
        }
    }
    println!("{sum:?}");
    assert!(sum.functions > 10_000, "{sum:?}");
}

#[test]
fn random_modules_are_proved() {
    let mut sum = Proof::default();
    for number in 0..300_u32 {
        let text = trapping_module(number.into());
        let modules = [wat::parse_str(text).ok(), smith_module(number as usize)];
        for wasm in modules.into_iter().flatten() {
            let proof = check(&number.to_string(), &wasm);
            sum.functions += proof.functions;
            sum.operators += proof.operators;
        }
    }
    println!("{sum:?}");
    assert!(sum.functions > 5_000, "{sum:?}");
}

/// A fault of the placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Planted {
    /// A charge is one more, or one less.
    Charge(i64),
    /// A charge is made, and the count set to what it was before.
    Stale,
    /// A charge is wrong, between two that wrap around.
    Wrapped,
    /// A price is that of the size before.
    Unkept,
    /// Words are dropped instead of flushed.
    Flush,
    /// The flush of a loop is left out.
    Safepoint,
    /// That of a loop which is written out.
    Again,
    /// A callee is not given the count.
    Given,
    /// What a callee returns is not taken for the count.
    Taken,
    /// The count is not returned.
    Returned,
    /// What is charged before a branch is charged where it leads.
    Moved,
    /// The limit is not compared with.
    Compare,
    /// A callee is not told the depth.
    Descend,
    /// The guest's own code sets the count to zero.
    Reset,
    /// An operator of the original is missing.
    Missing,
    /// A size has another price.
    Size,
    /// A loop that is written out goes on where it is left.
    Leaves,
    /// It is left where it goes on.
    Turned,
}

const PLANTED: [Planted; 19] = [
    Planted::Charge(1),
    Planted::Charge(-1),
    Planted::Stale,
    Planted::Wrapped,
    Planted::Unkept,
    Planted::Flush,
    Planted::Safepoint,
    Planted::Again,
    Planted::Given,
    Planted::Taken,
    Planted::Returned,
    Planted::Moved,
    Planted::Compare,
    Planted::Descend,
    Planted::Reset,
    Planted::Missing,
    Planted::Size,
    Planted::Leaves,
    Planted::Turned,
];

/// What stands for some operators instead: how many, and what.
type Replaced = (usize, Vec<Instruction<'static>>);

/// Whether the count is published before control goes elsewhere, but for comparisons that were added.
fn flushes_first(mut operators: &[Operator<'_>], meter: u32) -> bool {
    use Operator::{Br, BrIf, BrTable, Else, End, I64Store, If, Loop, Unreachable};
    loop {
        operators = match operators {
            [I64Store { memarg }, ..]
                if memarg.memory == meter && memarg.offset == COUNTER_OFFSET =>
            {
                return true;
            }
            [If { .. }, Unreachable, End, rest @ ..] => rest,
            [Br { .. } | BrIf { .. } | BrTable { .. } | If { .. }, ..]
            | [Else | End | Loop { .. } | Unreachable, ..]
            | [] => return false,
            [_, rest @ ..] => rest,
        }
    }
}

/// What a fault makes of the operators that begin here, if it can be here.
fn planted(fault: Planted, operators: &[Operator<'_>], meter: u32) -> Option<Replaced> {
    let word =
        |memory: &wasmparser::MemArg, offset| memory.memory == meter && memory.offset == offset;
    let drop_both = vec![Instruction::Drop, Instruction::Drop];
    match (fault, operators) {
        (
            Planted::Charge(by),
            [
                Operator::I64Const { value },
                Operator::I64Add,
                Operator::LocalTee { .. } | Operator::LocalSet { .. },
                ..,
            ],
        ) => Some((1, vec![Instruction::I64Const(value + by)])),
        (
            Planted::Stale | Planted::Wrapped,
            [
                Operator::LocalGet { local_index },
                Operator::I64Const { value },
                Operator::I64Add,
                Operator::LocalSet { local_index: set },
                ..,
            ],
        ) if local_index == set => {
            let add = |value| {
                let [get, set] = [Instruction::LocalGet, Instruction::LocalSet];
                let (get, set) = (get(*local_index), set(*local_index));
                vec![get, Instruction::I64Const(value), Instruction::I64Add, set]
            };
            let by = if fault == Planted::Stale {
                let before = vec![Instruction::LocalGet(*local_index)];
                let after = vec![Instruction::LocalSet(*local_index)];
                [before, add(*value), after]
            } else {
                [add(i64::MAX), add(value + 5), add(-i64::MAX)]
            };
            Some((4, by.concat()))
        }
        (
            Planted::Unkept,
            [
                Operator::LocalTee { .. },
                Operator::LocalGet { .. },
                Operator::I64ExtendI32U,
                Operator::I64Const { .. },
                Operator::I64Mul,
                ..,
            ],
        ) => Some((1, Vec::new())),
        (Planted::Flush, [Operator::I64Store { memarg }, ..]) if word(memarg, COUNTER_OFFSET) => {
            Some((1, drop_both))
        }
        (
            Planted::Safepoint,
            [
                Operator::Loop {
                    blockty: wasmparser::BlockType::Empty,
                },
                Operator::I32Const { value: 0 },
                Operator::LocalGet { .. },
                Operator::I64Store { memarg },
                rest @ ..,
            ],
        ) if word(memarg, COUNTER_OFFSET) && !flushes_first(rest, meter) => {
            Some((4, vec![Instruction::Loop(BlockType::Empty)]))
        }
        (
            Planted::Again,
            [
                Operator::I32Const { value: 0 },
                Operator::LocalGet { .. },
                Operator::I64Store { memarg },
                rest @ ..,
            ],
        ) if word(memarg, COUNTER_OFFSET) => {
            // Comparing and charging may stand between.
            let mut rest = rest.iter().take(16).skip_while(|operator| {
                !matches!(
                    operator,
                    Operator::Br { relative_depth: 0 } | Operator::Call { .. }
                )
            });
            matches!(rest.next(), Some(Operator::Br { .. })).then(|| (3, Vec::new()))
        }
        (Planted::Given, [Operator::LocalGet { .. }, Operator::Call { .. }, ..]) => {
            Some((1, vec![Instruction::I64Const(0)]))
        }
        (
            Planted::Taken,
            [
                Operator::Call { function_index },
                Operator::LocalSet { .. },
                ..,
            ],
        ) => Some((
            2,
            vec![Instruction::Call(*function_index), Instruction::Drop],
        )),
        (Planted::Returned, [Operator::End, Operator::LocalGet { .. }, Operator::End]) => {
            Some((2, vec![Instruction::End, Instruction::I64Const(0)]))
        }
        (
            Planted::Moved,
            [
                Operator::LocalGet { local_index },
                Operator::I64Const { value },
                Operator::I64Add,
                Operator::LocalSet { .. },
                Operator::Br { relative_depth: 0 },
                Operator::End,
                ..,
            ],
        ) => Some((
            6,
            vec![
                Instruction::Br(0),
                Instruction::End,
                Instruction::LocalGet(*local_index),
                Instruction::I64Const(*value),
                Instruction::I64Add,
                Instruction::LocalSet(*local_index),
            ],
        )),
        (
            Planted::Compare,
            [
                Operator::I64Load { memarg },
                Operator::I64Add,
                Operator::I64Const { value: 0 },
                Operator::I64LtS,
                ..,
            ],
        ) if word(memarg, HEADROOM_OFFSET) => Some((
            4,
            vec![
                Instruction::Drop,
                Instruction::Drop,
                Instruction::I32Const(0),
            ],
        )),
        (Planted::Descend, [Operator::I32Store { memarg }, ..]) if word(memarg, DEPTH_OFFSET) => {
            Some((1, drop_both))
        }
        (Planted::Reset, [Operator::LocalGet { .. }, ..]) => {
            let memory = MemArg {
                offset: COUNTER_OFFSET,
                align: 3,
                memory_index: meter,
            };
            let reset = vec![
                Instruction::I32Const(0),
                Instruction::I64Const(0),
                Instruction::I64Store(memory),
            ];
            Some((0, reset))
        }
        (Planted::Missing, [Operator::I32Add, ..]) => Some((1, vec![Instruction::Drop])),
        (
            Planted::Size,
            [
                Operator::I64Const { value },
                Operator::I64Mul,
                Operator::I64Const { .. },
                Operator::I64ShrU,
                ..,
            ],
        ) => Some((1, vec![Instruction::I64Const(value - 1)])),
        (
            Planted::Leaves,
            [
                Operator::Br { relative_depth: 3 },
                Operator::End,
                Operator::End,
                ..,
            ],
        ) => Some((1, vec![Instruction::Br(1)])),
        (Planted::Turned, [Operator::I32Eqz, Operator::If { .. }, ..]) => Some((1, Vec::new())),
        _ => None,
    }
}

/// A function's body with a fault at the place with this number, among those where it can be; else how many
/// there are.
fn body_with(
    fault: Planted,
    body: &FunctionBody<'_>,
    meter: u32,
    place: usize,
) -> Result<Vec<u8>, usize> {
    let mut reader = body.get_operators_reader().expect("valid");
    let start = body.range().start;
    let (mut operators, mut bounds) = (Vec::new(), Vec::new());
    while !reader.eof() {
        bounds.push(reader.original_position() - start);
        operators.push(reader.read().expect("valid"));
    }
    bounds.push(body.as_bytes().len());
    let found = (0..operators.len())
        .filter_map(|at| Some((at, planted(fault, &operators[at..], meter)?)))
        .collect::<Vec<_>>();
    let Some((at, (replaced, by))) = found.get(place) else {
        return Err(found.len());
    };
    let mut bytes = body.as_bytes()[..bounds[*at]].to_vec();
    for instruction in by {
        wasm_encoder::Encode::encode(instruction, &mut bytes);
    }
    bytes.extend(&body.as_bytes()[bounds[at + replaced]..]);
    Ok(bytes)
}

/// The module with a fault at the place with this number.
fn module_with(fault: Planted, wasm: &[u8], mut place: usize) -> Option<Vec<u8>> {
    let (mut module, mut code, mut meter, mut planted) =
        (Module::new(), CodeSection::new(), 0, false);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::CodeSectionStart { .. } => {}
            Payload::CodeSectionEntry(body) => {
                let made = (!planted).then(|| body_with(fault, &body, meter, place));
                match made {
                    Some(Ok(bytes)) => {
                        planted = true;
                        code.raw(&bytes);
                    }
                    Some(Err(places)) => {
                        place -= places;
                        code.raw(body.as_bytes());
                    }
                    None => {
                        code.raw(body.as_bytes());
                    }
                }
            }
            other => {
                if let Payload::MemorySection(memories) = &other {
                    meter = memories.count() - 1;
                }
                if let Some((id, range)) = other.as_section() {
                    if id > 10 && !code.is_empty() {
                        module.section(&std::mem::take(&mut code));
                    }
                    let data = &wasm[range];
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    if !code.is_empty() {
        module.section(&code);
    }
    planted.then(|| module.finish())
}

/// Every fault is found, wherever it is.
#[test]
fn planted_faults_are_found() {
    let mut way = Instrumentation::new(Check::Synchronous);
    way.depth_bytes_max = Some(DEPTH_BYTES_DEFAULT);
    let sizes = wat::parse_str(
        "(module (memory 1) (func (export \"f\") (param i32)
            (memory.fill (i32.const 0) (i32.const 1) (local.get 0))
            (drop (memory.grow (local.get 0)))))",
    )
    .expect("wat");
    let mut found: BTreeMap<Planted, BTreeMap<String, usize>> = BTreeMap::new();
    for original in [GUEST_WASM, KERNELS_WASM, &sizes] {
        let made = instrument(original, &way).expect("it can be metered").wasm;
        prove(original, &made, &way).expect("without a fault");
        for fault in PLANTED {
            for place in (0..400).map(|place| place * 7) {
                let Some(faulty) = module_with(fault, &made, place) else {
                    break;
                };
                let error = match prove(original, &faulty, &way) {
                    Ok(_) => panic!("{fault:?} at {place} is not found"),
                    Err(error) => error.fault,
                };
                let kind = format!("{error:?}");
                let kind = kind.split([' ', '(']).next().unwrap_or_default().to_owned();
                *found.entry(fault).or_default().entry(kind).or_default() += 1;
            }
        }
    }
    for (fault, kinds) in &found {
        println!("{fault:?}: {kinds:?}");
    }
    assert_eq!(found.len(), PLANTED.len(), "each can be planted somewhere");
}

/// A module is not proved by the proof of another.
#[test]
fn other_modules_and_other_ways_are_refused() {
    let [slacked, checked] = [Check::None, Check::Synchronous].map(Instrumentation::new);
    let made = instrument(GUEST_WASM, &slacked)
        .expect("it can be metered")
        .wasm;
    let fault = |original, way| prove(original, &made, way).expect_err("another").fault;
    assert!(matches!(
        fault(KERNELS_WASM, &slacked),
        ProofFault::Functions { .. }
    ));
    assert_eq!(fault(GUEST_WASM, &checked), ProofFault::Unchecked);
    let mut dear = slacked.clone();
    dear.schedule.set("function", 3).expect("a price");
    assert!(matches!(
        fault(GUEST_WASM, &dear),
        ProofFault::Unequal { .. } | ProofFault::Ways { .. }
    ));
    let mut shims = slacked.clone();
    shims
        .schedule
        .set("host ext_misc_print_utf8_version_1 call", 3)
        .expect("a price");
    let other = prove(GUEST_WASM, &made, &shims);
    assert!(other.is_ok() || matches!(other, Err(error) if error.fault == ProofFault::Shim));
}
