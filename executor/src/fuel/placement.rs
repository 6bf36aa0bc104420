//! Where a function charges and publishes: blocks, barriers, exits, loop headers.
//!
//! The naive placement: every block is charged at its start, every barrier, exit and loop header
//! publishes. Invariant: on every path the charges add up to the price of the operators on it, and
//! every cycle of calls or loops passes a flush.

use wasmparser::Operator;

/// What is to be done at one place of a function.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Edit {
    /// Position within the body, before which it is done.
    pub(super) at: usize,
    /// Read the counter back.
    pub(super) reload: bool,
    /// Add to the counter.
    pub(super) charge: u64,
    /// Publish the counter.
    pub(super) flush: bool,
}

/// Finds the blocks of a function and what has to be done at their edges.
pub(super) struct Edits {
    done: Vec<Edit>,
    /// The edit at the start of the present block; its charge grows with the block.
    block: Edit,
    /// Number of open blocks, the function itself among them.
    depth: u32,
}

impl Edits {
    pub(super) fn new(start: usize, invocation: u32) -> Self {
        Self {
            done: Vec::new(),
            block: Edit {
                at: start,
                reload: true,
                charge: u64::from(invocation),
                flush: false,
            },
            // The function itself is a block.
            depth: 1,
        }
    }

    /// Takes in the operator from `at` to `next`.
    pub(super) fn operator(&mut self, operator: &Operator<'_>, cost: u32, at: usize, next: usize) {
        if is_barrier(operator) || self.leaves(operator) {
            self.flush_before(at);
        }
        self.block.charge += u64::from(cost);
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

    /// Publishes the counter before the operator at `at`, which is the last of its block and has
    /// been paid for by then.
    fn flush_before(&mut self, at: usize) {
        if self.block.at == at {
            self.block.flush = true;
        } else {
            // The charge stands at the start of the block, so it is in the counter here.
            let flush = Edit {
                at,
                flush: true,
                ..Edit::default()
            };
            self.done.push(flush);
        }
    }

    /// Ends the block and begins another.
    fn begin(&mut self, at: usize) {
        let ended = std::mem::take(&mut self.block);
        self.done.push(ended);
        self.block.at = at;
    }

    pub(super) fn finish(mut self) -> Vec<Edit> {
        self.begin(usize::MAX);
        self.done
            .retain(|edit| edit.reload || edit.flush || edit.charge > 0);
        self.done.sort_by_key(|edit| edit.at);
        self.done
    }
}

/// Operators whose effect may be seen from outside, or that may take long: before them the counter
/// is published.
fn is_barrier(operator: &Operator<'_>) -> bool {
    is_call(operator)
        || matches!(
            operator,
            Operator::Unreachable
                | Operator::MemoryGrow { .. }
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
