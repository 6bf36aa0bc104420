//! A block of signed transfers on the genesis state of a real chain.

use std::path::Path;

use slackwater_runtime_fixtures::ChainSpec;
use sp_core::storage::{StateVersion, Storage};

use super::{extrinsic::Address, plan::Planner, runtime::SignedChain};
use crate::author::ChainAuthor;
use crate::error::OracleError;
use crate::header::HeaderFields;
use crate::keys::Key;

/// All calls that make the block.
pub struct Transfers {
    /// The genesis state.
    pub state: Storage,
    /// The first block's header, as `Core_initialize_block` takes it.
    pub header: Vec<u8>,
    /// The inherent, and then the transfers, each as `BlockBuilder_apply_extrinsic` takes it.
    pub extrinsics: Vec<Vec<u8>>,
}

/// The first block of the node template's chain, with so many transfers from Alice to Bob.
///
/// # Errors
/// The state is not in `fixtures`, the folder of the real fixtures.
pub fn transfers(fixtures: &Path, count: u32) -> Result<Transfers, OracleError> {
    let chain = SignedChain::NodeTemplate;
    let spec = fixtures.join(format!("genesis/{}.json", chain.genesis()));
    let state = ChainSpec::load(&spec)?.genesis;
    let author = ChainAuthor::new(chain.name(), state.clone(), StateVersion::V0)?;
    let mut planner = Planner::new(chain, super::SEED, author.parent_hash())?;
    planner.number = 1;
    let bob = Address::Account(Key::development("Bob")?.account());
    let header = HeaderFields::initial(author.parent_hash(), 1, &planner.digest());
    let mut extrinsics = vec![planner.inherent()];
    for nonce in 0..count {
        planner.root.nonce = nonce;
        let signing = planner.signing(&planner.root);
        extrinsics.push(signing.extrinsic(&chain.transfer(&bob, 1_000_000_000)));
    }
    Ok(Transfers {
        state,
        header: header.encoded(),
        extrinsics,
    })
}
