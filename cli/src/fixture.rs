//! `slackwater fixture`: making fixtures, and running them by every way there is.

use std::path::Path;

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

use crate::{
    Verdict,
    args::{FixtureCheckArgs, FixtureCommand, FixtureImportArgs},
    divergence::{DivergenceReport, print_divergence},
    error::CliError,
    output::{COUNT, hex, print_json, progress_bar, say, short_name, table, thousands},
    source::refuse_input_as_output,
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
    check_out(args)?;
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
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.block_config())?;
    let folder = tempfile::tempdir().map_err(CliError::Temporary)?;
    let database = Database::open(folder.path(), Durability::Buffered)?;
    let bar = progress_bar(args.json, &name, blocks.len(), COUNT);
    let noted = note_writes(&executor, &database, &mut fixture, |_| bar.inc(1));
    bar.finish_and_clear();
    let mut report = ImportReport::of(&fixture);
    if let Err(error) = noted {
        let Some(divergence) = error.divergence() else {
            return Err(error.into());
        };
        report.ok = false;
        let first = fixture.blocks.first();
        report.diverges_at_first = first.is_some_and(|first| first.number == divergence.block);
        report.divergence = Some(DivergenceReport::new(divergence, &fixture));
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

/// What is read must not be written over.
fn check_out(args: &FixtureImportArgs) -> Result<(), CliError> {
    let inputs: Vec<_> = args.blocks.iter().chain([&args.spec]).collect();
    refuse_input_as_output(&inputs, &args.out)?;
    refuse_input_as_output(&inputs, &changes_path(&args.out))
}

#[derive(Serialize)]
struct CheckReport {
    fixtures: Vec<CheckedFixture>,
}

#[derive(Serialize)]
struct CheckedFixture {
    file: String,
    ok: bool,
    /// Keys written by all blocks, as far as the fixture states them.
    keys_stated: Option<usize>,
    runs: Vec<CheckedRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
    /// Why it could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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
    let bar = progress_bar(args.json, "fixtures", args.fixtures.len(), COUNT);
    let fixtures = args.fixtures.iter().map(|file| {
        let checked = check_file(file);
        bar.inc(1);
        checked
    });
    let report = CheckReport {
        fixtures: fixtures.collect(),
    };
    bar.finish_and_clear();
    if args.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    for fixture in &report.fixtures {
        if let Some(error) = &fixture.error {
            eprintln!("error: {error}");
        }
    }
    if report
        .fixtures
        .iter()
        .any(|fixture| fixture.error.is_some())
    {
        Err(CliError::Reported)
    } else if report.fixtures.iter().all(|fixture| fixture.ok) {
        Ok(Verdict::Good)
    } else {
        Ok(Verdict::Diverged)
    }
}

/// Checks one file; whatever goes wrong is part of its report, so that it hides no other.
fn check_file(file: &Path) -> CheckedFixture {
    let mut report = CheckedFixture {
        file: file.display().to_string(),
        ok: false,
        keys_stated: None,
        runs: Vec::new(),
        difference: None,
        error: None,
    };
    let fixture = match BlockFixture::load(file) {
        Ok(fixture) => fixture,
        Err(error) => {
            report.error = Some(error.to_string());
            return report;
        }
    };
    let stated = fixture.blocks.iter().map(|block| &block.expected_writes);
    let stated: Option<usize> = stated.map(|writes| Some(writes.as_ref()?.len())).sum();
    report.keys_stated = stated;
    let configurations = Configuration::all();
    match check_fixture::<SlackwaterHostFunctions>(&fixture, &configurations) {
        Ok(runs) => {
            report.ok = true;
            report.runs = runs.into_iter().map(CheckedRun::from).collect();
        }
        Err(error) if error.is_operational() => report.error = Some(error.to_string()),
        Err(error) => report.difference = Some(error.to_string()),
    }
    report
}

impl CheckReport {
    fn print(&self) -> Result<(), CliError> {
        let mut rows = table([
            "fixture",
            "configuration",
            "way",
            "blocks",
            "extrinsics",
            "keys compared",
            "refused",
        ]);
        for fixture in &self.fixtures {
            let keys = fixture.keys_stated;
            let keys = keys.map_or_else(|| "none stated".to_owned(), thousands);
            for run in &fixture.runs {
                rows.add_row([
                    short_name(&fixture.file),
                    run.configuration.to_owned(),
                    run.way.to_owned(),
                    thousands(run.blocks),
                    thousands(run.extrinsics),
                    keys.clone(),
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
                None if fixture.ok => say(format!("{} holds", fixture.file))?,
                None => {}
            }
        }
        Ok(())
    }
}
