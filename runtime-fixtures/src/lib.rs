//! Test data of the workspace: where it is, how it is read and what our own guest runtime accepts.
//!
//! This crate knows file formats and how extrinsics are encoded; only [`chain`], [`matrix`], [`replay`],
//! [`replay_test`], [`conformance`], [`import`] and [`production`] execute, and [`names`], [`slots`] and [`transfers`] ask a runtime about itself.
//! Invariant: whatever a loader returns is complete and checked (lengths, hex, presence of
//! `:code`); everything else is a typed [`FixtureError`] naming the file and the field.

#![forbid(unsafe_code)]

pub mod block_fixture;
pub mod cases;
pub mod chain;
pub mod chain_spec;
pub mod chain_spec_stream;
pub mod conformance;
pub mod dir;
pub mod error;
pub mod expected_calls;
pub mod guest;
pub mod hexadecimal;
pub mod import;
pub mod kernels;
pub mod keys;
pub mod matrix;
pub mod names;
pub mod offered;
pub mod production;
pub mod raw_blocks;
pub mod refused;
pub mod replay;
pub mod replay_test;
pub mod slots;
pub mod transfers;

mod cursor;
mod fixture_json;
mod state_map;

pub use block_fixture::{BlockFixture, ExpectedWrite, FixtureBlock};
pub use chain::{ChainError, FixtureChain};
pub use chain_spec::ChainSpec;
pub use conformance::{Configuration, check_fixture};
pub use dir::{crate_file, crate_file_or_skip, real_fixtures_dir, real_fixtures_or_skip};
pub use error::FixtureError;
pub use expected_calls::{ExpectedCall, ExpectedResult};
pub use matrix::{Cell, Matrix, MatrixError};
pub use names::StateNames;
pub use offered::{Offered, OfferedOutcome};
pub use refused::{Refusal, RefusedBlock};
pub use replay::{FixtureReplay, FixtureReplayError, ReplayedBlock};

/// The example in the documentation of fixtures compiles and holds.
#[cfg(doctest)]
#[doc = include_str!("../../docs/fixtures.md")]
struct FixturesPage;

/// So does the one in the documentation of recordings.
#[cfg(doctest)]
#[doc = include_str!("../../docs/recordings.md")]
struct RecordingsPage;
