//! A transactional block executor for WebAssembly blockchain runtimes that speak the Substrate ABI.
//!
//! Each extrinsic runs in a fresh wasm instance, inside a storage layer that is committed or rolled
//! back by its outcome; a block is committed to the database in one atomic write.

#![forbid(unsafe_code)]

pub mod config;
pub mod instance;
pub mod runtime;
pub mod state;
mod wasm_executor;

pub use config::ExecutorConfig;
pub use instance::{CallError, CallOutcome, Trap, TrapKind};
pub use runtime::{CallContext, GuestProfile, HeapPages, Runtime, RuntimeBlob, RuntimeError};
pub use wasm_executor::WasmExecutor;
