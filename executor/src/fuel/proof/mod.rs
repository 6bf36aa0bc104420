//! A proof, for one module, that its instrumentation counts what it should: an instrumented module is read
//! again beside its original, without asking what placed anything where.
//!
//! What is proved of every function: without what was added it is the original; on every path the charges
//! add up to the price of the operators on it; wherever the count is published or returned it is what was
//! used; it is published by every loop, by one that was written out before it goes back, before every indirect call and every sized operator, and before every
//! trap by `unreachable` of a function in which it can be published at all; no cycle of calls is without a
//! flush, nor a tree of them that could run for long; nothing but added code touches the meter, and that only as
//! said here. Shims and entries are compared with what `shim` writes. Cost: one pass over both modules.
//!
//! `same` compares with the original, `turns` loops that were written out, `reading` takes the added code for what
//! it does, `flow` follows the control flow.

mod flow;
mod reading;
mod same;
mod turns;

use wasmparser::{BinaryReaderError, FunctionBody, Parser, Payload};

use self::flow::Proved;
use super::{
    InstrumentError, Instrumentation,
    calls::{Callee, STRETCH_MAX},
    shape::Shape,
    shim,
};

/// Why a module is not proved to count what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("function {function}, at byte {offset} of the instrumented module: {fault}")]
pub struct ProofError {
    /// Position in the code section.
    pub function: usize,
    /// Position in the instrumented module.
    pub offset: usize,
    /// What is wrong there.
    pub fault: ProofFault,
}

/// What is wrong with an instrumented function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFault {
    /// One of the modules cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// There are more functions, or fewer, than there must be.
    #[error("{found} functions instead of {expected}")]
    Functions {
        /// In the instrumented module.
        found: usize,
        /// In the original, with a shim for each import.
        expected: usize,
    },
    /// Here the original goes on otherwise, and what was added is nothing known.
    #[error("neither the original's operator nor something that may be added")]
    Foreign,
    /// Locals of the original are missing or have other types.
    #[error("its locals are not the original's, and some behind them")]
    Locals,
    /// What was charged is not what was used.
    #[error("{charged} more was charged than used, where it must be the same")]
    Unequal {
        /// Charged beyond what was used; below zero if too little.
        charged: i64,
    },
    /// Two ways lead here, and charged differently.
    #[error("one way here has charged {one}, another {other}")]
    Ways {
        /// On one of them, beyond what was used.
        one: i64,
        /// On another.
        other: i64,
    },
    /// A size is not charged by its price, or not where it is known.
    #[error("a size is not charged as it should be")]
    Size,
    /// The count must be published here.
    #[error("the count is not published")]
    Unpublished,
    /// A loop could turn without a safepoint.
    #[error("a loop without a safepoint")]
    NoSafepoint,
    /// Functions could call each other, or very many others, without a safepoint.
    #[error("calls without a safepoint")]
    NoSafepointInCalls,
    /// What is called could publish a count that is not what has been used.
    #[error("a call where the count is not what has been used")]
    InexactCall,
    /// The count must be compared here.
    #[error("the count is not compared with the limit")]
    Unchecked,
    /// The depth is not counted as it should be.
    #[error("the depth is not counted as it should be")]
    Depth,
    /// The function around an import, or what a host calls instead of a function, is another.
    #[error("not the function that belongs around an import or an entry point")]
    Shim,
}

/// What was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proof {
    /// Functions with a body of the guest's.
    pub functions: usize,
    /// Operators of the original that were accounted for.
    pub operators: u64,
    /// Functions around imports.
    pub shims: usize,
}

/// Proves that `instrumented` is `original` and counts as `instrumentation` says.
///
/// # Errors
/// The first fault.
pub fn prove(
    original: &[u8],
    instrumented: &[u8],
    instrumentation: &Instrumentation,
) -> Result<Proof, ProofError> {
    let whole = |fault| ProofError {
        function: 0,
        offset: 0,
        fault,
    };
    let unreadable =
        |error: &dyn std::fmt::Display| whole(ProofFault::Unreadable(error.to_string()));
    let shape = Shape::read(original).map_err(|error: InstrumentError| unreadable(&error))?;
    let before = bodies(original).map_err(|error| unreadable(&error))?;
    let after = bodies(instrumented).map_err(|error| unreadable(&error))?;
    let shims = shape.imports.len();
    let expected = before.len() + shims + shape.entries().count();
    if after.len() != expected {
        return Err(whole(ProofFault::Functions {
            found: after.len(),
            expected,
        }));
    }
    let mut proof = Proof {
        functions: before.len(),
        shims,
        ..Proof::default()
    };
    let (bodies, shims) = after.split_at(before.len());
    let mut functions = Vec::with_capacity(before.len());
    for (function, (before, after)) in before.iter().zip(bodies).enumerate() {
        let index = shape.imported() as usize + function;
        let proved = flow::prove(before, after, index, &shape, instrumentation);
        let proved = proved.map_err(|(offset, fault)| ProofError {
            function,
            offset,
            fault,
        })?;
        proof.operators += proved.operators;
        functions.push(proved);
    }
    let far = far(&functions).map(|function| (function, 0, ProofFault::NoSafepointInCalls));
    if let Some((function, offset, fault)) = far.or_else(|| inexact(&functions, &shape)) {
        return Err(ProofError {
            function,
            offset: offset.max(bodies[function].range().start),
            fault,
        });
    }
    let imports =
        (0..proof.shims).map(|number| shim::write(&shape, number, &instrumentation.schedule));
    let entries = shape.entries();
    let entries = entries.map(|entry| shim::write_entry(&shape, entry, instrumentation.check));
    let shims = (before.len()..).zip(shims);
    for ((function, after), expected) in shims.zip(imports.chain(entries)) {
        if after.as_bytes() != expected {
            return Err(ProofError {
                function,
                offset: after.range().start,
                fault: ProofFault::Shim,
            });
        }
    }
    Ok(proof)
}

/// A function that could go too far without a flush, by calls that do not publish: round a cycle, or along more of
/// them than may be.
fn far(functions: &[Proved]) -> Option<usize> {
    let unpublished = |function: usize| {
        let Proved { calls, called, .. } = &functions[function];
        let calls = calls.calls.iter().zip(called);
        calls.filter_map(|(callee, called)| match *callee {
            Callee::Body(callee) if !called.publishes => Some(callee),
            _ => None,
        })
    };
    // How many callers each function has that it could be reached from without a flush; from those that have
    // none, all are reached that are in no cycle.
    let mut callers = vec![0_usize; functions.len()];
    for callee in (0..functions.len()).flat_map(unpublished) {
        callers[callee] += 1;
    }
    let mut order: Vec<usize> = (0..functions.len())
        .filter(|function| callers[*function] == 0)
        .collect();
    let mut done = 0;
    while let Some(function) = order.get(done).copied() {
        done += 1;
        for callee in unpublished(function) {
            callers[callee] -= 1;
            if callers[callee] == 0 {
                order.push(callee);
            }
        }
    }
    if order.len() < functions.len() {
        return callers.iter().position(|callers| *callers > 0);
    }
    // What each can execute, its operators once each; the callees' first.
    let mut all = vec![0_u64; functions.len()];
    for function in order.into_iter().rev() {
        let callees = unpublished(function).map(|callee| all[callee]);
        let cost = functions[function].calls.cost;
        all[function] = callees.fold(cost, u64::saturating_add);
    }
    (0..functions.len()).find(|function| is_far(&functions[*function], &all))
}

/// Whether the calls of a function could go too far since a flush, if each function can execute `all` by
/// calls that do not publish.
fn is_far(Proved { calls, called, .. }: &Proved, all: &[u64]) -> bool {
    let mut is_far = false;
    calls.follow(|number, callee, since| match callee {
        Callee::Body(callee) if called[number].publishes => {
            since.call(all[callee].min(STRETCH_MAX), true);
        }
        Callee::Body(callee) => {
            since.call(all[callee], false);
            is_far |= since.with(0) > STRETCH_MAX;
        }
        // Who knows how long ago that flushed.
        Callee::Indirect => since.call(STRETCH_MAX, true),
        Callee::Import | Callee::Never => {}
    });
    is_far
}

/// A call at which the count must be what has been used, or be published, and is not; or a function that traps
/// without publishing although it could be seen to: what is wrong, and where. Whether a function is silent, so
/// that nobody sees the count in it, follows from those it calls.
fn inexact(functions: &[Proved], shape: &Shape) -> Option<(usize, usize, ProofFault)> {
    let is_loud = loud(functions, shape);
    for (function, proved) in functions.iter().enumerate() {
        if proved.traps_silently && is_loud[function] {
            return Some((function, 0, ProofFault::Unpublished));
        }
        for (callee, called) in proved.calls.calls.iter().zip(&proved.called) {
            let is_silent = match *callee {
                Callee::Body(callee) => !is_loud[callee],
                Callee::Import | Callee::Indirect => false,
                Callee::Never => true,
            };
            if *callee == Callee::Indirect && !called.publishes {
                return Some((function, called.offset, ProofFault::Unpublished));
            }
            if !is_silent && !called.is_exact {
                return Some((function, called.offset, ProofFault::InexactCall));
            }
        }
    }
    None
}

/// Which functions publish, or call others that may, or are called by hosts.
fn loud(functions: &[Proved], shape: &Shape) -> Vec<bool> {
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); functions.len()];
    let mut next = Vec::new();
    for ((function, Proved { calls, .. }), index) in
        functions.iter().enumerate().zip(shape.imported()..)
    {
        let mut is_loud = calls.is_loud || shape.is_exported(index);
        for callee in &calls.calls {
            match *callee {
                Callee::Body(callee) => callers[callee].push(function),
                Callee::Import | Callee::Indirect => is_loud = true,
                Callee::Never => {}
            }
        }
        next.extend(is_loud.then_some(function));
    }
    let mut is_loud = vec![false; functions.len()];
    while let Some(function) = next.pop() {
        if !std::mem::replace(&mut is_loud[function], true) {
            next.append(&mut callers[function]);
        }
    }
    is_loud
}

fn bodies(wasm: &[u8]) -> Result<Vec<FunctionBody<'_>>, BinaryReaderError> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body);
        }
    }
    Ok(bodies)
}
