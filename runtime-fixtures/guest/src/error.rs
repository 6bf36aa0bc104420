//! The errors of the ABI, kept as the bytes they are encoded to.
//!
//! Invariant: an encoding here is one that sp-runtime's `DispatchError` or
//! `TransactionValidityError` decodes.

use alloc::vec::Vec;

/// An encoded `DispatchError`.
pub type DispatchError = Vec<u8>;

/// Why an extrinsic is refused: an encoded `TransactionValidityError`.
pub type ValidityError = &'static [u8];

/// The call cannot be decoded.
pub const CALL: ValidityError = &[0, 0];
/// The fee cannot be paid.
pub const PAYMENT: ValidityError = &[0, 1];
/// The nonce is above the account's.
pub const FUTURE: ValidityError = &[0, 2];
/// The nonce is below the account's.
pub const STALE: ValidityError = &[0, 3];
/// The signature is wrong.
pub const BAD_PROOF: ValidityError = &[0, 4];
/// The block has no room left.
pub const EXHAUSTS_RESOURCES: ValidityError = &[0, 6];
/// The block has its timestamp already.
pub const SECOND_TIMESTAMP: ValidityError = &[0, 7, 1];
/// The call needs a sender.
pub const NO_UNSIGNED_VALIDATOR: ValidityError = &[1, 1];

/// The sender may not do this.
pub const BAD_ORIGIN: &[u8] = &[2];
/// The balance is too small.
pub const FUNDS_UNAVAILABLE: &[u8] = &[7, 0];
/// The receiver's balance would stay below the minimum.
pub const BELOW_MINIMUM: &[u8] = &[7, 2];
/// The receiver's balance would overflow.
pub const OVERFLOW: &[u8] = &[8, 1];

/// Module that sets the code.
const UPGRADE_MODULE: u8 = 1;
/// Module of errors on demand.
const FAIL_MODULE: u8 = 5;

/// `Module` error of the module that sets the code.
pub fn upgrade(kind: u8) -> DispatchError {
    [3, UPGRADE_MODULE, kind, 0, 0, 0].to_vec()
}

/// The error on demand of a kind, if there is one: each variant of `DispatchError` once.
pub fn on_demand(kind: u8) -> Option<DispatchError> {
    let detail: &[u8] = match kind {
        3 => &[FAIL_MODULE, 1, 2, 3, 4],
        7 => &[5],
        8 => &[2],
        9 | 14 => &[0],
        0..15 => &[],
        _ => return None,
    };
    Some([&[kind], detail].concat())
}
