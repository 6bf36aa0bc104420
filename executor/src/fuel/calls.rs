//! Which calls publish the counter before: so many that a run never goes far without, and few beside.
//!
//! An indirect call always does, and a call of an import never: its shim does. A call of a function of the guest's
//! own does where it could close a cycle of such calls, or where more than [`STRETCH_MAX`] could be executed since
//! the last flush by the calls before it in its function, and by all that the callee and those it calls without a
//! flush can execute, each operator once. And which functions are *silent*: they and all they call publish nothing,
//! so nobody sees the counter in them.
//!
//! Invariants: a cycle of calls passes a flush; what is silent calls nothing else. Cost: linear in the number of calls.

/// Most fuel that calls can execute between two flushes of a function; on top come the own operators, each once, of
/// that function and of those on the stack below, while all of them return.
pub(super) const STRETCH_MAX: u64 = 16_384;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callee {
    /// A function with a body, by its number among those.
    Body(usize),
    /// An imported function.
    Import,
    /// Whatever is in a table.
    Indirect,
    /// Nothing gets there.
    Never,
}

/// Where a block begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Block,
    /// A loop, which publishes where it begins.
    Loop,
    End,
}

/// A function, as far as calls are concerned.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// In the order in which they stand there.
    pub(super) calls: Vec<Callee>,
    /// Where blocks begin and end, and how many calls stand before.
    edges: Vec<(usize, Edge)>,
    /// What it costs to invoke it, and all of its operators.
    pub(super) cost: u64,
    /// Whether it publishes in loops or for sizes, or hosts call it.
    pub(super) is_loud: bool,
}

impl Calls {
    /// Of a function that costs so much to invoke.
    pub(super) fn new(invocation: u32) -> Self {
        Self {
            cost: invocation.into(),
            ..Self::default()
        }
    }

    /// A call, which comes behind all others.
    pub(super) fn call(&mut self, callee: Callee) {
        self.calls.push(callee);
    }

    /// A block begins or ends behind all calls there are.
    pub(super) fn edge(&mut self, edge: Edge) {
        self.edges.push((self.calls.len(), edge));
    }

    /// Each call with its number, and what can have been executed before it, which `each` is to keep up to date.
    pub(super) fn follow(&self, mut each: impl FnMut(usize, Callee, &mut Since)) {
        let mut since = Since::default();
        let mut edges = self.edges.iter().peekable();
        for (number, callee) in self.calls.iter().enumerate() {
            while let Some((_, edge)) = edges.next_if(|(calls, _)| *calls <= number) {
                since.edge(*edge);
            }
            each(number, *callee, &mut since);
        }
    }
}

/// What was decided of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Whether it and all it calls publish nothing.
    pub(super) is_silent: bool,
    /// Of its calls, in order.
    pub(super) calls: Vec<CallPlan>,
}

/// What was decided of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallPlan {
    /// Whether it publishes the counter before.
    pub(super) publishes: bool,
    /// Whether nobody sees the counter in it.
    pub(super) is_silent: bool,
}

/// What a call of a function can execute without a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Unknown,
    /// Being looked at: whoever calls it closes a cycle.
    Open,
    /// At most this much; and whether that is silent.
    Short(u64, bool),
    /// Too much; its callers publish.
    Long,
}

impl Stretch {
    /// What does not publish before its call adds to what was executed without a flush.
    fn length(self) -> u64 {
        match self {
            Self::Short(length, _) => length,
            Self::Unknown | Self::Open | Self::Long => 0,
        }
    }

    fn is_silent(self) -> bool {
        matches!(self, Self::Short(_, true))
    }
}

/// What is decided of each function.
pub(super) fn plan(functions: &[Calls]) -> Vec<Plan> {
    let mut stretches = vec![Stretch::Unknown; functions.len()];
    for function in 0..functions.len() {
        explore(function, functions, &mut stretches);
    }
    let functions = functions.iter().zip(&stretches);
    let planned = functions.map(|(function, stretch)| Plan {
        is_silent: stretch.is_silent(),
        calls: decide(function, &stretches),
    });
    planned.collect()
}

/// Finds the stretches of a function and of all it calls, the callees' first.
fn explore(function: usize, functions: &[Calls], stretches: &mut [Stretch]) {
    if stretches[function] != Stretch::Unknown {
        return;
    }
    stretches[function] = Stretch::Open;
    // Functions being looked at, and how many of their calls have been.
    let mut open = vec![(function, 0)];
    while let Some((function, done)) = open.last_mut() {
        let Some(callee) = functions[*function].calls.get(*done) else {
            // One that closes a cycle is long already.
            if stretches[*function] == Stretch::Open {
                stretches[*function] = stretch(&functions[*function], stretches);
            }
            open.pop();
            continue;
        };
        *done += 1;
        let Callee::Body(callee) = *callee else {
            continue;
        };
        match stretches[callee] {
            Stretch::Unknown => {
                stretches[callee] = Stretch::Open;
                open.push((callee, 0));
            }
            Stretch::Open => stretches[callee] = Stretch::Long,
            Stretch::Short(..) | Stretch::Long => {}
        }
    }
}

fn stretch(function: &Calls, stretches: &[Stretch]) -> Stretch {
    let mut all = function.cost;
    let mut is_silent = !function.is_loud;
    for callee in &function.calls {
        match *callee {
            Callee::Body(callee) => {
                all = all.saturating_add(stretches[callee].length());
                is_silent &= stretches[callee].is_silent();
            }
            Callee::Import | Callee::Indirect => is_silent = false,
            Callee::Never => {}
        }
    }
    if all > STRETCH_MAX {
        Stretch::Long
    } else {
        Stretch::Short(all, is_silent)
    }
}

fn decide(function: &Calls, stretches: &[Stretch]) -> Vec<CallPlan> {
    let mut planned = Vec::with_capacity(function.calls.len());
    function.follow(|_, callee, since| {
        let (stretch, publishes) = match callee {
            Callee::Body(callee) => {
                let stretch = stretches[callee];
                let far = since.with(stretch.length()) > STRETCH_MAX;
                (stretch, stretch == Stretch::Long || far)
            }
            Callee::Indirect => (Stretch::Long, true),
            Callee::Import | Callee::Never => (Stretch::Long, false),
        };
        match stretch {
            Stretch::Short(length, _) => since.call(length, publishes),
            _ if publishes => since.call(STRETCH_MAX, true),
            _ => {}
        }
        planned.push(CallPlan {
            publishes,
            is_silent: stretch.is_silent() && !publishes,
        });
    });
    planned
}

/// What calls can have executed since the last flush, at most, on any path to a place of a function. A flush
/// counts up to the end of the block it stands in only, because a path may go round it.
#[derive(Debug, Default)]
pub(super) struct Since {
    now: u64,
    /// For each open block, what there was before, and all that was called in it.
    open: Vec<(u64, u64)>,
}

impl Since {
    fn edge(&mut self, edge: Edge) {
        match edge {
            Edge::Block => self.open.push((self.now, 0)),
            Edge::Loop => {
                self.now = 0;
                self.open.push((0, 0));
            }
            Edge::End => {
                if let Some((before, inside)) = self.open.pop() {
                    self.now = before.saturating_add(inside);
                    if let Some((_, around)) = self.open.last_mut() {
                        *around = around.saturating_add(inside);
                    }
                }
            }
        }
    }

    /// With a call of this length.
    pub(super) fn with(&self, length: u64) -> u64 {
        self.now.saturating_add(length)
    }

    /// A call of this length, before which there is a flush or not.
    pub(super) fn call(&mut self, length: u64, publishes: bool) {
        self.now = if publishes { length } else { self.with(length) };
        if let Some((_, inside)) = self.open.last_mut() {
            *inside = inside.saturating_add(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(cost: u64, callees: &[usize]) -> Calls {
        Calls {
            calls: callees.iter().map(|callee| Callee::Body(*callee)).collect(),
            edges: Vec::new(),
            cost,
            is_loud: false,
        }
    }

    fn publishing(functions: &[Calls]) -> Vec<Vec<bool>> {
        let plans = plan(functions).into_iter();
        let calls = plans.map(|plan| plan.calls.iter().map(|call| call.publishes).collect());
        calls.collect()
    }

    #[test]
    fn cycles_publish_and_short_calls_do_not() {
        // 0 calls 1 and 2; 1 calls itself; 2 and 3 call each other; 4 is a leaf that all call.
        let functions = [
            function(10, &[4, 1, 2, 4]),
            function(10, &[4, 1]),
            function(10, &[4, 3]),
            function(10, &[4, 2]),
            function(10, &[]),
        ];
        let publishing = publishing(&functions);
        // Behind a call that publishes on its own nobody knows how long ago that was.
        assert_eq!(publishing[0], [false, true, true, true]);
        assert_eq!(publishing[1], [false, true]);
        assert!(publishing[2][1] || publishing[3][1]);
        assert!(!publishing[2][0] && !publishing[3][0]);
        let silent: Vec<_> = plan(&functions).iter().map(|plan| plan.is_silent).collect();
        assert_eq!(silent[4..], [true]);
        assert!(!silent[0] && !silent[1]);
    }

    #[test]
    fn trees_of_calls_publish_when_they_become_large() {
        // Each calls the next twice, but for the last.
        let functions: Vec<_> = (1..=40)
            .map(|next| {
                let callees = if next < 40 { vec![next; 2] } else { Vec::new() };
                function(10, &callees)
            })
            .collect();
        let publishing = publishing(&functions);
        // From the leaf up sizes double: 10 for it, 10 * (2^n - 1) for n levels, up to 16,384. Then it begins anew.
        let first = publishing.iter().position(|calls| calls.contains(&true));
        assert_eq!(first, Some(6));
        let count = publishing
            .iter()
            .filter(|calls| calls.contains(&true))
            .count();
        // Twice in a row each time: where the second call is too much, and where the callee is.
        assert_eq!(count, 6);
    }

    #[test]
    fn many_short_calls_publish_now_and_then() {
        let functions = [function(100, &[1; 100]), function(1_000, &[])];
        let publishing = publishing(&functions);
        let count = publishing[0].iter().filter(|publishes| **publishes).count();
        assert_eq!(count, 6);
    }

    /// A flush that may be gone round does not count behind its block.
    #[test]
    fn a_flush_counts_within_its_block() {
        let leaf = function(10_000, &[]);
        let mut caller = function(0, &[1, 1, 1]);
        let all = |caller: Calls, leaf: &Calls| {
            let leaf = function(leaf.cost, &[]);
            publishing(&[caller, leaf]).swap_remove(0)
        };
        caller.calls[1] = Callee::Indirect;
        let calls = caller.calls.clone();
        assert_eq!(all(caller, &leaf), [false, true, true]);
        let around = Calls {
            calls,
            edges: vec![(1, Edge::Block), (2, Edge::End)],
            ..Calls::default()
        };
        assert_eq!(all(around, &leaf), [false, true, true]);
        let in_loop = Calls {
            calls: vec![Callee::Body(1); 3],
            edges: vec![(1, Edge::Loop), (2, Edge::End)],
            ..Calls::default()
        };
        assert_eq!(all(in_loop, &leaf), [false, false, true]);
    }

    #[test]
    fn what_is_loud_makes_its_callers_loud() {
        let mut functions = [function(10, &[1]), function(10, &[2]), function(10, &[])];
        let silent = |functions: &[Calls]| -> Vec<bool> {
            let plans = plan(functions).into_iter();
            plans.map(|plan| plan.is_silent).collect()
        };
        assert_eq!(silent(&functions), [true; 3]);
        functions[1].is_loud = true;
        assert_eq!(silent(&functions), [false, false, true]);
    }
}
