//! Which calls publish the counter before: so many that a run never goes far without, and few beside.
//!
//! An indirect call always does, and a call of an import never: its shim does. A call of a function of the guest's
//! own does where it could close a cycle of such calls, or where more than [`STRETCH_MAX`] could be
//! executed since the last flush: by what stands before it in its function, each operator once, and by all that
//! the callee and those it calls without a flush can execute between two of their own. And which functions are
//! *silent*: they and all they call publish nothing, so nobody sees the counter in them.
//!
//! Invariants: a cycle of calls passes a flush; what is silent calls nothing else. Cost: linear in the number of calls.

/// Most fuel that can be executed between two flushes by calls alone; a function's own operators, each once, come
/// on top.
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

/// A call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) callee: Callee,
    /// What the operators between the call before and this one cost, with this one.
    pub(super) cost: u64,
}

/// A function, as far as calls are concerned.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// In the order in which they stand there.
    pub(super) calls: Vec<Call>,
    /// What all of its operators cost.
    pub(super) cost: u64,
    /// Whether it publishes in loops or for sizes, or hosts call it.
    pub(super) is_loud: bool,
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
    // Functions being looked at, and how many of their calls have been.
    let mut open = vec![(function, 0)];
    if stretches[function] != Stretch::Unknown {
        return;
    }
    stretches[function] = Stretch::Open;
    while let Some((function, done)) = open.last_mut() {
        let Some(call) = functions[*function].calls.get(*done) else {
            // One that closes a cycle is long already.
            if stretches[*function] == Stretch::Open {
                stretches[*function] = stretch(&functions[*function], stretches);
            }
            open.pop();
            continue;
        };
        *done += 1;
        let Callee::Body(callee) = call.callee else {
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
    for call in &function.calls {
        match call.callee {
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
    let mut since = 0_u64;
    let decide = |call: &Call| {
        let mut publishes = false;
        let mut stretch = Stretch::Long;
        match call.callee {
            Callee::Never => {}
            Callee::Import => since = 0,
            Callee::Indirect => (since, publishes) = (0, true),
            Callee::Body(callee) => {
                stretch = stretches[callee];
                since = since
                    .saturating_add(call.cost)
                    .saturating_add(stretch.length());
                publishes = stretch == Stretch::Long || since > STRETCH_MAX;
                if publishes {
                    since = stretch.length();
                }
            }
        }
        CallPlan {
            publishes,
            is_silent: stretch.is_silent() && !publishes,
        }
    };
    function.calls.iter().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(cost: u64, callees: &[usize]) -> Calls {
        let calls = callees.iter().map(|callee| Call {
            callee: Callee::Body(*callee),
            cost: 1,
        });
        Calls {
            calls: calls.collect(),
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
            function(10, &[1, 2, 4]),
            function(10, &[1, 4]),
            function(10, &[3, 4]),
            function(10, &[2, 4]),
            function(10, &[]),
        ];
        let publishing = publishing(&functions);
        assert_eq!(publishing[0], [true, true, false]);
        assert_eq!(publishing[1], [true, false]);
        assert!(publishing[2][0] || publishing[3][0]);
        assert!(!publishing[2][1] && !publishing[3][1]);
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
