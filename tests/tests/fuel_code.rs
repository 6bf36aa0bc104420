//! What the compiler makes of a flush: the machine code of instrumented functions, taken apart.
//!
//! That a guest can be stopped rests on stores that its added code makes to the meter: one for each
//! flush, and one in every cycle. A compiler may think them redundant, as a later one of the same place
//! follows or the value seems the same. Here each is found again in what the engine compiles, under the
//! executor's settings. The stores are recognised by following the base of the meter from the context it
//! is loaded from through registers and stack slots; controls say that a missing one is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::LazyLock,
};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    OpKind, Register,
};
use slackwater_executor::fuel::{Check, DEPTH_BYTES_DEFAULT, Instrumentation, instrument};
use slackwater_tests::random_loops::looping_module;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Module, OptLevel, PoolingAllocationConfig,
};

/// Registers that a callee may leave as they are; where it does not, the compiler does not read them.
const SAVED: [Register; 5] = [
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// Where a function finds its context.
const CONTEXT: Register = Register::RDI;
/// Bytes of a pointer and of the counter.
const WORD: usize = 8;
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

/// An instruction, and where control goes from it.
struct Node {
    instruction: Instruction,
    next: Vec<u64>,
}

/// All instructions of a function that control reaches, by address.
struct Function(BTreeMap<u64, Node>);

impl fmt::Display for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in &self.0 {
            writeln!(formatter, "{at:6x}  {}", node.instruction)?;
        }
        Ok(())
    }
}

impl Function {
    fn read(code: &[u8]) -> Self {
        let mut nodes = BTreeMap::new();
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            if nodes.contains_key(&at) {
                continue;
            }
            let rest = usize::try_from(at).ok().and_then(|at| code.get(at..));
            let rest = rest.expect("control stays within a function");
            let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            assert!(!instruction.is_invalid(), "{at:x}: no instruction");
            let next = successors(code, &instruction);
            open.extend(&next);
            nodes.insert(at, Node { instruction, next });
        }
        Self(nodes)
    }

    /// Addresses that are jumped back to.
    fn loop_headers(&self) -> BTreeSet<u64> {
        let nodes = self.0.iter();
        nodes
            .flat_map(|(at, node)| node.next.iter().filter(move |next| *next <= at))
            .copied()
            .collect()
    }
}

/// Where control goes from an instruction.
fn successors(code: &[u8], instruction: &Instruction) -> Vec<u64> {
    let (target, behind) = (instruction.near_branch_target(), instruction.next_ip());
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => vec![behind],
        FlowControl::ConditionalBranch => vec![target, behind],
        FlowControl::UnconditionalBranch => vec![target],
        FlowControl::IndirectBranch => jump_table(code, behind),
        FlowControl::Return | FlowControl::Exception => Vec::new(),
        other => panic!("{instruction}: {other:?}"),
    }
}

/// The targets in a table of distances from its own beginning. It ends before the first of its targets
/// behind it, or where a word is no distance within the function; to take one word too many for a
/// target would only add ways.
fn jump_table(code: &[u8], table: u64) -> Vec<u64> {
    let start = usize::try_from(table).expect("small");
    let (mut targets, mut end) = (Vec::new(), code.len() as u64);
    for (at, distance) in (table..).step_by(4).zip(code[start..].chunks_exact(4)) {
        let distance = distance.try_into().expect("four bytes");
        let target = table.wrapping_add_signed(i32::from_le_bytes(distance).into());
        if at + 4 > end || target >= code.len() as u64 {
            break;
        }
        if target > table {
            end = end.min(target);
        }
        targets.push(target);
    }
    assert!(targets.len() > 1, "{table:x}: no table");
    targets
}

/// Where a pointer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Register(Register),
    /// At this distance from a register that points to the stack.
    Slot(Register, i64),
}

/// What a pointer points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pointer {
    Context,
    Meter,
}

/// The pointers known before an instruction.
type Known = BTreeMap<Place, Pointer>;

fn is_stack(register: Register) -> bool {
    matches!(register, Register::RSP | Register::RBP)
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Follows pointers through a function, to the meter whose base lies at an offset of the context.
struct Pursuit<'f> {
    function: &'f Function,
    meter: u64,
    factory: InstructionInfoFactory,
}

impl<'f> Pursuit<'f> {
    fn new(function: &'f Function, meter: u64) -> Self {
        let factory = InstructionInfoFactory::new();
        Self {
            function,
            meter,
            factory,
        }
    }

    /// What is known before each instruction, however control came there.
    fn known(&mut self) -> BTreeMap<u64, Known> {
        let entry = Known::from([(Place::Register(CONTEXT), Pointer::Context)]);
        let mut before = BTreeMap::from([(0, entry)]);
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            let node = &self.function.0[&at];
            let after = self.after(&node.instruction, before[&at].clone());
            for next in &node.next {
                let both = match before.get(next) {
                    None => after.clone(),
                    Some(known) => known
                        .iter()
                        .filter(|(place, pointer)| after.get(place) == Some(pointer))
                        .map(|(place, pointer)| (*place, *pointer))
                        .collect(),
                };
                if before.get(next) != Some(&both) {
                    before.insert(*next, both);
                    open.push(*next);
                }
            }
        }
        before
    }

    fn after(&mut self, instruction: &Instruction, mut known: Known) -> Known {
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            known.retain(|place, _| match place {
                Place::Register(register) => SAVED.contains(register),
                Place::Slot(..) => true,
            });
            return known;
        }
        let moved = self.moved(instruction, &known);
        let used = self.factory.info(instruction);
        for register in used.used_registers() {
            if writes(register.access()) {
                let register = register.register().full_register();
                known.retain(|place, _| match *place {
                    Place::Register(other) | Place::Slot(other, _) => other != register,
                });
            }
        }
        for memory in used.used_memory() {
            if writes(memory.access()) && is_stack(memory.base()) {
                let start = memory.displacement().cast_signed();
                let end = start.saturating_add_unsigned(memory.memory_size().size() as u64);
                let indexed = memory.index() != Register::None;
                known.retain(|place, _| match *place {
                    Place::Register(_) => true,
                    Place::Slot(_, slot) => !indexed && (slot >= end || slot + 8 <= start),
                });
            }
        }
        known.extend(moved);
        known
    }

    /// The pointer that an instruction moves, and where to.
    fn moved(&self, instruction: &Instruction, known: &Known) -> Option<(Place, Pointer)> {
        if !matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64) {
            return None;
        }
        let pointer = match place(instruction, 1) {
            Some(from) => *known.get(&from)?,
            None => (loaded_from(instruction, known)? == self.meter).then_some(Pointer::Meter)?,
        };
        Some((place(instruction, 0)?, pointer))
    }

    /// Where whole words are stored to the meter's counter.
    fn stores(mut self) -> BTreeSet<u64> {
        let known = self.known();
        let mut stores = BTreeSet::new();
        for (at, node) in &self.function.0 {
            let memories = self.factory.info(&node.instruction).used_memory();
            let is_store = memories.iter().any(|memory| {
                let base = Place::Register(memory.base());
                writes(memory.access())
                    && known[at].get(&base) == Some(&Pointer::Meter)
                    && memory.index() == Register::None
                    && memory.displacement() == 0
                    && memory.memory_size().size() == WORD
            });
            if is_store {
                stores.insert(*at);
            }
        }
        stores
    }
}

/// The register or stack slot that an operand is.
fn place(instruction: &Instruction, operand: u32) -> Option<Place> {
    match instruction.op_kind(operand) {
        OpKind::Register => Some(Place::Register(instruction.op_register(operand))),
        OpKind::Memory
            if is_stack(instruction.memory_base())
                && instruction.memory_index() == Register::None =>
        {
            let distance = instruction.memory_displacement64().cast_signed();
            Some(Place::Slot(instruction.memory_base(), distance))
        }
        _ => None,
    }
}

/// The offset of the context from which an instruction loads a pointer.
fn loaded_from(instruction: &Instruction, known: &Known) -> Option<u64> {
    let base = Place::Register(instruction.memory_base());
    let is_load = instruction.code() == Code::Mov_r64_rm64
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
        && known.get(&base) == Some(&Pointer::Context);
    is_load.then(|| instruction.memory_displacement64())
}

/// Where the context of a module has the base of its meter, by a function that stores to the meter and
/// nowhere else.
fn meter_of(probe: &Function) -> u64 {
    let known = Pursuit::new(probe, u64::MAX).known();
    let loads = probe.0.iter();
    let loads = loads.filter_map(|(at, node)| loaded_from(&node.instruction, &known[at]));
    let stored = |offset: &u64| !Pursuit::new(probe, *offset).stores().is_empty();
    let found: BTreeSet<_> = loads.filter(stored).collect();
    let found: Vec<_> = found.into_iter().collect();
    let [meter] = found[..] else {
        panic!("the probe stores through {found:x?}:\n{probe}");
    };
    meter
}

/// What is wrong with a function.
#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    /// There are fewer stores than flushes.
    Fewer { stores: usize, flushes: usize },
    /// Control can go round without a store.
    Cycle,
}

fn complaint(function: &Function, meter: u64, flushes: usize) -> Option<Complaint> {
    let stores = Pursuit::new(function, meter).stores();
    if has_cycle(function, &stores) {
        return Some(Complaint::Cycle);
    }
    let stores = stores.len();
    (stores < flushes).then_some(Complaint::Fewer { stores, flushes })
}

/// Whether control can go round in a function without passing one of `stores`.
fn has_cycle(function: &Function, stores: &BTreeSet<u64>) -> bool {
    let mut left: BTreeSet<_> = function.0.keys().copied().collect();
    left.retain(|at| !stores.contains(at));
    loop {
        let count = left.len();
        // Whatever leads nowhere any more is in no cycle.
        for (at, node) in function.0.iter().rev() {
            if !node.next.iter().any(|next| left.contains(next)) {
                left.remove(at);
            }
        }
        if left.len() == count {
            return count > 0;
        }
    }
}

/// The code of all functions of a module.
fn compiled(wasm: &[u8]) -> Vec<Vec<u8>> {
    let module = Module::new(&ENGINE, wasm).unwrap_or_else(|error| panic!("{error:#}"));
    let text = module.text();
    let functions = module.functions();
    functions
        .map(|function| text[function.offset..][..function.len].to_vec())
        .collect()
}

/// What is instrumented, and how many loops there are. The last function of each module is empty: all
/// it does when instrumented is to charge and publish. All of the others can be reached.
struct Case {
    text: String,
    loops: usize,
}

/// A module with these definitions, a memory of its own, and a function to call.
fn case(loops: usize, definitions: &str) -> Case {
    let text = format!(
        r#"(module (memory (export "memory") 1) {definitions}
            (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
            (func $probe))"#
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
        text: format!("{imported} {stores} (func $probe))"),
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

/// Compiles what instrumentation makes of a module whose last function is empty.
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
        let text = format!("{rest} (func $probe))");
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
    assert!(fewer > 20 && cycles > 10, "{fewer}, {cycles}");
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
