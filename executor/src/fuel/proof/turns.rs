//! Loops that were written out: each turn is compared with the loop's body, and takes it from its beginning to its
//! end. What such a loop looks like stands in `unroll`.
//!
//! A branch that stays in a turn is what it was; one back to the loop ends the turn, and the next begins, or the
//! loop does; one that leaves the loop goes two blocks further. Where the body ends, so does the whole; if its last
//! operator is a `br_if` back, that may be turned about.

use wasmparser::{BlockType, Operator};

use super::{ProofFault, flow::Walk};

/// How far the original and the instrumented function have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Number of the original's operator that comes next.
    pub(super) next: usize,
    /// By how many operators of the instrumented function.
    pub(super) length: usize,
}

/// The loop being compared, if one is that was written out.
#[derive(Debug, Default)]
pub(super) struct Turns {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Number of the first operator of the body, and of the `end` behind it.
    body: usize,
    end: usize,
    /// Number of open blocks around a turn.
    depth: usize,
    /// Whether a turn was made.
    turned: bool,
    /// Whether the turn at hand has come to its end, and the next begins.
    back: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between two turns.
    Between,
    Turn,
    /// Where a conditional branch is taken, which goes that far.
    Leaving(u32),
    /// Where the body ends, and does not begin again.
    Ending,
    /// Behind either.
    Left,
}

impl Turns {
    /// Takes in what is here because of a loop that was written out; `None` if the original's operator is to
    /// be compared as everywhere.
    pub(super) fn step(
        &mut self,
        walk: &mut Walk<'_>,
        original: &[Operator<'_>],
        next: usize,
        code: &[Operator<'_>],
        offset: usize,
    ) -> Result<Option<Progress>, ProofFault> {
        let Some(open) = &mut self.open else {
            return self.begin(walk, original, next, code);
        };
        let progress = |next, length| Ok(Some(Progress { next, length }));
        match (open.stage, code) {
            (Stage::Between, [turn @ Operator::Block { blockty }, ..])
                if *blockty == BlockType::Empty =>
            {
                walk.turn(false);
                walk.added(turn)?;
                (open.stage, open.turned) = (Stage::Turn, true);
                progress(next, 1)
            }
            (
                Stage::Between,
                [
                    again @ Operator::Br { relative_depth: 0 },
                    end @ Operator::End,
                    Operator::End,
                    ..,
                ],
            ) if open.turned => {
                for operator in [again, end, end] {
                    walk.added(operator)?;
                }
                let behind = open.end + 1;
                self.open = None;
                progress(behind, 3)
            }
            (
                Stage::Turn,
                [
                    leave @ Operator::Br { relative_depth: 2 },
                    end @ Operator::End,
                    ..,
                ],
            ) if next == open.end && !open.back => {
                walk.pay(&Operator::End)?;
                for operator in [leave, end] {
                    walk.added(operator)?;
                }
                walk.turn(true);
                open.stage = Stage::Between;
                progress(open.body, 2)
            }
            (Stage::Turn, [end @ Operator::End, ..]) if next == open.end && open.back => {
                walk.added(end)?;
                walk.turn(true);
                (open.stage, open.back) = (Stage::Between, false);
                progress(open.body, 1)
            }
            (Stage::Turn, _) if next < open.end => {
                open.turn(walk, &original[next], next, code, offset)
            }
            (Stage::Leaving(depth), [leave @ Operator::Br { relative_depth }, ..])
                if *relative_depth == depth =>
            {
                walk.added(leave)?;
                open.stage = Stage::Left;
                progress(next, 1)
            }
            (Stage::Ending, [leave @ Operator::Br { relative_depth: 3 }, ..]) => {
                walk.pay(&Operator::End)?;
                walk.added(leave)?;
                open.stage = Stage::Left;
                progress(next, 1)
            }
            (Stage::Left, [other @ Operator::Else, ..]) => {
                walk.added(other)?;
                progress(next, 1)
            }
            (Stage::Left, [end @ Operator::End, ..]) => {
                walk.added(end)?;
                open.stage = Stage::Turn;
                progress(next, 1)
            }
            _ => Err(ProofFault::Foreign),
        }
    }

    fn begin(
        &mut self,
        walk: &mut Walk<'_>,
        original: &[Operator<'_>],
        next: usize,
        code: &[Operator<'_>],
    ) -> Result<Option<Progress>, ProofFault> {
        let [begin @ Operator::Loop { blockty: own }, rest @ ..] = &original[next..] else {
            return Ok(None);
        };
        let [
            around @ Operator::Block { blockty },
            Operator::Loop { blockty: ty },
            ..,
        ] = code
        else {
            return Ok(None);
        };
        if own != blockty || own != ty || matches!(own, BlockType::FuncType(_)) {
            return Ok(None);
        }
        let Some(length) = length(rest) else {
            return Ok(None);
        };
        walk.added(around)?;
        walk.pay(begin)?;
        walk.open_turns()?;
        self.open = Some(Open {
            body: next + 1,
            end: next + 1 + length,
            depth: walk.depth(),
            turned: false,
            back: false,
            stage: Stage::Between,
        });
        Ok(Some(Progress {
            next: next + 1,
            length: 2,
        }))
    }
}

impl Open {
    /// Takes in a branch that leaves the loop.
    fn turn(
        &mut self,
        walk: &mut Walk<'_>,
        operator: &Operator<'_>,
        next: usize,
        code: &[Operator<'_>],
        offset: usize,
    ) -> Result<Option<Progress>, ProofFault> {
        // Blocks of the body that are open: the turn itself is the loop's label.
        let inside = walk.depth().saturating_sub(self.depth + 1);
        let leaves = |depth: u32| depth as usize > inside;
        let done = Ok(Some(Progress {
            next: next + 1,
            length: 1,
        }));
        match (operator, code) {
            (
                Operator::Br {
                    relative_depth: own,
                },
                [moved @ Operator::Br { relative_depth }, ..],
            )
            | (
                Operator::BrIf {
                    relative_depth: own,
                },
                [moved @ Operator::BrIf { relative_depth }, ..],
            ) if leaves(*own) && own.checked_add(2) == Some(*relative_depth) => {
                walk.operator(moved, offset)?;
                done
            }
            (
                Operator::BrIf {
                    relative_depth: own,
                },
                [
                    condition @ Operator::If {
                        blockty: BlockType::Empty,
                    },
                    ..,
                ],
            ) if leaves(*own) => {
                walk.pay(operator)?;
                walk.added(condition)?;
                // One that is not valid leads nowhere.
                self.stage = Stage::Leaving(own.saturating_add(3));
                done
            }
            // The last `br_if`, the other way about.
            (
                Operator::BrIf { relative_depth: 0 },
                [
                    not @ Operator::I32Eqz,
                    condition @ Operator::If {
                        blockty: BlockType::Empty,
                    },
                    ..,
                ],
            ) if inside == 0 && next + 1 == self.end => {
                walk.pay(operator)?;
                walk.added(not)?;
                walk.added(condition)?;
                (self.stage, self.back) = (Stage::Ending, true);
                Ok(Some(Progress {
                    next: self.end,
                    length: 2,
                }))
            }
            (Operator::Br { relative_depth } | Operator::BrIf { relative_depth }, _)
                if leaves(*relative_depth) =>
            {
                Err(ProofFault::Foreign)
            }
            (Operator::BrTable { .. } | Operator::Loop { .. }, _) => Err(ProofFault::Foreign),
            _ => Ok(None),
        }
    }
}

/// How many operators there are before the `end` of the block they are in.
fn length(operators: &[Operator<'_>]) -> Option<usize> {
    let mut open = 0_usize;
    for (number, operator) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. } | Operator::If { .. } => open += 1,
            // Only loops without loops in them are written out.
            Operator::Loop { .. } => return None,
            Operator::End if open == 0 => return Some(number),
            Operator::End => open -= 1,
            _ => {}
        }
    }
    None
}
