//! What can go wrong in the oracle.
//!
//! Invariant: a fault of a runtime keeps the executor's own words.

use slackwater_runtime_fixtures::FixtureError;

/// A call into a runtime that did not return.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallFault {
    /// What the executor said.
    pub message: String,
}

impl CallFault {
    /// Whether the native stack was exhausted. The executor tells it by its words alone.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        self.message.contains("call stack exhausted")
    }
}

/// Why the oracle could not execute or author a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// The state has no `:code`.
    #[error("no `:code` in the state")]
    NoCode,
    /// A call that every block needs did not return.
    #[error("{method}: {fault}")]
    Call {
        /// The entry point.
        method: &'static str,
        /// What the executor said.
        fault: CallFault,
    },
    /// A mandatory extrinsic failed, so the block is abandoned.
    #[error("mandatory extrinsic {index} failed")]
    Mandatory {
        /// Position among those offered.
        index: usize,
    },
    /// A result of the runtime that is not what the entry point must return.
    #[error("{method}: returned {} undecodable bytes", output.len())]
    Output {
        /// The entry point.
        method: &'static str,
        /// What it returned.
        output: Vec<u8>,
    },
    /// The state machine failed.
    #[error("state machine: {0}")]
    State(String),
    /// Something else came of an authored block than was planned.
    #[error("block {number}: {what}")]
    Plan {
        /// Block number.
        number: u32,
        /// What differs.
        what: String,
    },
    /// No new version of a runtime could be made.
    #[error(transparent)]
    Upgrade(#[from] crate::signed::upgrade::UpgradeError),
    /// A chain was authored that is not the one that tests were written for.
    #[error("{chain} now has the digest {found}: if that is meant, put it into `signed::store`")]
    OtherChain {
        /// Name of the chain.
        chain: &'static str,
        /// Its digest.
        found: String,
    },
    /// The folder of authored chains cannot be written.
    #[error("{}: {source}", folder.display())]
    Store {
        /// The folder.
        folder: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The authored chain could not be written.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] slackwater_runtime_fixtures::keys::KeyError),
}
