//! Chains of signed extrinsics on real genesis states: planned, built and executed by the oracle.
//!
//! Invariant: the same seed gives the same fixture, byte for byte.

pub mod contract;
mod exhibits;
mod extrinsic;
mod plan;
mod runtime;
pub mod store;
mod transfers;
pub mod upgrade;

use std::path::Path;

use codec::Encode;
use slackwater_runtime_fixtures::{BlockFixture, ChainSpec};
use sp_core::storage::{StateVersion, Storage};

use crate::author::ChainAuthor;
use crate::error::OracleError;
use crate::header::seal_item;
use crate::keys::Key;
pub use exhibits::{FULL_BLOCKS, PENDING_CODE_BLOCK, SET_CODE_BLOCK, SETTLED_BLOCK};
use plan::{ENGINE, Planner};
pub use runtime::SignedChain;
use runtime::storage_name;
pub use transfers::{Transfers, transfers};

/// The seed of the chains that tests use.
pub const SEED: u64 = 0x51ac_4a7e_2026;
/// Number of blocks of the chains that tests use.
pub const BLOCKS: u32 = 208;

/// Authors a chain of `blocks` blocks on the genesis state in `fixtures`, the folder of the real
/// fixtures. `progress` is told the number of blocks done.
///
/// # Errors
/// Something else comes of an extrinsic than planned, building and executing whole disagree, or
/// the oracle fails.
pub fn author(
    chain: SignedChain,
    fixtures: &Path,
    seed: u64,
    blocks: u32,
    mut progress: impl FnMut(u32),
) -> Result<BlockFixture, OracleError> {
    let spec = fixtures.join(format!("genesis/{}.json", chain.genesis()));
    let mut state = ChainSpec::load(&spec)?.genesis;
    let authority = Key::development("Alice")?;
    let state_version = match chain {
        SignedChain::NodeTemplate => StateVersion::V0,
        SignedChain::Subtensor => {
            endow(&mut state, &authority);
            StateVersion::V1
        }
    };
    let mut author = ChainAuthor::new(chain.name(), state, state_version)?;
    let mut planner = Planner::new(chain, seed, author.parent_hash())?;
    for done in 1..=blocks {
        let plan = planner.block(&author)?;
        author.author(plan, |hash| seal_item(ENGINE, &authority.sign(hash)))?;
        progress(done);
    }
    Ok(author.finish())
}

/// Nobody outside has the keys of the accounts in Subtensor's genesis state, so Alice, who is an
/// authority there, is given money and made the key of sudo.
fn endow(state: &mut Storage, alice: &Key) {
    // The runtime divides by what is left of 21 * 10^15.
    const FUNDS: u64 = 1_000_000_000_000_000;
    let account = alice.account();
    let mut key = storage_name("System", "Account");
    key.extend(sp_crypto_hashing::blake2_128(&account));
    key.extend(account);
    // Nonce, consumers, providers, sufficients; free, reserved, frozen, flags.
    let value = ([0_u32, 0, 1, 0], [FUNDS, 0, 0], 1_u128 << 127);
    state.top.insert(key, value.encode());
    let issuance = state.top.entry(storage_name("Balances", "TotalIssuance"));
    issuance.and_modify(|issuance| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(issuance);
        *issuance = (u64::from_le_bytes(bytes) + FUNDS).encode();
    });
    state
        .top
        .insert(storage_name("Sudo", "Key"), account.to_vec());
}
