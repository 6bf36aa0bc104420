//! What is measured, in groups.

use super::{corpus, host, kernels, measure::Bench, operators, patterns, sizes};
use crate::{args::CalibrateArgs, error::CliError};

/// Things that are measured for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Ordinary code: what the others are compared with.
    Corpus,
    /// Each operator by itself.
    Operators,
    /// Control flow, calls, and memory far away.
    Patterns,
    /// What is paid for by its size.
    Sizes,
    /// Host functions.
    Host,
}

impl Group {
    pub(super) const ALL: [Self; 5] = [
        Self::Corpus,
        Self::Operators,
        Self::Patterns,
        Self::Sizes,
        Self::Host,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Corpus => "corpus",
            Self::Operators => "operators",
            Self::Patterns => "patterns",
            Self::Sizes => "sizes",
            Self::Host => "host functions",
        }
    }

    /// What belongs to the group.
    pub(super) fn benches(self, args: &CalibrateArgs) -> Result<Vec<Bench>, CliError> {
        Ok(match self {
            Self::Corpus => {
                let mut benches = kernels::benches();
                benches.extend(corpus::benches(args)?);
                benches
            }
            Self::Operators => operators::benches(),
            Self::Patterns => patterns::benches(),
            Self::Sizes => sizes::benches(),
            Self::Host => host::benches(),
        })
    }
}
