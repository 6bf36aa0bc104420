//! What can go wrong.

use sp_core::H256;
use thiserror::Error;

/// Why a block was not built, executed or committed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Substrate's client failed.
    #[error(transparent)]
    Client(#[from] sp_blockchain::Error),
    /// A call of the runtime failed.
    #[error(transparent)]
    Api(#[from] sp_api::ApiError),
    /// Storage changes could not be made of what the runtime wrote.
    #[error("storage changes: {0}")]
    Changes(String),
    /// A header or an extrinsic does not decode.
    #[error("{what} does not decode: {source}")]
    Undecodable {
        /// Which.
        what: &'static str,
        /// Why.
        source: codec::Error,
    },
    /// The block's root is not that of the state behind it.
    #[error("block {number}: its root is {stated}, that of its state {found}")]
    Root {
        /// The block.
        number: u32,
        /// In its header.
        stated: H256,
        /// Of the state.
        found: H256,
    },
}
