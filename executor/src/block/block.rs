//! A block as bytes and as parts. The body is opaque: an extrinsic is its SCALE bytes with length
//! prefix, which is also the form `BlockBuilder_apply_extrinsic` takes.

use codec::{Compact, Decode, DecodeAll, Encode};
use sp_core::{Blake2Hasher, H256};
use sp_runtime::{
    DigestItem, generic,
    traits::{BlakeTwo256, Header as _},
};
use thiserror::Error;

use super::BlockReceipts;
use crate::state::BlockRecord;

/// A block header. Numbers are compact in SCALE, so 32- and 64-bit chains read alike.
pub type Header = generic::Header<u64, BlakeTwo256>;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The header as the chain has it, seals included.
    pub header: Header,
    /// The body; each extrinsic with its length prefix.
    pub extrinsics: Vec<Vec<u8>>,
}

/// Bytes that are not a block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockDecodeError {
    /// The header does not decode, or has bytes left over.
    #[error("the header does not decode: {reason}")]
    Header {
        /// Why.
        reason: String,
    },
    /// An extrinsic's length prefix does not match its length.
    #[error(
        "extrinsic {index} is truncated or overlong: its prefix says {stated} bytes, it has {found}"
    )]
    Extrinsic {
        /// Index in the body.
        index: usize,
        /// Length by the prefix.
        stated: usize,
        /// Bytes after the prefix.
        found: usize,
    },
    /// The list of extrinsics does not begin with their number.
    #[error("no number of extrinsics behind the header")]
    Count,
    /// An extrinsic does not begin with a length prefix.
    #[error("extrinsic {index} does not begin with a length")]
    ExtrinsicPrefix {
        /// Index in the body.
        index: usize,
    },
}

impl Block {
    /// Reads a block from its SCALE header and the SCALE of each extrinsic.
    ///
    /// # Errors
    /// [`BlockDecodeError`] naming the part that is broken.
    pub fn decode(header: &[u8], extrinsics: Vec<Vec<u8>>) -> Result<Self, BlockDecodeError> {
        let header =
            Header::decode_all(&mut &*header).map_err(|error| BlockDecodeError::Header {
                reason: error.to_string(),
            })?;
        for (index, extrinsic) in extrinsics.iter().enumerate() {
            check_prefix(index, extrinsic)?;
        }
        Ok(Self { header, extrinsics })
    }

    /// Reads a SCALE block, header and list of extrinsics, from the front of `bytes`, and returns
    /// what is left: behind the block of a `SignedBlock` stand its justifications.
    ///
    /// # Errors
    /// [`BlockDecodeError`] naming the part that is broken.
    pub fn decode_front(bytes: &[u8]) -> Result<(Self, &[u8]), BlockDecodeError> {
        let mut rest = bytes;
        let header = Header::decode(&mut rest).map_err(|error| BlockDecodeError::Header {
            reason: error.to_string(),
        })?;
        let Ok(Compact(count)) = Compact::<u32>::decode(&mut rest) else {
            return Err(BlockDecodeError::Count);
        };
        let mut extrinsics = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(usize::MAX) {
            let mut inside = rest;
            let Ok(Compact(stated)) = Compact::<u32>::decode(&mut inside) else {
                return Err(BlockDecodeError::ExtrinsicPrefix { index });
            };
            let stated = usize::try_from(stated).unwrap_or(usize::MAX);
            if stated > inside.len() {
                let found = inside.len();
                return Err(BlockDecodeError::Extrinsic {
                    index,
                    stated,
                    found,
                });
            }
            let (extrinsic, behind) = rest.split_at(rest.len() - inside.len() + stated);
            extrinsics.push(extrinsic.to_vec());
            rest = behind;
        }
        Ok((Self { header, extrinsics }, rest))
    }

    /// Hash of the header, seals included: the block's name on the chain.
    pub fn hash(&self) -> H256 {
        self.header.hash()
    }

    /// What the database stores of it.
    pub fn record(&self, receipts: &BlockReceipts) -> BlockRecord {
        BlockRecord {
            number: self.header.number,
            hash: self.hash(),
            header: self.header.encode(),
            extrinsics: self.extrinsics.clone(),
            receipts: receipts.encode(),
        }
    }

    /// The header as it was when the block was executed: seals are added afterwards.
    pub fn header_unsealed(&self) -> Header {
        let mut header = self.header.clone();
        header
            .digest
            .logs
            .retain(|item| !matches!(item, DigestItem::Seal(..)));
        header
    }

    /// The header a block under construction starts from: number, parent and pre-runtime digest
    /// items; everything else is for the runtime to fill in.
    pub(crate) fn header_initial(&self) -> Header {
        let logs = self.header.digest.logs.iter();
        let pre_runtime = logs.filter(|item| matches!(item, DigestItem::PreRuntime(..)));
        Header {
            parent_hash: self.header.parent_hash,
            number: self.header.number,
            state_root: H256::zero(),
            extrinsics_root: H256::zero(),
            digest: generic::Digest {
                logs: pre_runtime.cloned().collect(),
            },
        }
    }

    /// SCALE of the block.
    pub fn encoded(&self) -> Vec<u8> {
        self.encode_behind(&self.header)
    }

    /// SCALE of the unsealed block, as `Core_execute_block` takes it.
    pub(super) fn encode_unsealed(&self) -> Vec<u8> {
        self.encode_behind(&self.header_unsealed())
    }

    fn encode_behind(&self, header: &Header) -> Vec<u8> {
        let mut bytes = header.encode();
        // A body of more than 2^32 extrinsics does not fit in memory.
        let count = u32::try_from(self.extrinsics.len()).unwrap_or(u32::MAX);
        Compact(count).encode_to(&mut bytes);
        bytes.extend(self.extrinsics.iter().flatten());
        bytes
    }
}

fn check_prefix(index: usize, extrinsic: &[u8]) -> Result<(), BlockDecodeError> {
    let mut rest = extrinsic;
    let Ok(Compact(stated)) = Compact::<u32>::decode(&mut rest) else {
        return Err(BlockDecodeError::ExtrinsicPrefix { index });
    };
    let stated = usize::try_from(stated).unwrap_or(usize::MAX);
    if stated == rest.len() {
        Ok(())
    } else {
        Err(BlockDecodeError::Extrinsic {
            index,
            stated,
            found: rest.len(),
        })
    }
}

/// Hash of the genesis block whose state has root `state_root`: number 0, no parent, no body.
pub fn genesis_hash(state_root: H256) -> H256 {
    let extrinsics_root = sp_trie::empty_trie_root::<sp_trie::LayoutV0<Blake2Hasher>>();
    Header::new(
        0,
        extrinsics_root,
        state_root,
        H256::zero(),
        generic::Digest::default(),
    )
    .hash()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let logs = vec![
            DigestItem::PreRuntime(*b"test", vec![1]),
            DigestItem::Consensus(*b"test", vec![2]),
            DigestItem::Seal(*b"test", vec![3]),
        ];
        Header::new(
            5,
            H256::repeat_byte(1),
            H256::repeat_byte(2),
            H256::repeat_byte(3),
            generic::Digest { logs },
        )
    }

    #[test]
    fn seals_and_later_items_are_removed() {
        let block = Block {
            header: header(),
            extrinsics: vec![],
        };
        assert_eq!(block.header_unsealed().digest.logs.len(), 2);
        let initial = block.header_initial();
        assert_eq!(
            initial.digest.logs,
            vec![DigestItem::PreRuntime(*b"test", vec![1])]
        );
        assert_eq!(
            (initial.number, initial.parent_hash),
            (5, H256::repeat_byte(3))
        );
        assert_eq!(initial.state_root, H256::zero());
    }

    #[test]
    fn broken_blocks_are_named() {
        let bytes = header().encode();
        let error = Block::decode(&bytes[..bytes.len() - 1], vec![]).unwrap_err();
        assert!(matches!(error, BlockDecodeError::Header { .. }), "{error}");
        let overlong = [bytes.as_slice(), &[0]].concat();
        assert!(Block::decode(&overlong, vec![]).is_err());
        let error = Block::decode(&bytes, vec![vec![4, 0], vec![8, 0]]).unwrap_err();
        assert_eq!(
            error,
            BlockDecodeError::Extrinsic {
                index: 1,
                stated: 2,
                found: 1
            }
        );
        let error = Block::decode(&bytes, vec![vec![]]).unwrap_err();
        assert_eq!(error, BlockDecodeError::ExtrinsicPrefix { index: 0 });
        assert!(Block::decode(&bytes, vec![vec![4, 0]]).is_ok());
    }
}
