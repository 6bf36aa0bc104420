//! `slackwater call`: one runtime call on a state in memory.

use serde::Serialize;
use slackwater_executor::{
    CallOutcome, ExecutionError, Trap, WasmExecutor,
    block::state_version_of,
    call_on_state_limited,
    host_functions::SlackwaterHostFunctions,
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::hexadecimal;
use sp_core::storage::{Storage, well_known_keys::CODE};

use crate::{
    Verdict,
    args::{CallArgs, MeterArg},
    error::CliError,
    output::{hex, print_json, say, thousands},
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
    fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trap: Option<TrapReport>,
}

#[derive(Serialize)]
struct TrapReport {
    kind: String,
    message: String,
    backtrace: Option<String>,
}

pub(crate) fn run(args: &CallArgs) -> Result<Verdict, CliError> {
    if args.fuel.0.is_some() && args.executor.meter == MeterArg::Off {
        return Err(CliError::LimitWithoutMeter);
    }
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
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(args.executor.config())?;
    let version = state_version_of(&executor, &storage).map_err(ExecutionError::from)?;
    let state = MemoryState::new(storage, version);
    let context = args.context.into();
    let call = call_on_state_limited(
        &executor,
        &state,
        context,
        &args.method,
        input,
        Extensions::new(),
        args.fuel.0,
    )?;
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
        fuel: call.fuel.map(|fuel| fuel.0),
        trap,
    })
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
    if let Some(fuel) = report.fuel {
        say(format!("fuel used: {fuel}"))?;
    }
    if let Some(trap) = &report.trap {
        say(format!("{}: {}", trap.kind, trap.message))?;
        if let Some(backtrace) = &trap.backtrace {
            say(backtrace)?;
        }
    }
    Ok(())
}
