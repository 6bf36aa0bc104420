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

use super::ExtrinsicOutcome;

/// The version of the encoding; the first byte of stored receipts.
pub const RECEIPTS_VERSION: u8 = 1;

/// Receipts of one block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlockReceipts {
    /// [`RECEIPTS_VERSION`].
    pub version: u8,
    /// One per extrinsic of the body, in order; `None` when the block was executed whole, which
    /// does not tell extrinsics apart.
    pub extrinsics: Option<Vec<ExtrinsicReceipt>>,
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
            ExtrinsicOutcome::Invalid(_) | ExtrinsicOutcome::Trapped(_) => None,
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
    pub(super) fn of_outcomes(outcomes: &[ExtrinsicOutcome]) -> Self {
        let included = outcomes.iter().filter_map(Included::of_outcome);
        let receipts = (0..).zip(included);
        Self::split(
            receipts
                .map(|(index, result)| ExtrinsicReceipt { index, result })
                .collect(),
        )
    }

    /// Receipts of a block executed extrinsic by extrinsic.
    pub(super) fn split(extrinsics: Vec<ExtrinsicReceipt>) -> Self {
        Self {
            version: RECEIPTS_VERSION,
            extrinsics: Some(extrinsics),
        }
    }

    /// Receipts of a block executed whole.
    pub(super) fn whole() -> Self {
        Self {
            version: RECEIPTS_VERSION,
            extrinsics: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_fixed() {
        let receipts = BlockReceipts::split(vec![
            ExtrinsicReceipt {
                index: 0,
                result: Included::Applied,
            },
            ExtrinsicReceipt {
                index: 1,
                result: Included::DispatchError(vec![3, 6, 2, 0, 0, 0]),
            },
        ]);
        let bytes = [1, 1, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 24, 3, 6, 2, 0, 0, 0];
        assert_eq!(receipts.encode(), bytes);
        assert_eq!(BlockReceipts::decode(&mut bytes.as_slice()), Ok(receipts));
        assert_eq!(BlockReceipts::whole().encode(), [1, 0]);
    }
}
