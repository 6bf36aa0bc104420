//! `slackwater produce`: blocks made of extrinsics from a file, or of signed transfers, and how long that took.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

use indicatif::ProgressBar;
use serde::Serialize;
use slackwater_executor::{
    Database, Durability, ExecutionError, InstanceMode, Meter, WasmExecutor,
    block::{BlockEnd, LeftOut, Offered, Origin, Overrun, ProducerConfig},
    host_functions::SlackwaterHostFunctions,
    profile::FuelProfile,
    state::StateView,
    timing::measured,
};
use slackwater_runtime_fixtures::{
    hexadecimal,
    production::{ChainProducer, ProducedBlock, Queue, begin_chain, genesis_of},
    transfers::{Senders, Transfers},
};

use crate::{
    Verdict,
    args::{Mode, ProduceArgs, mode_name},
    error::CliError,
    metrics,
    output::{
        COUNT, hex, print_json, progress_bar, say, short_name, table, thousands, thousands_u64,
    },
    report::{
        BlockReport as Drawn, Document, ProfileReport, RunReport, meter_name, profiled_into,
        write_folded, write_page,
    },
    source::{read_file, read_state, refuse_input_as_output},
};

type Executor = WasmExecutor<SlackwaterHostFunctions>;

#[derive(Serialize)]
struct Report {
    spec: String,
    runs: Vec<Run>,
    /// The first block that is another one in the second mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    modes_differ_at: Option<u64>,
    /// Where time and fuel went.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Document>,
}

#[derive(Serialize)]
struct Run {
    mode: &'static str,
    /// Blocks that only gave the senders their funds.
    funding_blocks: usize,
    blocks: Vec<BlockReport>,
    /// Transactions in all of these blocks.
    transactions: usize,
    /// Time of producing and committing them.
    seconds: f64,
    transactions_per_second: f64,
    /// What had no room in any of them.
    waiting: usize,
    #[serde(skip)]
    fuel_meter: &'static str,
    #[serde(skip)]
    drawn: Vec<Drawn>,
}

#[derive(Serialize)]
struct BlockReport {
    number: u64,
    hash: String,
    state_root: String,
    ended_by: &'static str,
    inherents: usize,
    transactions: usize,
    /// How many transactions ended how.
    outcomes: BTreeMap<String, usize>,
    overruns: Vec<OverrunReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
    bytes: usize,
    producing_seconds: f64,
    committing_seconds: f64,
}

#[derive(Serialize)]
struct OverrunReport {
    extrinsic: String,
    limit: u64,
}

pub(crate) fn run(args: &ProduceArgs) -> Result<Verdict, CliError> {
    if args.mode == Mode::Both && args.db.is_some() {
        return Err(CliError::BothOnOneDatabase);
    }
    let is_limited = args.extrinsic_fuel.is_some() || args.block_fuel.is_some();
    if is_limited && args.executor.config().meter == Meter::Off {
        return Err(CliError::LimitsOfNothing);
    }
    let outputs = args.out.iter().chain(&args.report.report);
    for out in outputs.chain(&args.profile.fuel_profile) {
        let inputs: Vec<_> = args.extrinsics.iter().chain([&args.spec]).collect();
        refuse_input_as_output(&inputs, out)?;
    }
    let served = metrics::serve(&args.metrics)?;
    let mut report = Report {
        spec: args.spec.display().to_string(),
        runs: Vec::new(),
        modes_differ_at: None,
        report: None,
    };
    let mut blocks = String::new();
    let mut profile = args
        .profile
        .fuel_profile
        .as_ref()
        .map(|_| FuelProfile::default());
    for mode in args.mode.each() {
        blocks.clear();
        let produced = produce(args, *mode, &mut blocks, &mut profile);
        if produced.is_err() && !blocks.is_empty() {
            // What there is by then is not lost.
            write_out(args, &blocks)?;
        }
        report.runs.push(produced?);
    }
    write_out(args, &blocks)?;
    if args.deadline.is_none() {
        report.modes_differ_at = first_difference(&report.runs);
    }
    if let (Some(path), Some(profile)) = (&args.profile.fuel_profile, &profile) {
        write_folded(path, profile)?;
    }
    if args.wants_report() {
        let mut document = drawn(&mut report);
        document.profile = profile.as_ref().map(ProfileReport::new);
        if let Some(path) = &args.report.report {
            write_page(path, &document)?;
        }
        report.report = Some(document);
    }
    if args.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    if let Some(served) = served {
        served.hold();
    }
    Ok(match report.modes_differ_at {
        None => Verdict::Good,
        Some(_) => Verdict::Diverged,
    })
}

/// The same for the page.
fn drawn(report: &mut Report) -> Document {
    let mut document = Document::new("produce");
    let differs = report.modes_differ_at;
    for run in &mut report.runs {
        document.runs.push(RunReport {
            name: short_name(&report.spec),
            mode: run.mode,
            path: "split",
            threads: 1,
            fuel_meter: run.fuel_meter,
            ok: differs.is_none(),
            result: match differs {
                None => "produced".to_owned(),
                Some(number) => format!("block {number} is another one in the second mode"),
            },
            seconds: run.seconds,
            error: None,
            divergence: None,
            blocks: std::mem::take(&mut run.drawn),
        });
    }
    document
}

fn write_out(args: &ProduceArgs, blocks: &str) -> Result<(), CliError> {
    let Some(out) = &args.out else {
        return Ok(());
    };
    fs::write(out, blocks).map_err(|source| CliError::Write {
        path: out.clone(),
        source,
    })
}

/// The first block that two runs do not share. Where time ends blocks they may differ.
fn first_difference(runs: &[Run]) -> Option<u64> {
    let (first, others) = runs.split_first()?;
    let blocks = others
        .iter()
        .flat_map(|run| first.blocks.iter().zip(&run.blocks));
    let mut differing = blocks.filter(|(one, other)| one.hash != other.hash);
    differing.next().map(|(block, _)| block.number)
}

/// Produces all blocks in one mode; `written` gets them as lines.
fn produce(
    args: &ProduceArgs,
    mode: InstanceMode,
    written: &mut String,
    profile: &mut Option<FuelProfile>,
) -> Result<Run, CliError> {
    let mut config = args.executor.block_config().with_instances(mode);
    config.compilation.profile_fuel = profile.is_some();
    config.metrics = args.metrics.metrics_addr.is_some();
    let executor = Executor::new(config)?;
    let temporary = tempfile::tempdir().map_err(CliError::Temporary)?;
    let database = match &args.db {
        Some(folder) => Database::open(folder, Durability::Sync)?,
        // It is deleted in the end, so nothing needs to survive a power cut.
        None => Database::open(temporary.path(), Durability::Buffered)?,
    };
    begin_chain(&executor, &database, &read_state(&args.spec)?)?;
    let mut supply = Supply::new(args, &executor, &database)?;
    let funding_blocks = supply.fund(&executor, &database)?;
    let producer = ChainProducer::new(
        &executor,
        &database,
        ProducerConfig {
            duration: args.deadline.map(Duration::from_millis),
            block_bytes_max: args.block_bytes,
            extrinsic_fuel: args.extrinsic_fuel,
            block_fuel: args.block_fuel,
            ..ProducerConfig::default()
        },
    );
    let bar = bar(args);
    let mut blocks = Vec::new();
    let mut drawn = Vec::new();
    let mut taken = Duration::ZERO;
    for _ in 0..args.blocks {
        supply.prepare(args)?;
        let produce = || profiled_into(profile, || producer.produce(&mut supply.queue));
        let block = if args.wants_report() {
            let (block, timing) = measured(produce);
            let block = block?;
            drawn.push(Drawn::of_production(&block, &timing, taken));
            block
        } else {
            let mut produce = produce;
            produce()?
        };
        taken += block.producing + block.committing;
        let encoded = block.block.encoded();
        if args.out.is_some() {
            // Writing into memory does not fail.
            let _ = writeln!(written, "{}", hex(&encoded));
        }
        blocks.push(BlockReport::new(&block, encoded.len()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let transactions = blocks.iter().map(|block| block.transactions).sum();
    Ok(Run {
        mode: mode_name(mode),
        funding_blocks,
        blocks,
        transactions,
        seconds: taken.as_secs_f64(),
        transactions_per_second: rate(transactions, taken.as_secs_f64()),
        waiting: supply.queue.len(),
        fuel_meter: meter_name(&executor),
        drawn,
    })
}

fn bar(args: &ProduceArgs) -> ProgressBar {
    let length = usize::try_from(args.blocks).unwrap_or(usize::MAX);
    let name = short_name(&args.spec.display().to_string());
    progress_bar(args.json, &name, length, COUNT)
}

fn rate(count: usize, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with no decimals")]
    let count = count as f64;
    count / seconds.max(1e-9)
}

/// What is offered.
struct Supply {
    queue: Queue,
    senders: Option<Senders>,
}

impl Supply {
    fn new(args: &ProduceArgs, executor: &Executor, database: &Database) -> Result<Self, CliError> {
        let mut queue = Queue::default();
        if let Some(path) = &args.extrinsics {
            let text = read_file(path)?;
            let text = String::from_utf8_lossy(&text);
            let lines = (1..).zip(text.lines().map(str::trim));
            for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
                let extrinsic = hexadecimal::decode("extrinsic", text);
                queue.push(extrinsic.map_err(|source| CliError::Line {
                    path: path.clone(),
                    line,
                    source,
                })?);
            }
        }
        let senders = match args.transfers {
            None => None,
            Some(_) => {
                let view = head_state(database)?;
                let genesis = genesis_of(database)?;
                let transfers = Transfers::of_state(executor, &view, genesis)?;
                Some(Senders::new(transfers, args.accounts)?)
            }
        };
        Ok(Self { queue, senders })
    }

    /// Gives the senders their funds, in blocks of their own; how many.
    fn fund(&mut self, executor: &Executor, database: &Database) -> Result<usize, CliError> {
        let Some(senders) = &mut self.senders else {
            return Ok(0);
        };
        let producer = ChainProducer::new(executor, database, ProducerConfig::default());
        let mut queue = Queue::default();
        for funding in senders.funding(&head_state(database)?)? {
            queue.push(funding);
        }
        let mut blocks = 0;
        while !queue.is_empty() {
            queue.begin_block();
            let block = producer.produce(&mut queue)?;
            if transactions(&block) == 0 {
                return Err(CliError::Funding {
                    number: block.head.number,
                    waiting: queue.len(),
                });
            }
            blocks += 1;
        }
        senders.begin(&head_state(database)?)?;
        Ok(blocks)
    }

    /// Signs what is missing for the next block.
    fn prepare(&mut self, args: &ProduceArgs) -> Result<(), CliError> {
        self.queue.begin_block();
        if let (Some(senders), Some(count)) = (&mut self.senders, args.transfers) {
            for _ in self.queue.len()..count.try_into().unwrap_or(usize::MAX) {
                self.queue.push(senders.transfer()?);
            }
        }
        Ok(())
    }
}

/// The state that the next block is made on.
fn head_state(database: &Database) -> Result<StateView<'_>, CliError> {
    let view = database.view().map_err(ExecutionError::from);
    Ok(view?)
}

/// Transactions in a block.
fn transactions(block: &ProducedBlock) -> usize {
    let offered = block.offered.iter();
    let included = offered.filter(|it| matches!(it.result, Offered::Included { .. }));
    included.filter(|it| it.origin != Origin::Inherent).count()
}

impl BlockReport {
    fn new(block: &ProducedBlock, bytes: usize) -> Self {
        let transactions = transactions(block);
        let mut outcomes = BTreeMap::new();
        for offered in &block.offered {
            if offered.origin != Origin::Inherent {
                *outcomes.entry(outcome(&offered.result)).or_default() += 1;
            }
        }
        Self {
            number: block.head.number,
            hash: hex(block.head.hash),
            state_root: hex(block.head.state_root),
            ended_by: ended_by(block.end),
            inherents: block.block.extrinsics.len() - transactions,
            transactions,
            outcomes,
            overruns: block.overruns.iter().map(Into::into).collect(),
            fuel: block.fuel.as_ref().map(|fuel| fuel.total().0),
            bytes,
            producing_seconds: block.producing.as_secs_f64(),
            committing_seconds: block.committing.as_secs_f64(),
        }
    }

    /// Those that are not in the block.
    fn left_out(&self) -> String {
        let included = ["applied", "dispatch_error"];
        let outcomes = self.outcomes.iter();
        let left_out = outcomes.filter(|(name, _)| !included.contains(&name.as_str()));
        let left_out = left_out.map(|(name, count)| format!("{} {name}", thousands(*count)));
        left_out.collect::<Vec<_>>().join(", ")
    }
}

impl From<&Overrun> for OverrunReport {
    fn from(overrun: &Overrun) -> Self {
        Self {
            extrinsic: hex(&overrun.extrinsic),
            limit: overrun.limit.0,
        }
    }
}

/// How an extrinsic ended, with the reason of a runtime that refused it.
fn outcome(offered: &Offered) -> String {
    match offered {
        Offered::LeftOut(LeftOut::Invalid(reason)) => format!("invalid: {reason:?}"),
        other => other.name().to_owned(),
    }
}

fn ended_by(end: BlockEnd) -> &'static str {
    match end {
        BlockEnd::NoMoreTransactions => "no more transactions",
        BlockEnd::Deadline => "deadline",
        BlockEnd::Bytes => "bytes",
        BlockEnd::Resources => "weight",
        BlockEnd::Fuel => "fuel",
        BlockEnd::OnlyInherents => "inherents only",
    }
}

fn print(report: &Report) -> Result<(), CliError> {
    for run in &report.runs {
        let mut rows = table([
            "block",
            "transactions",
            "failed calls",
            "left out",
            "bytes",
            "fuel",
            "produced in",
            "committed in",
            "ended by",
        ]);
        for block in &run.blocks {
            let failed = block.outcomes.get("dispatch_error").copied();
            rows.add_row([
                thousands_u64(block.number),
                thousands(block.transactions),
                thousands(failed.unwrap_or_default()),
                block.left_out(),
                thousands(block.bytes),
                block.fuel.map_or_else(String::new, thousands_u64),
                format!("{:.1} ms", block.producing_seconds * 1e3),
                format!("{:.1} ms", block.committing_seconds * 1e3),
                block.ended_by.to_owned(),
            ]);
        }
        say(rows)?;
        let waiting = match run.waiting {
            0 => String::new(),
            waiting => format!("; {} had no room", thousands(waiting)),
        };
        say(format!(
            "{}, {}: {} transactions in {:.2} s, {:.0} a second{waiting}",
            short_name(&report.spec),
            run.mode,
            thousands(run.transactions),
            run.seconds,
            run.transactions_per_second,
        ))?;
        for overrun in run.blocks.iter().flat_map(|block| &block.overruns) {
            let OverrunReport { extrinsic, limit } = overrun;
            say(format!("used more than {limit} fuel: {extrinsic}"))?;
        }
    }
    if let Some(number) = report.modes_differ_at {
        say(format!("block {number} is another one in the second mode"))?;
    }
    Ok(())
}
