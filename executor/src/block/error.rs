//! Operational errors of executing a block. None of them says that a block or an extrinsic is
//! invalid, and none becomes a receipt.

use thiserror::Error;

use crate::{
    instance::CallError,
    runtime::RuntimeError,
    state::{CommitError, StateError},
};

/// Why a block could not be executed here and now.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// Reading state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime in state cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A call into the runtime has no outcome.
    #[error("calling `{method}`: {source}")]
    Call {
        /// The method called.
        method: String,
        /// Why there is no outcome.
        source: CallError,
    },
    /// The block could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl ExecutionError {
    /// What kept a call from having an outcome.
    pub fn call_error(&self) -> Option<&CallError> {
        match self {
            Self::Call { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether the guest ran out of native stack, which one machine may have more of than another.
    pub fn is_native_stack(&self) -> bool {
        matches!(self.call_error(), Some(CallError::NativeStack))
    }
}
