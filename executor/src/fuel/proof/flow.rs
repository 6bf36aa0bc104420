//! Following an instrumented function beside its original: what has been charged and not yet used, at every
//! point of every way.

use std::ops::Range;

use wasmparser::{FunctionBody, Operator};

use super::{
    ProofFault,
    reading::{Action, Places, added},
};
use crate::fuel::{Check, Instrumentation, UnitPrice, shape::Shape};

type Fault = (usize, ProofFault);

/// What is known at a point that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Charged beyond what has been used.
    charged: i64,
    /// Whether the local holds the count.
    read: bool,
    /// Whether the meter holds it.
    published: bool,
}

/// An open block.
struct Frame {
    is_loop: bool,
    /// Where branches to it go: the state they must agree on, once there is one.
    target: Option<State>,
    /// The state with which the condition's other way goes past what there was of an `if`.
    past: Option<State>,
}

/// Operators with where they begin and end.
struct Code<'a> {
    operators: Vec<Operator<'a>>,
    bounds: Vec<usize>,
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Code<'a> {
    fn read(body: &FunctionBody<'a>) -> Result<Self, Fault> {
        let unreadable = |error: wasmparser::BinaryReaderError| {
            let fault = ProofFault::Unreadable(error.message().to_owned());
            (error.offset(), fault)
        };
        let mut reader = body.get_operators_reader().map_err(unreadable)?;
        let (mut operators, mut bounds) = (Vec::new(), Vec::new());
        while !reader.eof() {
            bounds.push(reader.original_position());
            operators.push(reader.read().map_err(unreadable)?);
        }
        let Range { start, end } = body.range();
        bounds.push(end);
        Ok(Self {
            operators,
            bounds,
            bytes: body.as_bytes(),
            start,
        })
    }

    fn bytes_of(&self, number: usize) -> &'a [u8] {
        let range = self.bounds[number] - self.start..self.bounds[number + 1] - self.start;
        self.bytes.get(range).unwrap_or_default()
    }
}

/// Proves one function; how many operators it has.
pub(super) fn prove(
    before: &FunctionBody<'_>,
    after: &FunctionBody<'_>,
    index: usize,
    shape: &Shape,
    instrumentation: &Instrumentation,
) -> Result<u64, Fault> {
    let places = Places {
        meter: shape.meter(),
        counter: counter(before, after, index, shape)?,
    };
    let (original, code) = (Code::read(before)?, Code::read(after)?);
    let mut walk = Walk {
        instrumentation,
        frames: vec![Frame {
            is_loop: false,
            target: None,
            past: None,
        }],
        state: Some(State {
            charged: -i64::from(instrumentation.schedule.function()),
            read: false,
            published: true,
        }),
        size: None,
        needs_safepoint: false,
        compared: true,
        entered: false,
        descended: false,
        calls: false,
    };
    let (mut next, mut at) = (0, 0);
    while at < code.operators.len() {
        let fail = |fault| (code.bounds[at], fault);
        if let Some((actions, length)) = added(&code.operators[at..], places) {
            for action in actions {
                walk.act(action).map_err(fail)?;
            }
            at += length;
            continue;
        }
        let Some(operator) = original.operators.get(next) else {
            return Err(fail(ProofFault::Foreign));
        };
        if !is_same((&original, next), (&code, at), shape) {
            return Err(fail(ProofFault::Foreign));
        }
        walk.operator(operator).map_err(fail)?;
        (next, at) = (next + 1, at + 1);
    }
    let end = (after.range().end, ProofFault::Foreign);
    if next != original.operators.len() {
        return Err(end);
    }
    walk.finish()
        .map_err(|fault| (after.range().start, fault))?;
    Ok(next as u64)
}

/// The first added local, if those before are the original's.
fn counter(
    before: &FunctionBody<'_>,
    after: &FunctionBody<'_>,
    index: usize,
    shape: &Shape,
) -> Result<u32, Fault> {
    let fault = || (after.range().start, ProofFault::Locals);
    let read = |body: &FunctionBody<'_>| -> Option<Vec<(u32, wasmparser::ValType)>> {
        body.get_locals_reader()
            .ok()?
            .into_iter()
            .collect::<Result<_, _>>()
            .ok()
    };
    let (own, all) = (
        read(before).ok_or_else(fault)?,
        read(after).ok_or_else(fault)?,
    );
    if !all.starts_with(&own) {
        return Err(fault());
    }
    let index = u32::try_from(index).map_err(|_too_many| fault())?;
    let count: u32 = own.iter().map(|(count, _)| count).sum();
    Ok(shape.parameters(index) + count)
}

/// Whether an operator is the original's, but for imported functions, which are reached by their shims.
fn is_same(original: (&Code<'_>, usize), code: (&Code<'_>, usize), shape: &Shape) -> bool {
    match (&original.0.operators[original.1], &code.0.operators[code.1]) {
        (
            Operator::Call {
                function_index: one,
            },
            Operator::Call {
                function_index: other,
            },
        )
        | (
            Operator::RefFunc {
                function_index: one,
            },
            Operator::RefFunc {
                function_index: other,
            },
        ) => shape.callee(*one) == *other,
        _ => original.0.bytes_of(original.1) == code.0.bytes_of(code.1),
    }
}

struct Walk<'a> {
    instrumentation: &'a Instrumentation,
    frames: Vec<Frame>,
    /// `None` where nothing gets to.
    state: Option<State>,
    /// A size that was charged for the operator that follows.
    size: Option<UnitPrice>,
    /// Whether a loop has begun, and passed no safepoint yet.
    needs_safepoint: bool,
    /// Whether it was compared since it was published.
    compared: bool,
    /// Whether the depth was read.
    entered: bool,
    /// Whether the operator that follows was told it.
    descended: bool,
    calls: bool,
}

impl Walk<'_> {
    fn act(&mut self, action: Action) -> Result<(), ProofFault> {
        if self.must_compare() && action != Action::Compare {
            return Err(ProofFault::Unchecked);
        }
        match action {
            Action::Enter(max) => {
                let wanted = self.instrumentation.depth_bytes_max;
                let first = self.state.is_some_and(|state| !state.read);
                if wanted != Some(max) || self.entered || !first {
                    return Err(ProofFault::Depth);
                }
                self.entered = true;
                return Ok(());
            }
            Action::Descend => {
                self.descended = self.entered;
                return Ok(());
            }
            _ => {}
        }
        let Some(state) = &mut self.state else {
            // Nobody gets here.
            return Ok(());
        };
        match action {
            Action::Read => {
                if state.read || !state.published {
                    return Err(ProofFault::ReadAgain);
                }
                state.read = true;
            }
            _ if !state.read => return Err(ProofFault::NotRead),
            Action::Add(amount) => {
                state.charged = state.charged.saturating_add_unsigned(amount);
                state.published = false;
            }
            Action::AddSize(price) => {
                if self.size.replace(price).is_some() {
                    return Err(ProofFault::Size);
                }
                state.published = false;
            }
            Action::Publish => {
                state.published = true;
                self.needs_safepoint = false;
                self.compared = false;
            }
            Action::Compare => self.compared = true,
            Action::Enter(_) | Action::Descend => {}
        }
        Ok(())
    }

    /// Whether the count was published, and must be compared before anything else.
    fn must_compare(&self) -> bool {
        self.instrumentation.check == Check::Synchronous && !self.compared
    }

    fn operator(&mut self, operator: &Operator<'_>) -> Result<(), ProofFault> {
        if self.must_compare() {
            return Err(ProofFault::Unchecked);
        }
        let schedule = &self.instrumentation.schedule;
        let price = schedule.size(operator).filter(|price| price.fuel > 0);
        let is_call = matches!(
            operator,
            Operator::Call { .. } | Operator::CallIndirect { .. }
        );
        if self.state.is_some() {
            if self.size.take() != price {
                return Err(ProofFault::Size);
            }
            if is_call && self.entered != self.descended {
                return Err(ProofFault::Depth);
            }
            self.calls |= is_call;
        }
        self.descended = false;
        let cost = i64::from(schedule.operator(operator));
        if let Some(state) = &mut self.state {
            state.charged -= cost;
            // A price of nothing may stand anywhere.
            if state.charged < 0 && cost > 0 {
                return Err(ProofFault::Late(state.charged.unsigned_abs()));
            }
        }
        let sized = matches!(
            operator,
            Operator::MemoryGrow { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::MemoryInit { .. }
                | Operator::TableGrow { .. }
                | Operator::TableCopy { .. }
                | Operator::TableFill { .. }
                | Operator::TableInit { .. }
        );
        if is_call || sized || matches!(operator, Operator::Unreachable) {
            self.settled()?;
            if sized && self.state.is_some() && !self.compared {
                return Err(ProofFault::Unchecked);
            }
        }
        if is_call && let Some(state) = &mut self.state {
            state.read = false;
        }
        self.follow(operator)
    }

    /// Everything that was used has been charged, nothing else, and it is published.
    fn settled(&self) -> Result<(), ProofFault> {
        let Some(state) = self.state else {
            return Ok(());
        };
        if state.charged != 0 {
            return Err(ProofFault::Unequal {
                charged: state.charged,
            });
        }
        if !state.published {
            return Err(ProofFault::Unpublished);
        }
        Ok(())
    }

    fn follow(&mut self, operator: &Operator<'_>) -> Result<(), ProofFault> {
        match operator {
            Operator::Block { .. } => self.open(false, None),
            Operator::Loop { .. } => {
                self.safepoint()?;
                self.open(true, None);
                // Who comes back may have charged without publishing.
                if let Some(state) = &mut self.state {
                    state.published = false;
                }
                if let Some(frame) = self.frames.last_mut() {
                    frame.target = self.state;
                }
                self.needs_safepoint = self.state.is_some();
            }
            Operator::If { .. } => {
                self.safepoint()?;
                self.open(false, self.state);
            }
            Operator::Else => {
                self.safepoint()?;
                self.leave(0)?;
                self.state = self.frames.last_mut().and_then(|frame| frame.past.take());
            }
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth)?;
                self.state = None;
            }
            Operator::BrIf { relative_depth } => self.branch(*relative_depth)?,
            Operator::BrTable { targets } => {
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(target)?;
                }
                self.state = None;
            }
            Operator::Return => {
                self.safepoint()?;
                self.settled()?;
                self.state = None;
            }
            Operator::Unreachable => self.state = None,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, is_loop: bool, past: Option<State>) {
        self.frames.push(Frame {
            is_loop,
            target: None,
            past,
        });
    }

    /// Before control goes elsewhere, the loop it is in must have passed a safepoint.
    fn safepoint(&self) -> Result<(), ProofFault> {
        if self.needs_safepoint && self.state.is_some() {
            return Err(ProofFault::NoSafepoint);
        }
        Ok(())
    }

    fn branch(&mut self, depth: u32) -> Result<(), ProofFault> {
        self.safepoint()?;
        self.leave(depth)
    }

    /// Goes to where branches to an open block go.
    fn leave(&mut self, depth: u32) -> Result<(), ProofFault> {
        let Some(state) = self.state else {
            return Ok(());
        };
        let number = self.frames.len().checked_sub(1 + depth as usize);
        if number == Some(0) {
            return self.settled();
        }
        let Some(frame) = number.and_then(|number| self.frames.get_mut(number)) else {
            return Err(ProofFault::Foreign);
        };
        let Some(target) = &mut frame.target else {
            frame.target = Some(state);
            return Ok(());
        };
        if target.charged != state.charged {
            return Err(ProofFault::Ways {
                one: target.charged,
                other: state.charged,
            });
        }
        if target.read != state.read {
            return Err(ProofFault::NotRead);
        }
        target.published &= state.published;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ProofFault> {
        self.safepoint()?;
        if self.frames.len() == 1 {
            self.settled()?;
            self.frames.pop();
            self.state = None;
            return Ok(());
        }
        let is_loop = self.frames.last().is_some_and(|frame| frame.is_loop);
        if !is_loop {
            self.leave(0)?;
            // Without `else`, the condition's other way goes past everything, like a branch.
            self.state = self.frames.last().and_then(|frame| frame.past);
            self.leave(0)?;
        }
        let Some(frame) = self.frames.pop() else {
            return Err(ProofFault::Foreign);
        };
        if is_loop {
            return Ok(());
        }
        self.state = frame.target;
        Ok(())
    }

    fn finish(&self) -> Result<(), ProofFault> {
        let limited = self.instrumentation.depth_bytes_max.is_some();
        if limited && self.calls && !self.entered {
            return Err(ProofFault::Depth);
        }
        if !self.frames.is_empty() {
            return Err(ProofFault::Foreign);
        }
        Ok(())
    }
}
