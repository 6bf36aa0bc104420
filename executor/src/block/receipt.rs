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

use super::{BlockFuelReceipt, ExtrinsicOutcome};

/// The version of the encoding without fuel; the first byte of stored receipts.
pub const RECEIPTS_VERSION: u8 = 1;
/// The version of the encoding with fuel behind the rest.
pub const RECEIPTS_VERSION_FUEL: u8 = 2;

/// Receipts of one block.
///
/// SCALE: a byte for the version, the extrinsics, and in version 2 the fuel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockReceipts {
    /// One per extrinsic of the body, in order; `None` when the block was executed whole, which
    /// does not tell extrinsics apart.
    pub extrinsics: Option<Vec<ExtrinsicReceipt>>,
    /// What was used; `None` where fuel is not in consensus.
    pub fuel: Option<BlockFuelReceipt>,
}

impl Encode for BlockReceipts {
    fn encode_to<T: codec::Output + ?Sized>(&self, output: &mut T) {
        match &self.fuel {
            None => (RECEIPTS_VERSION, &self.extrinsics).encode_to(output),
            Some(fuel) => (RECEIPTS_VERSION_FUEL, &self.extrinsics, fuel).encode_to(output),
        }
    }
}

impl Decode for BlockReceipts {
    fn decode<I: codec::Input>(input: &mut I) -> Result<Self, codec::Error> {
        let version = u8::decode(input)?;
        let extrinsics = Decode::decode(input)?;
        let fuel = match version {
            RECEIPTS_VERSION => None,
            RECEIPTS_VERSION_FUEL => Some(BlockFuelReceipt::decode(input)?),
            _ => return Err("receipts of a version that is not known".into()),
        };
        Ok(Self { extrinsics, fuel })
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
    ) -> Self {
        let included = outcomes.iter().filter_map(Included::of_outcome);
        let receipts = (0..).zip(included);
        Self::split(
            receipts
                .map(|(index, result)| ExtrinsicReceipt { index, result })
                .collect(),
            fuel,
        )
    }

    /// Receipts of a block executed extrinsic by extrinsic.
    pub(super) fn split(extrinsics: Vec<ExtrinsicReceipt>, fuel: Option<BlockFuelReceipt>) -> Self {
        Self {
            extrinsics: Some(extrinsics),
            fuel,
        }
    }

    /// Receipts of a block executed whole.
    pub(super) fn whole(fuel: Option<BlockFuelReceipt>) -> Self {
        Self {
            extrinsics: None,
            fuel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::FuelReceipt;
    use sp_core::H256;

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
        let receipts = BlockReceipts::split(extrinsics.clone(), None);
        let bytes = [1, 1, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 24, 3, 6, 2, 0, 0, 0];
        assert_eq!(receipts.encode(), bytes);
        assert_eq!(BlockReceipts::decode(&mut bytes.as_slice()), Ok(receipts));
        assert_eq!(BlockReceipts::whole(None).encode(), [1, 0]);
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
        let receipts = BlockReceipts::split(extrinsics, Some(fuel));
        let encoded = receipts.encode();
        assert_eq!(encoded[..20], [&[2], &bytes[1..]].concat());
        assert_eq!(encoded[20..52], [9; 32]);
        assert_eq!(encoded[52..56], [4, 0, 0, 0]);
        assert_eq!(encoded.len(), 52 + 4 * 24 + 1);
        assert_eq!(BlockReceipts::decode(&mut encoded.as_slice()), Ok(receipts));
        assert!(BlockReceipts::decode(&mut [3, 0].as_slice()).is_err());
    }
}
