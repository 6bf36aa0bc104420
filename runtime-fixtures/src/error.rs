//! The one error type of all loaders.
//!
//! Invariant: every variant names the file, and every variant about content names the field by
//! its JSON path (`blocks[3].header`).

use std::path::PathBuf;

use crate::hexadecimal::HexError;

/// Why a fixture file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is not JSON, or ends too early.
    #[error("{}: line {line}: not JSON: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the fault, counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A required field is absent.
    #[error("{}: {field}: missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// JSON path of the absent field.
        field: String,
    },
    /// A field has another JSON type or shape than expected.
    #[error("{}: {field}: expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// JSON path of the field.
        field: String,
        /// What was expected there.
        expected: &'static str,
    },
    /// A text that should be hexadecimal is not.
    #[error("{}: {source}", path.display())]
    Hex {
        /// The file.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        source: HexError,
    },
    /// A byte string of fixed length has another length.
    #[error("{}: {field}: {found} bytes, expected {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// JSON path of the field.
        field: String,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A value is none of those allowed.
    #[error("{}: {field}: unknown value {found:?}", path.display())]
    UnknownValue {
        /// The file.
        path: PathBuf,
        /// JSON path of the field.
        field: String,
        /// The text or number found.
        found: String,
    },
    /// The state has no `:code`, so there is no runtime to execute.
    #[error("{}: {field}: no `:code` in the state", path.display())]
    NoCode {
        /// The file.
        path: PathBuf,
        /// JSON path of the state.
        field: String,
    },
    /// The chain spec is not raw: its genesis state would have to be built by its runtime.
    #[error("{}: not a raw chain spec (no `genesis.raw`)", path.display())]
    NotRaw {
        /// The file.
        path: PathBuf,
    },
    /// One thing is said twice.
    #[error("{}: line {line}: {field}: stands there twice", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// JSON path of the second.
        field: String,
        /// Its line, counted from 1.
        line: usize,
    },
    /// The changes file beside a block fixture does not fit its blocks.
    #[error("{}: {lines} lines for {blocks} blocks", path.display())]
    ChangesCount {
        /// The changes file.
        path: PathBuf,
        /// Lines in the changes file.
        lines: usize,
        /// Blocks in the fixture.
        blocks: usize,
    },
    /// Only some blocks of a fixture to be saved state their writes; a changes file has all or none.
    #[error("{}: {stated} of {blocks} blocks state their writes", path.display())]
    PartialChanges {
        /// The changes file.
        path: PathBuf,
        /// Blocks with writes.
        stated: usize,
        /// Blocks in the fixture.
        blocks: usize,
    },
    /// A block does not decode.
    #[error("{}: {place}: {source}", path.display())]
    Block {
        /// The file.
        path: PathBuf,
        /// Line or JSON path of the block.
        place: String,
        /// What is broken.
        source: slackwater_executor::block::BlockDecodeError,
    },
    /// Bytes behind a block that are no justifications.
    #[error("{}: {place}: {bytes} bytes behind the block, which are no justifications", path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Line or JSON path of the block.
        place: String,
        /// Number of bytes.
        bytes: usize,
    },
    /// A node answered with an error in place of a block.
    #[error("{}: {place}: the node answered: {message}", path.display())]
    Answer {
        /// The file.
        path: PathBuf,
        /// JSON path of the answer.
        place: String,
        /// The node's words.
        message: String,
    },
    /// A file holds no block.
    #[error("{}: no blocks: expected lines of hexadecimal, or JSON with `header` and `extrinsics`", path.display())]
    NoBlocks {
        /// The file.
        path: PathBuf,
    },
}
