//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use slackwater_executor::{
    CallContext, ExecutionPath, Fuel, InstanceMode, block::BLOCK_BYTES_DEFAULT,
};

use crate::{
    args_executor::{ExecutorArgs, MeterArg, MetricsArgs, parse_limit},
    args_recording::{ProfileArgs, RecordArgs, ReportArgs, VerifyArgs},
};

/// Executes blocks of WebAssembly blockchain runtimes, each extrinsic in a fresh instance inside a
/// database transaction.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 all good, 1 a block diverges from its chain, \
    2 bad input or operational error."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a runtime is: version, APIs, imports, functions, memory.
    Inspect(InspectArgs),
    /// Make one runtime call on a state and show its result. Nothing is kept.
    Call(CallArgs),
    /// Replay the blocks of fixture files from their parent state, check every state root against
    /// the chain's own, and commit each block.
    Replay(ReplayArgs),
    /// Execute blocks and write what each call did into a file: outcome, fuel, writes, roots.
    Record(RecordArgs),
    /// Execute recorded blocks again, and name the first difference down to the key.
    Verify(VerifyArgs),
    /// Produce blocks on a genesis state, of extrinsics from a file or of signed transfers, and see how fast that is.
    Produce(ProduceArgs),
    /// Make a module count its fuel, as the executor does before it compiles one.
    Instrument(InstrumentArgs),
    /// Measure what fuel costs in time on this machine, and what is priced wrongly.
    Calibrate(CalibrateArgs),
    /// Make and check block fixtures.
    Fixture(FixtureArgs),
    /// Look after a database.
    Db(DbArgs),
}

impl Command {
    /// What is logged unless `RUST_LOG` says otherwise.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self {
            // There, runtimes fault because they should.
            Self::Fixture(FixtureArgs {
                command: FixtureCommand::Check(_),
            }) => "error,runtime=off",
            _ => "error",
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Inspect(args) => args.json,
            Self::Call(args) => args.json,
            Self::Replay(args) => args.json,
            Self::Record(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Produce(args) => args.json,
            Self::Instrument(args) => args.json,
            Self::Calibrate(args) => args.json,
            Self::Fixture(args) => args.command.json(),
            Self::Db(args) => args.json,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Runtime code (wasm, plain or compressed), a raw chain spec, or a block fixture.
    pub(crate) file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["runtime", "spec"])]
pub(crate) struct CallArgs {
    /// Runtime code to call, on an empty state.
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime: Option<PathBuf>,
    /// Raw chain spec or block fixture whose state and runtime to call.
    #[arg(long, value_name = "SPEC")]
    pub(crate) spec: Option<PathBuf>,
    /// Exported function, such as `Core_version`.
    pub(crate) method: String,
    /// SCALE arguments, as 0x-prefixed hex.
    #[arg(value_name = "0xARGS", default_value = "0x")]
    pub(crate) input: String,
    /// Make the call so often, and print the median time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// End the call after so many milliseconds; it has no result then.
    #[arg(long, value_name = "MS")]
    pub(crate) deadline: Option<u64>,
    /// What the call is for; decides heap size and whether `:pending_code` is run.
    #[arg(long, value_enum, default_value_t = Context::Offchain)]
    pub(crate) context: Context,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Block fixtures.
    #[arg(required = true, value_name = "FIXTURE")]
    pub(crate) fixtures: Vec<PathBuf>,
    /// How instances are made.
    #[arg(long, value_enum, default_value_t = Mode::Snapshot)]
    pub(crate) mode: Mode,
    /// Database to replay onto; kept, and continued by the next run. With several fixtures, one
    /// folder for each is made in it. Default: a temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) db: Option<PathBuf>,
    /// How blocks are executed.
    #[arg(long, value_enum, default_value_t = Path::Split)]
    pub(crate) path: Path,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl ReplayArgs {
    /// Whether it is to be told where time went.
    pub(crate) fn wants_report(&self) -> bool {
        self.json || self.report.report.is_some()
    }
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["extrinsics", "transfers"])]
#[command(after_help = "\
Blocks come one slot after the other, from a fixed moment on, and transfers are signed without randomness, so that producing
again gives the same blocks, unless there is a deadline. What had no room in a block is offered to the next one. Consensus
engines Aura and BABE are given their slots; blocks of relay chains and parachains need more than one node knows.")]
pub(crate) struct ProduceArgs {
    /// Raw chain spec or block fixture with the state that the chain begins with.
    #[arg(long, value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// Offer the extrinsics of this file, one a line, hexadecimal, with length prefix.
    #[arg(long, value_name = "FILE")]
    pub(crate) extrinsics: Option<PathBuf>,
    /// Offer each block so many signed transfers.
    #[arg(long, value_name = "N")]
    pub(crate) transfers: Option<u32>,
    /// So many accounts send the transfers in turn, funded by //Alice in blocks of their own.
    #[arg(long, value_name = "M", default_value_t = 1, conflicts_with = "extrinsics", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) accounts: u32,
    /// How many blocks to produce.
    #[arg(long, value_name = "B", default_value_t = 1)]
    pub(crate) blocks: u32,
    /// How instances are made.
    #[arg(long, value_enum, default_value_t = Mode::Snapshot)]
    pub(crate) mode: Mode,
    /// Database to produce onto; kept, and continued by the next run. Default: a temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) db: Option<PathBuf>,
    /// Time for each block in milliseconds, a tenth of which is left for ending it.
    #[arg(long, value_name = "MS")]
    pub(crate) deadline: Option<u64>,
    /// Bytes of a block.
    #[arg(long, value_name = "BYTES", default_value_t = BLOCK_BYTES_DEFAULT)]
    pub(crate) block_bytes: usize,
    /// Fuel a transaction may use; more is rolled back, left out and reported.
    #[arg(long, value_name = "FUEL", value_parser = parse_limit)]
    pub(crate) extrinsic_fuel: Option<Fuel>,
    /// Fuel the transactions of a block may use together.
    #[arg(long, value_name = "FUEL", value_parser = parse_limit)]
    pub(crate) block_fuel: Option<Fuel>,
    /// Write the blocks into a file, one a line, hexadecimal, as `fixture import` reads them.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl ProduceArgs {
    /// Whether it is to be told where time went.
    pub(crate) fn wants_report(&self) -> bool {
        self.json || self.report.report.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct InstrumentArgs {
    /// Runtime code: wasm, plain or compressed.
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// Where the instrumented module goes.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// What the guest does about its limit.
    #[arg(long, value_enum, default_value_t = MeterArg::Slacked)]
    pub(crate) meter: MeterArg,
    /// Limit the depth of calls too, to so many bytes of stack as the instrumentation estimates
    /// frames.
    #[arg(long, value_name = "BYTES")]
    pub(crate) depth: Option<u32>,
    /// Prove that the module counts what it should, by reading it again beside the original.
    #[arg(long)]
    pub(crate) check: bool,
    /// Show what was added to each function.
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("given").args(["spec", "runtime"]).multiple(true)))]
pub(crate) struct CalibrateArgs {
    /// Raw chain spec or block fixture whose runtime joins the corpus, called on that state.
    #[arg(long, value_name = "SPEC")]
    pub(crate) spec: Vec<PathBuf>,
    /// Runtime code that joins the corpus, called on an empty state.
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime: Vec<PathBuf>,
    /// Method to call of each runtime beside `Core_version` and `Metadata_metadata`, without
    /// arguments.
    #[arg(long = "call", value_name = "METHOD", requires = "given")]
    pub(crate) calls: Vec<String>,
    /// Repetitions that medians are taken of.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repetitions: u32,
    /// Take seconds instead of minutes: figures that are only roughly right.
    #[arg(long, conflicts_with = "repetitions")]
    pub(crate) quick: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FixtureArgs {
    #[command(subcommand)]
    pub(crate) command: FixtureCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FixtureCommand {
    /// Make a fixture of a chain's blocks: execute them, and note what they write.
    Import(FixtureImportArgs),
    /// Run fixtures by every way and under every configuration, and compare everything.
    Check(FixtureCheckArgs),
}

impl FixtureCommand {
    fn json(&self) -> bool {
        match self {
            Self::Import(args) => args.json,
            Self::Check(args) => args.json,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Blocks are read from files in any of these forms:
  hexadecimal        one block a line, its SCALE with or without 0x and justifications
  JSON-RPC answers   of chain_getBlock, one or several in a file, as they came
  JSON blocks        {\"header\": ..., \"extrinsics\": [...]}, as `export-blocks` writes them

The state must be that before the first block: the genesis state for block 1, else what
`export-state` writes at the parent of the first block.

For example, with a node at hand:
  for n in 1 2 3; do
    hash=$(rpc chain_getBlockHash \"[$n]\" | jq .result)
    rpc chain_getBlock \"[$hash]\" >> blocks.json
  done
  slackwater fixture import --spec chain-spec-raw.json --out first-blocks.json blocks.json")]
pub(crate) struct FixtureImportArgs {
    /// Raw chain spec with the state before the first block.
    #[arg(long, value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// Fixture to write; what the blocks write goes into a file beside it.
    #[arg(long, value_name = "FIXTURE")]
    pub(crate) out: PathBuf,
    /// Name for people. Default: that of the file.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Files of blocks, in any order.
    #[arg(required = true, value_name = "BLOCKS")]
    pub(crate) blocks: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FixtureCheckArgs {
    /// Block fixtures.
    #[arg(required = true, value_name = "FIXTURE")]
    pub(crate) fixtures: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every call in a cached instance, put back in place behind it.
    Snapshot,
    /// Every call in an instance made from scratch.
    Fresh,
    /// Both, one after the other; not with a database that is kept.
    Both,
}

impl Mode {
    /// The modes this stands for.
    pub(crate) fn each(self) -> &'static [InstanceMode] {
        match self {
            Self::Snapshot => &[InstanceMode::Snapshot],
            Self::Fresh => &[InstanceMode::Fresh],
            Self::Both => &[InstanceMode::Snapshot, InstanceMode::Fresh],
        }
    }
}

/// The name of a mode in reports.
pub(crate) fn mode_name(mode: InstanceMode) -> &'static str {
    match mode {
        InstanceMode::Snapshot => "snapshot",
        InstanceMode::Fresh => "fresh",
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Path {
    /// Initialize, each extrinsic in an instance of its own, finalize.
    Split,
    /// `Core_execute_block` in one instance; does not tell extrinsics apart.
    Whole,
}

impl Path {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Whole => "whole",
        }
    }
}

impl From<Path> for ExecutionPath {
    fn from(path: Path) -> Self {
        match path {
            Path::Split => Self::Split,
            Path::Whole => Self::Whole,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Context {
    /// A query.
    Offchain,
    /// Building a block.
    Build,
    /// Importing a block.
    Import,
}

impl From<Context> for CallContext {
    fn from(context: Context) -> Self {
        match context {
            Context::Offchain => Self::Offchain,
            Context::Build => Self::Build,
            Context::Import => Self::Import,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    pub(crate) command: DbCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Show the head, how far back the database reaches, and what its columns hold.
    Stat {
        /// The database.
        #[arg(value_name = "DIR")]
        db: PathBuf,
    },
    /// Compare every value with the trie, and name the first key that differs.
    Check {
        /// The database.
        #[arg(value_name = "DIR")]
        db: PathBuf,
    },
    /// Make an earlier block the head again.
    Revert {
        /// The database.
        #[arg(value_name = "DIR")]
        db: PathBuf,
        /// How many blocks to go back.
        #[arg(value_name = "BLOCKS", default_value_t = 1)]
        blocks: u64,
    },
    /// Write the state into one file, as a state file or a raw chain spec.
    Export(DbExportArgs),
    /// Make a database of a state file or a raw chain spec.
    Import(DbImportArgs),
    /// Copy the database, as it is, to a new folder: a backup that can be opened by itself.
    Checkpoint {
        /// The database.
        #[arg(value_name = "DIR")]
        db: PathBuf,
        /// The new folder.
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Make a database of an earlier format one of this build's.
    Migrate {
        /// The database.
        #[arg(value_name = "DIR")]
        db: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DbExportArgs {
    /// The database.
    #[arg(value_name = "DIR")]
    pub(crate) db: PathBuf,
    /// The file to write.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = StateFormat::StateFile)]
    pub(crate) format: StateFormat,
    /// The block whose state is written, as far back as the database goes; a state file is of the head
    /// only. Default: the head.
    #[arg(long, value_name = "N")]
    pub(crate) block: Option<u64>,
    /// Name of the chain in a chain spec. Default: that of the file.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Id of the chain in a chain spec. Default: its name, in small letters, digits and `_`.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Write over the file if it is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DbImportArgs {
    /// The folder of the new database.
    #[arg(value_name = "DIR")]
    pub(crate) db: PathBuf,
    /// A state file, or a raw chain spec, whose state becomes that of block 0.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Believe the checksum of a state file, and do not compare every value with the trie.
    #[arg(long)]
    pub(crate) no_check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateFormat {
    /// Values, trie nodes and the head's block, with a checksum: a database as it is.
    StateFile,
    /// A raw chain spec: values as JSON, as nodes read it.
    Spec,
}

impl StateFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StateFile => "state-file",
            Self::Spec => "spec",
        }
    }
}
