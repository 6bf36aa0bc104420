//! What ends a command with exit code 2: bad input, or a machine that fails.

use std::{net::SocketAddr, path::PathBuf};

use slackwater_executor::{
    ExecutionError, RuntimeError,
    fuel::{InstrumentError, ProofError},
    recording::{RecordError, RecordingError, VerifyError},
    runtime::EngineError,
    state::{ExportError, HistoryError, OpenError, StateError, StateFileError},
};
use slackwater_runtime_fixtures::{
    ChainError, FixtureError, FixtureReplayError,
    chain_spec_stream::{SpecExportError, SpecImportError},
    hexadecimal::HexError,
    production::ProductionError,
    transfers::TransferError,
};
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// Already shown.
    #[error("see above")]
    Reported,
    #[error("--mode both does everything twice, which no kept database can hold: leave --db out")]
    BothOnOneDatabase,
    #[error("--extrinsic-fuel and --block-fuel limit what guests count: leave --fuel off out")]
    LimitsOfNothing,
    #[error("--deadline is noticed where guests count: leave --fuel off out")]
    DeadlineOfNothing,
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {source}", path.display())]
    Runtime { path: PathBuf, source: RuntimeError },
    #[error("{}: neither runtime code, nor a raw chain spec ({spec}), nor a block fixture ({fixture})", path.display())]
    Unrecognised {
        path: PathBuf,
        spec: Box<FixtureError>,
        fixture: Box<FixtureError>,
    },
    #[error("{method} was stopped after {milliseconds} ms, its deadline")]
    Deadline { method: String, milliseconds: u64 },
    #[error("metrics cannot be served at {address}: {reason}")]
    Metrics { address: SocketAddr, reason: String },
    #[error("{0}")]
    Input(HexError),
    #[error("a temporary database cannot be made: {0}")]
    Temporary(std::io::Error),
    #[error("{} is itself a database; with several fixtures --db names the folder that holds one for each", .0.display())]
    DatabaseIsNoFolder(PathBuf),
    #[error(transparent)]
    Fixture(Box<FixtureError>),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    #[error(transparent)]
    Replay(Box<FixtureReplayError>),
    #[error(transparent)]
    Production(Box<ProductionError>),
    #[error(transparent)]
    Transfers(Box<TransferError>),
    #[error("{}: line {line}: {source}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        source: HexError,
    },
    #[error("//Alice could not fund the accounts: block {number} took none of {waiting} transfers")]
    Funding { number: u64, waiting: usize },
    #[error("{} is read and would be written over: name another file to write", .0.display())]
    OutIsInput(PathBuf),
    #[error("{}: {source}", path.display())]
    Instrument {
        path: PathBuf,
        source: InstrumentError,
    },
    #[error("{}: not proved to count what it should: {source}", path.display())]
    Proof { path: PathBuf, source: ProofError },
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("measuring `{name}`: {reason}")]
    Calibration { name: String, reason: String },
    #[error("{}: cannot go back {blocks} blocks from block {head}", path.display())]
    TooFarBack {
        path: PathBuf,
        blocks: u64,
        head: u64,
    },
    #[error("{} is there already; --force writes over it", .0.display())]
    OutExists(PathBuf),
    #[error("{} would be a file in the folder of the database", .0.display())]
    OutInDatabase(PathBuf),
    #[error("--name and --id are for --format spec: a state file has no names")]
    NamesOfStateFile,
    #[error("{}: neither a state file nor a raw chain spec", .0.display())]
    NoStateIn(PathBuf),
    #[error("{}: {source}", path.display())]
    StateFile {
        path: PathBuf,
        source: Box<StateFileError>,
    },
    #[error("{}: {source}", path.display())]
    Export { path: PathBuf, source: ExportError },
    #[error("{}: {source}", path.display())]
    SpecExport {
        path: PathBuf,
        source: SpecExportError,
    },
    #[error(transparent)]
    SpecImport(Box<SpecImportError>),
    #[error("{}: {source}", path.display())]
    History { path: PathBuf, source: HistoryError },
    #[error("{}: {source}", path.display())]
    State { path: PathBuf, source: StateError },
    #[error("{}: {source}", path.display())]
    Recording {
        path: PathBuf,
        source: RecordingError,
    },
    #[error(transparent)]
    Chain(Box<ChainError>),
    #[error(transparent)]
    Record(Box<RecordError>),
    #[error(transparent)]
    Verify(Box<VerifyError>),
    #[error("name the blocks: --fixture or --db")]
    NoChain,
    #[error(
        "the recording begins on the state after block {number}, the fixture on that after block {found}"
    )]
    OtherBeginning { number: u64, found: u64 },
    #[error("there are no blocks {from} to {to} to be executed: blocks {first} to {last} can be")]
    NoSuchBlocks {
        from: u64,
        to: u64,
        first: u64,
        last: u64,
    },
    #[error("nobody reads the output any more")]
    ReaderGone,
    #[error("printing: {0}")]
    Print(std::io::Error),
    #[error("{0} is named like another fixture: with --db their databases would be the same")]
    SameName(String),
    #[error("printing JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<ProductionError> for CliError {
    fn from(error: ProductionError) -> Self {
        Self::Production(Box::new(error))
    }
}

impl From<ChainError> for CliError {
    fn from(error: ChainError) -> Self {
        Self::Chain(Box::new(error))
    }
}

impl From<RecordError> for CliError {
    fn from(error: RecordError) -> Self {
        Self::Record(Box::new(error))
    }
}

impl From<VerifyError> for CliError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        Self::Execution(error.into())
    }
}

impl CliError {
    /// Whether it says that a block departs from its chain, and nothing else went wrong.
    pub(crate) fn is_divergence(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_divergence(),
            Self::Record(error) => matches!(**error, RecordError::Diverged(_)),
            _ => false,
        }
    }
}

impl From<TransferError> for CliError {
    fn from(error: TransferError) -> Self {
        Self::Transfers(Box::new(error))
    }
}

impl From<FixtureReplayError> for CliError {
    fn from(error: FixtureReplayError) -> Self {
        Self::Replay(Box::new(error))
    }
}

impl From<FixtureError> for CliError {
    fn from(error: FixtureError) -> Self {
        Self::Fixture(Box::new(error))
    }
}
