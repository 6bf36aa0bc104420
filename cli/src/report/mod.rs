//! What a run did and where its time and fuel went: one document, which `--report` draws and `--json` prints: of `verify` that is
//! all, of `replay` and `produce` it stands under `report`.
//!
//! Times include what it costs to take them, some 50 ns for each call of a host function. Invariant: the page holds exactly
//! what the JSON does.

mod page;

use std::{path::Path, time::Duration};

use serde::Serialize;
use slackwater_executor::{
    Meter, WasmExecutor,
    block::{BlockFuel, FuelReceipt, Offered},
    host_functions::SlackwaterHostFunctions,
    profile::{FuelProfile, profiled},
    recording::RecordedBlock,
    state::Head,
    timing::{BlockCall, Phase, PhaseTimes, Timing},
};
use slackwater_runtime_fixtures::{ReplayedBlock, production::ProducedBlock};

use crate::{divergence::DivergenceReport, error::CliError, output::hex};

pub(crate) use page::write_page;

/// The version of the document.
const VERSION: u32 = 1;

/// Everything about a command's runs.
#[derive(Serialize)]
pub(crate) struct Document {
    version: u32,
    kind: &'static str,
    program: &'static str,
    machine: Machine,
    pub(crate) runs: Vec<RunReport>,
    /// Where fuel went, by the guest's functions, if that was asked for.
    pub(crate) profile: Option<ProfileReport>,
}

#[derive(Serialize)]
struct Machine {
    cpu: Option<String>,
    cores: usize,
}

/// One run of a fixture, a recording or a chain.
#[derive(Serialize)]
pub(crate) struct RunReport {
    pub(crate) name: String,
    pub(crate) mode: &'static str,
    pub(crate) path: &'static str,
    pub(crate) threads: usize,
    pub(crate) fuel_meter: &'static str,
    pub(crate) ok: bool,
    pub(crate) result: String,
    pub(crate) seconds: f64,
    pub(crate) error: Option<String>,
    pub(crate) divergence: Option<DivergenceReport>,
    pub(crate) blocks: Vec<BlockReport>,
}

/// One block of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BlockReport {
    pub(crate) number: u64,
    pub(crate) ok: bool,
    pub(crate) state_root: Option<String>,
    /// When it was begun, since the run was.
    pub(crate) start_ms: f64,
    pub(crate) ms: f64,
    pub(crate) phases: Phases,
    pub(crate) fuel: Option<u64>,
    /// Extrinsics of its body, also where they are not told apart.
    pub(crate) extrinsic_count: usize,
    pub(crate) initialize: Option<CallReport>,
    extrinsics: Vec<ExtrinsicReport>,
    pub(crate) finalize: Option<CallReport>,
}

/// Milliseconds in each phase.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Phases {
    instantiate: f64,
    wasm: f64,
    host: f64,
    storage: f64,
    reset: f64,
    root: f64,
    commit: f64,
    other: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CallReport {
    fuel: Option<u64>,
    ms: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExtrinsicReport {
    index: usize,
    outcome: String,
    fuel: Option<u64>,
    ms: Option<f64>,
}

/// Fuel by the guest's functions, as a tree of calls.
#[derive(Serialize)]
pub(crate) struct ProfileReport {
    unit: &'static str,
    total: u64,
    root: ProfileNode,
}

#[derive(Serialize)]
pub(crate) struct ProfileNode {
    name: String,
    /// Fuel used in it and in what it called.
    value: u64,
    /// Fuel used in it alone.
    own: u64,
    /// How often it was called.
    calls: u64,
    children: Vec<ProfileNode>,
}

impl ProfileReport {
    pub(crate) fn new(profile: &FuelProfile) -> Self {
        Self {
            unit: "fuel",
            total: profile.total(),
            root: ProfileNode::new("all", profile),
        }
    }
}

impl ProfileNode {
    fn new(name: &str, profile: &FuelProfile) -> Self {
        let called = profile.called.iter();
        let children: Vec<_> = called
            .map(|(name, called)| Self::new(name, called))
            .collect();
        let within = children.iter().map(|child| child.value);
        Self {
            name: name.to_owned(),
            value: within.fold(profile.own, u64::saturating_add),
            own: profile.own,
            calls: profile.calls,
            children,
        }
    }
}

/// Does something, and notes where fuel went if a profile is made.
pub(crate) fn profiled_into<R>(profile: &mut Option<FuelProfile>, work: impl FnOnce() -> R) -> R {
    let Some(profile) = profile else {
        return work();
    };
    let (result, more) = profiled(work);
    profile.merge(more);
    result
}

/// Writes folded stacks.
pub(crate) fn write_folded(path: &Path, profile: &FuelProfile) -> Result<(), CliError> {
    std::fs::write(path, profile.folded()).map_err(|source| CliError::Write {
        path: path.to_owned(),
        source,
    })
}

impl Document {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            version: VERSION,
            kind,
            program: concat!("slackwater ", env!("CARGO_PKG_VERSION")),
            machine: Machine {
                cpu: cpu(),
                cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            },
            runs: Vec::new(),
            profile: None,
        }
    }
}

/// What the processor calls itself.
fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The name of a meter in reports.
pub(crate) fn meter_name(executor: &WasmExecutor<SlackwaterHostFunctions>) -> &'static str {
    match executor.config().meter {
        Meter::Slacked => "slacked",
        Meter::Checked => "checked",
        Meter::Off => "off",
        _ => "engine",
    }
}

/// Milliseconds, to a ten-thousandth: enough for a call, and short in a file.
pub(crate) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 1e4
}

impl From<&PhaseTimes> for Phases {
    fn from(times: &PhaseTimes) -> Self {
        let of = |phase| ms(times.of(phase));
        Self {
            instantiate: of(Phase::Instantiate),
            wasm: of(Phase::Wasm),
            host: of(Phase::Host),
            storage: of(Phase::Storage),
            reset: of(Phase::Reset),
            root: of(Phase::Root),
            commit: of(Phase::Commit),
            other: of(Phase::Other),
        }
    }
}

/// The times of a block's calls of one kind.
fn times(timing: &Timing, kind: BlockCall) -> Vec<f64> {
    let calls = timing.calls.iter().filter(|(call, _)| *call == kind);
    calls.map(|(_, time)| ms(*time)).collect()
}

fn total(fuel: &FuelReceipt) -> u64 {
    fuel.wasm
        .saturating_add(fuel.size)
        .saturating_add(fuel.host)
}

/// What an extrinsic came to.
pub(crate) struct Ended {
    pub(crate) outcome: String,
    pub(crate) fuel: Option<u64>,
}

impl BlockReport {
    /// A block that took this long. Times of extrinsics are told where there is one for each.
    pub(crate) fn new(
        (number, state_root): (u64, Option<String>),
        timing: &Timing,
        start: Duration,
        calls: [Option<u64>; 2],
        extrinsics: Vec<Ended>,
    ) -> Self {
        let taken = times(timing, BlockCall::Extrinsic);
        let is_each = taken.len() == extrinsics.len();
        let [initialize, finalize] = calls;
        let call = |kind, fuel: Option<u64>| {
            let ms = times(timing, kind).first().copied();
            (ms.is_some() || fuel.is_some()).then_some(CallReport { fuel, ms })
        };
        let used = extrinsics.iter().map(|it| it.fuel);
        let used = used.chain(calls).flatten();
        let is_counted = initialize.is_some();
        Self {
            number,
            ok: true,
            state_root,
            start_ms: ms(start),
            ms: ms(timing.phases.total()),
            phases: (&timing.phases).into(),
            fuel: is_counted.then(|| used.fold(0, u64::saturating_add)),
            extrinsic_count: extrinsics.len(),
            initialize: call(BlockCall::Initialize, initialize),
            finalize: call(BlockCall::Finalize, finalize),
            extrinsics: (0..)
                .zip(extrinsics)
                .map(|(index, Ended { outcome, fuel })| ExtrinsicReport {
                    index,
                    outcome,
                    fuel,
                    ms: taken.get(index).copied().filter(|_| is_each),
                })
                .collect(),
        }
    }

    /// A block that is in a database.
    fn of_head(
        head: &Head,
        fuel: Option<&BlockFuel>,
        (timing, start): (&Timing, Duration),
        extrinsics: Vec<Ended>,
    ) -> Self {
        let calls = [
            fuel.map(|fuel| fuel.initialize.total.0),
            fuel.map(|fuel| fuel.finalize.total.0),
        ];
        let root = Some(hex(head.state_root));
        Self::new((head.number, root), timing, start, calls, extrinsics)
    }

    /// A block that was replayed.
    pub(crate) fn of_replay(block: &ReplayedBlock, timing: &Timing, start: Duration) -> Self {
        let fuel = block.imported.fuel.as_ref();
        let receipts = block.imported.receipts.extrinsics.iter().flatten();
        let extrinsics = receipts.enumerate().map(|(index, receipt)| Ended {
            outcome: receipt.result.name().to_owned(),
            fuel: fuel.and_then(|fuel| Some(fuel.extrinsics.get(index)?.total.0)),
        });
        let report = Self::of_head(
            &block.imported.head,
            fuel,
            (timing, start),
            extrinsics.collect(),
        );
        Self {
            extrinsic_count: block.extrinsics,
            ..report
        }
    }

    /// A block that was produced: everything that was offered, left out or not.
    pub(crate) fn of_production(block: &ProducedBlock, timing: &Timing, start: Duration) -> Self {
        let fuel = block.fuel.as_ref();
        let offered = block.offered.iter().map(|offered| Ended {
            outcome: offered.result.name().to_owned(),
            fuel: match &offered.result {
                Offered::Included { fuel, .. } => fuel.map(|fuel| fuel.total.0),
                Offered::LeftOut(_) => None,
            },
        });
        let report = Self::of_head(&block.head, fuel, (timing, start), offered.collect());
        Self {
            extrinsic_count: block.block.extrinsics.len(),
            ..report
        }
    }

    /// A block that was recorded, or compared with its record.
    pub(crate) fn of_recorded(block: &RecordedBlock, timing: &Timing, start: Duration) -> Self {
        let extrinsics = block.extrinsics.iter().map(|extrinsic| Ended {
            outcome: extrinsic.call.outcome.name.clone(),
            fuel: extrinsic.call.fuel.as_ref().map(total),
        });
        let finalize = block.finalize.as_ref();
        Self::new(
            (block.number, Some(hex(block.state_root))),
            timing,
            start,
            [
                block.initialize.fuel.as_ref().map(total),
                finalize.and_then(|call| call.fuel.as_ref()).map(total),
            ],
            extrinsics.collect(),
        )
    }
}
