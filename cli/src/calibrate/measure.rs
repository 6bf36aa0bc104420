//! Measuring: how many nanoseconds and how much fuel something takes.
//!
//! Invariant: time and fuel are differences between a call that does the thing many times and one that
//! does it not at all, so that making an instance, setting up and tearing down cancel out. The two are
//! made in turn, so that a machine that slows down slows both; and the time the thread had to wait for a
//! processor is taken off, where the kernel tells it. Cost: for each thing, two calls for each
//! repetition, the longer of which takes at least the target time.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use slackwater_executor::{
    CallContext, CallLimits, CallOutcome, ExecutionError, ExecutorConfig, FuelUsed, GuestProfile,
    HeapPages, Meter, Runtime, WasmExecutor, call_on_state_limited,
    host_functions::SlackwaterHostFunctions,
    state::{BlockLayers, Extensions, MemoryState},
};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

use super::guest::{Guest, METHOD};
use crate::error::CliError;

/// How long and how often things are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// What a call should take at least.
    pub(super) target: Duration,
    /// Pairs of calls.
    pub(super) repetitions: u32,
}

/// The executor something runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// As a node has it: the profile of published runtimes, a heap of fixed size.
    Plain,
    /// As [`Self::Plain`], but guests may grow their memory.
    Growing,
    /// As [`Self::Plain`], with bulk operations.
    Wide,
}

/// What is measured.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// The rounds of a guest, in the text format.
    Guest {
        text: String,
        /// What is in the state beside the guest.
        keys: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Calls of a runtime, and of an export of it that does nothing.
    Runtime {
        storage: Rc<Storage>,
        code: Rc<[u8]>,
        method: String,
        empty: &'static str,
    },
}

/// The price a thing puts to the test.
#[derive(Debug, Clone)]
pub(super) struct Tested {
    /// As the schedule names it.
    pub(super) name: String,
    /// How often one unit of the thing pays it.
    pub(super) times: f64,
}

/// Which part of the fuel the time is set against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Total,
    /// That for operators.
    Wasm,
}

/// One thing to measure.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    /// For people.
    pub(super) name: String,
    pub(super) subject: Subject,
    pub(super) setting: Setting,
    pub(super) part: Part,
    /// Units in a round: figures are given for each.
    pub(super) units: u32,
    /// The most rounds there is room for.
    pub(super) rounds_max: u32,
    pub(super) tested: Option<Tested>,
}

impl Bench {
    fn new(name: impl Into<String>, subject: Subject) -> Self {
        Self {
            name: name.into(),
            subject,
            setting: Setting::Plain,
            part: Part::Total,
            units: 1,
            rounds_max: u32::MAX,
            tested: None,
        }
    }

    /// The rounds of `guest`.
    pub(super) fn guest(name: impl Into<String>, guest: &Guest) -> Self {
        let (text, keys) = (guest.text(), Vec::new());
        Self::new(name, Subject::Guest { text, keys })
    }

    /// Calls of `method` of the runtime `code` on `storage`, beside those of its export `empty`. Time
    /// is set against the fuel of operators.
    pub(super) fn runtime(
        name: String,
        storage: &Rc<Storage>,
        code: &Rc<[u8]>,
        method: &str,
        empty: &'static str,
    ) -> Self {
        let subject = Subject::Runtime {
            storage: Rc::clone(storage),
            code: Rc::clone(code),
            method: method.to_owned(),
            empty,
        };
        Self {
            part: Part::Wasm,
            ..Self::new(name, subject)
        }
    }

    pub(super) fn on(mut self, setting: Setting) -> Self {
        self.setting = setting;
        self
    }

    pub(super) fn units(mut self, units: u32) -> Self {
        self.units = units;
        self
    }

    pub(super) fn at_most(mut self, rounds: u32) -> Self {
        self.rounds_max = rounds;
        self
    }

    /// Each unit pays the price `name` so many times.
    pub(super) fn tests(mut self, name: impl Into<String>, times: f64) -> Self {
        let name = name.into();
        self.tested = Some(Tested { name, times });
        self
    }

    /// Gives a guest's state these keys.
    pub(super) fn with_keys(mut self, with: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        if let Subject::Guest { keys, .. } = &mut self.subject {
            *keys = with;
        }
        self
    }
}

/// What one unit of a thing takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) rounds: u32,
    /// Nanoseconds: the median, and the quartiles around it.
    pub(super) ns: f64,
    pub(super) ns_low: f64,
    pub(super) ns_high: f64,
    /// Fuel, by what it was for.
    pub(super) wasm: f64,
    pub(super) size: f64,
    pub(super) host: f64,
}

impl Measured {
    /// All fuel.
    pub(super) fn fuel(&self) -> f64 {
        self.wasm + self.size + self.host
    }
}

/// How often measuring is tried, with more rounds each time, when nothing but noise was seen.
const ATTEMPTS: u32 = 5;

/// The executors, made once.
pub(super) struct Laboratory {
    plain: WasmExecutor,
    growing: WasmExecutor,
    wide: WasmExecutor,
    effort: Effort,
}

/// A call as it was: its time, and the fuel it used.
#[derive(Clone, Copy)]
struct Sample {
    time: Duration,
    fuel: FuelUsed,
}

impl Laboratory {
    pub(super) fn new(effort: Effort) -> Result<Self, CliError> {
        let config = ExecutorConfig {
            // What a host function compiles is its caller's time.
            parallel_compilation: false,
            instances_max: 2,
            meter: Meter::Slacked,
            ..ExecutorConfig::default()
        };
        let wide = config.clone().with_profile(GuestProfile::Wide);
        let growing = HeapPages::Dynamic { maximum: None };
        let growing = config.clone().with_offchain_heap(growing);
        Ok(Self {
            plain: WasmExecutor::new(config)?,
            growing: WasmExecutor::new(growing)?,
            wide: WasmExecutor::new(wide)?,
            effort,
        })
    }

    /// Measures one thing.
    ///
    /// # Errors
    /// [`CliError::Calibration`] when it traps: a mistake in the guest or, for a runtime, a method that
    /// does not work on the state given.
    pub(super) fn measure(&self, bench: &Bench) -> Result<Measured, CliError> {
        let run = Run::new(self, bench)?;
        // The first call compiles the module, and warms up.
        run.without(1)?;
        let mut rounds = self.rounds(bench, &run)?;
        for _ in 0..ATTEMPTS {
            let measured = self.repeat(bench, &run, rounds)?;
            if measured.ns > 0.0 {
                return Ok(measured);
            }
            rounds = rounds.saturating_mul(4).min(bench.rounds_max);
        }
        Err(failed(bench, &"its time cannot be told from noise"))
    }

    fn repeat(&self, bench: &Bench, run: &Run<'_>, rounds: u32) -> Result<Measured, CliError> {
        let mut differences = Vec::new();
        let mut fuel = FuelUsed::default();
        for _ in 0..self.effort.repetitions.max(1) {
            let without = run.without(rounds)?;
            let with = run.with(rounds)?;
            differences.push(with.time.saturating_sub(without.time).as_nanos());
            fuel = less(with.fuel, without.fuel);
        }
        differences.sort_unstable();
        let units = f64::from(rounds) * f64::from(bench.units);
        let ns = |quarter: usize| {
            let index = (differences.len() - 1) * quarter / 4;
            differences.get(index).map_or(0.0, |ns| *ns as f64) / units
        };
        Ok(Measured {
            rounds,
            ns: ns(2),
            ns_low: ns(1),
            ns_high: ns(3),
            wasm: fuel.wasm as f64 / units,
            size: fuel.size as f64 / units,
            host: fuel.host as f64 / units,
        })
    }

    /// How many rounds take the target time, and not much less than all around them.
    fn rounds(&self, bench: &Bench, run: &Run<'_>) -> Result<u32, CliError> {
        let mut rounds = 1;
        let base = run.without(rounds)?.time;
        loop {
            let (base, target) = match bench.subject {
                Subject::Guest { .. } => (base, self.effort.target.max(base / 2)),
                Subject::Runtime { .. } => (run.without(rounds)?.time, self.effort.target),
            };
            let took = run.with(rounds)?.time.saturating_sub(base);
            if took >= target || rounds >= bench.rounds_max {
                return Ok(rounds);
            }
            let more = target.as_nanos() / took.as_nanos().max(1) + 1;
            let more = u32::try_from(more).unwrap_or(u32::MAX).clamp(2, 16);
            rounds = rounds.saturating_mul(more).min(bench.rounds_max);
        }
    }
}

/// A bench on its executor and state.
struct Run<'a> {
    bench: &'a Bench,
    executor: &'a WasmExecutor,
    state: MemoryState,
    /// For calls of a runtime: it, the method, and the export that does nothing.
    calls: Option<(Arc<Runtime>, &'a str, &'static str)>,
}

impl<'a> Run<'a> {
    fn new(laboratory: &'a Laboratory, bench: &'a Bench) -> Result<Self, CliError> {
        let executor = match bench.setting {
            Setting::Plain => &laboratory.plain,
            Setting::Growing => &laboratory.growing,
            Setting::Wide => &laboratory.wide,
        };
        let (storage, calls) = match &bench.subject {
            Subject::Guest { text, keys } => {
                let wasm = wat::parse_str(text).map_err(|error| failed(bench, &error))?;
                let keys = keys.iter().cloned();
                let storage = Storage {
                    top: keys.chain([(CODE.to_vec(), wasm)]).collect(),
                    ..Storage::default()
                };
                (storage, None)
            }
            Subject::Runtime {
                storage,
                code,
                method,
                empty,
            } => {
                let runtime = executor.runtime(code);
                let runtime = runtime.map_err(|error| failed(bench, &error))?;
                let calls = (runtime, method.as_str(), *empty);
                (Storage::clone(storage), Some(calls))
            }
        };
        Ok(Self {
            bench,
            executor,
            state: MemoryState::new(storage, StateVersion::V1),
            calls,
        })
    }

    /// The thing, so many times.
    fn with(&self, rounds: u32) -> Result<Sample, CliError> {
        match &self.calls {
            None => self.call(rounds),
            Some((runtime, method, _)) => self.calls(runtime, method, rounds),
        }
    }

    /// Everything but the thing.
    fn without(&self, rounds: u32) -> Result<Sample, CliError> {
        match &self.calls {
            None => self.call(0),
            Some((runtime, _, empty)) => self.calls(runtime, empty, rounds),
        }
    }

    /// So many calls of the runtime, each in a fresh instance, without loading it each time.
    fn calls(&self, runtime: &Runtime, method: &str, times: u32) -> Result<Sample, CliError> {
        let heap = self.executor.config().offchain_heap;
        let limits = CallLimits::none();
        let mut sum = Sample {
            time: Duration::ZERO,
            fuel: FuelUsed::default(),
        };
        for _ in 0..times {
            let mut layers = BlockLayers::new(&self.state, Extensions::new());
            let called = layers.run(|ext| {
                let watch = Watch::start();
                let called = (self.executor).call_limited(runtime, ext, method, &[], heap, &limits);
                sum.time += watch.time();
                called
            });
            let called = called.map_err(ExecutionError::from)?;
            let called = called.map_err(|error| failed(self.bench, &error))?;
            let fuel = self.fuel(&called.outcome, called.fuel)?;
            sum.fuel.wasm += fuel.wasm;
            sum.fuel.size += fuel.size;
            sum.fuel.host += fuel.host;
        }
        Ok(sum)
    }

    /// A call of the guest.
    fn call(&self, rounds: u32) -> Result<Sample, CliError> {
        let (method, input) = (METHOD, &rounds.to_le_bytes());
        let (extensions, limits) = (Extensions::new(), CallLimits::none());
        let (executor, state) = (self.executor, &self.state);
        let context = CallContext::Offchain;
        let watch = Watch::start();
        let call = call_on_state_limited::<_, SlackwaterHostFunctions>(
            executor, state, context, method, input, extensions, &limits,
        )?;
        let time = watch.time();
        let fuel = self.fuel(&call.outcome, call.fuel)?;
        Ok(Sample { time, fuel })
    }

    /// The fuel of a call that ended as it should.
    fn fuel(&self, outcome: &CallOutcome, fuel: Option<FuelUsed>) -> Result<FuelUsed, CliError> {
        match outcome {
            CallOutcome::Trapped(trap) => Err(failed(self.bench, trap)),
            CallOutcome::Returned(_) => {
                fuel.ok_or_else(|| failed(self.bench, &"no fuel was counted"))
            }
        }
    }
}

/// Measures the time that a thread runs.
struct Watch {
    started: Instant,
    waited: Duration,
}

impl Watch {
    fn start() -> Self {
        let waited = waited();
        let started = Instant::now();
        Self { started, waited }
    }

    fn time(&self) -> Duration {
        let elapsed = self.started.elapsed();
        elapsed.saturating_sub(waited().saturating_sub(self.waited))
    }
}

/// How long this thread has been ready to run and did not, ever since it began; zero where the kernel
/// does not tell.
fn waited() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = line.split_whitespace().nth(1);
    Duration::from_nanos(waited.and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn failed(bench: &Bench, reason: &dyn std::fmt::Display) -> CliError {
    CliError::Calibration {
        name: bench.name.clone(),
        reason: reason.to_string(),
    }
}

fn less(all: FuelUsed, base: FuelUsed) -> FuelUsed {
    FuelUsed {
        wasm: all.wasm.saturating_sub(base.wasm),
        size: all.size.saturating_sub(base.size),
        host: all.host.saturating_sub(base.host),
        ..all
    }
}
