//! The determinism matrix on every fixture: one result in each cell, or the first difference by name.
//!
//! ```text
//! matrix [--cells N] [--seed S] [--interpreted] [--blocks B] [FIXTURE...]
//! ```
//!
//! Without fixtures: our guest's chain, the real ones, and the authored ones. Ends with code 1 where a cell differs.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use slackwater_executor::host_functions::SlackwaterHostFunctions;
use slackwater_runtime_fixtures::{BlockFixture, Matrix, guest};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::{REAL_BLOCKS, load_blocks, real_blocks, signed_chain};

/// Executes fixtures in every cell of the determinism matrix, and compares.
#[derive(Debug, Parser)]
struct Args {
    /// Block fixtures. Default: all there are.
    fixtures: Vec<PathBuf>,
    /// Cells to take; the seed says which. Default: all.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    cells: Option<u64>,
    /// Which cells are taken.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Execute on the instruction set of the engine's interpreter instead of the processor's.
    #[arg(long)]
    interpreted: bool,
    /// Blocks of each fixture at most.
    #[arg(long)]
    blocks: Option<usize>,
}

fn fixtures(args: &Args) -> Vec<BlockFixture> {
    if !args.fixtures.is_empty() {
        return args.fixtures.iter().map(|path| load_blocks(path)).collect();
    }
    let guest = load_blocks(&guest::fixture_chain_path());
    let real = REAL_BLOCKS.iter().filter_map(|name| real_blocks(name));
    let signed = [SignedChain::NodeTemplate, SignedChain::Subtensor];
    let signed = signed.into_iter().filter_map(signed_chain);
    std::iter::once(guest).chain(real).chain(signed).collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    let matrix = if args.interpreted {
        Matrix::interpreted()
    } else {
        Matrix::native()
    };
    let matrix = match args.cells {
        Some(cells) => matrix.slice(args.seed, usize::try_from(cells).unwrap_or(usize::MAX)),
        None => matrix,
    };
    let mut is_one = true;
    for mut fixture in fixtures(&args) {
        fixture.blocks.truncate(args.blocks.unwrap_or(usize::MAX));
        let cells = matrix.cells().len();
        let bar = ProgressBar::new(cells as u64).with_prefix(fixture.name.clone());
        let style = "{prefix} [{bar:32}] {pos}/{len} cells, {eta} left";
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let begun = Instant::now();
        let checked = matrix.check::<SlackwaterHostFunctions>(&fixture, |_cell| bar.inc(1));
        bar.finish_and_clear();
        match checked {
            Ok(()) => println!(
                "{}: {} blocks, one result in {cells} cells, {:.0} s",
                fixture.name,
                fixture.blocks.len(),
                begun.elapsed().as_secs_f64()
            ),
            Err(error) => {
                eprintln!("error: {error}");
                is_one = false;
            }
        }
    }
    if is_one {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
