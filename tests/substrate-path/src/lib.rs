//! The oracle: blocks executed by Substrate's own executor and state machine, for comparison.
//!
//! [`Oracle`] holds a state and executes on it as a Substrate node does; [`guest_chain`] authors
//! the fixture chain of our own guest with it. This crate links GPL-licensed crates and is therefore never
//! published and never linked by anything but tests and benchmarks. Invariant: nothing in here
//! calls Slackwater's own executor.

#![forbid(unsafe_code)]

pub mod error;
pub mod guest_chain;
pub mod header;
pub mod oracle;
pub mod signed;

mod author;

pub use error::{CallFault, OracleError};
pub use oracle::{BlockChanges, BuiltBlock, CallResult, Oracle};
pub use slackwater_runtime_fixtures::keys;
