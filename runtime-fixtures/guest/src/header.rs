//! Block headers and their digests.
//!
//! Invariant: `Header::decode(&header.encode())` gives the same header.

use alloc::vec::Vec;

use crate::scale::{self, Reader};

/// A block header.
#[derive(PartialEq, Eq)]
pub struct Header {
    /// Hash of the parent.
    pub parent: [u8; 32],
    /// Block number.
    pub number: u32,
    /// Root of the state after the block.
    pub state_root: [u8; 32],
    /// Root of the trie of the extrinsics.
    pub extrinsics_root: [u8; 32],
    /// Encoded digest items.
    pub digest: Vec<Vec<u8>>,
}

const DIGEST_OTHER: u8 = 0;
const DIGEST_CONSENSUS: u8 = 4;
const DIGEST_SEAL: u8 = 5;
const DIGEST_PRE_RUNTIME: u8 = 6;
/// A digest item, complete: the code was set.
pub const DIGEST_ENVIRONMENT_UPDATED: u8 = 8;

impl Header {
    /// Reads a header off the front.
    pub fn decode(reader: &mut Reader) -> Option<Self> {
        Some(Self {
            parent: reader.array()?,
            number: reader.compact()?,
            state_root: reader.array()?,
            extrinsics_root: reader.array()?,
            digest: decode_digest(reader)?,
        })
    }

    /// SCALE encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.parent.to_vec();
        scale::put_compact(&mut out, self.number);
        out.extend_from_slice(&self.state_root);
        out.extend_from_slice(&self.extrinsics_root);
        out.extend_from_slice(&encode_digest(self.digest.iter()));
        out
    }

    /// The digest items that the block's author put there before the runtime ran.
    pub fn pre_runtime_digest(&self) -> Vec<u8> {
        let pre_runtime = |item: &&Vec<u8>| item.first() == Some(&DIGEST_PRE_RUNTIME);
        encode_digest(self.digest.iter().filter(pre_runtime))
    }
}

/// Reads a vector of digest items and keeps each one encoded.
pub fn decode_digest(reader: &mut Reader) -> Option<Vec<Vec<u8>>> {
    let count = reader.compact()?;
    (0..count).map(|_| decode_item(reader)).collect()
}

fn decode_item(reader: &mut Reader) -> Option<Vec<u8>> {
    let whole = reader.rest();
    match reader.u8()? {
        DIGEST_OTHER => {
            reader.bytes()?;
        }
        DIGEST_CONSENSUS | DIGEST_SEAL | DIGEST_PRE_RUNTIME => {
            reader.take(4)?;
            reader.bytes()?;
        }
        DIGEST_ENVIRONMENT_UPDATED => {}
        _ => return None,
    }
    let length = whole.len() - reader.rest().len();
    Some(whole[..length].to_vec())
}

fn encode_digest<'a>(items: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let items: Vec<&[u8]> = items.map(Vec::as_slice).collect();
    let mut out = Vec::new();
    scale::put_compact(&mut out, items.len() as u32);
    out.extend_from_slice(&items.concat());
    out
}
