//! One function, read and written again with what is added to it.

use std::ops::Range;

use wasm_encoder::{Function, Instruction, ValType};
use wasmparser::{
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, ValidatorResources,
};

use super::{
    Check, FunctionStats, InstrumentError, Instrumentation,
    code::Writing,
    instrument::local_type,
    layout::{COUNTER_OFFSET, DEPTH_OFFSET, EXHAUSTED_OFFSET, SIZE_OFFSET},
    placement::{Edit, Edits},
    schedule::{UnitPrice, proposal},
    shape::Shape,
};

/// Proposals whose operators can be metered: those of the widest profile.
const PROPOSALS: [&str; 6] = [
    "mvp",
    "sign_extension",
    "saturating_float_to_int",
    "bulk_memory",
    "reference_types",
    "simd",
];

/// All that estimates of frames are made of, in the order below.
pub(super) const FRAME_CONSTANTS: [u32; 5] = [
    FRAME_BYTES,
    VALUE_BYTES,
    OPERATOR_BYTES,
    BODY_BYTES,
    LEAF_BYTES_MAX,
];
/// What a frame is taken to need beside its values: saved registers, return address, alignment.
const FRAME_BYTES: u32 = 160;
/// What a value in a frame is taken to need.
const VALUE_BYTES: u32 = 8;
/// What an operator of a long block may need beside: the compiler keeps values apart in the frame that
/// are alive one after the other.
const OPERATOR_BYTES: u32 = 2;
/// For how many bytes of a body one byte of the frame is added, for the same reason.
const BODY_BYTES: u32 = 16;
/// A function without calls and with a smaller frame is not looked at: the margin covers it.
const LEAF_BYTES_MAX: u32 = 1_024;

/// A function, and what is to be done in it.
pub(super) struct Body<'a> {
    locals: Vec<(u32, wasmparser::ValType)>,
    /// Index of the first local that is added: the counter. Behind it a price, then a size, then the
    /// depth.
    counter: u32,
    /// All operators, and where they begin in the module.
    operators: &'a [u8],
    start: usize,
    edits: Vec<Edit>,
    bytes: usize,
    /// Whether some operator is priced by its size.
    has_sizes: bool,
    has_calls: bool,
    /// The estimate of the frame.
    frame_bytes: u32,
}

impl<'a> Body<'a> {
    pub(super) fn read(
        body: &FunctionBody<'a>,
        function: FuncToValidate<ValidatorResources>,
        shape: &Shape,
        instrumentation: &Instrumentation,
    ) -> Result<Self, InstrumentError> {
        let schedule = &instrumentation.schedule;
        let mut locals = Vec::new();
        let mut counter = shape.parameters(function.index);
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            // A valid function has at most 50,000 locals.
            counter = counter.saturating_add(count);
            locals.push((count, ty));
        }
        let mut heights = Heights::new(body, function, instrumentation)?;
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
            heights.operator(at, &operator)?;
            let next = reader.original_position();
            let size = schedule.size(&operator).filter(|price| price.fuel > 0);
            edits.operator(&operator, schedule.operator(&operator), size, at, next);
            if let Some(redirected) = redirected(&operator, shape) {
                edits.replace(at, next, redirected);
            }
        }
        let longest = edits.longest();
        let edits = edits.finish();
        Ok(Self {
            locals,
            counter,
            operators: &bytes[bytes.len() - (end - start)..],
            start,
            bytes: bytes.len(),
            has_sizes: edits.iter().any(|edit| edit.size.is_some()),
            has_calls: edits.iter().any(|edit| edit.calls),
            frame_bytes: heights.frame_bytes(counter, longest, bytes.len()),
            edits,
        })
    }

    fn price(&self) -> u32 {
        self.counter + 1
    }

    fn size(&self) -> u32 {
        self.counter + 2
    }

    fn depth(&self) -> u32 {
        self.counter + 3
    }

    pub(super) fn write(
        &self,
        shape: &Shape,
        instrumentation: &Instrumentation,
    ) -> (Vec<u8>, FunctionStats) {
        let depth_max = instrumentation
            .depth_bytes_max
            .filter(|_| self.has_calls || self.frame_bytes > LEAF_BYTES_MAX);
        let locals = self.locals.iter();
        let mut locals: Vec<_> = locals
            .map(|(count, ty)| (*count, local_type(*ty)))
            .collect();
        locals.push((1, ValType::I64));
        if self.has_sizes || depth_max.is_some() {
            locals.push((1, ValType::I64));
            locals.push((2, ValType::I32));
        }
        let mut function = Function::new(locals);
        if let Some(max) = depth_max {
            self.enter(max, shape, &mut function);
        }
        let (mut increments, mut safepoints, mut done) = (0, 0, self.start);
        for edit in &self.edits {
            function.raw(
                self.operators[done - self.start..edit.at - self.start]
                    .iter()
                    .copied(),
            );
            done = edit.at;
            let mut writing = Writing {
                function: &mut function,
                meter: shape.meter(),
            };
            self.apply(edit, instrumentation.check, &mut writing);
            if edit.calls && depth_max.is_some() {
                self.descend(&mut writing);
            }
            if let Some((next, instruction)) = &edit.replace {
                instruction.encode_into(&mut function);
                done = *next;
            }
            increments += u32::from(edit.charge > 0 || edit.size.is_some());
            safepoints += u32::from(edit.flush);
        }
        function.raw(self.operators[done - self.start..].iter().copied());
        let bytes = function.into_raw_body();
        let stats = FunctionStats {
            increments,
            safepoints,
            bytes_before: self.bytes,
            bytes_after: bytes.len(),
            frame_bytes: self.frame_bytes,
        };
        (bytes, stats)
    }

    /// Reads how deep the callers are, and traps if there is no room for this frame.
    fn enter(&self, max: u32, shape: &Shape, function: &mut Function) {
        let mut out = Writing {
            function,
            meter: shape.meter(),
        };
        out.load_small(DEPTH_OFFSET);
        out.add(&Instruction::I32Const(self.frame_bytes.cast_signed()));
        out.add(&Instruction::I32Add);
        out.add(&Instruction::LocalTee(self.depth()));
        out.add(&Instruction::I32Const(max.cast_signed()));
        // Signed: the host may let a call begin below zero.
        out.add(&Instruction::I32GtS);
        out.add(&Instruction::If(wasm_encoder::BlockType::Empty));
        out.address();
        out.add(&Instruction::I32Const(1));
        out.store_small(EXHAUSTED_OFFSET);
        out.add(&Instruction::Unreachable);
        out.add(&Instruction::End);
    }

    /// Tells the callee how deep it is.
    fn descend(&self, out: &mut Writing<'_>) {
        out.address();
        out.add(&Instruction::LocalGet(self.depth()));
        out.store_small(DEPTH_OFFSET);
    }

    /// Leaves the counter in its local, and, for a flush, in the meter.
    fn apply(&self, edit: &Edit, check: Check, out: &mut Writing<'_>) {
        if let Some(price) = edit.size {
            self.charge_size(price, out);
        }
        if edit.flush {
            out.address();
        }
        if edit.reload {
            out.load(COUNTER_OFFSET);
        } else if edit.flush || edit.charge > 0 {
            out.add(&Instruction::LocalGet(self.counter));
        }
        if edit.charge > 0 {
            // What a block costs is far below 2^63.
            let charge = i64::try_from(edit.charge).unwrap_or(i64::MAX);
            out.add(&Instruction::I64Const(charge));
            out.add(&Instruction::I64Add);
        }
        if edit.size.is_some() {
            out.add(&Instruction::LocalGet(self.price()));
            out.add(&Instruction::I64Add);
        }
        let changed = edit.reload || edit.charge > 0 || edit.size.is_some();
        match (changed, edit.flush) {
            (true, true) => out.add(&Instruction::LocalTee(self.counter)),
            (true, false) => out.add(&Instruction::LocalSet(self.counter)),
            (false, _) => {}
        }
        if edit.flush {
            out.store(COUNTER_OFFSET);
            if edit.check || check == Check::Synchronous {
                out.check(self.counter);
            }
        }
    }

    /// Prices the size on top of the stack, which stays there.
    fn charge_size(&self, price: UnitPrice, out: &mut Writing<'_>) {
        out.add(&Instruction::LocalTee(self.size()));
        out.add(&Instruction::LocalGet(self.size()));
        out.add(&Instruction::I64ExtendI32U);
        out.price(price);
        out.add(&Instruction::LocalSet(self.price()));
        out.increase(SIZE_OFFSET, self.price());
    }
}

/// The instruction to take the place of one that names an imported function.
fn redirected(operator: &Operator<'_>, shape: &Shape) -> Option<Redirected> {
    let (function, redirected): (_, fn(u32) -> Redirected) = match operator {
        Operator::Call { function_index } => (*function_index, Redirected::Call),
        Operator::RefFunc { function_index } => (*function_index, Redirected::RefFunc),
        _ => return None,
    };
    let callee = shape.callee(function);
    (callee != function).then(|| redirected(callee))
}

/// An instruction that names a function.
#[derive(Debug, Clone, Copy)]
pub(super) enum Redirected {
    Call(u32),
    RefFunc(u32),
}

impl Redirected {
    fn encode_into(self, function: &mut Function) {
        match self {
            Self::Call(callee) => function.instruction(&Instruction::Call(callee)),
            Self::RefFunc(callee) => function.instruction(&Instruction::RefFunc(callee)),
        };
    }
}

/// The largest height of the operand stack, where it is asked for.
struct Heights {
    validator: Option<wasmparser::FuncValidator<ValidatorResources>>,
    max: u32,
}

impl Heights {
    fn new(
        body: &FunctionBody<'_>,
        function: FuncToValidate<ValidatorResources>,
        instrumentation: &Instrumentation,
    ) -> Result<Self, InstrumentError> {
        let mut heights = Self {
            validator: None,
            max: 0,
        };
        if instrumentation.depth_bytes_max.is_some() {
            let mut validator = function.into_validator(FuncValidatorAllocations::default());
            validator.read_locals(&mut body.get_binary_reader())?;
            heights.validator = Some(validator);
        }
        Ok(heights)
    }

    fn operator(&mut self, at: usize, operator: &Operator<'_>) -> Result<(), InstrumentError> {
        if let Some(validator) = &mut self.validator {
            validator.op(at, operator)?;
            self.max = self.max.max(validator.operand_stack_height());
        }
        Ok(())
    }

    /// What the frame of a function is taken to need that has this many parameters and locals, this
    /// many operators in its longest block, and a body of this many bytes.
    fn frame_bytes(&self, locals: u32, longest: u32, bytes: usize) -> u32 {
        let values = locals.saturating_add(self.max);
        let values = values.saturating_mul(VALUE_BYTES);
        let spilled = longest.saturating_mul(OPERATOR_BYTES);
        // A valid function has less than 8 million bytes and 51,000 locals.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX) / BODY_BYTES;
        FRAME_BYTES
            .saturating_add(values)
            .saturating_add(spilled)
            .saturating_add(bytes)
    }
}
