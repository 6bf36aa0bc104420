//! Accounts: balances, nonces, fees.
//!
//! Invariant: an account that is all zero has no key.

use alloc::vec::Vec;

use crate::error::{self, DispatchError, ValidityError};
use crate::{host, keys};

/// Smallest balance that a transfer may leave its receiver with.
const MINIMUM_BALANCE: u128 = 10;
/// Fee of an extrinsic without its bytes.
const BASE_FEE: u128 = 100;

/// Free balance and nonce.
#[derive(Default)]
pub struct Account {
    /// What can be spent.
    pub free: u128,
    /// Number of extrinsics that the account paid for.
    pub nonce: u32,
}

impl Account {
    /// Reads an account; one that is not stored is all zero.
    pub fn load(who: &[u8; 32]) -> Self {
        let Some(bytes) = host::get(&keys::account(who)) else {
            return Self::default();
        };
        let mut reader = crate::scale::Reader::new(&bytes);
        let fields = || Some((reader.u128()?, reader.u32()?));
        let (free, nonce) = { fields }().expect("an account is 20 bytes");
        Self { free, nonce }
    }

    /// Writes an account.
    pub fn store(&self, who: &[u8; 32]) {
        let key = keys::account(who);
        if self.free == 0 && self.nonce == 0 {
            return host::clear(&key);
        }
        let mut value = self.free.to_le_bytes().to_vec();
        value.extend_from_slice(&self.nonce.to_le_bytes());
        host::set(&key, &value);
    }
}

/// Checks the nonce, takes the fee and counts the nonce up. The fee is destroyed.
pub fn charge(who: &[u8; 32], nonce: u32, tip: u64, len: usize) -> Result<(), ValidityError> {
    let mut account = Account::load(who);
    if nonce < account.nonce {
        return Err(error::STALE);
    }
    if nonce > account.nonce {
        return Err(error::FUTURE);
    }
    let fee = BASE_FEE + len as u128 + u128::from(tip);
    account.free = account.free.checked_sub(fee).ok_or(error::PAYMENT)?;
    account.nonce += 1;
    account.store(who);
    Ok(())
}

/// Moves `amount` from one account to another.
pub fn transfer(from: &[u8; 32], to: &[u8; 32], amount: u128) -> Result<(), DispatchError> {
    let mut sender = Account::load(from);
    let rest = sender.free.checked_sub(amount);
    sender.free = rest.ok_or(error::FUNDS_UNAVAILABLE)?;
    if from == to {
        return Ok(());
    }
    // Written before the receiver is checked, so that a failure has something to undo.
    sender.store(from);
    let mut receiver = Account::load(to);
    let sum = receiver.free.checked_add(amount);
    receiver.free = sum.ok_or(error::OVERFLOW)?;
    if receiver.free < MINIMUM_BALANCE {
        return Err(error::BELOW_MINIMUM.to_vec());
    }
    receiver.store(to);
    Ok(())
}

/// `AccountNonceApi_account_nonce`: 32 bytes of account to a u32.
pub fn account_nonce(arguments: &[u8]) -> Vec<u8> {
    let who = arguments.try_into().expect("an account is 32 bytes");
    Account::load(who).nonce.to_le_bytes().to_vec()
}
