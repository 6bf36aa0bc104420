//! `slackwater fixture`: making fixtures, and running them by every way there is.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use slackwater_executor::{
    Block, Database, Durability, WasmExecutor, host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{
    BlockFixture, ChainSpec, Configuration,
    block_fixture::changes_path,
    check_fixture,
    conformance::Run,
    import::{assemble, in_order, note_writes},
    raw_blocks::read_blocks,
};
use sp_core::H256;
use std::io::IsTerminal;

use crate::{
    Verdict,
    args::{FixtureCheckArgs, FixtureCommand, FixtureImportArgs},
    divergence::{DivergenceReport, print_divergence},
    error::CliError,
    output::{hex, print_json, say, short_name, table, thousands},
};

pub(crate) fn run(command: &FixtureCommand) -> Result<Verdict, CliError> {
    match command {
        FixtureCommand::Import(args) => import(args),
        FixtureCommand::Check(args) => check(args),
    }
}

#[derive(Serialize)]
struct ImportReport {
    ok: bool,
    /// The files written; none if a block diverges.
    files: Vec<String>,
    blocks: usize,
    extrinsics: usize,
    keys_written: usize,
    parent_state_root: Option<String>,
    state_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence: Option<DivergenceReport>,
    #[serde(skip)]
    diverges_at_first: bool,
}

fn import(args: &FixtureImportArgs) -> Result<Verdict, CliError> {
    let spec = ChainSpec::load(&args.spec)?;
    let mut blocks: Vec<Block> = Vec::new();
    for file in &args.blocks {
        blocks.extend(read_blocks(file)?);
    }
    let blocks = in_order(blocks);
    let stem = args.out.file_stem().unwrap_or_default();
    let name = args.name.clone();
    let name = name.unwrap_or_else(|| stem.to_string_lossy().into_owned());
    let mut fixture = assemble(&name, spec.genesis, &blocks);
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.config())?;
    let folder = tempfile::tempdir().map_err(CliError::Temporary)?;
    let database = Database::open(folder.path(), Durability::Buffered)?;
    let bar = progress_bar(args.json, &name, blocks.len());
    let noted = note_writes(&executor, &database, &mut fixture, |_| bar.inc(1));
    bar.finish_and_clear();
    let mut report = ImportReport::of(&fixture);
    if let Err(error) = noted {
        let Some(divergence) = error.divergence() else {
            return Err(error.into());
        };
        let mut stated = fixture.blocks.iter();
        let stated = stated.find(|block| block.number == divergence.block);
        let expected = stated.map(|block| H256(block.state_root));
        report.ok = false;
        let first = fixture.blocks.first();
        report.diverges_at_first = first.is_some_and(|first| first.number == divergence.block);
        report.divergence = Some(DivergenceReport::new(divergence, expected));
    } else {
        fixture.save(&args.out)?;
        report.files = [args.out.clone(), changes_path(&args.out)]
            .map(|file| file.display().to_string())
            .into();
    }
    if args.json {
        print_json(&report)?;
    } else {
        report.print(&name)?;
    }
    Ok(if report.ok {
        Verdict::Good
    } else {
        Verdict::Diverged
    })
}

impl ImportReport {
    fn of(fixture: &BlockFixture) -> Self {
        let blocks = || fixture.blocks.iter();
        Self {
            ok: true,
            files: Vec::new(),
            blocks: blocks().len(),
            extrinsics: blocks().map(|block| block.body.len()).sum(),
            keys_written: blocks()
                .flat_map(|block| &block.expected_writes)
                .flatten()
                .count(),
            parent_state_root: fixture.parent_state_root.map(hex),
            state_root: blocks().last().map(|block| hex(block.state_root)),
            divergence: None,
            diverges_at_first: false,
        }
    }

    fn print(&self, name: &str) -> Result<(), CliError> {
        if let Some(divergence) = &self.divergence {
            print_divergence(name, divergence)?;
            say("\nNothing was written.")?;
            if self.diverges_at_first {
                let before = divergence.block.saturating_sub(1);
                say(format!(
                    "It is the first block: is the state in the chain spec that after block {before}?"
                ))?;
            }
            return Ok(());
        }
        let mut rows = table(["fixture", "blocks", "extrinsics", "keys written"]);
        rows.add_row([
            name.to_owned(),
            thousands(self.blocks),
            thousands(self.extrinsics),
            thousands(self.keys_written),
        ]);
        say(rows)?;
        for file in &self.files {
            say(format!("wrote {file}"))?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct CheckReport {
    fixtures: Vec<CheckedFixture>,
}

#[derive(Serialize)]
struct CheckedFixture {
    file: String,
    ok: bool,
    runs: Vec<CheckedRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
}

#[derive(Serialize)]
struct CheckedRun {
    configuration: &'static str,
    way: &'static str,
    blocks: usize,
    extrinsics: usize,
    refused: usize,
    state_root: String,
}

impl From<Run> for CheckedRun {
    fn from(run: Run) -> Self {
        Self {
            configuration: run.configuration,
            way: run.way.name(),
            blocks: run.blocks,
            extrinsics: run.extrinsics,
            refused: run.refused,
            state_root: hex(run.head.state_root),
        }
    }
}

fn check(args: &FixtureCheckArgs) -> Result<Verdict, CliError> {
    let configurations = Configuration::all();
    let bar = progress_bar(args.json, "fixtures", args.fixtures.len());
    let mut report = CheckReport {
        fixtures: Vec::new(),
    };
    for file in &args.fixtures {
        let fixture = BlockFixture::load(file)?;
        let checked = check_fixture::<SlackwaterHostFunctions>(&fixture, &configurations);
        bar.inc(1);
        let file = file.display().to_string();
        report.fixtures.push(match checked {
            Ok(runs) => CheckedFixture {
                file,
                ok: true,
                runs: runs.into_iter().map(CheckedRun::from).collect(),
                difference: None,
            },
            Err(error) if error.is_operational() => return Err(error.into()),
            Err(error) => CheckedFixture {
                file,
                ok: false,
                runs: Vec::new(),
                difference: Some(error.to_string()),
            },
        });
    }
    bar.finish_and_clear();
    if args.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(if report.fixtures.iter().all(|fixture| fixture.ok) {
        Verdict::Good
    } else {
        Verdict::Diverged
    })
}

impl CheckReport {
    fn print(&self) -> Result<(), CliError> {
        let head = [
            "fixture",
            "configuration",
            "way",
            "blocks",
            "extrinsics",
            "refused",
        ];
        let mut rows = table(head);
        for fixture in &self.fixtures {
            for run in &fixture.runs {
                rows.add_row([
                    short_name(&fixture.file),
                    run.configuration.to_owned(),
                    run.way.to_owned(),
                    thousands(run.blocks),
                    thousands(run.extrinsics),
                    thousands(run.refused),
                ]);
            }
        }
        if self.fixtures.iter().any(|fixture| fixture.ok) {
            say(rows)?;
        }
        for fixture in &self.fixtures {
            match &fixture.difference {
                Some(difference) => say(format!("{} DIFFERS: {difference}", fixture.file))?,
                None => say(format!("{} holds", fixture.file))?,
            }
        }
        Ok(())
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(json: bool, what: &str, length: usize) -> ProgressBar {
    let target = if json || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    bar.set_prefix(what.to_owned());
    match ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
