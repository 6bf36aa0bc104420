//! Where fuel goes: by the guest's functions and what they call.
//!
//! Guests compiled with [`crate::runtime::Compilation::profile_fuel`] tell when a function begins and ends, and what they have
//! counted by then. Invariant: a profile follows from guests, inputs and state, and its total is the fuel that was
//! used. Cost: two calls of the host for each call within the guest, which makes it several times slower; where nobody asks,
//! nothing but those.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use wasmtime::Linker;

use crate::{
    FuelUsed,
    fuel::{ENTER, LEAVE, TELLER_MODULE},
};

/// What the charges for reading and writing the state are called.
const STATE: &str = "(state)";

/// What a call that trapped had used since a function told something, with its charges for the state.
const NOT_TOLD: &str = "(state, and not told before it trapped)";

/// Calls within calls that are told apart; deeper ones count for the one above.
const DEPTH_MAX: usize = 200;

/// Stacks of calls that are told apart.
const NODES_MAX: usize = 1 << 20;

/// What functions of a runtime are called, by their numbers.
pub(crate) type FunctionNames = Arc<[String]>;

/// Fuel used, by calls within calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FuelProfile {
    /// Fuel used in this function itself.
    pub own: u64,
    /// How often it was called.
    pub calls: u64,
    /// What it called, by name.
    pub called: BTreeMap<String, FuelProfile>,
}

impl FuelProfile {
    /// Fuel used in it and in all that it called.
    pub fn total(&self) -> u64 {
        let called = self.called.values().map(Self::total);
        called.fold(self.own, u64::saturating_add)
    }

    /// Adds what another one says.
    pub fn merge(&mut self, other: Self) {
        self.own = self.own.saturating_add(other.own);
        self.calls = self.calls.saturating_add(other.calls);
        for (name, called) in other.called {
            self.called.entry(name).or_default().merge(called);
        }
    }

    /// As folded stacks: a line for each stack of calls with fuel of its own, names separated by `;`, and the fuel behind a
    /// space, which programs that draw flamegraphs read.
    pub fn folded(&self) -> String {
        let mut lines = String::new();
        self.fold(&mut Vec::new(), &mut lines);
        lines
    }

    fn fold<'p>(&'p self, stack: &mut Vec<&'p str>, lines: &mut String) {
        if self.own > 0 && !stack.is_empty() {
            let names: Vec<_> = stack
                .iter()
                .map(|name| name.replace([';', '\n'], ":"))
                .collect();
            lines.push_str(&format!("{} {}\n", names.join(";"), self.own));
        }
        for (name, called) in &self.called {
            stack.push(name);
            called.fold(stack, lines);
            stack.pop();
        }
    }
}

struct Node {
    own: u64,
    calls: u64,
    /// By what they are.
    called: BTreeMap<Callee, usize>,
}

/// What a node stands for. Runtimes are told apart by where their names are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Callee {
    Method(String),
    Function(usize, u32),
}

struct Collector {
    nodes: Vec<Node>,
    names: BTreeMap<usize, FunctionNames>,
    /// Calls that have begun and not ended.
    stack: Vec<usize>,
    /// The counter when something was told last.
    last: u64,
    /// Fuel put down so far in the runtime call.
    told: u64,
}

thread_local! {
    static COLLECTOR: RefCell<Option<Collector>> = const { RefCell::new(None) };
}

/// Does `work`, and says where the fuel of runtime calls on this thread went.
pub fn profiled<R>(work: impl FnOnce() -> R) -> (R, FuelProfile) {
    let running = Running(COLLECTOR.replace(Some(Collector::new())));
    let result = work();
    let collected = COLLECTOR.take();
    drop(running);
    (
        result,
        collected.map(|it| it.profile(0)).unwrap_or_default(),
    )
}

/// Puts back what was there before, also where work panics.
struct Running(Option<Collector>);

impl Drop for Running {
    fn drop(&mut self) {
        COLLECTOR.replace(self.0.take());
    }
}

impl Collector {
    fn new() -> Self {
        let mut collector = Self {
            nodes: Vec::new(),
            names: BTreeMap::new(),
            stack: Vec::new(),
            last: 0,
            told: 0,
        };
        let root = collector.add();
        collector.stack.push(root);
        collector
    }

    fn add(&mut self) -> usize {
        self.nodes.push(Node {
            own: 0,
            calls: 0,
            called: BTreeMap::new(),
        });
        self.nodes.len() - 1
    }

    fn begin(&mut self, callee: Callee) {
        let top = self.stack.last().copied().unwrap_or_default();
        let is_full = self.nodes.len() >= NODES_MAX;
        let node = match self.nodes[top].called.get(&callee) {
            _ if self.stack.len() > DEPTH_MAX => top,
            Some(node) => *node,
            None if is_full => top,
            None => {
                let node = self.add();
                self.nodes[top].called.insert(callee, node);
                node
            }
        };
        self.nodes[node].calls += 1;
        self.stack.push(node);
    }

    /// Puts down to the innermost call what was counted since.
    fn count(&mut self, counter: u64) {
        let top = self.stack.last().copied().unwrap_or_default();
        let counted = counter.saturating_sub(self.last);
        self.nodes[top].own += counted;
        self.told += counted;
        self.last = counter;
    }

    fn profile(&self, node: usize) -> FuelProfile {
        let Node { own, calls, called } = &self.nodes[node];
        let mut profile = FuelProfile {
            own: *own,
            calls: *calls,
            called: BTreeMap::new(),
        };
        for (callee, node) in called {
            let name = match callee {
                Callee::Method(name) => name.clone(),
                Callee::Function(names, number) => {
                    let names = self.names.get(names);
                    let name = names.and_then(|names| names.get(*number as usize));
                    name.cloned()
                        .unwrap_or_else(|| format!("function {number}"))
                }
            };
            // Different functions may share a name.
            profile
                .called
                .entry(name)
                .or_default()
                .merge(self.profile(*node));
        }
        profile
    }
}

fn with(tell: impl FnOnce(&mut Collector)) {
    COLLECTOR.with_borrow_mut(|collector| collector.as_mut().map(tell));
}

/// A runtime call that has begun.
pub(crate) struct RuntimeCall {
    depth: usize,
    last: u64,
    told: u64,
}

/// A runtime call begins; `None` if nobody asks.
pub(crate) fn begin(method: &str) -> Option<RuntimeCall> {
    COLLECTOR.with_borrow_mut(|collector| {
        let collector = collector.as_mut()?;
        let call = RuntimeCall {
            depth: collector.stack.len(),
            last: std::mem::take(&mut collector.last),
            told: std::mem::take(&mut collector.told),
        };
        collector.begin(Callee::Method(method.to_owned()));
        Some(call)
    })
}

/// The runtime call ends, and has used this. What no function has told is for the state, unless it trapped.
pub(crate) fn end(call: RuntimeCall, used: Option<&FuelUsed>, trapped: bool) {
    with(|collector| {
        collector.stack.truncate(call.depth + 1);
        let rest = used.map_or(0, |used| used.total.0.saturating_sub(collector.told));
        if rest > 0 {
            let name = if trapped { NOT_TOLD } else { STATE };
            collector.begin(Callee::Method(name.to_owned()));
            let top = collector.stack.last().copied().unwrap_or_default();
            collector.nodes[top].own += rest;
        }
        collector.stack.truncate(call.depth);
        collector.last = call.last;
        collector.told = call.told;
    });
}

/// Lets guests with these names tell.
pub(crate) fn listen<T: 'static>(
    linker: &mut Linker<T>,
    names: FunctionNames,
) -> Result<(), wasmtime::Error> {
    linker.func_wrap(TELLER_MODULE, ENTER, move |number: i32, counter: i64| {
        with(|collector| {
            let runtime = Arc::as_ptr(&names).addr();
            collector
                .names
                .entry(runtime)
                .or_insert_with(|| Arc::clone(&names));
            collector.count(counter.cast_unsigned());
            collector.begin(Callee::Function(runtime, number.cast_unsigned()));
        });
    })?;
    linker.func_wrap(TELLER_MODULE, LEAVE, |counter: i64| {
        with(|collector| {
            collector.count(counter.cast_unsigned());
            collector.stack.pop();
        });
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuel::Fuel;

    fn used(total: u64) -> FuelUsed {
        FuelUsed {
            total: Fuel(total),
            ..FuelUsed::default()
        }
    }

    #[test]
    fn fuel_is_put_down_to_the_innermost_call() {
        let function = |number| Callee::Function(0, number);
        let ((), profile) = profiled(|| {
            let call = begin("method").expect("asked");
            with(|collector| {
                collector.count(5);
                collector.begin(function(1));
                collector.count(9);
                collector.begin(function(2));
                collector.count(10);
                collector.stack.pop();
                collector.count(12);
                collector.stack.pop();
            });
            // The rest of the method's own is not told.
            end(call, Some(&used(20)), false);
        });
        assert_eq!(
            profile.folded(),
            "method 5\nmethod;(state) 8\nmethod;function 1 6\nmethod;function 1;function 2 1\n"
        );
        assert_eq!(profile.total(), 20);
        assert!(begin("nobody").is_none());
    }

    #[test]
    fn a_call_within_a_call_counts_for_itself() {
        let ((), profile) = profiled(|| {
            let outer = begin("outer").expect("asked");
            with(|collector| {
                collector.begin(Callee::Function(0, 1));
                collector.count(100);
            });
            let inner = begin("inner").expect("asked");
            with(|collector| collector.count(3));
            // It trapped in the middle of something.
            with(|collector| collector.begin(Callee::Function(0, 9)));
            end(inner, Some(&used(3)), true);
            with(|collector| {
                collector.count(101);
                collector.stack.pop();
            });
            end(outer, Some(&used(101)), false);
        });
        let expected = "outer;function 1 101\nouter;function 1;inner 3\n";
        assert_eq!(profile.folded(), expected);
    }
}
