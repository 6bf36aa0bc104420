//! A transactional block executor for WebAssembly blockchain runtimes that speak the Substrate ABI.
//!
//! Each extrinsic runs in a clean wasm instance, inside a storage layer that is kept or dropped by its outcome; a block is
//! committed to the database in one atomic write. Guests are metered by *slacked fuel*: they only count, an overrun is noticed
//! beside them, and what they did is rolled back; the verdict depends on the count alone. Runtimes of the Polkadot SDK run
//! unmodified.
//!
//! # For a node
//!
//! [`SlackwaterExecutor`] takes the place of `sc-executor`'s `WasmExecutor` in a Substrate client: it is `sp-core`'s
//! `CodeExecutor` and `ReadRuntimeVersion`, and with the feature `sc-executor` that crate's `RuntimeVersionOf`. A guide is in
//! `docs/migration.md`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use slackwater_executor::SlackwaterExecutor;
//! # fn main() -> Result<(), slackwater_executor::runtime::EngineError> {
//! let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
//!     // Compiled code is there at once when the node starts again.
//!     .with_cache_path("/var/lib/node/runtimes")
//!     // An endless `state_call` ends in a typed error.
//!     .with_offchain_deadline(Duration::from_secs(10))
//!     .with_memory_budget(4 << 30)
//!     .build()?;
//! # fn client(_: impl sp_core::traits::CodeExecutor + sp_core::traits::ReadRuntimeVersion) {}
//! client(executor);
//! # Ok(())
//! # }
//! ```
//!
//! A node that has no client imports blocks into a database by itself: [`block::import_block`], [`Database`].
//!
//! # For a benchmark
//!
//! [`block::BlockBuilder`] makes blocks of what it is offered, and [`timing::measured`] says where the time went: making
//! instances, in the guest, in host functions, reading the state, putting instances back, root, commit.
//!
//! ```
//! use slackwater_executor::{
//!     CallContext, ExecutorConfig, InstanceMode, WasmExecutor, call_on_state,
//!     host_functions::SlackwaterHostFunctions,
//!     state::{Extensions, MemoryState},
//!     timing::{Phase, measured},
//! };
//! use sp_core::storage::{StateVersion, Storage};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let code = wat::parse_str(r#"(module (memory (export "memory") 17)
//! #     (global (export "__heap_base") i32 (i32.const 1048576))
//! #     (func (export "answer") (param i32 i32) (result i64) (i64.const 17179869184)))"#)?;
//! let storage = Storage { top: [(b":code".to_vec(), code)].into(), ..Storage::default() };
//! let state = MemoryState::new(storage, StateVersion::V1);
//! for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
//!     let config = ExecutorConfig::default().with_instances(mode);
//!     let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config)?;
//!     let call = || {
//!         call_on_state(&executor, &state, CallContext::Offchain, "answer", &[], Extensions::new())
//!     };
//!     // The first call compiles.
//!     call()?;
//!     let (called, timing) = measured(call);
//!     println!("{mode:?}: {:?}, {:?} of it in the guest", called?.fuel, timing.phases.of(Phase::Wasm));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # For a replay test
//!
//! [`recording`] writes down what every call of a chain's blocks did, and verifies it anywhere: in either mode, on any number of
//! threads, on another machine. Blocks with their parent's state and expected writes come from fixtures (the crate
//! `slackwater-runtime-fixtures`, whose macro `replay_fixture!` makes a test of one).
//!
//! ```
//! use slackwater_executor::{
//!     ExecutorConfig, WasmExecutor,
//!     block::{Block, ExecutionPath, ReplayError, execute},
//!     host_functions::SlackwaterHostFunctions,
//!     state::{Extensions, MemoryState},
//! };
//!
//! /// Whether a block does what its header says, on the state of its parent.
//! fn replays(parent: &MemoryState, block: &Block) -> Result<bool, Box<dyn std::error::Error>> {
//!     let executor = WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default())?;
//!     match execute(&executor, parent, block, ExecutionPath::Split, &Extensions::new) {
//!         Ok(executed) => Ok(executed.changes.state_root == block.header.state_root),
//!         // The first step that differs, by name.
//!         Err(ReplayError::Diverged(divergence)) => {
//!             println!("{divergence}");
//!             Ok(false)
//!         }
//!         // This machine failed, which says nothing about the block.
//!         Err(failed) => Err(failed.into()),
//!     }
//! }
//! ```
//!
//! # What holds
//!
//! Same block, same state: same receipts, fuel and state root, in either mode of instances, on any number of threads, at any
//! timing. What a machine does by itself (a deadline, no memory, a failing disk) is an error of another family and never an
//! outcome. `docs/determinism.md` lists what could get in the way, and the test for each.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `sc-executor` | `SlackwaterExecutor` is a `sc_executor::RuntimeVersionOf`; links a crate under GPL-3.0 with the classpath exception |
//! | `tracing` | spans around blocks, extrinsics, calls and host functions; costs nothing when it is off |
//! | `failpoints` | for tests: the process can be stopped at named places of a write |

#![deny(unsafe_code)]

pub mod block;
mod calls;
mod code_executor;
pub mod config;
pub mod fuel;
pub mod instance;
mod memory;
pub mod metrics;
pub mod profile;
mod query;
pub mod recording;
pub mod runtime;
mod span;
pub mod state;
pub mod timing;
mod unwinding;
#[cfg(feature = "sc-executor")]
mod version_of;
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
