//! `slackwater`: arguments in, progress and tables out. What it does is done by the executor and the
//! fixture loaders; this crate has no logic of its own.
//!
//! Exit codes: 0 all good, 1 a block diverges from its chain, 2 bad input or a failing machine.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "printing is what this crate is for")]

mod args;
mod args_executor;
mod args_recording;
mod calibrate;
mod call;
mod chain_source;
mod db;
mod db_files;
mod divergence;
mod error;
mod fixture;
mod inspect;
mod instrument;
mod metrics;
mod output;
mod produce;
mod record;
mod replay;
mod report;
mod sides;
mod source;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    error::CliError,
};

/// How a command ended, if it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Everything is as it should be.
    Good,
    /// At least one block diverges.
    Diverged,
}

const EXIT_DIVERGED: u8 = 1;
const EXIT_ERROR: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = cli.command.log_filter();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
    let json = cli.command.json();
    match run(cli.command) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Diverged) => ExitCode::from(EXIT_DIVERGED),
        Err(CliError::ReaderGone) => ExitCode::SUCCESS,
        Err(CliError::Reported) => ExitCode::from(EXIT_ERROR),
        Err(error) => {
            let code = if error.is_divergence() {
                EXIT_DIVERGED
            } else {
                EXIT_ERROR
            };
            if json {
                // If even this cannot be printed, the line below still says why.
                let _unprinted =
                    output::print_json(&serde_json::json!({ "error": error.to_string() }));
            }
            eprintln!("error: {error}");
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<Verdict, CliError> {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Produce(args) => produce::run(&args),
        Command::Instrument(args) => instrument::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Fixture(args) => fixture::run(&args.command),
        Command::Db(args) => db::run(&args),
    }
}
