//! `slackwater record`: what executing blocks does, into a file.

use std::time::Instant;

use serde::Serialize;
use slackwater_executor::{
    WasmExecutor,
    host_functions::SlackwaterHostFunctions,
    recording::{Recorder, RecordingWriter},
};

use crate::{
    Verdict,
    args_recording::RecordArgs,
    chain_source::{ChainSource, chain_inputs, chain_name},
    error::CliError,
    output::{COUNT, print_json, progress_bar, say, table, thousands, thousands_u64},
    source::refuse_input_as_output,
};

#[derive(Serialize)]
struct Recorded {
    file: String,
    blocks: u64,
    extrinsics: usize,
    bytes: u64,
    seconds: f64,
    digest_only: bool,
    from: u64,
    to: u64,
}

pub(crate) fn run(args: &RecordArgs) -> Result<Verdict, CliError> {
    refuse_input_as_output(&chain_inputs(&args.chain), &args.out)?;
    if args.out.exists() && !args.force {
        return Err(CliError::OutExists(args.out.clone()));
    }
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.block_config())?;
    let chain = ChainSource::open(&args.chain, &executor)?;
    let (first, last) = chain.reach()?;
    let from = args.from.unwrap_or(first);
    let to = args.to.unwrap_or(last);
    if from > to || to > last || from == 0 {
        return Err(CliError::NoSuchBlocks {
            from,
            to,
            first,
            last,
        });
    }
    let begun = Instant::now();
    let state = chain.state_after(from - 1)?;
    let name = chain_name(&args.chain);
    let mut recorder = Recorder::new(&executor, state, name.clone(), args.digest_only);
    let written = |source| CliError::Recording {
        path: args.out.clone(),
        source,
    };
    let mut writer = RecordingWriter::create(&args.out, recorder.head()).map_err(written)?;
    let count = to - from + 1;
    let length = usize::try_from(count).unwrap_or(usize::MAX);
    let bar = progress_bar(args.json, &name, length, COUNT);
    let mut extrinsics = 0;
    for _ in 0..count {
        let block = recorder.next(&chain)?;
        extrinsics += block.extrinsics.len();
        writer.add(&block).map_err(written)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bytes = writer.finish().map_err(written)?;
    let recorded = Recorded {
        file: args.out.display().to_string(),
        blocks: count,
        extrinsics,
        bytes,
        seconds: begun.elapsed().as_secs_f64(),
        digest_only: args.digest_only,
        from,
        to,
    };
    if args.json {
        print_json(&recorded)?;
    } else {
        print(&recorded)?;
    }
    Ok(Verdict::Good)
}

fn print(recorded: &Recorded) -> Result<(), CliError> {
    let mut rows = table([
        "recording",
        "blocks",
        "extrinsics",
        "writes",
        "bytes",
        "seconds",
    ]);
    rows.add_row([
        recorded.file.clone(),
        thousands_u64(recorded.blocks),
        thousands(recorded.extrinsics),
        if recorded.digest_only {
            "as digests"
        } else {
            "all"
        }
        .to_owned(),
        thousands_u64(recorded.bytes),
        format!("{:.2}", recorded.seconds),
    ]);
    say(rows)
}
