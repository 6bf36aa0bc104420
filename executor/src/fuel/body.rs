//! One function, read and written again with what is added to it.

use std::{borrow::Cow, ops::Range};

use wasm_encoder::{BlockType, Function, Instruction, ValType};
use wasmparser::{
    BinaryReader, FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator,
    OperatorsReader, ValidatorResources,
};

use super::{
    Check, FunctionStats, InstrumentError, Instrumentation,
    calls::{Callee, Calls, Edge, Plan},
    code::Writing,
    instrument::local_type,
    layout::{DEPTH_OFFSET, EXHAUSTED_OFFSET, SIZE_OFFSET},
    placement::{Placement, Read, Step, ends_block, is_call},
    schedule::{UnitPrice, proposal},
    shape::Shape,
    unroll::{Added, Unroll, Unrolled},
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
    /// Number of parameters, which is the index of the one behind: the counter.
    counter: u32,
    /// Index of the first local that is added: a price, then a size, then the depth.
    added: u32,
    /// Type of its results.
    results: BlockType,
    /// All operators, those of small loops several times.
    operators: Cow<'a, [u8]>,
    /// How many times those of each loop.
    turns: Vec<u32>,
    /// Operators to be written otherwise, where they are, in order.
    rewritten: Vec<(Range<usize>, Rewritten)>,
    bytes: usize,
    /// The estimate of the frame.
    frame_bytes: u32,
}

/// A function as it was read.
pub(super) struct ReadBody<'a> {
    pub(super) body: Body<'a>,
    /// What is to be done in it, as soon as it is known what others do.
    pub(super) placement: Placement,
    /// What it calls.
    pub(super) calls: Calls,
}

impl<'a> Body<'a> {
    pub(super) fn read(
        body: &FunctionBody<'a>,
        function: FuncToValidate<ValidatorResources>,
        shape: &Shape,
        instrumentation: &Instrumentation,
    ) -> Result<ReadBody<'a>, InstrumentError> {
        let schedule = &instrumentation.schedule;
        let index = function.index;
        let counter = shape.parameters(function.index);
        let results = shape.results(function.index);
        let mut locals = Vec::new();
        let mut values = counter;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            // A valid function has at most 50,000 locals.
            values = values.saturating_add(count);
            locals.push((count, ty));
        }
        let heights = Heights::new(body, function, instrumentation)?;
        let bytes = body.as_bytes().len();
        let (unrolled, heights) = unrolled(body, heights, results)?;
        let mut placement = Placement::new(schedule.function());
        let mut rewritten = Vec::new();
        let mut calls = Calls::new(schedule.function());
        let mut added = unrolled.added.iter().peekable();
        let mut reader = OperatorsReader::new(BinaryReader::new(&unrolled.operators, 0));
        while !reader.eof() {
            let at = reader.original_position();
            let operator = reader.read()?;
            let next = reader.original_position();
            let added = added.next_if(|(place, _)| *place == at);
            let added = added.map(|(_, added)| *added);
            let cost = match added {
                Some(added) => added.cost(schedule),
                None => schedule.operator(&operator),
            };
            calls.cost += u64::from(cost);
            if is_call(&operator) {
                let callee = if placement.is_reached() {
                    shape.called(&operator)
                } else {
                    Callee::Never
                };
                calls.call(callee);
            }
            match edge(&operator) {
                // It may not publish.
                Some(_) if added == Some(Added::Loop) => calls.edge(Edge::Block),
                Some(edge) => calls.edge(edge),
                None => {}
            }
            if let Some(other) = rewrite(&operator, shape, counter, placement.depth()) {
                rewritten.push((at..next, other));
            }
            let read = Read {
                operator: &operator,
                added,
                cost,
                size: schedule.size(&operator).filter(|price| price.fuel > 0),
                range: at..next,
            };
            placement.operator(&read);
        }
        calls.is_loud = placement.is_loud() || shape.is_exported(index);
        let frame_bytes = heights.frame_bytes(values, unrolled.operators.len());
        let body = Self {
            locals,
            counter,
            added: values + 1,
            results,
            operators: unrolled.operators,
            turns: unrolled.turns,
            rewritten,
            bytes,
            frame_bytes,
        };
        Ok(ReadBody {
            body,
            placement,
            calls,
        })
    }

    /// Functions it refers to, as they are called.
    pub(super) fn referred(&self) -> Vec<u32> {
        let rewritten = self.rewritten.iter();
        let referred = rewritten.filter_map(|(_, other)| match other {
            Rewritten::RefFunc(function) => Some(*function),
            _ => None,
        });
        referred.collect()
    }

    fn price(&self) -> u32 {
        self.added
    }

    fn size(&self) -> u32 {
        self.added + 1
    }

    fn depth(&self) -> u32 {
        self.added + 2
    }

    /// Writes it, with what is to be done in it.
    pub(super) fn write(
        self,
        shape: &Shape,
        instrumentation: &Instrumentation,
        placement: Placement,
        plan: &Plan,
    ) -> (Vec<u8>, FunctionStats) {
        let depth_max = instrumentation
            .depth_bytes_max
            .filter(|_| !plan.calls.is_empty() || self.frame_bytes > LEAF_BYTES_MAX);
        let locals = self.locals.iter();
        let mut locals: Vec<_> = locals
            .map(|(count, ty)| (*count, local_type(*ty)))
            .collect();
        locals.push((1, ValType::I64));
        locals.push((2, ValType::I32));
        let mut function = Function::new(locals);
        let mut out = Writing {
            function: &mut function,
            meter: shape.meter(),
        };
        if let Some(max) = depth_max {
            self.enter(max, &mut out);
        }
        out.add(&Instruction::Block(self.results));
        let (mut increments, mut safepoints, mut done) = (0, 0, 0);
        let mut rewritten = self.rewritten.iter().peekable();
        let mut calls = plan.calls.iter();
        for (at, step) in &placement.finish(plan) {
            while let Some((range, other)) = rewritten.next_if(|(range, _)| range.start < *at) {
                self.copy(done..range.start, &mut out);
                if other.is_call() {
                    if calls.next().is_some_and(|call| call.publishes) {
                        self.publish(false, instrumentation.check, &mut out);
                        safepoints += 1;
                    }
                    if depth_max.is_some() {
                        self.descend(&mut out);
                    }
                }
                self.rewrite(*other, &mut out);
                done = range.end;
            }
            self.copy(done..*at, &mut out);
            done = *at;
            self.apply(*step, instrumentation.check, &mut out);
            increments += u32::from(!matches!(step, Step::Flush { .. } | Step::Leave));
            safepoints += u32::from(matches!(step, Step::Flush { .. }));
        }
        // What is left is the last `end`.
        out.add(&Instruction::LocalGet(self.counter));
        self.copy(done..self.operators.len(), &mut out);
        let bytes = function.into_raw_body();
        let stats = FunctionStats {
            increments,
            safepoints,
            turns: self.turns,
            bytes_before: self.bytes,
            bytes_after: bytes.len(),
            frame_bytes: self.frame_bytes,
        };
        (bytes, stats)
    }

    fn copy(&self, range: Range<usize>, out: &mut Writing<'_>) {
        out.function.raw(self.operators[range].iter().copied());
    }

    /// Reads how deep the callers are, and traps if there is no room for this frame.
    fn enter(&self, max: u32, out: &mut Writing<'_>) {
        out.load_small(DEPTH_OFFSET);
        out.add(&Instruction::I32Const(self.frame_bytes.cast_signed()));
        out.add(&Instruction::I32Add);
        out.add(&Instruction::LocalTee(self.depth()));
        out.add(&Instruction::I32Const(max.cast_signed()));
        // Signed: the host may let a call begin below zero.
        out.add(&Instruction::I32GtS);
        out.add(&Instruction::If(BlockType::Empty));
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

    fn apply(&self, step: Step, check: Check, out: &mut Writing<'_>) {
        match step {
            Step::Charge(amount) => self.charge(amount, out),
            Step::ChargeElse(amount) => {
                out.add(&Instruction::Else);
                self.charge(amount, out);
            }
            Step::Size(price) => self.charge_size(price, out),
            Step::Flush { check: always } => self.publish(always, check, out),
            Step::Leave => out.add(&Instruction::End),
        }
    }

    fn publish(&self, always: bool, check: Check, out: &mut Writing<'_>) {
        out.publish(self.counter);
        if always || check == Check::Synchronous {
            out.check(self.counter);
        }
    }

    fn charge(&self, amount: i64, out: &mut Writing<'_>) {
        out.add(&Instruction::LocalGet(self.counter));
        out.add(&Instruction::I64Const(amount));
        out.add(&Instruction::I64Add);
        out.add(&Instruction::LocalSet(self.counter));
    }

    /// Writes an operator otherwise.
    fn rewrite(&self, other: Rewritten, out: &mut Writing<'_>) {
        match other {
            Rewritten::LocalGet(local) => out.add(&Instruction::LocalGet(local)),
            Rewritten::LocalSet(local) => out.add(&Instruction::LocalSet(local)),
            Rewritten::LocalTee(local) => out.add(&Instruction::LocalTee(local)),
            Rewritten::RefFunc(function) => out.add(&Instruction::RefFunc(function)),
            Rewritten::Return(depth) => out.add(&Instruction::Br(depth)),
            Rewritten::Call(callee) => {
                out.add(&Instruction::LocalGet(self.counter));
                out.add(&Instruction::Call(callee));
                out.add(&Instruction::LocalSet(self.counter));
            }
            Rewritten::CallIndirect {
                type_index,
                table_index,
            } => {
                out.add(&Instruction::LocalSet(self.size()));
                out.add(&Instruction::LocalGet(self.counter));
                out.add(&Instruction::LocalGet(self.size()));
                out.add(&Instruction::CallIndirect {
                    type_index,
                    table_index,
                });
                out.add(&Instruction::LocalSet(self.counter));
            }
        }
    }

    /// Charges for the size on top of the stack, which stays there.
    fn charge_size(&self, price: UnitPrice, out: &mut Writing<'_>) {
        out.add(&Instruction::LocalTee(self.size()));
        out.add(&Instruction::LocalGet(self.size()));
        out.add(&Instruction::I64ExtendI32U);
        out.price(price);
        out.add(&Instruction::LocalSet(self.price()));
        out.increase(SIZE_OFFSET, self.price());
        out.add(&Instruction::LocalGet(self.counter));
        out.add(&Instruction::LocalGet(self.price()));
        out.add(&Instruction::I64Add);
        out.add(&Instruction::LocalSet(self.counter));
    }
}

/// Reads the operators of a function, and writes out its small loops.
fn unrolled<'a>(
    body: &FunctionBody<'a>,
    mut heights: Heights,
    results: BlockType,
) -> Result<(Unrolled<'a>, Heights), InstrumentError> {
    let mut unroll = Unroll::new(results);
    let mut reader = body.get_operators_reader()?;
    let start = reader.original_position();
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
        unroll.operator(&operator, at - start, reader.original_position() - start);
    }
    let operators = &body.as_bytes()[start - body.range().start..];
    Ok((unroll.finish(operators), heights))
}

/// What is written instead of an operator.
#[derive(Debug, Clone, Copy)]
enum Rewritten {
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    RefFunc(u32),
    Call(u32),
    CallIndirect {
        type_index: u32,
        table_index: u32,
    },
    /// A branch to the end of the block around all.
    Return(u32),
}

impl Rewritten {
    fn is_call(self) -> bool {
        matches!(self, Self::Call(_) | Self::CallIndirect { .. })
    }
}

/// Whether a block begins or ends.
fn edge(operator: &Operator<'_>) -> Option<Edge> {
    match operator {
        Operator::Block { .. } | Operator::If { .. } => Some(Edge::Block),
        Operator::Loop { .. } => Some(Edge::Loop),
        Operator::End => Some(Edge::End),
        _ => None,
    }
}

/// What is written instead of an operator, if anything: the counter stands before the guest's own locals, and
/// goes with calls and returns. `depth` is the number of open blocks.
fn rewrite(
    operator: &Operator<'_>,
    shape: &Shape,
    counter: u32,
    depth: usize,
) -> Option<Rewritten> {
    let moved = |local: u32| (local >= counter).then(|| local + 1);
    match *operator {
        Operator::LocalGet { local_index } => moved(local_index).map(Rewritten::LocalGet),
        Operator::LocalSet { local_index } => moved(local_index).map(Rewritten::LocalSet),
        Operator::LocalTee { local_index } => moved(local_index).map(Rewritten::LocalTee),
        Operator::RefFunc { function_index } => {
            Some(Rewritten::RefFunc(shape.callee(function_index)))
        }
        Operator::Call { function_index } => Some(Rewritten::Call(shape.callee(function_index))),
        Operator::CallIndirect {
            type_index,
            table_index,
        } => Some(Rewritten::CallIndirect {
            type_index: shape.counting(type_index),
            table_index,
        }),
        // A valid function has less than 8 million blocks.
        Operator::Return => Some(Rewritten::Return(depth.try_into().unwrap_or(u32::MAX))),
        _ => None,
    }
}

/// What an estimate of a frame is made of: the largest height of the operand stack, where it is asked for, and
/// the longest block.
struct Heights {
    validator: Option<wasmparser::FuncValidator<ValidatorResources>>,
    max: u32,
    /// Operators of the present block, and of the longest.
    operators: u32,
    longest: u32,
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
            operators: 0,
            longest: 0,
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
        // A valid function has less than 8 million operators.
        self.operators = self.operators.saturating_add(1);
        self.longest = self.longest.max(self.operators);
        if ends_block(operator) {
            self.operators = 0;
        }
        Ok(())
    }

    /// What the frame of a function is taken to need that has this many parameters and locals, and a body of
    /// this many bytes.
    fn frame_bytes(&self, locals: u32, bytes: usize) -> u32 {
        let values = locals.saturating_add(self.max);
        let values = values.saturating_mul(VALUE_BYTES);
        let spilled = self.longest.saturating_mul(OPERATOR_BYTES);
        // A valid function has less than 8 million bytes and 51,000 locals.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX) / BODY_BYTES;
        FRAME_BYTES
            .saturating_add(values)
            .saturating_add(spilled)
            .saturating_add(bytes)
    }
}
