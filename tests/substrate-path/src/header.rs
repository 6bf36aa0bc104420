//! Encoded block headers: fields out of them, digest items into them.
//!
//! Invariant: adding an item keeps every byte of the header but the number of items.

use codec::{Compact, Decode, Encode};

/// Engine of the digest items that the author makes.
const ENGINE: [u8; 4] = *b"slkw";
const SEAL: u8 = 5;
const PRE_RUNTIME: u8 = 6;

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
    /// Number of digest items.
    pub items: u32,
    /// The encoded digest items, one behind the other.
    pub digest: Vec<u8>,
}

impl HeaderFields {
    /// Reads an encoded header; the digest items themselves are not looked into.
    ///
    /// # Errors
    /// The bytes end before the digest.
    pub fn decode(mut encoded: &[u8]) -> Result<Self, codec::Error> {
        let input = &mut encoded;
        let parent_hash = Decode::decode(input)?;
        let Compact(number) = Compact::<u32>::decode(input)?;
        let state_root = Decode::decode(input)?;
        let extrinsics_root = Decode::decode(input)?;
        let Compact(items) = Compact::<u32>::decode(input)?;
        let digest = encoded.to_vec();
        Ok(Self {
            parent_hash,
            number,
            state_root,
            extrinsics_root,
            items,
            digest,
        })
    }

    /// The encoded header.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let roots = (self.state_root, self.extrinsics_root);
        let mut out = (self.parent_hash, Compact(self.number), roots).encode();
        Compact(self.items).encode_to(&mut out);
        out.extend_from_slice(&self.digest);
        out
    }

    /// The header with a seal behind its digest.
    #[must_use]
    pub fn sealed(&self, signature: &[u8; 64]) -> Self {
        let mut sealed = self.clone();
        sealed.items += 1;
        sealed.digest.extend(item(SEAL, signature));
        sealed
    }
}

/// The pre-runtime digest item that states a slot.
#[must_use]
pub fn pre_runtime_item(slot: u64) -> Vec<u8> {
    item(PRE_RUNTIME, &slot.to_le_bytes())
}

fn item(kind: u8, content: &[u8]) -> Vec<u8> {
    (kind, ENGINE, content).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_behind_the_other_items() {
        let header = HeaderFields {
            parent_hash: [1; 32],
            number: 70,
            state_root: [2; 32],
            extrinsics_root: [3; 32],
            items: 1,
            digest: pre_runtime_item(9),
        };
        let decoded = HeaderFields::decode(&header.encoded()).unwrap();
        assert_eq!(decoded, header);
        let sealed = header.sealed(&[4; 64]);
        assert_eq!(sealed.items, 2);
        let behind = sealed.digest.strip_prefix(header.digest.as_slice());
        let expected = [&[5][..], b"slkw", &[1, 1], &[4; 64]].concat();
        assert_eq!(behind, Some(expected.as_slice()));
    }

    #[test]
    fn a_truncated_header_is_refused() {
        let encoded = [0; 32 + 1 + 64 + 1];
        assert!(HeaderFields::decode(&encoded).is_ok());
        for end in 0..encoded.len() {
            assert!(HeaderFields::decode(&encoded[..end]).is_err(), "{end}");
        }
    }
}
