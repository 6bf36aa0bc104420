//! What is recorded of a block's extrinsics: consensus data.
//!
//! Invariant: a receipt holds nothing that a second machine could compute differently, and only
//! included extrinsics have one.

#![expect(
    trivial_numeric_casts,
    clippy::cast_possible_truncation,
    reason = "the derived encoder casts the index of each variant"
)]

use codec::{Decode, Encode};
use sp_core::H256;

use super::{BlockFuelReceipt, ExtrinsicOutcome};
use crate::state::BlockChanges;

/// The version of the encoding; the first byte of stored receipts.
pub const RECEIPTS_VERSION: u8 = 3;
/// An earlier one, without fuel and the digest of writes.
pub const RECEIPTS_VERSION_PLAIN: u8 = 1;
/// An earlier one, with fuel, and without the digest of writes.
pub const RECEIPTS_VERSION_FUEL: u8 = 2;

/// Receipts of one block.
///
/// SCALE: a byte for the version, the extrinsics, in version 3 an option of the fuel and the digest of writes, in
/// version 2 the fuel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockReceipts {
    /// One per extrinsic of the body, in order; `None` when the block was executed whole, which
    /// does not tell extrinsics apart.
    pub extrinsics: Option<Vec<ExtrinsicReceipt>>,
    /// What was used; `None` where fuel is not in consensus.
    pub fuel: Option<BlockFuelReceipt>,
    /// Digest of what the block wrote, see [`BlockChanges::digest`]; `None` in receipts of earlier versions.
    pub writes: Option<H256>,
}

impl Encode for BlockReceipts {
    fn encode_to<T: codec::Output + ?Sized>(&self, output: &mut T) {
        let Self {
            extrinsics,
            fuel,
            writes,
        } = self;
        match (writes, fuel) {
            (Some(writes), fuel) => (RECEIPTS_VERSION, extrinsics, fuel, writes).encode_to(output),
            (None, Some(fuel)) => (RECEIPTS_VERSION_FUEL, extrinsics, fuel).encode_to(output),
            (None, None) => (RECEIPTS_VERSION_PLAIN, extrinsics).encode_to(output),
        }
    }
}

impl Decode for BlockReceipts {
    fn decode<I: codec::Input>(input: &mut I) -> Result<Self, codec::Error> {
        let version = u8::decode(input)?;
        let extrinsics = Decode::decode(input)?;
        let (fuel, writes) = match version {
            RECEIPTS_VERSION => (Decode::decode(input)?, Some(H256::decode(input)?)),
            RECEIPTS_VERSION_FUEL => (Some(BlockFuelReceipt::decode(input)?), None),
            RECEIPTS_VERSION_PLAIN => (None, None),
            _ => return Err("receipts of a version that is not known".into()),
        };
        Ok(Self {
            extrinsics,
            fuel,
            writes,
        })
    }
}

/// The receipt of one included extrinsic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExtrinsicReceipt {
    /// Position in the body.
    pub index: u32,
    /// How its call ended.
    pub result: Included,
}

/// How the call of an included extrinsic ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Included {
    /// It succeeded.
    Applied,
    /// It failed with this SCALE dispatch error.
    DispatchError(Vec<u8>),
}

impl Included {
    /// The receipt's part of an outcome; `None` for an extrinsic that is not included.
    pub(super) fn of_outcome(outcome: &ExtrinsicOutcome) -> Option<Self> {
        match outcome {
            ExtrinsicOutcome::Applied => Some(Self::Applied),
            ExtrinsicOutcome::DispatchError { error } => Some(Self::DispatchError(error.clone())),
            ExtrinsicOutcome::Invalid(_)
            | ExtrinsicOutcome::Trapped(_)
            | ExtrinsicOutcome::NoFuelLeft => None,
        }
    }

    /// The name used in reports: `applied` or `dispatch_error`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::DispatchError(_) => "dispatch_error",
        }
    }
}

impl BlockReceipts {
    /// Receipts of the extrinsics among `outcomes` that are included, in order.
    pub(super) fn of_outcomes(
        outcomes: &[ExtrinsicOutcome],
        fuel: Option<BlockFuelReceipt>,
        changes: &BlockChanges,
    ) -> Self {
        let included = outcomes.iter().filter_map(Included::of_outcome);
        let receipts = (0..).zip(included);
        Self::split(
            receipts
                .map(|(index, result)| ExtrinsicReceipt { index, result })
                .collect(),
            fuel,
            changes,
        )
    }

    /// Receipts of a block executed extrinsic by extrinsic.
    pub(super) fn split(
        extrinsics: Vec<ExtrinsicReceipt>,
        fuel: Option<BlockFuelReceipt>,
        changes: &BlockChanges,
    ) -> Self {
        Self {
            extrinsics: Some(extrinsics),
            fuel,
            writes: Some(changes.digest()),
        }
    }

    /// Receipts of a block executed whole.
    pub(super) fn whole(changes: &BlockChanges) -> Self {
        Self {
            extrinsics: None,
            fuel: None,
            writes: Some(changes.digest()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::FuelReceipt;

    #[test]
    fn bytes_are_fixed() {
        let extrinsics = vec![
            ExtrinsicReceipt {
                index: 0,
                result: Included::Applied,
            },
            ExtrinsicReceipt {
                index: 1,
                result: Included::DispatchError(vec![3, 6, 2, 0, 0, 0]),
            },
        ];
        let mut receipts = BlockReceipts {
            extrinsics: Some(extrinsics),
            fuel: None,
            writes: None,
        };
        let bytes = [1, 1, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 24, 3, 6, 2, 0, 0, 0];
        assert_eq!(receipts.encode(), bytes);
        decodes(&receipts);
        receipts.writes = Some(H256::repeat_byte(8));
        let encoded = receipts.encode();
        assert_eq!(encoded[..21], [&[3], &bytes[1..], &[0]].concat());
        assert_eq!(encoded[21..], [8; 32]);
        decodes(&receipts);
        let used = |wasm| FuelReceipt {
            wasm,
            size: 2,
            host: 3,
        };
        let fuel = BlockFuelReceipt {
            rules: H256::repeat_byte(9),
            initialize: used(4),
            extrinsics: vec![used(5), used(6)],
            finalize: used(7),
        };
        receipts.fuel = Some(fuel);
        let encoded = receipts.encode();
        assert_eq!(encoded[..21], [&[3], &bytes[1..], &[1]].concat());
        assert_eq!(encoded.len(), 20 + 1 + 32 + 4 * 24 + 1 + 32);
        decodes(&receipts);
        receipts.writes = None;
        let encoded = receipts.encode();
        assert_eq!(encoded[..20], [&[2], &bytes[1..]].concat());
        assert_eq!(encoded[20..52], [9; 32]);
        assert_eq!(encoded[52..56], [4, 0, 0, 0]);
        assert_eq!(encoded.len(), 52 + 4 * 24 + 1);
        decodes(&receipts);
        assert!(BlockReceipts::decode(&mut [4, 0].as_slice()).is_err());
    }

    fn decodes(receipts: &BlockReceipts) {
        let decoded = BlockReceipts::decode(&mut receipts.encode().as_slice());
        assert_eq!(decoded.as_ref(), Ok(receipts));
    }
}
