//! Blocks that must not come into being: what a builder abandons and an importer refuses.
//!
//! Invariant: every refusal has one name in files, and no two have the same.

/// A block attempted on the state of a fixture block's parent, which must fail and leave no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedBlock {
    /// What the case shows, for people.
    pub case: String,
    /// Who refuses it, and where.
    pub refusal: Refusal,
    /// SCALE-encoded header without a seal. A builder begins with its number, parent hash and
    /// digest; an importer executes it as it is.
    pub header: Vec<u8>,
    /// SCALE-encoded extrinsics, each with its length prefix: what a builder is offered, or the
    /// body.
    pub extrinsics: Vec<Vec<u8>>,
}

/// Who refuses a block, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A builder, because the runtime faults in initialize.
    BuildInitialize,
    /// A builder, because the last extrinsic, offered as an inherent, is mandatory and fails.
    BuildMandatory,
    /// A builder, because the runtime faults in finalize.
    BuildFinalize,
    /// An importer, by whichever path it executes the block.
    Import,
    /// An importer by `Core_execute_block`; the split path, which makes fewer checks, may take it.
    ImportWhole,
}

impl Refusal {
    /// All refusals.
    pub const ALL: [Self; 5] = [
        Self::BuildInitialize,
        Self::BuildMandatory,
        Self::BuildFinalize,
        Self::Import,
        Self::ImportWhole,
    ];

    /// The name used in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildInitialize => "build_initialize",
            Self::BuildMandatory => "build_mandatory",
            Self::BuildFinalize => "build_finalize",
            Self::Import => "import",
            Self::ImportWhole => "import_whole",
        }
    }

    /// The refusal of that name in files.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_name() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_name(refusal.name()), Some(refusal));
        }
        assert_eq!(Refusal::from_name("Import"), None);
    }
}
