//! The fixture chain of the guest: planned blocks, built and executed by the oracle.
//!
//! Invariant: the same seed gives the same fixture, byte for byte.

mod plan;
mod random_calls;

use slackwater_runtime_fixtures::{BlockFixture, guest};
use sp_core::storage::StateVersion;

use crate::author::{ChainAuthor, PlannedBlock};
use crate::error::OracleError;
use crate::header::{pre_runtime_item, seal_item};
use plan::Planner;

/// The seed of the chain in the repository.
pub const SEED: u64 = 0x51ac_4a7e;
/// Number of blocks of the chain in the repository.
pub const BLOCKS: u32 = 128;

/// Engine of the digest items.
const ENGINE: [u8; 4] = *b"slkw";

/// Authors a chain of `blocks` blocks.
///
/// # Errors
/// Something else comes of an extrinsic than planned, building and executing whole disagree, or
/// the oracle fails.
pub fn author(seed: u64, blocks: u32) -> Result<BlockFixture, OracleError> {
    let mut planner = Planner::new(seed)?;
    let state = guest::genesis(&planner.funded(), &planner.sudo());
    let mut author = ChainAuthor::new("guest-chain", state, StateVersion::V1)?;
    for number in 1..=blocks {
        // Every other block, so that both kinds of headers occur.
        let digest = number
            .is_multiple_of(2)
            .then(|| pre_runtime_item(ENGINE, u64::from(number)));
        let plan = PlannedBlock {
            digest: digest.into_iter().collect(),
            offered: planner.block(number),
            refused: Vec::new(),
        };
        author.author(plan, |hash| seal_item(ENGINE, &planner.seal(hash)))?;
    }
    Ok(author.finish())
}
