//! Where things lie in storage; README.md has the table.
//!
//! Invariant: no key of one kind is a prefix of a key of another kind.

use alloc::vec::Vec;

/// The runtime.
pub const CODE: &[u8] = b":code";
/// Index of the present extrinsic, u32; only inside a block.
pub const EXTRINSIC_INDEX: &[u8] = b":extrinsic_index";
/// SCALE vector of the last block's events.
pub const EVENTS: &[u8] = b"events";
/// The account that may set the code, 32 bytes.
pub const SUDO: &[u8] = b"sudo";
/// The present block's number, u32.
pub const NUMBER: &[u8] = b"sys:number";
/// The parent's hash, 32 bytes.
pub const PARENT: &[u8] = b"sys:parent";
/// The present block's digest, SCALE vector of digest items.
pub const DIGEST: &[u8] = b"sys:digest";
/// Spec version that last initialised a block, u32.
pub const SPEC_VERSION: &[u8] = b"sys:spec_version";
/// The last timestamp, u64.
pub const NOW: &[u8] = b"sys:now";
/// Set while the present block has its timestamp.
pub const NOW_DONE: &[u8] = b"sys:timestamp_done";
/// Prefix of what `put` and its like write.
pub const MAP: &[u8] = b"kv:";

fn join(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

/// Hash of an earlier block.
pub fn block_hash(number: u32) -> Vec<u8> {
    join(b"sys:hash:", &number.to_le_bytes())
}

/// An extrinsic of the present block; only inside a block.
pub fn extrinsic(index: u32) -> Vec<u8> {
    join(b"sys:xt:", &index.to_le_bytes())
}

/// An account: free balance u128, nonce u32.
pub fn account(who: &[u8; 32]) -> Vec<u8> {
    join(b"bal:", who)
}

/// An entry of the map that calls write.
pub fn map(key: &[u8]) -> Vec<u8> {
    join(MAP, key)
}

/// The last result of a kind of call by an account.
pub fn result(kind: &[u8], who: &[u8; 32]) -> Vec<u8> {
    join(kind, who)
}

/// An entry written by `nested`.
pub fn nested(who: &[u8; 32], level: u8, index: u32) -> Vec<u8> {
    [b"nest:".as_slice(), who, &[level], &index.to_le_bytes()].concat()
}
