//! Why runtime code cannot be loaded. Loading happens before any call, so none of these is ever an
//! outcome of an extrinsic.

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
    /// The module could not be compiled.
    #[error("the runtime does not compile: {reason}")]
    Compile {
        /// The compiler's message.
        reason: String,
    },
}
