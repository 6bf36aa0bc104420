//! Small loops written out several times over, so that several turns share one safepoint and one charge.
//!
//! A loop of at most [`OPERATORS_MAX`] operators, which has no parameters, at most one result, and in it no loop,
//! call, `br_table` or operator with a size, and to which something branches back that is ever reached, becomes
//!
//! ```text
//! block $exit                 ;; of the loop's type
//!   loop $again
//!     block $next             ;; one turn; as often as turns are to share a safepoint
//!       ...                   ;; branches back go to $next; br_if out becomes if, br, end, for a place to charge at
//!       i32.eqz               ;; where a br_if back was last, else only br $exit
//!       if
//!         br $exit
//!       end
//!     end
//!     ...
//!     br $again               ;; the safepoint stands before it
//!   end
//! end
//! ```
//!
//! which does what the loop did, operator by operator. What is added is free, but for `br $exit`, which pays for
//! the loop's `end`, and `if`, which pays for the `br_if` it was. Compilers place what is in an `if` out of the way,
//! so that one turn goes straight on to the next.
//!
//! Invariants: operators that are not added stand in the order of the original, in each turn; each turn can be reached.
//! The operators become at most [`BYTES_MAX`] bytes more. Cost: linear in what is read and written.

use std::{borrow::Cow, ops::Range};

use wasm_encoder::{BlockType, Encode, Instruction};
use wasmparser::Operator;

use super::{
    instrument::local_type,
    placement::{is_call, is_sized},
    schedule::Schedule,
};

/// What loops that are written out have at most. Longer ones have enough to do between two safepoints.
const OPERATORS_MAX: u32 = 64;
/// About how many operators stand between two safepoints of one that is.
const TURNS_OPERATORS: u32 = 96;
/// Most turns that share a safepoint.
const TURNS_MAX: u32 = 4;
/// Most bytes by which the operators of a function become more; loops that end when there is no room are left as
/// they are.
const BYTES_MAX: usize = 64 << 10;

/// What an operator is for that the original does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// To hold the turns together.
    Frame,
    /// The loop around the turns.
    Loop,
    /// The branch back to that, by which control goes on after the last turn.
    Again,
    /// Begins a turn.
    Turn,
    /// The branch where the loop's `end` was, which hardly ever is taken.
    End,
    /// The `if` in which the loop is left.
    Exit,
}

impl Added {
    /// What it costs.
    pub(super) fn cost(self, schedule: &Schedule) -> u32 {
        match self {
            Self::Frame | Self::Turn | Self::Again => 0,
            Self::Loop => schedule.operator(&Operator::Loop {
                blockty: wasmparser::BlockType::Empty,
            }),
            Self::End => schedule.operator(&Operator::End),
            Self::Exit => schedule.operator(&Operator::BrIf { relative_depth: 0 }),
        }
    }
}

/// The operators of a function with its small loops written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unrolled<'a> {
    pub(super) operators: Cow<'a, [u8]>,
    /// Which of them were added, by where they are, in order.
    pub(super) added: Vec<(usize, Added)>,
    /// For each loop of the original, in order, how many turns it is written out for; 1 for one that is left as it is.
    pub(super) turns: Vec<u32>,
}

/// A block that is open.
struct Open {
    kind: Kind,
    /// Whether branches to it carry nothing.
    is_plain: bool,
    /// Whether anything gets to its beginning, and to its label.
    is_entered: bool,
    is_reached: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    /// Without `else`, so far.
    If,
}

/// A loop that has been found fit so far.
struct Candidate {
    number: usize,
    ty: BlockType,
    at: usize,
    body: usize,
    /// Operators before its body.
    operators: u32,
    /// Open blocks in its body, outside all others.
    depth: usize,
    /// Where a `br_if` outside all blocks of the body does, the last.
    back: Range<usize>,
    leaving: Vec<Leaving>,
}

/// A branch out of a loop.
struct Leaving {
    range: Range<usize>,
    relative_depth: u32,
    is_conditional: bool,
    is_plain: bool,
}

/// A loop to be written out.
struct Found {
    ty: BlockType,
    turns: u32,
    whole: Range<usize>,
    body: Range<usize>,
    /// Where the body ends with a `br_if` back, that.
    back: Option<usize>,
    leaving: Vec<Leaving>,
}

/// Reads a function operator by operator, and finds the loops to be written out.
pub(super) struct Unroll {
    open: Vec<Open>,
    /// Whether anything gets to the operator that comes next.
    is_live: bool,
    operators: u32,
    candidate: Option<Candidate>,
    found: Vec<Found>,
    turns: Vec<u32>,
    bytes: usize,
}

impl Unroll {
    /// For a function with results of this type.
    pub(super) fn new(results: BlockType) -> Self {
        let mut unroll = Self {
            open: Vec::new(),
            is_live: true,
            operators: 0,
            candidate: None,
            found: Vec::new(),
            turns: Vec::new(),
            bytes: 0,
        };
        unroll.open(Kind::Block, matches!(results, BlockType::Empty));
        unroll
    }

    /// Takes in the operator from `at` to `next`.
    pub(super) fn operator(&mut self, operator: &Operator<'_>, at: usize, next: usize) {
        // A valid function has less than 8 million operators.
        self.operators = self.operators.saturating_add(1);
        if is_call(operator) || is_sized(operator) {
            self.candidate = None;
        }
        let is_plain = |ty: &wasmparser::BlockType| *ty == wasmparser::BlockType::Empty;
        match operator {
            Operator::Block { blockty } => self.open(Kind::Block, is_plain(blockty)),
            Operator::If { blockty } => self.open(Kind::If, is_plain(blockty)),
            Operator::Loop { blockty } => self.begin(*blockty, at, next),
            Operator::Else => self.other_arm(),
            Operator::End => self.end(at, next),
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth, at..next, false);
                self.is_live = false;
            }
            Operator::BrIf { relative_depth } => self.branch(*relative_depth, at..next, true),
            Operator::BrTable { targets } => {
                self.candidate = None;
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.reach(target);
                }
                self.is_live = false;
            }
            Operator::Return | Operator::Unreachable => self.is_live = false,
            _ => {}
        }
    }

    fn open(&mut self, kind: Kind, is_plain: bool) {
        self.open.push(Open {
            kind,
            is_plain,
            is_entered: self.is_live,
            is_reached: false,
        });
    }

    /// The label of the block at this depth.
    fn label(&mut self, relative_depth: u32) -> Option<&mut Open> {
        let number = self.open.len().checked_sub(1 + relative_depth as usize)?;
        self.open.get_mut(number)
    }

    /// A branch from here to a block.
    fn reach(&mut self, relative_depth: u32) {
        let is_live = self.is_live;
        if let Some(open) = self.label(relative_depth) {
            open.is_reached |= is_live;
        }
    }

    fn other_arm(&mut self) {
        self.reach(0);
        if let Some(open) = self.open.last_mut() {
            open.kind = Kind::Block;
            self.is_live = open.is_entered;
        }
    }

    fn begin(&mut self, ty: wasmparser::BlockType, at: usize, next: usize) {
        use wasmparser::BlockType as B;
        let ty = match ty {
            B::Empty => Some(BlockType::Empty),
            B::Type(ty) => Some(BlockType::Result(local_type(ty))),
            B::FuncType(_) => None,
        };
        self.open(Kind::Loop, ty.is_some());
        // One around it is not innermost.
        self.candidate = ty.map(|ty| Candidate {
            number: self.turns.len(),
            ty,
            at,
            body: next,
            operators: self.operators,
            depth: self.open.len(),
            back: 0..0,
            leaving: Vec::new(),
        });
        self.turns.push(1);
    }

    fn branch(&mut self, relative_depth: u32, range: Range<usize>, is_conditional: bool) {
        self.reach(relative_depth);
        let is_plain = self.label(relative_depth).is_some_and(|open| open.is_plain);
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        let inside = self.open.len() - candidate.depth;
        match inside.cmp(&(relative_depth as usize)) {
            std::cmp::Ordering::Less => candidate.leaving.push(Leaving {
                range,
                relative_depth,
                is_conditional,
                is_plain,
            }),
            std::cmp::Ordering::Equal if is_conditional && inside == 0 => candidate.back = range,
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => {}
        }
    }

    fn end(&mut self, at: usize, next: usize) {
        let depth = self.open.len();
        let Some(open) = self.open.pop() else {
            return;
        };
        match open.kind {
            Kind::Block => self.is_live |= open.is_reached,
            Kind::If => self.is_live |= open.is_reached || open.is_entered,
            Kind::Loop => {}
        }
        let closed = self.candidate.take_if(|candidate| candidate.depth == depth);
        let Some(candidate) = closed.filter(|_| open.is_reached) else {
            return;
        };
        let operators = self.operators - candidate.operators - 1;
        if operators > OPERATORS_MAX {
            return;
        }
        let turns = (TURNS_OPERATORS / operators.max(1)).clamp(2, TURNS_MAX);
        let found = Found {
            ty: candidate.ty,
            turns,
            whole: candidate.at..next,
            body: candidate.body..at,
            // A result would have to go through the `if`.
            back: (candidate.back.end == at && matches!(candidate.ty, BlockType::Empty))
                .then_some(candidate.back.start),
            leaving: candidate.leaving,
        };
        let bytes = self.bytes + found.bytes();
        if bytes <= BYTES_MAX {
            self.bytes = bytes;
            self.turns[candidate.number] = turns;
            self.found.push(found);
        }
    }

    /// Writes all operators.
    pub(super) fn finish(self, operators: &[u8]) -> Unrolled<'_> {
        if self.found.is_empty() {
            return Unrolled {
                operators: operators.into(),
                added: Vec::new(),
                turns: self.turns,
            };
        }
        let mut writer = Writer {
            operators,
            bytes: Vec::with_capacity(operators.len() + self.bytes),
            added: Vec::new(),
        };
        let mut done = 0;
        for found in &self.found {
            writer.copy(done..found.whole.start);
            writer.write(found);
            done = found.whole.end;
        }
        writer.copy(done..operators.len());
        Unrolled {
            operators: writer.bytes.into(),
            added: writer.added,
            turns: self.turns,
        }
    }
}

impl Found {
    /// At least what it adds in bytes.
    fn bytes(&self) -> usize {
        // `block`, `i32.eqz`, `if`, `br`, two `end` for each turn; `if`, `end`, a longer number for each branch.
        let turn = self.body.len() + 10 + self.leaving.len() * 8;
        turn * self.turns as usize + 16
    }
}

/// The operators in the making.
struct Writer<'a> {
    operators: &'a [u8],
    bytes: Vec<u8>,
    added: Vec<(usize, Added)>,
}

impl Writer<'_> {
    fn copy(&mut self, range: Range<usize>) {
        self.bytes.extend_from_slice(&self.operators[range]);
    }

    fn add(&mut self, added: Added, instruction: &Instruction<'_>) {
        self.added.push((self.bytes.len(), added));
        instruction.encode(&mut self.bytes);
    }

    fn write(&mut self, found: &Found) {
        self.add(Added::Frame, &Instruction::Block(found.ty));
        self.add(Added::Loop, &Instruction::Loop(found.ty));
        for _ in 0..found.turns {
            self.turn(found);
        }
        self.add(Added::Again, &Instruction::Br(0));
        self.add(Added::Frame, &Instruction::End);
        self.add(Added::Frame, &Instruction::End);
    }

    fn turn(&mut self, found: &Found) {
        self.add(Added::Turn, &Instruction::Block(BlockType::Empty));
        let mut done = found.body.start;
        for leaving in &found.leaving {
            self.copy(done..leaving.range.start);
            done = leaving.range.end;
            // Past the turn and what is around the loop.
            let depth = leaving.relative_depth + 2;
            if leaving.is_conditional && leaving.is_plain {
                self.add(Added::Exit, &Instruction::If(BlockType::Empty));
                self.add(Added::Frame, &Instruction::Br(depth + 1));
                self.add(Added::Frame, &Instruction::End);
            } else if leaving.is_conditional {
                Instruction::BrIf(depth).encode(&mut self.bytes);
            } else {
                Instruction::Br(depth).encode(&mut self.bytes);
            }
        }
        if let Some(back) = found.back {
            self.copy(done..back);
            self.add(Added::Frame, &Instruction::I32Eqz);
            self.add(Added::Exit, &Instruction::If(BlockType::Empty));
            self.add(Added::End, &Instruction::Br(3));
            self.add(Added::Frame, &Instruction::End);
        } else {
            self.copy(done..found.body.end);
            self.add(Added::End, &Instruction::Br(2));
        }
        self.add(Added::Frame, &Instruction::End);
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{BinaryReader, OperatorsReader};

    use super::*;
    use crate::fuel::placement::tests::first_body;

    /// The first function of a module, unrolled, as text.
    fn unrolled(text: &str) -> (Vec<String>, Vec<u32>) {
        let wasm = wat::parse_str(text).expect("wat");
        let body = first_body(&wasm);
        let mut reader = body.get_operators_reader().expect("valid");
        let start = reader.original_position();
        let operators = &wasm[start..body.range().end];
        let mut unroll = Unroll::new(BlockType::Empty);
        while !reader.eof() {
            let at = reader.original_position() - start;
            let operator = reader.read().expect("valid");
            unroll.operator(&operator, at, reader.original_position() - start);
        }
        let Unrolled {
            operators,
            added,
            turns,
        } = unroll.finish(operators);
        let mut added = added.into_iter().peekable();
        let mut reader = OperatorsReader::new(BinaryReader::new(&operators, 0));
        let mut lines = Vec::new();
        while !reader.eof() {
            let at = reader.original_position();
            let operator = reader.read().expect("valid");
            let role = added.next_if(|(added, _)| *added == at);
            let role = role.map(|(_, added)| format!(" {added:?}"));
            lines.push(format!("{operator:?}{}", role.unwrap_or_default()));
        }
        assert_eq!(added.next(), None, "all are where operators begin");
        (lines, turns)
    }

    #[test]
    fn turns_follow_one_another() {
        let text = "(module (func (param i32)
            block
                loop
                    local.get 0 br_if 1
                    local.get 0 br_if 0
                end
            end))";
        let (lines, turns) = unrolled(text);
        assert_eq!(turns, [4]);
        let turn = [
            "Block { blockty: Empty } Turn",
            "LocalGet { local_index: 0 }",
            "If { blockty: Empty } Exit",
            "Br { relative_depth: 4 } Frame",
            "End Frame",
            "LocalGet { local_index: 0 }",
            "I32Eqz Frame",
            "If { blockty: Empty } Exit",
            "Br { relative_depth: 3 } End",
            "End Frame",
            "End Frame",
        ];
        let before = [
            "Block { blockty: Empty }",
            "Block { blockty: Empty } Frame",
            "Loop { blockty: Empty } Loop",
        ];
        let after = [
            "Br { relative_depth: 0 } Again",
            "End Frame",
            "End Frame",
            "End",
            "End",
        ];
        let turns = turn.repeat(4);
        assert_eq!(lines, [&before[..], &turns, &after].concat());
    }

    #[test]
    fn a_turn_may_go_back_anywhere() {
        let text = "(module (func (param i32) (local i32)
            loop (result i32)
                local.get 0 if br 1 end
                i32.const 5 local.get 0 br_if 0
            end
            drop))";
        let (lines, turns) = unrolled(text);
        assert_eq!(turns, [4]);
        let turn = [
            "Block { blockty: Empty } Turn",
            "LocalGet { local_index: 0 }",
            "If { blockty: Empty }",
            "Br { relative_depth: 1 }",
            "End",
            "I32Const { value: 5 }",
            "LocalGet { local_index: 0 }",
            "BrIf { relative_depth: 0 }",
            "Br { relative_depth: 2 } End",
            "End Frame",
        ];
        assert_eq!(lines[2..12], turn);
    }

    #[test]
    fn long_loops_and_those_that_call_or_hold_others_stay() {
        let nops = "nop ".repeat(OPERATORS_MAX as usize);
        for (body, expected) in [
            ("local.get 0 br_if 0", &[4][..]),
            ("br 0", &[4]),
            ("nop", &[1]),
            ("local.get 0 if unreachable end return br 0", &[1]),
            ("block local.get 0 br_if 1 end", &[4]),
            ("block br 0 end br 0", &[4]),
            ("block br 1 end br 0", &[4]),
            ("loop return end br 0", &[1, 1]),
            (
                "local.get 0 if (result i32) i32.const 1 else return end br_if 0",
                &[4],
            ),
            ("local.get 0 if return else return end br 0", &[1]),
            ("call 0 br 0", &[1]),
            ("loop br 0 end br 0", &[1, 4]),
            ("local.get 0 br_table 0 1", &[1]),
            (&format!("{nops} br 0"), &[1]),
            (&format!("{} br 0", "nop ".repeat(31)), &[3]),
            (&format!("{} br 0", &nops[8..]), &[2]),
        ] {
            let (_, turns) = unrolled(&format!("(module (func (param i32) loop {body} end))"));
            assert_eq!(turns, expected, "{body}");
        }
    }

    #[test]
    fn a_function_grows_only_so_far() {
        let loops = "loop local.get 0 br_if 0 end ".repeat(5_000);
        let (_, turns) = unrolled(&format!("(module (func (param i32) {loops}))"));
        let written = turns.iter().position(|turns| *turns == 1);
        assert!(written.is_some_and(|written| (500..2_000).contains(&written)));
    }
}
