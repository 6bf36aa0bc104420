//! What a block builder is offered, and what must come of it.
//!
//! Invariant: every outcome has one name in files, and no two have the same.

/// An extrinsic offered to a block builder, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// SCALE-encoded extrinsic with its length prefix.
    pub extrinsic: Vec<u8>,
    /// What must come of it.
    pub outcome: OfferedOutcome,
    /// SCALE-encoded `DispatchError` or `TransactionValidityError`, without the bytes in front of
    /// it; `None` for the other outcomes.
    pub error: Option<Vec<u8>>,
}

/// What comes of an offered extrinsic. Only the first two are included in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OfferedOutcome {
    /// Executed with success.
    Applied,
    /// Executed with a dispatch error; fee and nonce are kept.
    DispatchError,
    /// Refused with a validity error.
    Invalid,
    /// The runtime trapped.
    Trap,
    /// The fuel ran out. No fuel is metered by the reference client, so only a fixture with a
    /// stated limit can expect this.
    OutOfFuel,
    /// The native stack was exhausted.
    NativeStack,
    /// The runtime takes only inherents in this block.
    OnlyInherents,
}

impl OfferedOutcome {
    /// All outcomes.
    pub(crate) const ALL: [Self; 7] = [
        Self::Applied,
        Self::DispatchError,
        Self::Invalid,
        Self::Trap,
        Self::OutOfFuel,
        Self::NativeStack,
        Self::OnlyInherents,
    ];

    /// The name used in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::DispatchError => "dispatch_error",
            Self::Invalid => "invalid",
            Self::Trap => "trap",
            Self::OutOfFuel => "out_of_fuel",
            Self::NativeStack => "native_stack",
            Self::OnlyInherents => "only_inherents",
        }
    }

    /// The outcome of that name in files.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether a builder keeps the extrinsic in the block.
    #[must_use]
    pub fn is_included(self) -> bool {
        matches!(self, Self::Applied | Self::DispatchError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_name() {
        for outcome in OfferedOutcome::ALL {
            assert_eq!(OfferedOutcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(OfferedOutcome::from_name("Applied"), None);
    }
}
