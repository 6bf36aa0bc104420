//! Where a function charges and publishes: blocks, barriers, exits, loop headers.
//!
//! The naive placement: every block is charged at its start, every barrier, exit and loop header
//! publishes. Invariant: on every path the charges add up to the price of the operators on it, and
//! every cycle of calls or loops passes a flush.

use wasmparser::Operator;

use super::{body::Redirected, schedule::UnitPrice};

/// What is to be done at one place of a function.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Edit {
    /// Position within the body, before which it is done.
    pub(super) at: usize,
    /// Read the counter back.
    pub(super) reload: bool,
    /// Add to the counter.
    pub(super) charge: u64,
    /// Charge for the size on top of the stack.
    pub(super) size: Option<UnitPrice>,
    /// Publish the counter.
    pub(super) flush: bool,
    /// Compare with the limit, whoever else notices overruns.
    pub(super) check: bool,
    /// A call follows.
    pub(super) calls: bool,
    /// What to write instead of the operator here, and where the next one begins.
    pub(super) replace: Option<(usize, Redirected)>,
}

/// Finds the blocks of a function and what has to be done at their edges.
pub(super) struct Edits {
    done: Vec<Edit>,
    /// The edit at the start of the present block; its charge grows with the block.
    block: Edit,
    /// Number of open blocks, the function itself among them.
    depth: u32,
    /// Operators of the present block, and of the longest.
    operators: u32,
    longest: u32,
}

impl Edits {
    pub(super) fn new(start: usize, invocation: u32) -> Self {
        Self {
            done: Vec::new(),
            block: Edit {
                at: start,
                reload: true,
                charge: u64::from(invocation),
                ..Edit::default()
            },
            // The function itself is a block.
            depth: 1,
            operators: 0,
            longest: 0,
        }
    }

    /// Operators of the longest block so far.
    pub(super) fn longest(&self) -> u32 {
        self.longest.max(self.operators)
    }

    /// Takes in the operator from `at` to `next`, which costs so much, and so much for its size.
    pub(super) fn operator(
        &mut self,
        operator: &Operator<'_>,
        cost: u32,
        size: Option<UnitPrice>,
        at: usize,
        next: usize,
    ) {
        if is_barrier(operator) || self.leaves(operator) {
            let edit = self.edit_at(at);
            edit.flush = true;
            edit.size = size;
            edit.check = is_sized(operator);
            edit.calls = is_call(operator);
        }
        self.block.charge += u64::from(cost);
        // A valid function has less than 8 million operators.
        self.operators = self.operators.saturating_add(1);
        match operator {
            Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => self.depth += 1,
            Operator::End => self.depth -= 1,
            _ => {}
        }
        if ends_block(operator) {
            self.begin(next);
            self.block.reload = is_call(operator);
            self.block.flush = matches!(operator, Operator::Loop { .. });
        }
    }

    /// Whether control may leave the function here.
    fn leaves(&self, operator: &Operator<'_>) -> bool {
        let outermost = self.depth - 1;
        match operator {
            Operator::Return => true,
            Operator::End => self.depth == 1,
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                *relative_depth == outermost
            }
            Operator::BrTable { targets } => {
                let mut all = targets.targets().flatten().chain([targets.default()]);
                all.any(|depth| depth == outermost)
            }
            _ => false,
        }
    }

    /// What is done before the operator at `at`, which is the last one taken in or the next.
    fn edit_at(&mut self, at: usize) -> &mut Edit {
        if self.block.at == at {
            return &mut self.block;
        }
        if self.done.last().is_none_or(|edit| edit.at != at) {
            self.done.push(Edit {
                at,
                ..Edit::default()
            });
        }
        let last = self.done.len() - 1;
        &mut self.done[last]
    }

    /// Replaces the operator from `at` to `next`, the last one taken in.
    pub(super) fn replace(&mut self, at: usize, next: usize, by: Redirected) {
        let done = self.done.iter_mut().rev();
        match done.take(2).find(|edit| edit.at == at) {
            Some(edit) => edit.replace = Some((next, by)),
            None => self.edit_at(at).replace = Some((next, by)),
        }
    }

    /// Ends the block and begins another.
    fn begin(&mut self, at: usize) {
        self.longest = self.longest();
        self.operators = 0;
        let ended = std::mem::take(&mut self.block);
        self.done.push(ended);
        self.block.at = at;
    }

    pub(super) fn finish(mut self) -> Vec<Edit> {
        self.begin(usize::MAX);
        self.done
            .retain(|edit| edit.reload || edit.flush || edit.charge > 0 || edit.replace.is_some());
        self.done.sort_by_key(|edit| edit.at);
        self.done
    }
}

/// Operators whose effect may be seen from outside, or that may take long: before them the counter
/// is published.
fn is_barrier(operator: &Operator<'_>) -> bool {
    is_call(operator) || is_sized(operator) || matches!(operator, Operator::Unreachable)
}

/// Operators that may take long, or that take from the machine what a rollback does not give back
/// at once.
fn is_sized(operator: &Operator<'_>) -> bool {
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

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. } | Operator::CallIndirect { .. }
    )
}

/// Operators after which another block begins: control may go elsewhere, or come from elsewhere.
fn ends_block(operator: &Operator<'_>) -> bool {
    is_barrier(operator)
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
