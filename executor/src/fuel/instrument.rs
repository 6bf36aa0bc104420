//! Instrumentation, wasm to wasm: a module that counts the fuel it uses.
//!
//! The counter lives in a local of each function and is published in the first word of the *meter*,
//! a memory of one page behind the guest's own. A block of code is charged as a whole before its
//! first operator is executed. The counter is published (a *flush*) before every call, return,
//! growth, bulk operation and `unreachable`, and at every loop header; it is read back after every
//! call. Each flush stores a changing value, so it is also the *safepoint*: where the page is
//! protected, the next flush faults.
//!
//! Invariants: a guest that may name one memory cannot name the meter; an operator whose control flow
//! is not known here is refused, not passed over; no index of the guest changes; the result is a pure function of module, schedule and [`Check`]; at a flush the counter
//! is what the operators executed so far cost, at any other place it exceeds that by at most what is
//! left of the block.

use std::ops::Range;

use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, Instruction, MemArg,
    MemorySection, MemoryType, Module, RawSection, SectionId, ValType,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReaderError, FunctionBody, Parser, Payload, TypeRef};

use super::{
    Schedule,
    placement::{Edit, Edits},
    schedule::proposal,
};

/// The name under which the meter is exported; a guest may not use it.
pub const METER_EXPORT: &str = "slackwater.meter";
/// The name under which the module's start function is exported, if it has one; a guest may not use
/// it. The module does not start by itself any more: whoever instantiates it calls this first, when
/// the meter has its limit.
pub const START_EXPORT: &str = "slackwater.start";
/// Byte offset of the counter in the meter, an `i64`.
pub const COUNTER_OFFSET: u64 = 0;
/// Byte offset of the headroom in the meter, an `i64`: [`FUEL_MAX`] less the limit, so that a fresh
/// meter has no limit. Only [`Check::Synchronous`] reads it.
pub const HEADROOM_OFFSET: u64 = 8;
/// The largest limit, 2^63 - 1.
pub const FUEL_MAX: u64 = i64::MAX.unsigned_abs();

/// Proposals whose operators can be metered: those of the widest profile.
const PROPOSALS: [&str; 6] = [
    "mvp",
    "sign_extension",
    "saturating_float_to_int",
    "bulk_memory",
    "reference_types",
    "simd",
];

/// Who notices an overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Nobody in the guest: it only counts.
    None,
    /// The guest itself: it compares the counter with the limit at every flush, and traps.
    Synchronous,
}

/// A module that could not be instrumented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentError {
    /// The module cannot be read; not for one that was validated.
    #[error("the module cannot be read, at byte {offset}: {reason}")]
    Read {
        /// Position in the module.
        offset: usize,
        /// What the reader said.
        reason: String,
    },
    /// The module uses a name that only instrumented modules have: it is one already, or pretends
    /// to be.
    #[error("the module exports `{name}`, a name reserved for metering")]
    ReservedName {
        /// The name.
        name: &'static str,
    },
    /// The module has more than one memory, and so could name the meter.
    #[error("the module has {memories} memories; at most one leaves the meter out of reach")]
    Memories {
        /// Number of memories.
        memories: u32,
    },
    /// The module uses an operator whose control flow this version does not know.
    #[error("an operator of the proposal `{proposal}`, at byte {offset}, cannot be metered")]
    Feature {
        /// The proposal, as `wasmparser` names it.
        proposal: &'static str,
        /// Position in the module.
        offset: usize,
    },
    /// A part cannot be encoded again.
    #[error("the module cannot be encoded again: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
}

impl From<BinaryReaderError> for InstrumentError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Read {
            offset: error.offset(),
            reason: error.message().to_owned(),
        }
    }
}

/// An instrumented module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrumented {
    /// The module.
    pub wasm: Vec<u8>,
    /// What was added to each function, in the order of the code section.
    pub functions: Vec<FunctionStats>,
}

/// What was added to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionStats {
    /// Places that add to the counter.
    pub increments: u32,
    /// Places that publish the counter.
    pub safepoints: u32,
    /// Bytes of the body before.
    pub bytes_before: usize,
    /// Bytes of the body now.
    pub bytes_after: usize,
}

/// Instruments `wasm`, which must be valid within a profile of one memory.
///
/// # Errors
/// See [`InstrumentError`].
pub fn instrument(
    wasm: &[u8],
    schedule: &Schedule,
    check: Check,
) -> Result<Instrumented, InstrumentError> {
    let shape = Shape::read(wasm)?;
    let mut functions = Vec::new();
    let mut module = Module::new();
    let mut code = CodeSection::new();
    let mut added = Added::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Some((id, _)) = payload.as_section() {
            added.before(id, &shape, &mut module);
        }
        match payload {
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                for memory in memories {
                    section.memory(encoded(RoundtripReencoder.memory_type(memory?))?);
                }
                added.memory(&mut section);
                module.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                for export in exports {
                    encoded(RoundtripReencoder.parse_export(&mut section, export?))?;
                }
                added.export(&shape, &mut section);
                module.section(&section);
            }
            // Called by its export.
            Payload::StartSection { .. } => {}
            Payload::CodeSectionStart { .. } => code = CodeSection::new(),
            Payload::CodeSectionEntry(body) => {
                let counter = shape.parameters(functions.len());
                let (function, stats) = Body::read(&body, schedule, counter)?.write(&shape, check);
                code.raw(&function);
                functions.push(stats);
                if functions.len() == shape.functions.len() {
                    module.section(&code);
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = &wasm[range];
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    added.before(u8::MAX, &shape, &mut module);
    Ok(Instrumented {
        wasm: module.finish(),
        functions,
    })
}

fn encoded<T>(result: Result<T, wasm_encoder::reencode::Error>) -> Result<T, InstrumentError> {
    result.map_err(|error| InstrumentError::Encode {
        reason: error.to_string(),
    })
}

/// What of a module decides how its functions are instrumented.
#[derive(Default)]
struct Shape {
    /// Number of parameters of each type.
    types: Vec<u32>,
    /// Type of each function with a body.
    functions: Vec<u32>,
    /// Memories of the guest; the meter's index is behind theirs.
    memories: u32,
    /// The start function.
    start: Option<u32>,
}

impl Shape {
    fn read(wasm: &[u8]) -> Result<Self, InstrumentError> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        for ty in group?.into_types() {
                            let parameters = match ty.composite_type.inner {
                                wasmparser::CompositeInnerType::Func(ty) => ty.params().len(),
                                _ => 0,
                            };
                            // A valid type has at most 1,000 parameters.
                            shape
                                .types
                                .push(u32::try_from(parameters).unwrap_or(u32::MAX));
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let is_memory = matches!(import?.ty, TypeRef::Memory(_));
                        shape.memories += u32::from(is_memory);
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        shape.functions.push(ty?);
                    }
                }
                Payload::MemorySection(memories) => shape.memories += memories.count(),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        for name in [METER_EXPORT, START_EXPORT] {
                            if export.name == name {
                                return Err(InstrumentError::ReservedName { name });
                            }
                        }
                    }
                }
                Payload::StartSection { func, .. } => shape.start = Some(func),
                _ => {}
            }
        }
        if shape.memories > 1 {
            let memories = shape.memories;
            return Err(InstrumentError::Memories { memories });
        }
        Ok(shape)
    }

    /// Number of parameters of the function with this body.
    fn parameters(&self, body: usize) -> u32 {
        let ty = self.functions.get(body).copied().unwrap_or_default();
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn meter(&self) -> u32 {
        self.memories
    }
}

/// Whether the meter and its export are in the module already.
#[derive(Default)]
struct Added {
    memory: bool,
    export: bool,
}

impl Added {
    fn memory(&mut self, section: &mut MemorySection) {
        self.memory = true;
        section.memory(MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
    }

    fn export(&mut self, shape: &Shape, section: &mut ExportSection) {
        self.export = true;
        section.export(METER_EXPORT, ExportKind::Memory, shape.meter());
        if let Some(start) = shape.start {
            section.export(START_EXPORT, ExportKind::Func, start);
        }
    }

    /// Emits what belongs before a section with number `id` and is not there yet. Custom sections
    /// may stand anywhere.
    fn before(&mut self, id: u8, shape: &Shape, module: &mut Module) {
        // The data count section has number 12 but stands before the code.
        let id = if id == SectionId::DataCount as u8 {
            SectionId::Code as u8
        } else {
            id
        };
        if id == SectionId::Custom as u8 {
            return;
        }
        if id > SectionId::Memory as u8 && !self.memory {
            let mut section = MemorySection::new();
            self.memory(&mut section);
            module.section(&section);
        }
        if id > SectionId::Export as u8 && !self.export {
            let mut section = ExportSection::new();
            self.export(shape, &mut section);
            module.section(&section);
        }
    }
}

/// A function, and what is to be done in it.
struct Body<'a> {
    locals: Vec<(u32, wasmparser::ValType)>,
    /// Index of the local that counts.
    counter: u32,
    /// All operators, and where they begin in the module.
    operators: &'a [u8],
    start: usize,
    edits: Vec<Edit>,
    bytes: usize,
}

impl<'a> Body<'a> {
    fn read(
        body: &FunctionBody<'a>,
        schedule: &Schedule,
        parameters: u32,
    ) -> Result<Self, InstrumentError> {
        let mut locals = Vec::new();
        let mut counter = parameters;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            // A valid function has at most 50,000 locals.
            counter = counter.saturating_add(count);
            locals.push((count, ty));
        }
        let mut reader = body.get_operators_reader()?;
        let start = reader.original_position();
        let Range { end, .. } = body.range();
        let bytes = body.as_bytes();
        let mut edits = Edits::new(start, schedule.function());
        while !reader.eof() {
            let at = reader.original_position();
            let operator = reader.read()?;
            let proposal = proposal(&operator);
            if !PROPOSALS.contains(&proposal) {
                return Err(InstrumentError::Feature {
                    proposal,
                    offset: at,
                });
            }
            let next = reader.original_position();
            edits.operator(&operator, schedule.operator(&operator), at, next);
        }
        Ok(Self {
            locals,
            counter,
            operators: &bytes[bytes.len() - (end - start)..],
            start,
            edits: edits.finish(),
            bytes: bytes.len(),
        })
    }

    fn write(&self, shape: &Shape, check: Check) -> (Vec<u8>, FunctionStats) {
        let locals = self.locals.iter().map(|(count, ty)| {
            // Types of locals within the profiles are plain.
            (
                *count,
                RoundtripReencoder.val_type(*ty).unwrap_or(ValType::I32),
            )
        });
        let locals: Vec<_> = locals.chain([(1, ValType::I64)]).collect();
        let mut function = Function::new(locals);
        let (mut increments, mut safepoints, mut done) = (0, 0, self.start);
        for edit in &self.edits {
            function.raw(
                self.operators[done - self.start..edit.at - self.start]
                    .iter()
                    .copied(),
            );
            done = edit.at;
            self.apply(edit, shape, check, &mut function);
            increments += u32::from(edit.charge > 0);
            safepoints += u32::from(edit.flush);
        }
        function.raw(self.operators[done - self.start..].iter().copied());
        let bytes = function.into_raw_body();
        let stats = FunctionStats {
            increments,
            safepoints,
            bytes_before: self.bytes,
            bytes_after: bytes.len(),
        };
        (bytes, stats)
    }

    /// Leaves the counter in its local, and, for a flush, in the meter.
    fn apply(&self, edit: &Edit, shape: &Shape, check: Check, function: &mut Function) {
        let word = |offset| MemArg {
            offset,
            align: 3,
            memory_index: shape.meter(),
        };
        if edit.flush {
            // The address of the store.
            function.instruction(&Instruction::I32Const(0));
        }
        if edit.reload {
            function.instruction(&Instruction::I32Const(0));
            function.instruction(&Instruction::I64Load(word(COUNTER_OFFSET)));
        } else {
            function.instruction(&Instruction::LocalGet(self.counter));
        }
        if edit.charge > 0 {
            // What a block costs is far below 2^63.
            let charge = i64::try_from(edit.charge).unwrap_or(i64::MAX);
            function.instruction(&Instruction::I64Const(charge));
            function.instruction(&Instruction::I64Add);
        }
        let changed = edit.reload || edit.charge > 0;
        match (changed, edit.flush) {
            (true, true) => function.instruction(&Instruction::LocalTee(self.counter)),
            (true, false) => function.instruction(&Instruction::LocalSet(self.counter)),
            (false, _) => function,
        };
        if edit.flush {
            function.instruction(&Instruction::I64Store(word(COUNTER_OFFSET)));
            if check == Check::Synchronous {
                function.instruction(&Instruction::LocalGet(self.counter));
                function.instruction(&Instruction::I32Const(0));
                function.instruction(&Instruction::I64Load(word(HEADROOM_OFFSET)));
                function.instruction(&Instruction::I64Add);
                function.instruction(&Instruction::I64Const(0));
                function.instruction(&Instruction::I64LtS);
                function.instruction(&Instruction::If(BlockType::Empty));
                function.instruction(&Instruction::Unreachable);
                function.instruction(&Instruction::End);
            }
        }
    }
}
