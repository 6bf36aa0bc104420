//! Following an instrumented function beside its original: what has been charged and not yet used, at every
//! point of every way.

use wasmparser::{FunctionBody, Operator};

use super::{
    ProofFault,
    reading::{Action, added},
    same::{Code, Fault, is_rewritten, places, same},
    turns::{Progress, Turns},
};
use crate::fuel::{
    Check, Instrumentation, UnitPrice,
    calls::{Callee, Calls, Edge},
    placement::{is_call, is_sized},
    shape::Shape,
};

/// What is known at a point that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Charged beyond what has been used; below zero if less was charged.
    charged: i64,
    /// Whether the meter holds the count.
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

/// What was found of a function.
pub(super) struct Proved {
    pub(super) operators: u64,
    pub(super) calls: Calls,
    /// Of its calls, in order.
    pub(super) called: Vec<Called>,
    /// Whether it ends in a trap somewhere without publishing the count.
    pub(super) traps_silently: bool,
}

/// What was found of a call.
pub(super) struct Called {
    /// Whether it publishes the count before.
    pub(super) publishes: bool,
    /// Whether the count is what has been used there.
    pub(super) is_exact: bool,
    /// Position in the instrumented module.
    pub(super) offset: usize,
}

/// Proves one function, but for what depends on those it calls.
pub(super) fn prove(
    before: &FunctionBody<'_>,
    after: &FunctionBody<'_>,
    index: usize,
    shape: &Shape,
    instrumentation: &Instrumentation,
) -> Result<Proved, Fault> {
    let places = places(before, after, index, shape)?;
    let (original, code) = (Code::read(before)?, Code::read(after)?);
    let mut walk = Walk {
        instrumentation,
        shape,
        frames: vec![Frame {
            is_loop: false,
            target: None,
            past: None,
        }],
        state: Some(State {
            charged: -i64::from(instrumentation.schedule.function()),
            published: false,
        }),
        size: None,
        exact: true,
        needs_safepoint: false,
        compared: true,
        on_line: false,
        entered: false,
        descended: false,
        calls: Calls::new(instrumentation.schedule.function()),
        called: Vec::new(),
        traps_silently: false,
    };
    let last = original.operators.len().saturating_sub(1);
    let (mut next, mut at, mut wrapped) = (0, 0, false);
    let mut turns = Turns::default();
    while at < code.operators.len() {
        let fail = |fault| (code.bounds[at], fault);
        let rest = &code.operators[at..];
        if let Some((actions, length)) = added(rest, places) {
            for action in actions {
                if matches!(action, Action::Enter(_)) && at > 0 {
                    return Err(fail(ProofFault::Depth));
                }
                walk.act(action).map_err(fail)?;
            }
            at += length;
            continue;
        }
        if !wrapped {
            // The block around all.
            let Operator::Block { .. } = rest[0] else {
                return Err(fail(ProofFault::Foreign));
            };
            (wrapped, at) = (true, at + 1);
            continue;
        }
        let Some(operator) = original.operators.get(next) else {
            break;
        };
        let step = turns.step(&mut walk, &original.operators, next, rest, code.bounds[at]);
        if let Some(Progress { next: then, length }) = step.map_err(fail)? {
            (next, at) = (then, at + length);
            continue;
        }
        if matches!((operator, &rest[0]), (Operator::End, Operator::Else)) && next < last {
            walk.add_else().map_err(fail)?;
            at += 1;
            continue;
        }
        let depth = walk.frames.len().saturating_sub(1);
        let length = if is_rewritten(operator, places) {
            same(operator, rest, places, depth, shape)
        } else {
            (original.bytes_of(next) == code.bytes_of(at)).then_some(1)
        };
        let length = length.ok_or_else(|| fail(ProofFault::Foreign))?;
        walk.operator(operator, code.bounds[at]).map_err(fail)?;
        (next, at) = (next + 1, at + length);
    }
    // Behind the block around all, the count is one more result.
    let end = (after.range().end, ProofFault::Foreign);
    let [Operator::LocalGet { local_index }, Operator::End] = &code.operators[at..] else {
        return Err(end);
    };
    if next != original.operators.len() || *local_index != places.counter {
        return Err(end);
    }
    walk.finish()
        .map_err(|fault| (after.range().start, fault))?;
    Ok(Proved {
        operators: next as u64,
        calls: walk.calls,
        called: walk.called,
        traps_silently: walk.traps_silently,
    })
}

pub(super) struct Walk<'a> {
    instrumentation: &'a Instrumentation,
    shape: &'a Shape,
    frames: Vec<Frame>,
    /// `None` where nothing gets to.
    state: Option<State>,
    /// A size that was charged for the operator that follows.
    size: Option<UnitPrice>,
    /// Whether what was published last was what had been used by then; if not, a barrier must follow that
    /// was charged already.
    exact: bool,
    /// Whether a loop has begun, and passed no safepoint yet.
    needs_safepoint: bool,
    /// Whether it was compared since it was published, which must be at once where guests compare.
    compared: bool,
    /// Whether nothing has come together since.
    on_line: bool,
    /// Whether the depth was read.
    entered: bool,
    /// Whether the operator that follows was told it.
    descended: bool,
    calls: Calls,
    called: Vec<Called>,
    traps_silently: bool,
}

impl Walk<'_> {
    fn act(&mut self, action: Action) -> Result<(), ProofFault> {
        if self.must_compare() && action != Action::Compare {
            return Err(ProofFault::Unchecked);
        }
        match action {
            Action::Enter(max) => {
                let wanted = self.instrumentation.depth_bytes_max;
                if wanted != Some(max) || self.entered {
                    return Err(ProofFault::Depth);
                }
                self.entered = true;
            }
            Action::Descend => self.descended = self.entered,
            // Nobody gets here.
            _ if self.state.is_none() => {}
            Action::Add(amount) => {
                self.exact()?;
                self.charge(amount);
            }
            Action::AddSize(price) => {
                self.exact()?;
                if self.size.replace(price).is_some() {
                    return Err(ProofFault::Size);
                }
                self.charge(0);
            }
            Action::Publish => {
                self.calls.is_loud = true;
                self.exact = self.charged_exactly().is_ok();
                self.publish(true);
                self.needs_safepoint = false;
                self.compared = false;
            }
            Action::Compare => (self.compared, self.on_line) = (true, true),
        }
        Ok(())
    }

    fn charge(&mut self, amount: i64) {
        self.credit(amount);
        self.publish(false);
    }

    fn publish(&mut self, published: bool) {
        if let Some(state) = &mut self.state {
            state.published = published;
        }
    }

    /// What was published last was what had been used.
    fn exact(&self) -> Result<(), ProofFault> {
        match self.state {
            Some(State { charged, .. }) if !self.exact => Err(ProofFault::Unequal { charged }),
            _ => Ok(()),
        }
    }

    /// Whether the count was published, and must be compared before anything else.
    fn must_compare(&self) -> bool {
        self.instrumentation.check == Check::Synchronous && !self.compared
    }

    /// Takes in an operator of the original's.
    pub(super) fn operator(
        &mut self,
        operator: &Operator<'_>,
        offset: usize,
    ) -> Result<(), ProofFault> {
        if self.must_compare() {
            return Err(ProofFault::Unchecked);
        }
        let schedule = &self.instrumentation.schedule;
        let price = schedule.size(operator).filter(|price| price.fuel > 0);
        let is_call = is_call(operator);
        if self.state.is_some() {
            if self.size.take() != price {
                return Err(ProofFault::Size);
            }
            if is_call && self.entered != self.descended {
                return Err(ProofFault::Depth);
            }
        }
        self.descended = false;
        let cost = schedule.operator(operator);
        self.calls.cost += u64::from(cost);
        let sized = is_sized(operator);
        let traps = matches!(operator, Operator::Unreachable);
        if !(is_call || sized || traps) {
            self.exact()?;
        }
        self.credit(-i64::from(cost));
        if is_call {
            self.call(operator, offset)?;
        }
        if sized {
            self.settled()?;
            if self.state.is_some() && !(self.compared && self.on_line) {
                return Err(ProofFault::Unchecked);
            }
        }
        if traps && self.settled().is_err() {
            self.traps_silently = true;
        }
        self.exact = true;
        self.follow(operator)
    }

    /// Number of open blocks, without that around all.
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Takes in an operator that was added, and costs nothing.
    pub(super) fn added(&mut self, operator: &Operator<'_>) -> Result<(), ProofFault> {
        self.pay_nothing()?;
        self.follow(operator)
    }

    /// Takes in what an operator of the original's costs, for which there is another.
    pub(super) fn pay(&mut self, operator: &Operator<'_>) -> Result<(), ProofFault> {
        self.pay_nothing()?;
        let cost = self.instrumentation.schedule.operator(operator);
        self.calls.cost += u64::from(cost);
        self.credit(-i64::from(cost));
        Ok(())
    }

    /// Nothing is left to be done before something is taken in that is not paid for.
    fn pay_nothing(&self) -> Result<(), ProofFault> {
        if self.must_compare() {
            return Err(ProofFault::Unchecked);
        }
        if self.size.is_some() {
            return Err(ProofFault::Size);
        }
        if self.descended {
            return Err(ProofFault::Depth);
        }
        self.exact()
    }

    fn call(&mut self, operator: &Operator<'_>, offset: usize) -> Result<(), ProofFault> {
        // What was called since a loop began counts as executed since its flush.
        self.safepoint()?;
        let mut callee = Callee::Never;
        let mut called = Called {
            publishes: false,
            is_exact: true,
            offset,
        };
        if let Some(state) = &mut self.state {
            if self.instrumentation.depth_bytes_max.is_some() && !self.entered {
                return Err(ProofFault::Depth);
            }
            callee = self.shape.called(operator);
            called.is_exact = state.charged == 0;
            called.publishes = state.published;
            // What the callee returns may be more than it published.
            state.published = false;
            if !self.exact && !called.is_exact {
                let charged = state.charged;
                return Err(ProofFault::Unequal { charged });
            }
        }
        self.calls.call(callee);
        self.called.push(called);
        Ok(())
    }

    /// Everything that was used has been charged, and nothing else.
    fn charged_exactly(&self) -> Result<(), ProofFault> {
        match self.state {
            Some(State { charged, .. }) if charged != 0 => Err(ProofFault::Unequal { charged }),
            _ => Ok(()),
        }
    }

    /// And it is published.
    fn settled(&self) -> Result<(), ProofFault> {
        self.charged_exactly()?;
        match self.state {
            Some(State {
                published: false, ..
            }) => Err(ProofFault::Unpublished),
            _ => Ok(()),
        }
    }

    fn follow(&mut self, operator: &Operator<'_>) -> Result<(), ProofFault> {
        match operator {
            Operator::Block { .. } => self.open(None),
            Operator::Loop { .. } => {
                self.safepoint()?;
                self.open_loop(Edge::Loop);
                self.needs_safepoint = self.state.is_some();
            }
            Operator::If { .. } => {
                self.safepoint()?;
                self.open(self.state);
            }
            Operator::Else => {
                self.on_line = false;
                self.safepoint()?;
                self.leave(0)?;
                self.state = self.frames.last_mut().and_then(|frame| frame.past.take());
            }
            Operator::End => {
                self.on_line = false;
                self.end()?;
            }
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth as usize)?;
                self.state = None;
            }
            Operator::BrIf { relative_depth } => self.branch(*relative_depth as usize)?,
            Operator::BrTable { targets } => {
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(target as usize)?;
                }
                self.state = None;
            }
            Operator::Return => {
                self.branch(self.frames.len().saturating_sub(1))?;
                self.state = None;
            }
            Operator::Unreachable => self.state = None,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, past: Option<State>) {
        self.calls.edge(Edge::Block);
        self.frames.push(Frame {
            is_loop: false,
            target: None,
            past,
        });
    }

    fn open_loop(&mut self, edge: Edge) {
        self.on_line = false;
        self.calls.edge(edge);
        // Who comes back may have charged without publishing.
        self.publish(false);
        self.frames.push(Frame {
            is_loop: true,
            target: self.state,
            past: None,
        });
    }

    /// A loop of turns, which need not pass a safepoint when it is entered.
    pub(super) fn open_turns(&mut self) -> Result<(), ProofFault> {
        self.safepoint()?;
        self.open_loop(Edge::Block);
        Ok(())
    }

    /// Between two turns: if no other begins, there must be a safepoint.
    pub(super) fn turn(&mut self, ended: bool) {
        self.needs_safepoint = ended && self.state.is_some();
    }

    /// Before control goes elsewhere, the loop it is in must have passed a safepoint.
    fn safepoint(&self) -> Result<(), ProofFault> {
        if self.needs_safepoint && self.state.is_some() {
            return Err(ProofFault::NoSafepoint);
        }
        Ok(())
    }

    fn branch(&mut self, depth: usize) -> Result<(), ProofFault> {
        self.safepoint()?;
        self.leave(depth)
    }

    /// Goes to where branches to an open block go.
    fn leave(&mut self, depth: usize) -> Result<(), ProofFault> {
        let Some(state) = self.state else {
            return Ok(());
        };
        let number = self.frames.len().checked_sub(1 + depth);
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
        target.published &= state.published;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ProofFault> {
        self.safepoint()?;
        let is_loop = self.frames.last().is_some_and(|frame| frame.is_loop);
        if !is_loop {
            self.leave(0)?;
            // Without `else`, the condition's other way goes past everything, like a branch.
            self.state = self.frames.last().and_then(|frame| frame.past);
            self.leave(0)?;
        }
        self.calls.edge(Edge::End);
        let Some(frame) = self.frames.pop() else {
            return Err(ProofFault::Foreign);
        };
        if is_loop {
            return Ok(());
        }
        self.state = frame.target;
        Ok(())
    }

    /// The way on which the condition of an `if` without `else` does not hold.
    fn add_else(&mut self) -> Result<(), ProofFault> {
        if self.must_compare() {
            return Err(ProofFault::Unchecked);
        }
        let innermost = self.frames.last();
        if innermost.is_none_or(|frame| frame.is_loop || frame.past.is_none()) {
            return Err(ProofFault::Foreign);
        }
        self.exact()?;
        // The `end` that follows is the arm's before, and not of this way.
        let cost = self.instrumentation.schedule.operator(&Operator::End);
        self.credit(-i64::from(cost));
        self.follow(&Operator::Else)?;
        self.credit(cost.into());
        Ok(())
    }

    fn credit(&mut self, amount: i64) {
        if let Some(state) = &mut self.state {
            // Like the guest.
            state.charged = state.charged.wrapping_add(amount);
        }
    }

    fn finish(&self) -> Result<(), ProofFault> {
        if self.must_compare() {
            return Err(ProofFault::Unchecked);
        }
        self.charged_exactly()?;
        if !self.frames.is_empty() {
            return Err(ProofFault::Foreign);
        }
        Ok(())
    }
}
