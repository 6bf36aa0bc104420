//! `slackwater call`: one runtime call on a state in memory.

use std::time::{Duration, Instant};

use serde::Serialize;
use slackwater_executor::{
    CallError, CallLimits, CallOutcome, CancelToken, ExecutionError, FuelUsed, Trap, WasmExecutor,
    block::state_version_of,
    call_on_state_limited,
    host_functions::SlackwaterHostFunctions,
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::hexadecimal;
use sp_core::storage::{Storage, well_known_keys::CODE};

use crate::{
    Verdict,
    args::CallArgs,
    args_executor::FuelArg,
    error::CliError,
    output::{COUNT, hex, print_json, progress_bar, say, thousands, thousands_u64},
    source::{read_file, read_state},
};

#[derive(Serialize)]
struct Report {
    method: String,
    outcome: &'static str,
    output: Option<String>,
    /// Keys touched.
    changes: usize,
    /// Fuel used, where it is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<FuelReport>,
    /// Of several calls, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    median_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trap: Option<TrapReport>,
}

/// Of a call that passed its limit, only the total is known: it is the limit.
#[derive(Serialize)]
struct FuelReport {
    total: u64,
    wasm: u64,
    size: u64,
    host: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

#[derive(Serialize)]
struct TrapReport {
    kind: String,
    message: String,
    backtrace: Option<String>,
}

pub(crate) fn run(args: &CallArgs) -> Result<Verdict, CliError> {
    let input = hexadecimal::decode("0xARGS", &args.input).map_err(CliError::Input)?;
    let storage = match (&args.runtime, &args.spec) {
        (Some(runtime), _) => {
            let code = read_file(runtime)?;
            Storage {
                top: [(CODE.to_vec(), code)].into(),
                ..Storage::default()
            }
        }
        (None, Some(spec)) => read_state(spec)?,
        (None, None) => unreachable!("clap requires one of the two"),
    };
    let report = call(args, storage, &input)?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(Verdict::Good)
}

fn call(args: &CallArgs, storage: Storage, input: &[u8]) -> Result<Report, CliError> {
    if args.deadline.is_some() && args.executor.fuel == FuelArg::Off {
        return Err(CliError::DeadlineOfNothing);
    }
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.config())?;
    let version = state_version_of(&executor, &storage).map_err(ExecutionError::from)?;
    let state = MemoryState::new(storage, version);
    let limits = match args.executor.fuel {
        FuelArg::Limit(limit) => CallLimits::consensus(limit),
        FuelArg::Unlimited | FuelArg::Off => CallLimits::none(),
    };
    let once = || {
        let (context, extensions) = (args.context.into(), Extensions::new());
        let method = &args.method;
        let started = Instant::now();
        let mut limits = limits.clone();
        let deadline = args.deadline.map(Duration::from_millis);
        limits.cancel = deadline.map(|deadline| CancelToken::new().or_within(deadline));
        let call = call_on_state_limited(
            &executor, &state, context, method, input, extensions, &limits,
        );
        call.map(|call| (call, started.elapsed()))
            .map_err(|error| stopped(args, error))
    };
    // The first call compiles the runtime, so it is timed only if it is the only one.
    let (call, _) = once()?;
    let mut times = Vec::new();
    if args.repeat > 1 {
        let bar = progress_bar(args.json, "calls", args.repeat as usize, COUNT);
        for _ in 0..args.repeat {
            times.push(once()?.1);
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    let (outcome, output, trap) = match call.outcome {
        CallOutcome::Returned(output) => ("ok", Some(hex(output)), None),
        CallOutcome::Trapped(trap) => (trap.outcome_name(), None, Some(trap.into())),
    };
    let changes = call.changes.map_or(0, |changes| changes.keys());
    Ok(Report {
        method: args.method.clone(),
        outcome,
        output,
        changes,
        fuel: call.fuel.map(FuelReport::from),
        median_ns: median(times).map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        trap,
    })
}

/// A call that was ended by its deadline says so.
fn stopped(args: &CallArgs, error: ExecutionError) -> CliError {
    match (error, args.deadline) {
        (
            ExecutionError::Call {
                method,
                source: CallError::Cancelled,
            },
            Some(milliseconds),
        ) => CliError::Deadline {
            method,
            milliseconds,
        },
        (error, _) => error.into(),
    }
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

impl From<FuelUsed> for FuelReport {
    fn from(used: FuelUsed) -> Self {
        Self {
            total: used.total.0,
            wasm: used.wasm,
            size: used.size,
            host: used.host,
            limit: used.limit.map(|limit| limit.0),
        }
    }
}

impl From<Trap> for TrapReport {
    fn from(trap: Trap) -> Self {
        Self {
            kind: format!("{:?}", trap.kind),
            message: trap.message,
            backtrace: trap.backtrace,
        }
    }
}

fn print(report: &Report) -> Result<(), CliError> {
    say(format!("{}: {}", report.method, report.outcome))?;
    if let Some(output) = &report.output {
        say(format!("output: {output}"))?;
        say(format!("keys touched: {}", thousands(report.changes)))?;
    }
    if let Some(fuel) = &report.fuel {
        say(format!("fuel used: {}", thousands_u64(fuel.total)))?;
        if fuel.wasm > 0 {
            say(format!(
                "  operators {}, sizes {}, host functions {}",
                thousands_u64(fuel.wasm),
                thousands_u64(fuel.size),
                thousands_u64(fuel.host)
            ))?;
        }
    }
    if let Some(median) = report.median_ns {
        say(format!("median time: {:?}", Duration::from_nanos(median)))?;
    }
    if let Some(trap) = &report.trap {
        say(format!("{}: {}", trap.kind, trap.message))?;
        if let Some(backtrace) = &trap.backtrace {
            say(backtrace)?;
        }
    }
    Ok(())
}
