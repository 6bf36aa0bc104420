//! `slackwater verify`: recorded blocks, executed again and compared.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use slackwater_executor::{
    InstanceMode, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
    recording::{Mismatch, Recording, RecordingFile, Verifier, VerifyError},
    timing::Timing,
};
use slackwater_runtime_fixtures::StateNames;

use crate::{
    Verdict,
    args::{Mode, mode_name},
    args_recording::VerifyArgs,
    chain_source::{ChainSource, chain_inputs},
    divergence::{DivergenceReport, print_divergence},
    error::CliError,
    output::{COUNT, print_json, progress_bar, say, short_name, table, thousands},
    report::{BlockReport, Document, RunReport, meter_name, write_page},
    sides::write_sides,
    source::refuse_input_as_output,
};

pub(crate) fn run(args: &VerifyArgs) -> Result<Verdict, CliError> {
    let path = &args.recording;
    if let Some(report) = &args.report.report {
        let mut inputs = chain_inputs(&args.chain);
        inputs.push(path);
        refuse_input_as_output(&inputs, report)?;
    }
    let recording = RecordingFile::open(path).map_err(|source| CliError::Recording {
        path: path.clone(),
        source,
    })?;
    let recording = Recording::File(recording);
    let mut document = Document::new("verify");
    for mode in args.mode.each() {
        document.runs.push(verify(args, *mode, &recording)?);
    }
    if let Some(path) = &args.report.report {
        write_page(path, &document)?;
    }
    if args.json {
        print_json(&document)?;
    } else {
        print(&document, &recording)?;
    }
    if document.runs.iter().all(|run| run.ok) {
        Ok(Verdict::Good)
    } else {
        Ok(Verdict::Diverged)
    }
}

/// Verifies in one mode.
fn verify(
    args: &VerifyArgs,
    mode: InstanceMode,
    recording: &Recording,
) -> Result<RunReport, CliError> {
    let config = args.executor.block_config().with_instances(mode);
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config)?;
    let chain = ChainSource::open(&args.chain, &executor)?;
    let parent = chain.state_after(recording.head().parent.number)?;
    let name = short_name(&args.recording.display().to_string());
    let bar = progress_bar(args.json, &name, recording.len(), COUNT);
    let begun = Instant::now();
    let blocks = Mutex::new(Vec::new());
    let mut verifier = Verifier::new(&executor, recording).with_threads(args.threads);
    if args.json || args.report.report.is_some() {
        verifier = verifier.timed();
    }
    let verified = verifier.verify(parent.clone(), &chain, &|block| {
        let untimed = Timing::default();
        let timing = block.timing.unwrap_or(&untimed);
        let start = begun.elapsed().saturating_sub(timing.phases.total());
        let report = BlockReport::of_recorded(block.computed, timing, start);
        let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push(report);
        bar.inc(1);
    });
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let mut blocks = blocks.into_inner().unwrap_or_else(PoisonError::into_inner);
    blocks.sort_by_key(|block| block.number);
    let mut report = RunReport {
        name,
        mode: mode_name(mode),
        path: "split",
        threads: args.threads.get(),
        fuel_meter: meter_name(&executor),
        ok: true,
        result: String::new(),
        seconds,
        error: None,
        divergence: None,
        blocks,
    };
    match verified {
        Ok(stat) => {
            report.threads = stat.threads;
            report.result = match stat.ranges {
                1 => "as recorded".to_owned(),
                ranges => format!("as recorded, in {ranges} ranges"),
            };
        }
        Err(VerifyError::Mismatch(mismatch)) => {
            // Names are those of the code before the first block: behind an upgrade there are others.
            let first = recording.block(0).ok().map(|block| block.code);
            let names = match first == Some(mismatch.recorded.code) {
                true => StateNames::of_state(&executor, &parent.view()?).unwrap_or_default(),
                false => StateNames::default(),
            };
            report.ok = false;
            report.result = "DIFFERS".to_owned();
            report.divergence = Some(told(args, mode, &mismatch, &names)?);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(report)
}

/// Writes both sides, and says what differs.
fn told(
    args: &VerifyArgs,
    mode: InstanceMode,
    mismatch: &Mismatch,
    names: &StateNames,
) -> Result<DivergenceReport, CliError> {
    let name = short_name(&args.recording.display().to_string());
    let name = match args.mode {
        Mode::Both => format!("{name}.{}", mode_name(mode)),
        _ => name,
    };
    let files = write_sides(&args.differences, &name, mismatch, names)?;
    Ok(DivergenceReport::of_mismatch(mismatch, names, files))
}

fn print(document: &Document, recording: &Recording) -> Result<(), CliError> {
    let mut rows = table([
        "recording",
        "mode",
        "threads",
        "blocks",
        "extrinsics",
        "seconds",
        "result",
    ]);
    for run in &document.runs {
        rows.add_row([
            run.name.clone(),
            run.mode.to_owned(),
            run.threads.to_string(),
            format!(
                "{} of {}",
                thousands(run.blocks.len()),
                thousands(recording.len())
            ),
            thousands(run.blocks.iter().map(|block| block.extrinsic_count).sum()),
            format!("{:.2}", run.seconds),
            run.result.clone(),
        ]);
    }
    say(rows)?;
    for run in &document.runs {
        if let Some(divergence) = &run.divergence {
            print_divergence(&format!("{} ({})", run.name, run.mode), divergence)?;
        }
    }
    if recording.head().digest_only {
        say("Writes were recorded as digests: one thread, and no key can be named.")?;
    }
    Ok(())
}
