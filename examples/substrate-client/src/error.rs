//! What can go wrong, and what must not differ.

use sc_consensus::ImportResult;
use slackwater_executor::{RuntimeError, block::ExecutionError, runtime::EngineError};
use slackwater_runtime_fixtures::{
    FixtureError, keys::KeyError, slots::SlotError, transfers::TransferError,
};
use sp_core::H256;
use thiserror::Error;

/// Why there is no result, or why it is a bad one.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// There is no chain spec.
    #[error(
        "the chain spec {what} is not in cargo's cache: run scripts/fetch-crate-fixtures.sh, or name another by --spec"
    )]
    NoSpec {
        /// Which.
        what: String,
    },
    /// The chain spec cannot be read.
    #[error(transparent)]
    Spec(#[from] FixtureError),
    /// Slackwater's executor cannot run here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The runtime cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The runtime cannot be asked what a plan needs.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The runtime does not say how long a slot is.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// No transfers can be made.
    #[error("transfers: {0}; try --transfers 0")]
    Transfers(#[from] TransferError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Bytes of one release of the Polkadot SDK do not decode with another.
    #[error("{what} does not decode: {source}")]
    Undecodable {
        /// What.
        what: &'static str,
        /// Why.
        source: codec::Error,
    },
    /// Inherents were given twice.
    #[error("inherents: {0}")]
    Inherents(#[from] sp_inherents::Error),
    /// The machine failed beside the client.
    #[error("{what}: {reason}")]
    Machine {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The client failed.
    #[error("{what}: {source}")]
    Client {
        /// What it was to do.
        what: String,
        /// Why.
        source: sp_blockchain::Error,
    },
    /// The client refused a block.
    #[error("import of block {number}: {source}")]
    Refused {
        /// Which.
        number: u32,
        /// Why.
        source: sp_consensus::Error,
    },
    /// The client did not take a block.
    #[error("import of block {number}: {result:?} instead of a new best block")]
    NotTaken {
        /// Which.
        number: u32,
        /// What it did with it.
        result: ImportResult,
    },
    /// A block that states another root was taken.
    #[error("{executor}: a block with a wrong state root was taken, so nothing was executed")]
    WrongTaken {
        /// Whose client.
        executor: &'static str,
    },
    /// Two executors disagree.
    #[error("DIFFERENCE: {what}: {this} has {found}, {other} has {expected}")]
    Difference {
        /// In what.
        what: String,
        /// One.
        this: String,
        /// The other.
        other: String,
        /// What the one has.
        found: String,
        /// What the other has.
        expected: String,
    },
    /// The result could not be written.
    #[error("{0}")]
    Print(#[from] std::io::Error),
    /// The result could not be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Of the client, on the way to something.
    pub(crate) fn client(what: impl Into<String>) -> impl FnOnce(sp_blockchain::Error) -> Self {
        let what = what.into();
        move |source| Self::Client { what, source }
    }

    /// Of bytes.
    pub(crate) fn undecodable(what: &'static str) -> impl FnOnce(codec::Error) -> Self {
        move |source| Self::Undecodable { what, source }
    }

    /// Of a machine.
    pub(crate) fn machine<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Machine {
            what,
            reason: error.to_string(),
        }
    }
}

/// That two hashes are one.
pub(crate) fn same_hash(
    what: impl FnOnce() -> String,
    (this, found): (&str, H256),
    (other, expected): (&str, H256),
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Difference {
        what: what(),
        this: this.to_owned(),
        other: other.to_owned(),
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}
