//! What can become of one extrinsic. All of it is deterministic; what is not is an
//! [`super::ExecutionError`].
//!
//! The guest answers with SCALE `Result<Result<(), DispatchError>, TransactionValidityError>`. The
//! two outer bytes decide everything; what follows differs between runtime generations and is kept
//! as bytes.

use super::Included;
use crate::instance::{CallOutcome, Trap, TrapKind};

/// What became of one extrinsic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtrinsicOutcome {
    /// Included, and its call succeeded.
    Applied,
    /// Included and paid for, but its call failed. Changes are kept: fee, nonce, events.
    DispatchError {
        /// SCALE of the dispatch error, as this runtime encodes it.
        error: Vec<u8>,
    },
    /// Refused by the runtime; rolled back.
    Invalid(Invalidity),
    /// The guest faulted; rolled back.
    Trapped(Trap),
    /// It needs more fuel than the block has left, though perhaps less than it may use by itself;
    /// rolled back. Only where fuel is in consensus.
    NoFuelLeft,
}

/// Why a runtime refuses an extrinsic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalidity {
    /// The call is not for this runtime, or not for this kind of origin.
    Call,
    /// The sender cannot pay.
    Payment,
    /// The nonce is too high for now.
    Future,
    /// The nonce was used already.
    Stale,
    /// The signature does not verify.
    BadProof,
    /// The mortality window names a block too old to be known.
    AncientBirthBlock,
    /// It does not fit into this block any more; may fit into the next.
    ExhaustsResources,
    /// A reason of the runtime's own.
    Custom(u8),
    /// A mandatory extrinsic failed: the block cannot go on.
    BadMandatory,
    /// A mandatory extrinsic was offered to the pool.
    MandatoryValidation,
    /// The signer may not sign.
    BadSigner,
    /// A reason of another runtime generation: the index in `InvalidTransaction`.
    OtherInvalid(u8),
    /// The runtime cannot tell: the index in `UnknownTransaction`.
    Unknown(u8),
    /// The runtime cannot tell, for a reason of its own.
    UnknownCustom(u8),
}

impl From<Included> for ExtrinsicOutcome {
    fn from(included: Included) -> Self {
        match included {
            Included::Applied => Self::Applied,
            Included::DispatchError(error) => Self::DispatchError { error },
        }
    }
}

impl ExtrinsicOutcome {
    /// Whether the extrinsic is part of the block, and its changes kept.
    pub fn is_included(&self) -> bool {
        matches!(self, Self::Applied | Self::DispatchError { .. })
    }

    /// The name used in reports and fixtures: `applied`, `dispatch_error`, `invalid`, `trap`,
    /// `out_of_fuel`, `stack_exhausted` or `no_fuel_left`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::DispatchError { .. } => "dispatch_error",
            Self::Invalid(_) => "invalid",
            Self::Trapped(trap) => trap.outcome_name(),
            Self::NoFuelLeft => "no_fuel_left",
        }
    }

    /// Reads the outcome off a call of `BlockBuilder_apply_extrinsic`.
    pub(super) fn of_call(outcome: CallOutcome) -> Self {
        let output = match outcome {
            CallOutcome::Returned(output) => output,
            CallOutcome::Trapped(trap) => return Self::Trapped(trap),
        };
        match output.as_slice() {
            [0, 0] => Self::Applied,
            [0, 1, error @ ..] if !error.is_empty() => Self::DispatchError {
                error: error.to_vec(),
            },
            [1, 0, 7, custom] => Self::Invalid(Invalidity::Custom(*custom)),
            [1, 0, index, ..] => Self::Invalid(Invalidity::of_index(*index)),
            [1, 1, 2, custom] => Self::Invalid(Invalidity::UnknownCustom(*custom)),
            [1, 1, index, ..] => Self::Invalid(Invalidity::Unknown(*index)),
            _ => Self::Trapped(Trap::new(
                TrapKind::UndecodableOutput,
                format!(
                    "the answer to an extrinsic does not decode: {} bytes",
                    output.len()
                ),
            )),
        }
    }
}

impl Invalidity {
    /// SCALE of the `TransactionValidityError`.
    pub fn encoded(self) -> Vec<u8> {
        let invalid = |index| vec![0, index];
        match self {
            Self::Call => invalid(0),
            Self::Payment => invalid(1),
            Self::Future => invalid(2),
            Self::Stale => invalid(3),
            Self::BadProof => invalid(4),
            Self::AncientBirthBlock => invalid(5),
            Self::ExhaustsResources => invalid(6),
            Self::Custom(reason) => vec![0, 7, reason],
            Self::BadMandatory => invalid(8),
            Self::MandatoryValidation => invalid(9),
            Self::BadSigner => invalid(10),
            Self::OtherInvalid(index) => invalid(index),
            Self::Unknown(index) => vec![1, index],
            Self::UnknownCustom(reason) => vec![1, 2, reason],
        }
    }

    fn of_index(index: u8) -> Self {
        match index {
            0 => Self::Call,
            1 => Self::Payment,
            2 => Self::Future,
            3 => Self::Stale,
            4 => Self::BadProof,
            5 => Self::AncientBirthBlock,
            6 => Self::ExhaustsResources,
            8 => Self::BadMandatory,
            9 => Self::MandatoryValidation,
            10 => Self::BadSigner,
            other => Self::OtherInvalid(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use sp_runtime::{
        ApplyExtrinsicResult, DispatchError, ModuleError,
        transaction_validity::{InvalidTransaction, TransactionValidityError, UnknownTransaction},
    };

    fn outcome(result: ApplyExtrinsicResult) -> ExtrinsicOutcome {
        ExtrinsicOutcome::of_call(CallOutcome::Returned(result.encode()))
    }

    fn invalid(reason: InvalidTransaction) -> ExtrinsicOutcome {
        outcome(Err(TransactionValidityError::Invalid(reason)))
    }

    #[test]
    fn reads_what_the_polkadot_sdk_encodes() {
        assert_eq!(outcome(Ok(Ok(()))), ExtrinsicOutcome::Applied);
        let error = DispatchError::Module(ModuleError {
            index: 6,
            error: [2, 0, 0, 0],
            message: None,
        });
        let expected = ExtrinsicOutcome::DispatchError {
            error: error.encode(),
        };
        assert_eq!(outcome(Ok(Err(error))), expected);
        for (reason, expected) in [
            (InvalidTransaction::Call, Invalidity::Call),
            (InvalidTransaction::Payment, Invalidity::Payment),
            (InvalidTransaction::Future, Invalidity::Future),
            (InvalidTransaction::Stale, Invalidity::Stale),
            (InvalidTransaction::BadProof, Invalidity::BadProof),
            (
                InvalidTransaction::AncientBirthBlock,
                Invalidity::AncientBirthBlock,
            ),
            (
                InvalidTransaction::ExhaustsResources,
                Invalidity::ExhaustsResources,
            ),
            (InvalidTransaction::Custom(9), Invalidity::Custom(9)),
            (InvalidTransaction::BadMandatory, Invalidity::BadMandatory),
            (
                InvalidTransaction::MandatoryValidation,
                Invalidity::MandatoryValidation,
            ),
            (InvalidTransaction::BadSigner, Invalidity::BadSigner),
            (
                InvalidTransaction::UnknownOrigin,
                Invalidity::OtherInvalid(12),
            ),
        ] {
            assert_eq!(invalid(reason), ExtrinsicOutcome::Invalid(expected));
            let error = TransactionValidityError::Invalid(reason);
            assert_eq!(expected.encoded(), error.encode());
        }
        for (reason, expected) in [
            (UnknownTransaction::CannotLookup, Invalidity::Unknown(0)),
            (
                UnknownTransaction::NoUnsignedValidator,
                Invalidity::Unknown(1),
            ),
            (UnknownTransaction::Custom(5), Invalidity::UnknownCustom(5)),
        ] {
            let error = TransactionValidityError::Unknown(reason);
            assert_eq!(expected.encoded(), error.encode());
            assert_eq!(outcome(Err(error)), ExtrinsicOutcome::Invalid(expected));
        }
    }

    #[test]
    fn anything_else_is_a_fault() {
        for output in [
            vec![],
            vec![0],
            vec![0, 0, 0],
            vec![0, 1],
            vec![0, 2],
            vec![2, 0],
            vec![1, 0],
        ] {
            let outcome = ExtrinsicOutcome::of_call(CallOutcome::Returned(output.clone()));
            assert!(
                matches!(&outcome, ExtrinsicOutcome::Trapped(trap)
                if trap.kind == TrapKind::UndecodableOutput),
                "{output:?}: {outcome:?}"
            );
        }
    }
}
