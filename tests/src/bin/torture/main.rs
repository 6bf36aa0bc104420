//! Torture of the database: processes killed while they commit, the power cut, disks that are full or fail. Whatever
//! happens, a block is in the database whole, or not at all.
//!
//! ```sh
//! cargo run --release -p slackwater-tests --bin torture -- --kills 10000 --seed 1
//! cargo run --release -p slackwater-tests --bin torture -- --power-cuts 1000
//! cargo run --release -p slackwater-tests --bin torture -- --faults 1000
//! ```
//!
//! The last line counts what was done and what was torn; any that was makes the program fail, and is printed with the
//! series that repeats it.

mod chain;
mod child;
mod cut;
mod layer;
mod rounds;
mod verdict;
mod work;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slackwater_tests::random::Random;

use child::ChildArgs;
use rounds::{Plant, RoundError, SERIES, Shown, power_cuts, processes};

/// Kills processes that commit blocks, cuts the power, fills disks and lets them fail, and looks at what is left.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Processes to kill: at file operations, at named places, at any time.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u64,
    /// Cuts of the power: what was not synced is lost, or torn.
    #[arg(long, alias = "power-cut", value_name = "N", default_value_t = 0)]
    power_cuts: u64,
    /// Disks that are full, or fail.
    #[arg(long, value_name = "N", default_value_t = 0)]
    faults: u64,
    /// What is done comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begins with this series, to repeat one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// A fault to plant, to see it found.
    #[arg(long)]
    plant: Option<Plant>,
    /// Keeps what power cuts have left of databases that were torn in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Prints the counts as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// The process that is killed.
    #[command(hide = true)]
    Child(ChildArgs),
}

/// What is tortured in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kills,
    PowerCuts,
    Faults,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::PowerCuts => "power cuts",
            Self::Faults => "faults",
        }
    }

    /// What distinguishes its series from others'.
    fn salt(self) -> u64 {
        match self {
            Self::Kills => 1,
            Self::PowerCuts => 2,
            Self::Faults => 3,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Hidden::Child(args)) = &options.command {
        child::run(args);
        return ExitCode::SUCCESS;
    }
    match torture(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Does all that is asked for; how many were torn.
fn torture(options: &Options) -> Result<u64, RoundError> {
    let mut torn = 0;
    let mut counts = Vec::new();
    for (way, count) in [
        (Way::PowerCuts, options.power_cuts),
        (Way::Faults, options.faults),
        (Way::Kills, options.kills),
    ] {
        if count > 0 {
            torn += torture_in(way, count, options)?;
            counts.push((way, count));
        }
    }
    let text: Vec<_> = counts
        .iter()
        .map(|(way, count)| format!("{count} {}", way.name()))
        .collect();
    let line = if options.json {
        let fields = counts
            .iter()
            .map(|(way, count)| format!("\"{}\": {count}, ", way.name()));
        format!("{{{}\"torn\": {torn}}}", fields.collect::<String>())
    } else {
        format!("{}, {torn} torn", text.join(", "))
    };
    say(&mut io::stdout(), &line);
    Ok(torn)
}

fn torture_in(way: Way, count: u64, options: &Options) -> Result<u64, RoundError> {
    let bar = bar(way, count, options.json);
    let (mut done, mut torn) = (0, 0);
    let mut series = options.from;
    while done < count {
        let mut random = Random::at(options.seed ^ (way.salt() << 56), series);
        let rounds = SERIES.min(count - done);
        let mut shown = |shown: Shown| {
            if !matches!(shown, Shown::Nothing) {
                done += 1;
                bar.inc(1);
            }
            if let Shown::Torn(what) = shown {
                torn += 1;
                let seed = options.seed;
                let line = format!("torn: --seed {seed} --from {series}: {what}");
                bar.suspend(|| say(&mut io::stderr(), &line));
            }
        };
        match way {
            Way::PowerCuts => {
                let keep = options.keep.as_deref();
                power_cuts(&mut random, rounds, options.plant, keep, &mut shown)?;
            }
            Way::Kills => processes(&mut random, rounds, false, options.plant, &mut shown)?,
            Way::Faults => processes(&mut random, rounds, true, options.plant, &mut shown)?,
        }
        series += 1;
    }
    bar.finish_and_clear();
    Ok(torn)
}

fn bar(way: Way, count: u64, json: bool) -> ProgressBar {
    let hidden = json || !io::stderr().is_terminal();
    let target = if hidden {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(count), target);
    bar.set_prefix(way.name());
    match ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Nobody listens any more if this fails.
fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
