//! Arguments of `record`, `verify` and reports.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;

use crate::{args::Mode, args_executor::ExecutorArgs};

/// Where blocks, and the state before the first of them, are read.
#[derive(Debug, Args)]
#[group(id = "chain", required = true, multiple = false, args = ["fixture", "db"])]
pub(crate) struct ChainArgs {
    /// Block fixture with the blocks and the state before them.
    #[arg(long, value_name = "FIXTURE")]
    pub(crate) fixture: Option<PathBuf>,
    /// Database with the blocks, which reaches back to the state before them. No block of it changes.
    #[arg(long, value_name = "DIR")]
    pub(crate) db: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The recording to write.
    #[arg(value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// The first block. Default: the first there is.
    #[arg(long, value_name = "N", requires = "db")]
    pub(crate) from: Option<u64>,
    /// The last block. Default: the last there is.
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// Leave writes out but for their digests: a smaller file, by which no key can be named, and which is verified on one
    /// thread.
    #[arg(long)]
    pub(crate) digest_only: bool,
    /// Write over the file if it is there.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub(crate) recording: PathBuf,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// Threads that execute ranges of blocks at once.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    pub(crate) threads: NonZeroUsize,
    /// How instances are made.
    #[arg(long, value_enum, default_value_t = Mode::Snapshot)]
    pub(crate) mode: Mode,
    /// Where both sides of a difference are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) differences: PathBuf,
    #[command(flatten)]
    pub(crate) executor: ExecutorArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Write a page that shows where time and fuel went, to be opened in a browser.
    #[arg(long, value_name = "HTML")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Write where fuel went, by the guest's functions, as folded stacks for any program that draws flamegraphs; the page of
    /// `--report` draws one. The same every time. Takes several times as long.
    #[arg(long, value_name = "FILE")]
    pub(crate) fuel_profile: Option<PathBuf>,
}
