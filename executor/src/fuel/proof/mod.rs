//! A proof, for one module, that its instrumentation counts what it should: an instrumented module is read
//! again beside its original, without asking what placed anything where.
//!
//! What is proved of every function: without what was added it is the original; on every path the charges
//! add up to the price of the operators on it; wherever the count is published or returned it is what was
//! used; it is published before every call, every sized operator and every trap by `unreachable`; every cycle passes a store of a changed count; nothing but added code touches the meter, and
//! that only as said here. Shims and entries are compared with what `shim` writes. Cost: one pass over both modules.
//!
//! `reading` takes the added code for what it does; `flow` follows the control flow.

mod flow;
mod reading;

use wasmparser::{BinaryReaderError, FunctionBody, Parser, Payload};

use super::{InstrumentError, Instrumentation, shape::Shape, shim};

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
    for (function, (before, after)) in before.iter().zip(bodies).enumerate() {
        let index = shape.imported() as usize + function;
        let operators = flow::prove(before, after, index, &shape, instrumentation);
        proof.operators += operators.map_err(|(offset, fault)| ProofError {
            function,
            offset,
            fault,
        })?;
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

fn bodies(wasm: &[u8]) -> Result<Vec<FunctionBody<'_>>, BinaryReaderError> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            bodies.push(body);
        }
    }
    Ok(bodies)
}
