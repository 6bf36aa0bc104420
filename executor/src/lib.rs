//! A transactional block executor for WebAssembly blockchain runtimes that speak the Substrate ABI.
//!
//! Each extrinsic runs in a fresh wasm instance, inside a storage layer that is committed or rolled
//! back by its outcome; a block is committed to the database in one atomic write.

#![deny(unsafe_code)]

pub mod block;
mod calls;
mod code_executor;
pub mod config;
pub mod fuel;
pub mod instance;
mod memory;
pub mod profile;
mod query;
pub mod recording;
pub mod runtime;
pub mod state;
pub mod timing;
mod wasm_executor;

pub use block::{Block, BlockBuilder, ExecutionError, ExecutionPath, ExtrinsicOutcome};
pub use code_executor::{CodeExecutorError, SlackwaterExecutor, SlackwaterExecutorBuilder};
pub use config::ExecutorConfig;
pub use fuel::{CallLimits, CancelToken, ConsensusFuel, Fuel, FuelUsed, LocalLimit, Meter};
pub use instance::{CallError, CallOutcome, Called, InstanceCounts, InstanceMode, Trap, TrapKind};
pub use memory::MemoryStrategy;
pub use query::{StateCall, call_on_state, call_on_state_limited};
pub use runtime::{CallContext, GuestProfile, HeapPages, Runtime, RuntimeBlob, RuntimeError};
pub use slackwater_host_functions as host_functions;
pub use state::{Database, Durability};
pub use wasm_executor::WasmExecutor;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
