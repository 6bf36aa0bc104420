//! Encoded block headers: fields out of them, digest items into them.
//!
//! Invariant: adding an item keeps every byte of the header but the number of items.

use codec::{Compact, Decode, Encode};
use sp_runtime::DigestItem;

const SEAL: u8 = 5;
/// First byte of a pre-runtime item.
pub(crate) const PRE_RUNTIME: u8 = 6;

/// A header, split at its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFields {
    /// Hash of the parent.
    pub parent_hash: [u8; 32],
    /// Block number.
    pub number: u32,
    /// Root of the state after the block.
    pub state_root: [u8; 32],
    /// Root of the trie of the extrinsics.
    pub extrinsics_root: [u8; 32],
    /// The encoded digest items.
    pub items: Vec<Vec<u8>>,
}

impl HeaderFields {
    /// The header that a builder begins with: roots are zero.
    #[must_use]
    pub fn initial(parent_hash: [u8; 32], number: u32, items: &[Vec<u8>]) -> Self {
        Self {
            parent_hash,
            number,
            state_root: [0; 32],
            extrinsics_root: [0; 32],
            items: items.to_vec(),
        }
    }

    /// Reads an encoded header.
    ///
    /// # Errors
    /// The bytes are no header, or something is behind it.
    pub fn decode(mut encoded: &[u8]) -> Result<Self, codec::Error> {
        let input = &mut encoded;
        let parent_hash = Decode::decode(input)?;
        let Compact(number) = Compact::<u32>::decode(input)?;
        let state_root = Decode::decode(input)?;
        let extrinsics_root = Decode::decode(input)?;
        let items = Vec::<DigestItem>::decode(input)?;
        if !input.is_empty() {
            return Err("bytes behind the header".into());
        }
        Ok(Self {
            parent_hash,
            number,
            state_root,
            extrinsics_root,
            items: items.iter().map(Encode::encode).collect(),
        })
    }

    /// The encoded header.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let roots = (self.state_root, self.extrinsics_root);
        let mut out = (self.parent_hash, Compact(self.number), roots).encode();
        // The elements of a list are as opaque as its length allows.
        let count = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        Compact(count).encode_to(&mut out);
        out.extend(self.items.concat());
        out
    }

    /// The header with a seal behind its digest.
    #[must_use]
    pub fn sealed(&self, seal: Vec<u8>) -> Self {
        let mut sealed = self.clone();
        sealed.items.push(seal);
        sealed
    }
}

/// The pre-runtime digest item of an engine that states a slot.
#[must_use]
pub fn pre_runtime_item(engine: [u8; 4], slot: u64) -> Vec<u8> {
    (PRE_RUNTIME, engine, &slot.to_le_bytes()[..]).encode()
}

/// The seal of an engine.
#[must_use]
pub fn seal_item(engine: [u8; 4], signature: &[u8; 64]) -> Vec<u8> {
    (SEAL, engine, &signature[..]).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_behind_the_other_items() {
        let header = HeaderFields {
            state_root: [2; 32],
            extrinsics_root: [3; 32],
            ..HeaderFields::initial([1; 32], 70, &[pre_runtime_item(*b"slkw", 9)])
        };
        let encoded = header.encoded();
        assert_eq!(HeaderFields::decode(&encoded).unwrap(), header);
        let sealed = header.sealed(seal_item(*b"slkw", &[4; 64])).encoded();
        let expected = [&[5][..], b"slkw", &[1, 1], &[4; 64]].concat();
        assert!(sealed.ends_with(&expected));
        let number_of_items = 32 + 2 + 64;
        assert_eq!((encoded[number_of_items], sealed[number_of_items]), (4, 8));
    }

    #[test]
    fn a_truncated_or_overlong_header_is_refused() {
        let encoded = [0; 32 + 1 + 64 + 1];
        assert!(HeaderFields::decode(&encoded).is_ok());
        for end in 0..encoded.len() {
            assert!(HeaderFields::decode(&encoded[..end]).is_err(), "{end}");
        }
        assert!(HeaderFields::decode(&[0; 32 + 1 + 64 + 2]).is_err());
    }

    /// The form the guest's own tests fix.
    #[test]
    fn an_initial_header_has_zero_roots() {
        let items = [pre_runtime_item(*b"aura", 7)];
        let header = HeaderFields::initial([1; 32], 64, &items).encoded();
        let expected = [&[1; 32][..], &[1, 1], &[0; 64], &[4], &items[0]].concat();
        assert_eq!(header, expected);
    }
}
