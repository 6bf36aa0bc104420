//! Raw chain specs of any size: read value by value into a database that is being imported, and written from a state.
//!
//! Invariants: what is read here is what [`crate::ChainSpec::load`] reads, but that a key that stands there twice is an
//! error, and that what is of no use here is passed over without a look at its texts and numbers; what is written here, both
//! read. Cost: the memory of the largest text in the file.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{SpecImportError, import_spec};
pub use write::{SpecExportError, export_spec};

/// What a chain spec says of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainNames {
    /// Name for people, for example `Polkadot`.
    pub name: String,
    /// Name for machines, for example `polkadot`.
    pub id: String,
}
