//! `slackwater instrument`: the pass that makes a module count, by itself.

use serde::Serialize;
use slackwater_executor::{
    RuntimeBlob,
    fuel::{Check, FunctionStats, Instrumentation, Instrumented, Schedule, instrument, prove},
    runtime::CODE_BYTES_MAX,
};

use crate::{
    Verdict,
    args::InstrumentArgs,
    args_executor::MeterArg,
    error::CliError,
    output::{hex, print_json, say, table, thousands, thousands_u64},
    source::{read_file, refuse_input_as_output},
};

/// Functions shown to people: those that grew most.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct Report {
    schedule: String,
    bytes_before: usize,
    bytes_after: usize,
    functions: usize,
    increments: u64,
    safepoints: u64,
    /// Loops written out so that several turns share a safepoint.
    loops_written_out: u64,
    /// Operators that were proved to be counted, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Vec<FunctionReport>>,
}

#[derive(Serialize)]
struct FunctionReport {
    /// Position in the code section.
    index: usize,
    increments: u32,
    safepoints: u32,
    loops_written_out: u32,
    bytes_before: usize,
    bytes_after: usize,
}

/// Loops whose turns share safepoints.
fn written_out(function: &FunctionStats) -> u32 {
    let loops = function.turns.iter().filter(|turns| **turns > 1).count();
    // A function has less than 8 million operators.
    u32::try_from(loops).unwrap_or(u32::MAX)
}

pub(crate) fn run(args: &InstrumentArgs) -> Result<Verdict, CliError> {
    let code = read_file(&args.input)?;
    let profile = slackwater_executor::GuestProfile::Substrate;
    let blob =
        RuntimeBlob::new(&code, CODE_BYTES_MAX, profile).map_err(|source| CliError::Runtime {
            path: args.input.clone(),
            source,
        })?;
    let schedule = Schedule::default();
    let instrumentation = Instrumentation {
        schedule: schedule.clone(),
        check: match args.meter {
            MeterArg::Checked => Check::Synchronous,
            MeterArg::Slacked => Check::None,
        },
        depth_bytes_max: args.depth,
    };
    refuse_input_as_output(&[&args.input], &args.output)?;
    let made =
        instrument(blob.wasm(), &instrumentation).map_err(|source| CliError::Instrument {
            path: args.input.clone(),
            source,
        })?;
    let proof = if args.check {
        let proof = prove(blob.wasm(), &made.wasm, &instrumentation);
        Some(proof.map_err(|source| CliError::Proof {
            path: args.input.clone(),
            source,
        })?)
    } else {
        None
    };
    std::fs::write(&args.output, &made.wasm).map_err(|source| CliError::Write {
        path: args.output.clone(),
        source,
    })?;
    let mut report = Report::new(&schedule, blob.wasm().len(), &made, args.stats);
    report.proved = proof.map(|proof| proof.operators);
    if args.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(Verdict::Good)
}

impl Report {
    fn new(schedule: &Schedule, bytes_before: usize, made: &Instrumented, stats: bool) -> Self {
        let sum = |count: fn(&FunctionStats) -> u32| {
            made.functions.iter().map(|f| u64::from(count(f))).sum()
        };
        let functions = made.functions.iter().enumerate();
        let functions = functions.map(|(index, function)| FunctionReport {
            index,
            increments: function.increments,
            safepoints: function.safepoints,
            loops_written_out: written_out(function),
            bytes_before: function.bytes_before,
            bytes_after: function.bytes_after,
        });
        Self {
            schedule: hex(schedule.hash()),
            bytes_before,
            bytes_after: made.wasm.len(),
            functions: made.functions.len(),
            increments: sum(|function| function.increments),
            safepoints: sum(|function| function.safepoints),
            loops_written_out: sum(written_out),
            proved: None,
            stats: stats.then(|| functions.collect()),
        }
    }

    fn print(&self) -> Result<(), CliError> {
        let mut rows = table(["", "before", "after"]);
        rows.add_row([
            "bytes",
            &thousands(self.bytes_before),
            &thousands(self.bytes_after),
        ]);
        rows.add_row([
            "functions",
            &thousands(self.functions),
            &thousands(self.functions),
        ]);
        rows.add_row(["increments", "0", &thousands_u64(self.increments)]);
        rows.add_row(["safepoints", "0", &thousands_u64(self.safepoints)]);
        let loops = thousands_u64(self.loops_written_out);
        rows.add_row(["loops written out", "0", &loops]);
        say(rows)?;
        say(format!("schedule {}", self.schedule))?;
        if let Some(operators) = self.proved {
            let operators = thousands_u64(operators);
            say(format!(
                "proved: on every path, {operators} operators are counted as the schedule says"
            ))?;
        }
        let Some(stats) = &self.stats else {
            return Ok(());
        };
        let mut largest: Vec<_> = stats.iter().collect();
        largest.sort_by_key(|function| {
            std::cmp::Reverse(function.bytes_after.saturating_sub(function.bytes_before))
        });
        let head = [
            "function",
            "increments",
            "safepoints",
            "loops written out",
            "bytes before",
            "bytes after",
        ];
        let mut rows = table(head);
        for function in largest.into_iter().take(SHOWN) {
            rows.add_row([
                function.index.to_string(),
                function.increments.to_string(),
                function.safepoints.to_string(),
                function.loops_written_out.to_string(),
                thousands(function.bytes_before),
                thousands(function.bytes_after),
            ]);
        }
        say(format!(
            "\nthe {SHOWN} functions that grew most; --json has all"
        ))?;
        say(rows)
    }
}
