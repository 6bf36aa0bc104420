//! The host side of the Substrate ABI: which functions a guest may import, what they answer, and
//! how they reach the memory of the guest that called them.
//!
//! | module | knows |
//! |---|---|
//! | [`set`] | which functions are offered, and their composition |
//! | [`deterministic`] | replacements for functions that would leak the host's settings |
//! | [`frequent`] | functions that are called most, at less cost |
//! | `direct` | the same, where the guest's memory and heap are at hand |
//! | `signers` | public keys that have signed before |
//! | [`verified`] | verdicts about signatures that were found ahead |
//! | [`mod@fuel`] | what a guest can ask about its fuel |
//! | [`state`] | what a running guest keeps on the host: allocator, panic message, memory limit |
//! | [`context`] | reading, writing and allocating guest memory from a host function |
//! | [`MemoryBudget`] | what guests running at the same time may use together |
//! | [`LogLimits`] | how much a guest may have this host log |
//! | [`mod@register`] | binding a function set to the imports of one module |
//!
//! Invariant: a guest reaches its own memory and the functions of the set, nothing else, and no
//! answer depends on how the host happens to be configured.

#![forbid(unsafe_code)]

mod budget;
pub mod context;
pub mod deterministic;
mod direct;
pub mod frequent;
pub mod fuel;
mod log_volume;
pub mod register;
pub mod set;
mod signers;
mod span;
pub mod state;
pub mod verified;

pub use budget::{MemoryBudget, MemoryChange, MemoryCharge};
pub use context::HostContext;
pub use log_volume::{LogLimits, Logging, begin_call};
pub use register::{RegisterError, register, register_beside};
pub use set::{SlackwaterHostFunctions, StandardHostFunctions};
pub use sp_io::UseDalekExt;
pub use sp_wasm_interface::{ExtendedHostFunctions, HostFunctions};
pub use state::{AllocationStats, HeapLimit, HostOutOfMemory, HostState};
pub use verified::{VerdictMemory, VerdictMemoryExt};
