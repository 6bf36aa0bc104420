//! `slackwater replay`: blocks of fixtures, each checked and committed.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use slackwater_executor::{
    Database, Durability, ExecutionPath, WasmExecutor,
    block::{Divergence, Value},
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureReplay, FixtureReplayError, ReplayedBlock};
use sp_core::H256;

use crate::{
    Verdict,
    args::{Mode, ReplayArgs},
    error::CliError,
    output::{hex, print_json, table, thousands},
};

#[derive(Serialize)]
struct Report {
    fixtures: Vec<FixtureReport>,
}

#[derive(Serialize)]
struct FixtureReport {
    file: String,
    mode: &'static str,
    path: &'static str,
    ok: bool,
    seconds: f64,
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
}

#[derive(Serialize)]
struct ExtrinsicReport {
    index: u32,
    outcome: &'static str,
}

#[derive(Serialize)]
struct DivergenceReport {
    block: u64,
    step: String,
    message: String,
    expected_root: Option<String>,
    computed_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyReport>,
}

#[derive(Serialize)]
struct KeyReport {
    child: Option<String>,
    key: String,
    expected: ValueReport,
    computed: ValueReport,
}

#[derive(Serialize)]
#[serde(tag = "write", content = "value", rename_all = "snake_case")]
enum ValueReport {
    Untouched,
    Deleted,
    Present(String),
}

pub(crate) fn run(args: &ReplayArgs) -> Result<Verdict, CliError> {
    if args.mode != Mode::Fresh {
        return Err(CliError::NoSnapshotMode);
    }
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.config())?;
    let mut report = Report {
        fixtures: Vec::new(),
    };
    for file in &args.fixtures {
        report.fixtures.push(replay_file(args, &executor, file)?);
    }
    if args.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    for fixture in &report.fixtures {
        if let Some(error) = &fixture.error {
            eprintln!("error: {}: {error}", fixture.file);
        }
    }
    if report
        .fixtures
        .iter()
        .any(|fixture| fixture.error.is_some())
    {
        Err(CliError::Reported)
    } else if report.fixtures.iter().any(|fixture| !fixture.ok) {
        Ok(Verdict::Diverged)
    } else {
        Ok(Verdict::Good)
    }
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
        folder.join(
            file.file_stem()
                .map_or_else(|| PathBuf::from("fixture"), PathBuf::from),
        )
    };
    Ok((Database::open(&folder, Durability::Sync)?, None))
}

fn replay_file(
    args: &ReplayArgs,
    executor: &WasmExecutor<SlackwaterHostFunctions>,
    file: &Path,
) -> Result<FixtureReport, CliError> {
    let fixture = BlockFixture::load(file)?;
    let (database, _temporary) = open_database(args, file)?;
    let path = ExecutionPath::from(args.path);
    let mut report = FixtureReport {
        file: file.display().to_string(),
        mode: "fresh",
        path: match path {
            ExecutionPath::Split => "split",
            ExecutionPath::Whole => "whole",
        },
        ok: true,
        seconds: 0.0,
        blocks: Vec::new(),
        divergence: None,
        error: None,
    };
    let started = Instant::now();
    match FixtureReplay::new(executor, &database, &fixture, path) {
        Ok(replay) => {
            let progress = progress_bar(args, &report.file, replay.blocks_left());
            let mut extrinsics = 0usize;
            for replayed in replay {
                match replayed {
                    Ok(block) => {
                        extrinsics = extrinsics.saturating_add(block.extrinsics);
                        progress.set_message(rate(extrinsics, started.elapsed()));
                        progress.inc(1);
                        report.blocks.push(block.into());
                    }
                    Err(error) => report.fail(&error, &fixture),
                }
            }
            progress.finish_and_clear();
        }
        Err(error) => report.fail(&error, &fixture),
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn rate(count: usize, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with no decimals")]
    let per_second = count as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("{per_second:.0}")
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(args: &ReplayArgs, file: &str, blocks: usize) -> ProgressBar {
    let quiet = args.json || !std::io::stderr().is_terminal();
    let target = if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let style = ProgressStyle::with_template(
        "{prefix} [{bar:32}] {pos}/{len} blocks, {msg} extrinsics/s, {eta} left",
    );
    let bar = ProgressBar::with_draw_target(Some(blocks as u64), target);
    bar.set_prefix(short_name(file));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl FixtureReport {
    fn fail(&mut self, error: &FixtureReplayError, fixture: &BlockFixture) {
        self.ok = false;
        let Some(divergence) = error.divergence() else {
            self.error = Some(error.to_string());
            return;
        };
        let block = fixture
            .blocks
            .iter()
            .find(|block| block.number == divergence.block);
        let roots = block.and_then(|block| divergence.roots(H256(block.state_root)));
        self.blocks.push(BlockReport {
            number: divergence.block,
            state_root: roots.map(|(_, computed)| hex(computed)),
            ok: false,
            extrinsics: Vec::new(),
            body_len: 0,
        });
        self.divergence = Some(DivergenceReport::new(divergence, roots));
    }
}

impl DivergenceReport {
    fn new(divergence: &Divergence, roots: Option<(H256, H256)>) -> Self {
        Self {
            block: divergence.block,
            step: divergence.step.to_string(),
            message: divergence.cause.to_string(),
            expected_root: roots.map(|(expected, _)| hex(expected)),
            computed_root: roots.map(|(_, computed)| hex(computed)),
            key: divergence.write.as_ref().map(|write| KeyReport {
                child: write.child.as_ref().map(hex),
                key: hex(&write.key),
                expected: (&write.expected).into(),
                computed: (&write.computed).into(),
            }),
        }
    }
}

impl From<&Value> for ValueReport {
    fn from(value: &Value) -> Self {
        match value {
            Value::Untouched => Self::Untouched,
            Value::Deleted => Self::Deleted,
            Value::Present(value) => Self::Present(hex(value)),
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
        }
    }
}

fn print(report: &Report) {
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
            match (fixture.ok, &fixture.error) {
                (true, _) => "every root equals the chain's".to_owned(),
                (false, Some(_)) => "error".to_owned(),
                (false, None) => "DIVERGES".to_owned(),
            },
        ]);
    }
    println!("{rows}");
    for fixture in &report.fixtures {
        if let Some(divergence) = &fixture.divergence {
            print_divergence(&short_name(&fixture.file), divergence);
        }
    }
}

fn short_name(file: &str) -> String {
    Path::new(file)
        .file_stem()
        .map_or_else(|| file.to_owned(), |stem| stem.display().to_string())
}

fn print_divergence(fixture: &str, divergence: &DivergenceReport) {
    println!(
        "\n{fixture} diverges at block {}, {}:",
        divergence.block, divergence.step
    );
    println!("  {}", divergence.message);
    if let (Some(expected), Some(computed)) = (&divergence.expected_root, &divergence.computed_root)
    {
        println!("  state root expected  {expected}");
        println!("  state root computed  {computed}");
    }
    if let Some(key) = &divergence.key {
        println!("  first differing key  {}", key.key);
        if let Some(child) = &key.child {
            println!("  in child trie        {child}");
        }
        println!("  value expected       {}", key.expected.shown());
        println!("  value computed       {}", key.computed.shown());
    }
}

impl ValueReport {
    fn shown(&self) -> &str {
        match self {
            Self::Untouched => "(not written)",
            Self::Deleted => "(deleted)",
            Self::Present(value) => value,
        }
    }
}
