//! Our guest runtime: its wasm, its calls and its extrinsics.
//!
//! The guest's source is in `guest/`, whose README.md describes every format. Invariant: what is
//! encoded here, the guest decodes; an encoding that it must refuse is built by hand where it is
//! needed.

#![expect(
    clippy::cast_possible_truncation,
    trivial_numeric_casts,
    reason = "derive(Encode) casts the literal index of each variant"
)]

use std::path::PathBuf;

use codec::Encode;
use sp_core::storage::Storage;

use crate::dir::workspace;

/// The guest with spec version 1.
pub const GUEST_WASM: &[u8] = include_bytes!("../wasm/guest.wasm");
/// The guest with spec version 2: it knows [`GuestCall::Note`].
pub const GUEST_UPGRADED_WASM: &[u8] = include_bytes!("../wasm/guest-upgraded.wasm");

/// Key of the account that may set the code.
pub const SUDO_KEY: &[u8] = b"sudo";
/// Key of the events of the last block, a SCALE vector.
pub const EVENTS_KEY: &[u8] = b"events";
/// Fee of an extrinsic without its bytes; each byte of the extrinsic with its length prefix costs
/// one more, and the tip is added.
pub const BASE_FEE: u128 = 100;

/// The file of the authored chain of the guest; its changes lie beside it.
#[must_use]
pub fn fixture_chain_path() -> PathBuf {
    workspace().join("runtime-fixtures/chain/guest-chain.json")
}

/// An account: any 32 bytes; for [`GuestExtrinsic::Signed`] an sr25519 public key.
pub type Account = [u8; 32];

/// What an extrinsic does.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub enum GuestCall {
    /// Sets the block's timestamp; must be unsigned, once in a block.
    #[codec(index = 0)]
    SetTimestamp {
        /// Milliseconds.
        now: u64,
    },
    /// Moves balance.
    #[codec(index = 1)]
    Transfer {
        /// The receiver.
        to: Account,
        /// How much.
        amount: u128,
    },
    /// Writes `kv:` + key.
    #[codec(index = 2)]
    Put {
        /// Key behind the prefix.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Deletes `kv:` + key.
    #[codec(index = 3)]
    Delete {
        /// Key behind the prefix.
        key: Vec<u8>,
    },
    /// Deletes the keys that begin with `kv:` + prefix.
    #[codec(index = 4)]
    ClearPrefix {
        /// Prefix behind the prefix.
        prefix: Vec<u8>,
        /// Most keys of the parent state to delete.
        limit: Option<u32>,
    },
    /// Appends a byte string to the SCALE vector under `kv:` + key.
    #[codec(index = 5)]
    Append {
        /// Key behind the prefix.
        key: Vec<u8>,
        /// The item.
        item: Vec<u8>,
    },
    /// Deposits events.
    #[codec(index = 6)]
    Emit {
        /// How many.
        events: u32,
        /// Payload bytes of each.
        bytes: u32,
    },
    /// Storage transactions inside each other.
    #[codec(index = 7)]
    Nested {
        /// How many.
        depth: u8,
        /// Keys written in each.
        writes: u32,
        /// Level `n` is rolled back if bit `n mod 32` is set, else committed.
        rollback_mask: u32,
    },
    /// Writes into a child trie.
    #[codec(index = 8)]
    ChildPut {
        /// Unprefixed key of the child trie.
        child: Vec<u8>,
        /// Key inside it.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Deletes a key of a child trie.
    #[codec(index = 9)]
    ChildDelete {
        /// Unprefixed key of the child trie.
        child: Vec<u8>,
        /// Key inside it.
        key: Vec<u8>,
    },
    /// Deletes a child trie.
    #[codec(index = 10)]
    ChildKill {
        /// Unprefixed key of the child trie.
        child: Vec<u8>,
        /// Most keys of the parent state to delete.
        limit: Option<u32>,
    },
    /// Deletes keys of a child trie by prefix.
    #[codec(index = 11)]
    ChildClearPrefix {
        /// Unprefixed key of the child trie.
        child: Vec<u8>,
        /// Prefix of the keys.
        prefix: Vec<u8>,
        /// Most keys of the parent state to delete.
        limit: Option<u32>,
    },
    /// Walks over the keys that begin with `kv:` + prefix and stores a digest of them.
    #[codec(index = 12)]
    Scan {
        /// Prefix behind the prefix.
        prefix: Vec<u8>,
        /// Most keys to visit.
        limit: u32,
    },
    /// Walks over the keys of a child trie and stores a digest of them and the trie's root.
    #[codec(index = 13)]
    ChildScan {
        /// Unprefixed key of the child trie.
        child: Vec<u8>,
        /// Most keys to visit.
        limit: u32,
    },
    /// Computes and stores the result.
    #[codec(index = 14)]
    Burn {
        /// Turns of the loop.
        iterations: u64,
    },
    /// Grows the linear memory and stores whether that worked.
    #[codec(index = 15)]
    GrowMemory {
        /// Pages of 64 KiB.
        pages: u32,
    },
    /// Asks for keys and stores how many exist.
    #[codec(index = 16)]
    HostCalls {
        /// How many.
        count: u32,
    },
    /// Writes a key, then fails with a dispatch error.
    #[codec(index = 17)]
    Fail {
        /// Variant of `DispatchError`, 0 to 14.
        kind: u8,
    },
    /// Computes floating-point results that are no numbers and stores that they are none.
    #[codec(index = 18)]
    Nan,
    /// Replaces the runtime; only by the account under [`SUDO_KEY`].
    #[codec(index = 19)]
    SetCode {
        /// The wasm.
        code: Vec<u8>,
    },
    /// Writes into the off-chain index.
    #[codec(index = 20)]
    OffchainIndex {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Is refused with `ExhaustsResources`.
    #[codec(index = 21)]
    Exhaust,
    /// Deposits an event; known only to [`GUEST_UPGRADED_WASM`].
    #[codec(index = 22)]
    Note {
        /// The event's payload.
        note: Vec<u8>,
    },
    /// Panics.
    #[codec(index = 32)]
    Panic {
        /// The panic message, UTF-8.
        message: Vec<u8>,
    },
    /// Executes `unreachable`.
    #[codec(index = 33)]
    Unreachable,
    /// Never ends.
    #[codec(index = 34)]
    EndlessLoop,
    /// Calls itself until the native stack is exhausted.
    #[codec(index = 35)]
    EndlessRecursion,
    /// Allocates once.
    #[codec(index = 36)]
    AllocOnce {
        /// Bytes; the host traps above 32 MiB.
        bytes: u32,
    },
    /// Allocates until the host traps.
    #[codec(index = 37)]
    AllocLoop {
        /// Bytes each time.
        bytes: u32,
    },
    /// Loads from behind the memory.
    #[codec(index = 38)]
    OutOfBounds,
    /// Divides by zero.
    #[codec(index = 39)]
    DivByZero,
    /// Opens a storage transaction and never closes it, successfully.
    #[codec(index = 40)]
    LeaveTransactionOpen,
    /// Closes a storage transaction too many, so that closing the call's own one fails.
    #[codec(index = 41)]
    CloseExtraTransaction,
    /// Frees an address that was never allocated.
    #[codec(index = 42)]
    BadFree,
}

/// What an account states besides its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
pub struct Sender {
    /// The account.
    pub who: Account,
    /// Must be the number of extrinsics that the account paid for so far.
    pub nonce: u32,
    /// Paid on top of the fee.
    pub tip: u64,
}

/// An extrinsic of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestExtrinsic {
    /// From an account, on trust.
    Trusted(Sender, GuestCall),
    /// From nobody; only [`GuestCall::SetTimestamp`] is valid so.
    Unsigned(GuestCall),
    /// From an account, with an sr25519 signature of [`signed_message`].
    Signed(Sender, [u8; 64], GuestCall),
}

/// What is signed: BLAKE2b-256 of the encoded sender and call.
#[must_use]
pub fn signed_message(sender: &Sender, call: &GuestCall) -> [u8; 32] {
    sp_crypto_hashing::blake2_256(&(sender, call).encode())
}

impl GuestExtrinsic {
    /// SCALE encoding with its length prefix: what a block's body holds.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        with_length(&match self {
            Self::Trusted(sender, call) => (0_u8, sender, call).encode(),
            Self::Unsigned(call) => (1_u8, call).encode(),
            Self::Signed(sender, signature, call) => (2_u8, sender, signature, call).encode(),
        })
    }
}

/// A payload behind its compact length: any bytes as an extrinsic, also ones the guest refuses.
#[must_use]
pub fn with_length(payload: &[u8]) -> Vec<u8> {
    payload.encode()
}

/// The fee of an extrinsic, given as [`GuestExtrinsic::encoded`], without a tip.
#[must_use]
pub fn fee(encoded: &[u8]) -> u128 {
    BASE_FEE + encoded.len() as u128
}

/// Key of an account; its value is the free balance (u128) and the nonce (u32), little-endian.
#[must_use]
pub fn account_key(who: &Account) -> Vec<u8> {
    [b"bal:".as_slice(), who].concat()
}

/// Key that [`GuestCall::Put`] and its like write.
#[must_use]
pub fn map_key(key: &[u8]) -> Vec<u8> {
    [b"kv:".as_slice(), key].concat()
}

/// A genesis state: the guest, funded accounts, and who may set the code.
#[must_use]
pub fn genesis(accounts: &[(Account, u128)], sudo: &Account) -> Storage {
    let mut storage = Storage::default();
    let top = &mut storage.top;
    top.insert(b":code".to_vec(), GUEST_WASM.to_vec());
    top.insert(SUDO_KEY.to_vec(), sudo.to_vec());
    for (who, free) in accounts {
        top.insert(account_key(who), (*free, 0_u32).encode());
    }
    storage
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender {
        who: [0xaa; 32],
        nonce: 0x0102,
        tip: 3,
    };

    /// Name, content of a custom section of a wasm blob.
    fn custom_sections(wasm: &[u8]) -> Vec<(String, Vec<u8>)> {
        let leb = |at: &mut usize| {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = wasm[*at];
                *at += 1;
                value |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        let (mut at, mut found) = (8, Vec::new());
        while at < wasm.len() {
            let id = wasm[at];
            at += 1;
            let len = leb(&mut at);
            let end = at + len;
            if id == 0 {
                let name_len = leb(&mut at);
                let name = String::from_utf8(wasm[at..at + name_len].to_vec()).unwrap();
                found.push((name, wasm[at + name_len..end].to_vec()));
            }
            at = end;
        }
        found
    }

    #[test]
    fn extrinsics_are_the_bytes_of_the_readme() {
        let call = GuestCall::Put {
            key: vec![1, 2],
            value: vec![9],
        };
        let call_bytes = [2, 8, 1, 2, 4, 9];
        let sender_bytes = [&[0xaa; 32][..], &[2, 1, 0, 0], &[3, 0, 0, 0, 0, 0, 0, 0]].concat();
        let trusted = GuestExtrinsic::Trusted(SENDER, call.clone()).encoded();
        let expected = [&[51 << 2, 0], sender_bytes.as_slice(), &call_bytes].concat();
        assert_eq!(trusted, expected);
        let signed = GuestExtrinsic::Signed(SENDER, [7; 64], call.clone()).encoded();
        let prefix = (115_u16 << 2 | 1).to_le_bytes();
        let expected = [&prefix[..], &[2], &sender_bytes, &[7; 64], &call_bytes].concat();
        assert_eq!(signed, expected);
        let unsigned = GuestExtrinsic::Unsigned(GuestCall::SetTimestamp { now: 5 }).encoded();
        assert_eq!(unsigned, [40, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let message = sp_crypto_hashing::blake2_256(&[&sender_bytes[..], &call_bytes].concat());
        assert_eq!(signed_message(&SENDER, &call), message);
        assert_eq!(fee(&unsigned), 111);
    }

    #[test]
    fn both_guests_state_their_version() {
        for (wasm, spec_version) in [(GUEST_WASM, 1), (GUEST_UPGRADED_WASM, 2)] {
            let sections = custom_sections(wasm);
            let section = |wanted: &str| {
                let found = sections.iter().find(|(name, _)| name == wanted);
                found.map(|(_, content)| content.as_slice()).unwrap()
            };
            let version = section("runtime_version");
            assert_eq!(version[..17], *b"\x40slackwater-guest");
            assert_eq!(version[38..42], [spec_version, 0, 0, 0]);
            assert_eq!(section("runtime_apis").len(), 36);
            assert!(wasm.len() < 64 * 1024);
        }
    }

    #[test]
    fn a_genesis_funds_its_accounts() {
        let genesis = genesis(&[([1; 32], 500)], &[1; 32]);
        assert_eq!(genesis.top[SUDO_KEY], [1; 32]);
        let account = &genesis.top[&account_key(&[1; 32])];
        assert_eq!((account.len(), account[0], account[1]), (20, 0xf4, 1));
        assert_eq!(genesis.top[b":code".as_slice()], GUEST_WASM);
    }
}
