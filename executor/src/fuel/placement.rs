//! Where a function charges and publishes.
//!
//! A function is taken for *ways* between *points*: a way is a run of operators that control can neither
//! enter nor leave but at its ends. At every point the local counter is ahead of what was executed by a
//! constant, the point's *lead*, which is nothing where the counter is published. A way whose ends differ in
//! their leads by just what it costs needs no charge. So the frequent ways are joined to a spanning tree that
//! fixes all leads and charges nothing, and the ways beside it make up the difference, which may be negative
//! (Knuth and Stevenson 1973; Ball 1994).
//!
//! Calls publish where `calls` says, and the lead is nothing where anybody might, so not where the callee is silent.
//!
//! Invariants: on every path the charges add up to the price of the operators on it; wherever the counter is
//! published it is what was executed, to the unit, and so it is where a function returns it; it is published at
//! every loop header, of a loop that was written out before it begins anew, and before every operator with a size
//! and every `unreachable` but those of silent functions. Cost: sorting the ways, and nearly linear beside.

use std::{cmp::Reverse, ops::Range};

use wasmparser::Operator;

use super::{calls::Plan, potentials::Potentials, schedule::UnitPrice, unroll::Added};

/// Something to be done at one place of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Add to the counter.
    Charge(i64),
    /// Add to the counter where the condition of an `if` that has no `else` does not hold.
    ChargeElse(i64),
    /// Charge for the size on top of the stack.
    Size(UnitPrice),
    /// Publish the counter; compare with the limit, whoever else notices overruns.
    Flush { check: bool },
    /// All ways out have met: the function's results are on the stack.
    Leave,
}

/// An operator as it is read.
pub(super) struct Read<'a> {
    pub(super) operator: &'a Operator<'a>,
    /// If the original does not have it, what it is for.
    pub(super) added: Option<Added>,
    pub(super) cost: u32,
    /// What the size costs on top of the stack.
    pub(super) size: Option<UnitPrice>,
    /// Where it is.
    pub(super) range: Range<usize>,
}

/// A point of a function, by number.
type Point = u32;
/// Where the counter is what was executed.
const EXACT: Point = 0;
/// Where a function begins.
const ENTRY: Point = 1;

/// How much more often than what is around it the body of a loop is taken to run.
const TURNS: u64 = 8;
/// How often a function is taken to be called; divided at branches.
const CALLS: u64 = 1 << 32;
/// Of so many times at a conditional branch, one is taken to leave.
const STAYS: u64 = 4;

/// A run of operators between two points.
struct Way {
    from: Point,
    to: Point,
    cost: i64,
    frequency: u64,
    /// Number of the step at which it is charged.
    step: usize,
    /// Whether it ends in a trap, where only a function that is not silent publishes.
    traps: bool,
}

/// A block that is open.
struct Frame {
    kind: Kind,
    /// Where branches to it go.
    label: Point,
    /// How often that is reached, as far as is known.
    frequency: u64,
    /// Whether anything gets there.
    reached: bool,
}

enum Kind {
    Block,
    /// How often control comes from before it.
    Loop(u64),
    /// One turn of several, and how often it is made.
    Turn(u64),
    /// Where and how often the other arm begins.
    If(Point, u64),
}

/// The way being read.
struct Here {
    way: usize,
    frequency: u64,
    /// The first way from which nothing but this one is reached.
    line: usize,
}

/// Reads a function operator by operator, and finds what has to be done where.
pub(super) struct Placement {
    steps: Vec<(usize, Step)>,
    ways: Vec<Way>,
    potentials: Potentials,
    frames: Vec<Frame>,
    /// `None` where nothing gets to.
    here: Option<Here>,
    /// Where calls are.
    calls: Vec<Point>,
    /// Whether it publishes in loops or for sizes.
    is_loud: bool,
}

impl Placement {
    /// For a function whose invocation costs this much.
    pub(super) fn new(invocation: u32) -> Self {
        let mut placement = Self {
            steps: Vec::new(),
            ways: Vec::new(),
            potentials: Potentials::new(2),
            frames: Vec::new(),
            here: None,
            calls: Vec::new(),
            is_loud: false,
        };
        let owed = -i64::from(invocation);
        placement.potentials.join(EXACT, ENTRY, owed);
        placement.open(Kind::Block);
        placement.begin(ENTRY, CALLS, 0, None);
        placement
    }

    /// Number of open blocks, without the function itself.
    pub(super) fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// Takes in an operator.
    pub(super) fn operator(&mut self, read: &Read<'_>) {
        let Read { operator, .. } = *read;
        let Range {
            start: at,
            end: next,
        } = read.range;
        if let Some(here) = &self.here {
            self.ways[here.way].cost += i64::from(read.cost);
            if is_barrier(operator) {
                self.barrier(read);
            }
        }
        if is_call(operator) {
            self.call(next);
        }
        match operator {
            Operator::Block { .. } if read.added == Some(Added::Turn) => self.open_turn(),
            Operator::Block { .. } => self.open(Kind::Block),
            Operator::Loop { .. } if read.added == Some(Added::Loop) => self.open_turns(next),
            Operator::Loop { .. } => self.open_loop(next),
            Operator::If { .. } if read.added == Some(Added::Exit) => {
                self.open_if(next, TURNS * TURNS);
            }
            Operator::If { .. } => self.open_if(next, 2),
            Operator::Else => self.other_arm(next),
            Operator::End if self.frames.len() == 1 => self.leave(at),
            Operator::End => self.join(at, next),
            Operator::Br { relative_depth } => {
                match read.added {
                    Some(Added::End) => self.seldom(),
                    Some(Added::Again) => self.again(at),
                    _ => {}
                }
                self.branch(&[*relative_depth], 1);
            }
            Operator::BrIf { relative_depth } => {
                if let Some((label, here)) = self.branch(&[*relative_depth], STAYS) {
                    self.begin(label, here.frequency - here.frequency / STAYS, next, None);
                }
            }
            Operator::BrTable { targets } => {
                let targets: Vec<u32> = targets
                    .targets()
                    .flatten()
                    .chain([targets.default()])
                    .collect();
                self.branch(&targets, targets.len() as u64);
            }
            Operator::Return => {
                let outermost = self.frames.len() - 1;
                // A valid function has less than 8 million blocks.
                self.branch(&[u32::try_from(outermost).unwrap_or(u32::MAX)], 1);
            }
            _ => {}
        }
    }

    /// Begins a way, charged at `at`. What leads nowhere else since `line` leads nowhere else still.
    fn begin(&mut self, from: Point, frequency: u64, at: usize, line: Option<usize>) {
        let way = self.ways.len();
        self.ways.push(Way {
            from,
            to: from,
            cost: 0,
            frequency,
            step: self.steps.len(),
            traps: false,
        });
        self.steps.push((at, Step::Charge(0)));
        self.here = Some(Here {
            way,
            frequency,
            line: line.unwrap_or(way),
        });
    }

    /// Ends the way that is being read, if one is.
    fn end(&mut self, to: Point) -> Option<Here> {
        let here = self.here.take()?;
        self.ways[here.way].to = to;
        Some(here)
    }

    /// A call, which ends before `next`.
    fn call(&mut self, next: usize) {
        let point = self.potentials.add();
        self.calls.push(point);
        if let Some(here) = self.end(point) {
            self.begin(point, here.frequency, next, Some(here.line));
        }
    }

    fn barrier(&mut self, read: &Read<'_>) {
        let Read { operator, .. } = *read;
        let Range {
            start: at,
            end: next,
        } = read.range;
        if let Some(size) = read.size {
            self.steps.push((at, Step::Size(size)));
        }
        let check = is_sized(operator);
        self.is_loud |= check;
        self.steps.push((at, Step::Flush { check }));
        let Some(here) = self.end(EXACT) else {
            return;
        };
        if matches!(operator, Operator::Unreachable) {
            self.ways[here.way].traps = true;
            // It ends in a trap whatever happens, so it hardly ever runs.
            for way in &mut self.ways[here.line..] {
                way.frequency = 0;
            }
        } else {
            self.begin(EXACT, here.frequency, next, Some(here.line));
        }
    }

    fn open(&mut self, kind: Kind) {
        let label = self.potentials.add();
        self.frames.push(Frame {
            kind,
            label,
            frequency: 0,
            reached: false,
        });
    }

    fn open_loop(&mut self, next: usize) {
        let outside = self.here.as_ref().map_or(0, |here| here.frequency);
        self.open(Kind::Loop(outside));
        let label = self.frames[self.frames.len() - 1].label;
        if self.end(label).is_some() {
            self.is_loud = true;
            let inside = outside.saturating_mul(TURNS);
            self.begin(label, inside, next, None);
            self.end(EXACT);
            self.steps.push((next, Step::Flush { check: false }));
            self.begin(EXACT, inside, next, None);
        }
    }

    /// A loop that publishes where it goes back.
    fn open_turns(&mut self, next: usize) {
        let outside = self.here.as_ref().map_or(0, |here| here.frequency);
        self.open(Kind::Loop(outside));
        let label = self.frames[self.frames.len() - 1].label;
        if self.end(label).is_some() {
            self.begin(label, outside.saturating_mul(TURNS), next, None);
        }
    }

    /// Before it goes back, which is after many turns.
    fn again(&mut self, at: usize) {
        self.seldom();
        if let Some(here) = self.end(EXACT) {
            self.is_loud = true;
            self.steps.push((at, Step::Flush { check: false }));
            self.begin(EXACT, here.frequency, at, None);
        }
    }

    /// A turn of a loop, at whose end the next one hardly ever does not begin.
    fn open_turn(&mut self) {
        let frequency = self.here.as_ref().map_or(0, |here| here.frequency);
        self.open(Kind::Turn(frequency));
    }

    /// What is being read comes to pass at the end of a loop only.
    fn seldom(&mut self) {
        if let Some(here) = &mut self.here {
            here.frequency /= TURNS * TURNS;
            for way in &mut self.ways[here.line..] {
                way.frequency = way.frequency.min(here.frequency);
            }
        }
    }

    /// The condition holds one of `share` times.
    fn open_if(&mut self, next: usize, share: u64) {
        let condition = self.potentials.add();
        match self.end(condition) {
            Some(here) => {
                let holds = here.frequency / share;
                self.open(Kind::If(condition, here.frequency - holds));
                self.begin(condition, holds, next, None);
            }
            None => self.open(Kind::Block),
        }
    }

    fn other_arm(&mut self, next: usize) {
        let innermost = self.frames.len() - 1;
        self.arrive(innermost, 1);
        let kind = std::mem::replace(&mut self.frames[innermost].kind, Kind::Block);
        if let Kind::If(condition, frequency) = kind {
            self.begin(condition, frequency, next, None);
        }
    }

    /// Ends the way being read where branches to a block go; how often it is, of `share` times one.
    fn arrive(&mut self, frame: usize, share: u64) -> Option<(Point, Here)> {
        let label = self.frames[frame].label;
        let here = self.end(label)?;
        self.frames[frame].reached = true;
        let frequency = &mut self.frames[frame].frequency;
        *frequency = frequency.saturating_add(here.frequency / share);
        Some((label, here))
    }

    /// Ends the way being read in a branch to these; each is taken one of `share` times.
    fn branch(&mut self, depths: &[u32], share: u64) -> Option<(Point, Here)> {
        let outermost = self.frames.len() - 1;
        let frame = |depth: &u32| outermost.saturating_sub(*depth as usize);
        let (first, others) = depths.split_first()?;
        let (label, here) = self.arrive(frame(first), share)?;
        for other in others {
            let other = &mut self.frames[frame(other)];
            other.reached = true;
            other.frequency = other.frequency.saturating_add(here.frequency / share);
            self.potentials.join(label, other.label, 0);
        }
        Some((label, here))
    }

    /// The `end` from `at` to `next`, of a block.
    fn join(&mut self, at: usize, next: usize) {
        let innermost = self.frames.len() - 1;
        if let Kind::Loop(outside) = self.frames[innermost].kind {
            self.frames.pop();
            if let Some(here) = &mut self.here {
                here.frequency = outside;
            }
            return;
        }
        if let Kind::If(condition, frequency) = self.frames[innermost].kind {
            self.arrive(innermost, 1);
            self.begin(condition, frequency, at, None);
            // In the tree rather than what stands between `if` and `end`.
            if let Some(here) = &self.here {
                let frequency = &mut self.ways[here.way].frequency;
                *frequency = frequency.saturating_add(1);
                self.steps[self.ways[here.way].step].1 = Step::ChargeElse(0);
            }
            self.arrive(innermost, 1);
        } else if self.frames[innermost].reached {
            self.arrive(innermost, 1);
        }
        if let Some(frame) = self.frames.pop()
            && frame.reached
        {
            let frequency = match frame.kind {
                Kind::Turn(frequency) => frequency,
                _ => frame.frequency,
            };
            self.begin(frame.label, frequency, next, None);
        }
    }

    /// The last `end`.
    fn leave(&mut self, at: usize) {
        self.arrive(0, 1);
        self.steps.push((at, Step::Leave));
        let Some(frame) = self.frames.pop() else {
            return;
        };
        if frame.reached {
            self.begin(frame.label, frame.frequency, at, None);
            self.end(EXACT);
        }
    }

    /// Whether it publishes in loops or for sizes.
    pub(super) fn is_loud(&self) -> bool {
        self.is_loud
    }

    /// Whether anything gets to the operator that comes next.
    pub(super) fn is_reached(&self) -> bool {
        self.here.is_some()
    }

    /// What has to be done before the operators at these places, in the order of the places.
    pub(super) fn finish(mut self, plan: &Plan) -> Vec<(usize, Step)> {
        for (point, call) in self.calls.iter().zip(&plan.calls) {
            if !call.is_silent {
                self.potentials.join(EXACT, *point, 0);
            }
        }
        self.ways.retain(|way| !(way.traps && plan.is_silent));
        let mut order: Vec<usize> = (0..self.ways.len()).collect();
        order.sort_by_key(|way| Reverse(self.ways[*way].frequency));
        for way in order {
            let Way { from, to, cost, .. } = self.ways[way];
            self.potentials.join(from, to, -cost);
        }
        for way in &self.ways {
            let lead = self.potentials.difference(way.from, way.to);
            if let Step::Charge(amount) | Step::ChargeElse(amount) = &mut self.steps[way.step].1 {
                *amount = lead + way.cost;
            }
        }
        self.steps.retain(|(_, step)| match step {
            Step::Charge(0) | Step::ChargeElse(0) => false,
            // Of a silent function, that before `unreachable`.
            Step::Flush { .. } => !plan.is_silent,
            _ => true,
        });
        self.steps
    }
}

/// Operators that may take long, or that end a run: before them the counter is published.
fn is_barrier(operator: &Operator<'_>) -> bool {
    is_sized(operator) || matches!(operator, Operator::Unreachable)
}

/// Operators that may take long, or that take from the machine what a rollback does not give back
/// at once.
pub(super) fn is_sized(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryGrow { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableGrow { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. }
    )
}

pub(super) fn is_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. } | Operator::CallIndirect { .. }
    )
}

/// Operators after which another block begins: control may go elsewhere, or come from elsewhere.
pub(super) fn ends_block(operator: &Operator<'_>) -> bool {
    is_call(operator)
        || is_barrier(operator)
        || matches!(
            operator,
            Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Else
                | Operator::End
                | Operator::Br { .. }
                | Operator::BrIf { .. }
                | Operator::BrTable { .. }
                | Operator::Return
        )
}

#[cfg(test)]
pub(super) mod tests;
