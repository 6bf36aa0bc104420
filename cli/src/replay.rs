//! `slackwater replay`: blocks of fixtures, each checked and committed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;
use slackwater_executor::{
    Database, Durability, InstanceMode, WasmExecutor, host_functions::SlackwaterHostFunctions,
    profile::FuelProfile, timing::measured,
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureReplay, FixtureReplayError, ReplayedBlock};

use crate::{
    Verdict,
    args::{Mode, ReplayArgs, mode_name},
    divergence::{DivergenceReport, print_divergence},
    error::CliError,
    metrics,
    output::{hex, print_json, progress_bar, say, short_name, table, thousands},
    report::{
        BlockReport as Drawn, Document, ProfileReport, RunReport, meter_name, profiled_into,
        write_folded, write_page,
    },
    source::refuse_input_as_output,
};

#[derive(Serialize)]
struct Report {
    fixtures: Vec<FixtureReport>,
    /// Where time and fuel went.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Document>,
}

#[derive(Serialize)]
struct FixtureReport {
    file: String,
    mode: &'static str,
    path: &'static str,
    #[serde(skip)]
    fuel_meter: &'static str,
    ok: bool,
    seconds: f64,
    /// Blocks the database had before; they are not executed again.
    blocks_present: usize,
    blocks: Vec<BlockReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence: Option<DivergenceReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct BlockReport {
    number: u64,
    state_root: Option<String>,
    ok: bool,
    extrinsics: Vec<ExtrinsicReport>,
    #[serde(skip)]
    body_len: usize,
    #[serde(skip)]
    drawn: Option<Drawn>,
}

#[derive(Serialize)]
struct ExtrinsicReport {
    index: u32,
    outcome: &'static str,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<Verdict, CliError> {
    if args.mode == Mode::Both && args.db.is_some() {
        return Err(CliError::BothOnOneDatabase);
    }
    if args.db.is_some() {
        check_names(&args.fixtures)?;
    }
    let served = metrics::serve(&args.metrics)?;
    let mut report = Report {
        fixtures: Vec::new(),
        report: None,
    };
    for out in args.report.report.iter().chain(&args.profile.fuel_profile) {
        let inputs: Vec<_> = args.fixtures.iter().collect();
        refuse_input_as_output(&inputs, out)?;
    }
    let mut profile = args
        .profile
        .fuel_profile
        .as_ref()
        .map(|_| FuelProfile::default());
    for mode in args.mode.each() {
        let mut config = args.executor.block_config().with_instances(*mode);
        config.metrics = served.is_some();
        config.compilation.profile_fuel = profile.is_some();
        let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config)?;
        let files = args.fixtures.iter();
        let replayed = files.map(|file| replay_file(args, *mode, &executor, file, &mut profile));
        report.fixtures.extend(replayed);
    }
    if let (Some(path), Some(profile)) = (&args.profile.fuel_profile, &profile) {
        write_folded(path, profile)?;
    }
    if args.wants_report() {
        let mut document = Document::new("replay");
        document.runs = report
            .fixtures
            .iter_mut()
            .map(FixtureReport::drawn)
            .collect();
        document.profile = profile.as_ref().map(ProfileReport::new);
        if let Some(path) = &args.report.report {
            write_page(path, &document)?;
        }
        report.report = Some(document);
    }
    let printed = if args.json {
        print_json(&report)
    } else {
        print(&report)
    };
    if let Some(served) = served {
        served.hold();
    }
    for fixture in &report.fixtures {
        if let Some(error) = &fixture.error {
            eprintln!("error: {}: {error}", fixture.file);
        }
    }
    match printed {
        // The verdict stands, whether anybody reads the report to its end or not.
        Ok(()) | Err(CliError::ReaderGone) => {}
        Err(error) => return Err(error),
    }
    let all = |good: fn(&FixtureReport) -> bool| report.fixtures.iter().all(good);
    if !all(|fixture| fixture.error.is_none()) {
        Err(CliError::Reported)
    } else if all(|fixture| fixture.ok) {
        Ok(Verdict::Good)
    } else {
        Ok(Verdict::Diverged)
    }
}

/// Databases are named after their fixtures.
fn check_names(files: &[PathBuf]) -> Result<(), CliError> {
    let mut seen = BTreeSet::new();
    for file in files {
        let name = short_name(&file.display().to_string());
        if !seen.insert(name) {
            return Err(CliError::SameName(file.display().to_string()));
        }
    }
    Ok(())
}

/// Where the blocks of `file` go. The temporary folder lives as long as the second value.
fn open_database(
    args: &ReplayArgs,
    file: &Path,
) -> Result<(Database, Option<tempfile::TempDir>), CliError> {
    let Some(folder) = &args.db else {
        let temporary = tempfile::tempdir().map_err(CliError::Temporary)?;
        // It is deleted in the end, so nothing needs to survive a power cut.
        let database = Database::open(temporary.path(), Durability::Buffered)?;
        return Ok((database, Some(temporary)));
    };
    let folder = if args.fixtures.len() == 1 {
        folder.clone()
    } else if folder.join("CURRENT").exists() {
        return Err(CliError::DatabaseIsNoFolder(folder.clone()));
    } else {
        folder.join(short_name(&file.display().to_string()))
    };
    Ok((Database::open(&folder, Durability::Sync)?, None))
}

/// Replays one file; whatever goes wrong is part of its report, so that it hides no other.
fn replay_file(
    args: &ReplayArgs,
    mode: InstanceMode,
    executor: &WasmExecutor<SlackwaterHostFunctions>,
    file: &Path,
    profile: &mut Option<FuelProfile>,
) -> FixtureReport {
    let mut report = FixtureReport {
        file: file.display().to_string(),
        mode: mode_name(mode),
        path: args.path.name(),
        fuel_meter: meter_name(executor),
        ok: true,
        seconds: 0.0,
        blocks_present: 0,
        blocks: Vec::new(),
        divergence: None,
        error: None,
    };
    let loaded = BlockFixture::load(file)
        .map_err(CliError::from)
        .and_then(|fixture| Ok((fixture, open_database(args, file)?)));
    match loaded {
        Ok((fixture, (database, _temporary))) => {
            let started = Instant::now();
            report.replay(args, executor, (&database, &fixture), profile);
            report.seconds = started.elapsed().as_secs_f64();
        }
        Err(error) => report.break_off(&error),
    }
    report
}

fn rate(count: usize, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with no decimals")]
    let per_second = count as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("{per_second:.0}")
}

/// How far a replay has come.
const PROGRESS: &str = "{prefix} [{bar:32}] {pos}/{len} blocks, {msg} extrinsics/s, {eta} left";

impl FixtureReport {
    fn replay(
        &mut self,
        args: &ReplayArgs,
        executor: &WasmExecutor<SlackwaterHostFunctions>,
        (database, fixture): (&Database, &BlockFixture),
        profile: &mut Option<FuelProfile>,
    ) {
        let replay = match FixtureReplay::new(executor, database, fixture, args.path.into()) {
            Ok(replay) => replay,
            Err(error) => return self.fail(&error, fixture),
        };
        self.blocks_present = replay.blocks_present();
        let started = Instant::now();
        let name = short_name(&self.file);
        let progress = progress_bar(args.json, &name, replay.blocks_left(), PROGRESS);
        let mut extrinsics = 0usize;
        let mut replay = replay;
        loop {
            let start = started.elapsed();
            let (replayed, timing) = if args.wants_report() {
                let next = || profiled_into(profile, || replay.next());
                let (replayed, timing) = measured(next);
                (replayed, Some(timing))
            } else {
                (profiled_into(profile, || replay.next()), None)
            };
            let Some(replayed) = replayed else { break };
            match replayed {
                Ok(block) => {
                    let drawn = timing.map(|timing| Drawn::of_replay(&block, &timing, start));
                    extrinsics = extrinsics.saturating_add(block.extrinsics);
                    progress.set_message(rate(extrinsics, started.elapsed()));
                    progress.inc(1);
                    self.blocks.push(BlockReport {
                        drawn,
                        ..block.into()
                    });
                }
                Err(error) => self.fail(&error, fixture),
            }
        }
        progress.finish_and_clear();
    }

    fn break_off(&mut self, error: &dyn std::error::Error) {
        self.ok = false;
        self.error = Some(error.to_string());
    }

    fn fail(&mut self, error: &FixtureReplayError, fixture: &BlockFixture) {
        let Some(divergence) = error.divergence() else {
            return self.break_off(error);
        };
        self.ok = false;
        let outcomes = (0..).zip(divergence.outcomes.iter());
        self.blocks.push(BlockReport {
            number: divergence.block,
            state_root: divergence.computed_root().map(hex),
            ok: false,
            extrinsics: outcomes
                .map(|(index, outcome)| ExtrinsicReport {
                    index,
                    outcome: outcome.name(),
                })
                .collect(),
            body_len: 0,
            drawn: None,
        });
        self.divergence = Some(DivergenceReport::new(divergence, fixture));
    }

    /// The same for the page.
    fn drawn(&mut self) -> RunReport {
        RunReport {
            name: short_name(&self.file),
            mode: self.mode,
            path: self.path,
            threads: 1,
            fuel_meter: self.fuel_meter,
            ok: self.ok,
            result: self.result(),
            seconds: self.seconds,
            error: self.error.clone(),
            divergence: self.divergence.clone(),
            blocks: self
                .blocks
                .iter_mut()
                .filter_map(|block| block.drawn.take())
                .collect(),
        }
    }

    /// What is to be said of the whole.
    fn result(&self) -> String {
        match (self.ok, &self.error, self.blocks.is_empty()) {
            (true, _, true) => "nothing new: the database has these blocks".to_owned(),
            (true, _, false) => "every root equals the chain's".to_owned(),
            (false, Some(_), _) => "error".to_owned(),
            (false, None, _) => "DIVERGES".to_owned(),
        }
    }
}

impl From<ReplayedBlock> for BlockReport {
    fn from(block: ReplayedBlock) -> Self {
        let receipts = block.imported.receipts.extrinsics.unwrap_or_default();
        Self {
            number: block.imported.head.number,
            state_root: Some(hex(block.imported.head.state_root)),
            ok: true,
            extrinsics: receipts
                .iter()
                .map(|receipt| ExtrinsicReport {
                    index: receipt.index,
                    outcome: receipt.result.name(),
                })
                .collect(),
            body_len: block.extrinsics,
            drawn: None,
        }
    }
}

fn print(report: &Report) -> Result<(), CliError> {
    let head = [
        "fixture",
        "mode",
        "path",
        "blocks",
        "extrinsics",
        "failed calls",
        "seconds",
        "result",
    ];
    let mut rows = table(head);
    for fixture in &report.fixtures {
        let done = fixture.blocks.iter().filter(|block| block.ok);
        let failed = done.clone().flat_map(|block| &block.extrinsics);
        let failed = failed
            .filter(|extrinsic| extrinsic.outcome == "dispatch_error")
            .count();
        rows.add_row([
            short_name(&fixture.file),
            fixture.mode.to_owned(),
            fixture.path.to_owned(),
            thousands(done.clone().count()),
            thousands(done.map(|block| block.body_len).sum()),
            if fixture.path == "split" {
                thousands(failed)
            } else {
                "not told apart".to_owned()
            },
            format!("{:.2}", fixture.seconds),
            fixture.result(),
        ]);
    }
    say(rows)?;
    for fixture in &report.fixtures {
        if let Some(divergence) = &fixture.divergence {
            print_divergence(&short_name(&fixture.file), divergence)?;
        }
    }
    Ok(())
}
