//! Machine code of x86-64 taken apart: where control goes in a function, and which of its stores go to
//! the meter. It knows no wasm.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    OpKind, Register,
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

/// An instruction, and where control goes from it.
pub(crate) struct Node {
    pub(crate) instruction: Instruction,
    next: Vec<u64>,
}

/// All instructions of a function that control reaches, by address.
pub(crate) struct Function(pub(crate) BTreeMap<u64, Node>);

impl fmt::Display for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in &self.0 {
            writeln!(formatter, "{at:6x}  {}", node.instruction)?;
        }
        Ok(())
    }
}

impl Function {
    pub(crate) fn read(code: &[u8]) -> Self {
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
    pub(crate) fn loop_headers(&self) -> BTreeSet<u64> {
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
pub(crate) struct Pursuit<'f> {
    function: &'f Function,
    meter: u64,
    factory: InstructionInfoFactory,
}

impl<'f> Pursuit<'f> {
    pub(crate) fn new(function: &'f Function, meter: u64) -> Self {
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
    pub(crate) fn stores(mut self) -> BTreeSet<u64> {
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
pub(crate) fn meter_of(probe: &Function) -> u64 {
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
pub(crate) enum Complaint {
    /// There are fewer stores than flushes.
    Fewer { stores: usize, flushes: usize },
    /// Control can go round without a store.
    Cycle,
}

pub(crate) fn complaint(function: &Function, meter: u64, flushes: usize) -> Option<Complaint> {
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
