//! Why runtime code cannot be loaded. Loading happens before any call, so none of these is ever an
//! outcome of an extrinsic.

use std::io;

use rustix::io::Errno;
use slackwater_host_functions::RegisterError;
use thiserror::Error;

use crate::{fuel::InstrumentError, instance::CallError};

/// Why runtime code cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The state holds no `:code`.
    #[error("the state has no runtime: key `:code` is absent")]
    NoCode,
    /// The code is larger than the limit, or a compressed blob unpacks to more than it.
    #[error("runtime code is larger than {limit_bytes} bytes when unpacked")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The code carries the compression prefix but does not unpack.
    #[error("compressed runtime code is damaged: it does not unpack")]
    Compression,
    /// The code is not WebAssembly.
    #[error("runtime code is not WebAssembly: it begins with {prefix:02x?}")]
    NotWasm {
        /// The first bytes of the code, at most 8.
        prefix: Vec<u8>,
    },
    /// The code is a PolkaVM program, which this executor does not run.
    #[error("runtime code is a PolkaVM program; only WebAssembly runtimes are supported")]
    PolkaVm,
    /// The module is broken, or uses a feature outside its profile.
    #[error("runtime code is not a valid module of its profile: {reason} (at byte {offset:#x})")]
    Invalid {
        /// Byte offset in the unpacked code.
        offset: usize,
        /// The validator's message.
        reason: String,
    },
    /// An export every runtime must have is absent or of the wrong kind.
    #[error("runtime code does not export `{name}` as {expected}")]
    MissingExport {
        /// The name looked for.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A version section, or the answer of `Core_version`, does not decode.
    #[error("the runtime's version cannot be read: {reason}")]
    Version {
        /// What failed to decode.
        reason: String,
    },
    /// The code states no version in its sections, and asking it failed on this machine.
    #[error("the runtime could not be asked for its version: {source}")]
    VersionCall {
        /// Why the call has no outcome.
        source: CallError,
    },
    /// The imports cannot be bound.
    #[error(transparent)]
    Imports(#[from] RegisterError),
    /// The configuration refuses missing host functions and the module needs some.
    #[error("the runtime imports functions this host does not offer: {}", names.join(", "))]
    MissingHostFunctions {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// The module could not be made to count its fuel.
    #[error("the runtime cannot be metered: {0}")]
    Instrument(#[from] InstrumentError),
    /// This machine lacks what the code needs, such as memory; another time it may not.
    #[error("this machine cannot hold the runtime's compiled code: {reason}")]
    Machine {
        /// What the system said.
        reason: String,
    },
    /// The module could not be compiled.
    #[error("the runtime does not compile: {reason}")]
    Compile {
        /// The compiler's message.
        reason: String,
    },
}

impl RuntimeError {
    /// What the engine says of code it does not take: what the system refused is this machine's, all else the code's.
    pub(super) fn of_engine(error: &wasmtime::Error) -> Self {
        let by_system = error.chain().any(|cause| {
            cause.is::<io::Error>() || cause.is::<Errno>() || cause.is::<memfd::Error>()
        });
        let reason = format!("{error:#}");
        if by_system {
            Self::Machine { reason }
        } else {
            Self::Compile { reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_not_the_fault_of_the_code() {
        let refused = wasmtime::Error::new(Errno::NOMEM).context("mapping code");
        let RuntimeError::Machine { reason } = RuntimeError::of_engine(&refused) else {
            panic!("it is the machine's");
        };
        assert!(reason.starts_with("mapping code: "), "{reason}");
        let file = wasmtime::Error::new(io::Error::other("no file"));
        assert!(matches!(
            RuntimeError::of_engine(&file),
            RuntimeError::Machine { .. }
        ));
        let code = wasmtime::Error::msg("too large").context("a function");
        assert!(matches!(
            RuntimeError::of_engine(&code),
            RuntimeError::Compile { .. }
        ));
    }
}
