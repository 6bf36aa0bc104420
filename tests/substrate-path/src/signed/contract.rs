//! A contract on Subtensor's EVM that loops until its gas is used up, and a signed call of it.
//!
//! Only accounts on a list may deploy contracts on this chain, so the contract is in the state.

use codec::Encode;
use slackwater_runtime_fixtures::BlockFixture;
use sp_core::{U256, storage::Storage};

use super::{
    extrinsic::{Era, Signing},
    runtime::{SignedChain, storage_name},
};
use crate::{error::OracleError, keys::Key};

/// Pallet `EVM`, its call `call`.
const EVM_CALL: [u8; 2] = [22, 1];
/// Wei for a unit of gas: more than the runtime asks for.
const GAS_PRICE: u64 = 50_000_000_000;
/// Where the contract is.
const CONTRACT: [u8; 20] = [0xc0; 20];
/// `JUMPDEST; PUSH1 0; JUMP`.
const ENDLESS: [u8; 4] = [0x5b, 0x60, 0x00, 0x56];

/// Block 1 of a chain on Subtensor's genesis state, to be built anew.
pub struct ContractCase {
    /// The state before the block: the genesis state with the contract, and with money on the
    /// caller's account in the EVM.
    pub state: Storage,
    /// The signed call.
    pub extrinsic: Vec<u8>,
}

/// A signed call of the contract that burns `gas`, on the state before `fixture`.
///
/// # Errors
/// The key cannot be made.
pub fn endless_contract(fixture: &BlockFixture, gas: u64) -> Result<ContractCase, OracleError> {
    let key = Key::development("Alice")?;
    let mut source = [0; 20];
    source.copy_from_slice(&key.account()[..20]);
    let mut state = fixture.state.clone();
    fund(&mut state, &source);
    let mut code_key = storage_name("EVM", "AccountCodes");
    code_key.extend(sp_crypto_hashing::blake2_128(&CONTRACT));
    code_key.extend(CONTRACT);
    state.top.insert(code_key, ENDLESS.to_vec().encode());
    let (no_priority, no_nonce): (Option<U256>, Option<U256>) = (None, None);
    let no_access: Vec<([u8; 20], Vec<[u8; 32]>)> = Vec::new();
    let (no_input, no_value) = (Vec::<u8>::new(), U256::zero());
    let price = U256::from(GAS_PRICE);
    let terms = (
        no_input,
        no_value,
        gas,
        price,
        no_priority,
        no_nonce,
        no_access,
    );
    let call = [EVM_CALL.as_slice(), &source, &CONTRACT, &terms.encode()].concat();
    let chain = SignedChain::Subtensor;
    let signing = Signing {
        chain,
        key: &key,
        nonce: 0,
        tip: 0,
        era: Era::Immortal,
        spec_version: chain.spec_version(),
        genesis: fixture.blocks[0].parent_hash,
        metadata_mode: 0,
        address: None,
    };
    Ok(ContractCase {
        state,
        extrinsic: signing.extrinsic(&call),
    })
}

/// Gives the account behind a contract address money.
fn fund(state: &mut Storage, address: &[u8; 20]) {
    const FUNDS: u64 = 1_000_000_000_000;
    let account = sp_crypto_hashing::blake2_256(&[b"evm:", address.as_slice()].concat());
    let mut key = storage_name("System", "Account");
    key.extend(sp_crypto_hashing::blake2_128(&account));
    key.extend(account);
    // Nonce, consumers, providers, sufficients; free, reserved, frozen, flags.
    let value = ([0_u32, 0, 1, 0], [FUNDS, 0, 0], 1_u128 << 127);
    state.top.insert(key, value.encode());
}
