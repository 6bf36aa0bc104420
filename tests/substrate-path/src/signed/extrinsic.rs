//! Extrinsics of format 4: signed by an sr25519 key, or bare.
//!
//! Invariant: a signed extrinsic is what a wallet would send, unless it was asked to be wrong in one
//! certain way.

use codec::{Compact, Encode};

use super::runtime::SignedChain;
use crate::keys::Key;

/// The forms of an address that runtimes decode. Only an account can be looked up on these chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    Account([u8; 32]),
    Ethereum([u8; 20]),
}

impl Encode for Address {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Account(account) => (0_u8, account).encode(),
            Self::Ethereum(account) => (4_u8, account).encode(),
        }
    }
}

/// How long an extrinsic is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// For ever; the genesis hash is signed.
    Immortal,
    /// From the block with this number and hash for 64 blocks.
    Mortal { birth: u32, hash: [u8; 32] },
    /// From a block on that is years ahead, and so cannot be known.
    Unborn,
}

/// Number of blocks a mortal extrinsic lives.
const PERIOD: u32 = 64;

impl Era {
    fn encoded(self) -> Vec<u8> {
        match self {
            Self::Immortal => vec![0],
            Self::Mortal { birth, .. } => {
                let era = sp_runtime::generic::Era::mortal(u64::from(PERIOD), u64::from(birth));
                era.encode()
            }
            Self::Unborn => sp_runtime::generic::Era::Mortal(65_536, 65_520).encode(),
        }
    }
}

/// Everything that is signed beside the call.
pub(super) struct Signing<'a> {
    pub(super) chain: SignedChain,
    pub(super) key: &'a Key,
    pub(super) nonce: u32,
    pub(super) tip: u128,
    pub(super) era: Era,
    pub(super) spec_version: u32,
    pub(super) genesis: [u8; 32],
    /// 1 asks for the hash of the metadata to be checked, which these runtimes do not know.
    pub(super) metadata_mode: u8,
    /// In place of the key's account.
    pub(super) address: Option<Address>,
}

impl Signing<'_> {
    /// The signed extrinsic with its length prefix.
    pub(super) fn extrinsic(&self, call: &[u8]) -> Vec<u8> {
        let era = self.era.encoded();
        let extra = self
            .chain
            .extra(&era, self.nonce, self.tip, self.metadata_mode);
        let birth = match self.era {
            Era::Immortal | Era::Unborn => self.genesis,
            Era::Mortal { hash, .. } => hash,
        };
        let implicit = self.chain.implicit(self.spec_version, self.genesis, birth);
        let mut payload = [call, &extra, &implicit].concat();
        // Long payloads are signed by their hash.
        if payload.len() > 256 {
            payload = sp_crypto_hashing::blake2_256(&payload).to_vec();
        }
        const SIGNED: u8 = 0x84;
        const SR25519: u8 = 1;
        let address = self.address.unwrap_or(Address::Account(self.key.account()));
        let signature = (SR25519, self.key.sign(&payload));
        with_length(&[&(SIGNED, address, signature).encode(), &extra, call].concat())
    }
}

/// An extrinsic without a signature, with its length prefix.
pub(super) fn bare(call: &[u8]) -> Vec<u8> {
    with_length(&[&[4], call].concat())
}

/// Bytes behind their length.
pub(super) fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [Compact(length).encode(), bytes.to_vec()].concat()
}
