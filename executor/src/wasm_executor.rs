//! The executor: one engine, a cache of compiled runtimes, and calls.
//!
//! Invariant: a runtime is compiled at most once while it is cached, and compiling one never makes
//! calls of another wait. Cloning is cheap; clones share everything.

use std::{
    collections::VecDeque,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Instant,
};

use codec::Encode;
use schnellru::{ByLength, LruMap};
use slackwater_host_functions::{
    HostFunctions, MemoryBudget, SlackwaterHostFunctions, VerdictMemory, begin_call,
    verified::VERDICTS_MAX_DEFAULT,
};
use sp_core::H256;
use sp_externalities::{Externalities, set_and_run_with_externalities};
use sp_state_machine::BasicExternalities;

use crate::{
    block::ExecutionError,
    config::ExecutorConfig,
    fuel::{CallLimits, ConsensusFuel, Fuel, Instrumentation, MemoryFor, StateMeter},
    instance::{CallError, CallOutcome, Called, InstanceMode, call_fresh, call_snapshot},
    metrics, profile,
    runtime::{
        CallContext, Code, Effort, Engine, EngineError, HeapPages, Runtime, RuntimeCacheCounts,
        RuntimeError, blob_version, code_hash,
    },
    span,
    unwinding::unwinding,
};

const CORE_VERSION: &str = "Core_version";

/// What the version of other code may cost to find out, where a guest has to run for it: thousands of
/// times what `Core_version` of published runtimes uses.
const VERSION_LIMIT: Fuel = Fuel(1_000_000_000);

/// Where a runtime is, or will be.
#[derive(Default)]
pub(crate) struct Place {
    /// Held while it is compiled first, so that others wait for that runtime only.
    runtime: Mutex<Option<Arc<Runtime>>>,
    /// Held while better code is made than what is there.
    improving: Mutex<()>,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Runtime>>> {
        // A panic while compiling leaves the place empty, so a poisoned lock holds no broken data.
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime, if it is there and will do for `context`.
    pub(crate) fn get(&self, context: CallContext) -> Option<Arc<Runtime>> {
        self.lock()
            .clone()
            .filter(|runtime| will_do(runtime, context))
    }
}

/// Whether calls in `context` may have this one.
fn will_do(runtime: &Runtime, context: CallContext) -> bool {
    !runtime.is_provisional() || effort(context) == Effort::Quick
}

/// What code for calls in `context` is worth. For blocks, the best: code made quickly may need more of the native stack, and
/// refuse on this machine what others take.
fn effort(context: CallContext) -> Effort {
    match context {
        CallContext::Offchain => Effort::Quick,
        CallContext::Build | CallContext::Import => Effort::Full,
    }
}

/// How a call is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallForm {
    pub(crate) mode: InstanceMode,
    pub(crate) heap: HeapPages,
    /// Whether it is for a block, which goes on where others would be refused for want of memory.
    pub(crate) on_chain: bool,
    /// Whether metrics are told of it.
    pub(crate) told: bool,
}

/// A budget that metrics, if there are any, are told of.
fn memory_budget(bytes_max: u64, engine: &Engine) -> MemoryBudget {
    let budget = MemoryBudget::new(bytes_max);
    match &engine.metrics {
        Some(metrics) => {
            let metrics = Arc::clone(metrics);
            budget.observed_by(move |change| metrics.memory(change))
        }
        None => budget,
    }
}

/// What tells compiled code apart: the code's hash, and that of what is added to it.
type RuntimeKey = (H256, Option<H256>);

struct Shared {
    config: ExecutorConfig,
    engine: Engine,
    instrumentation: Option<H256>,
    fuel_rules: Option<(ConsensusFuel, H256)>,
    runtimes: Mutex<LruMap<RuntimeKey, Arc<Place>, ByLength>>,
    hashes: CodeHashes,
    /// What all calls together may use.
    memory: Option<Arc<MemoryBudget>>,
    /// Where signatures are verified ahead.
    verdicts: Option<Arc<VerdictMemory>>,
}

/// Hashes of the code seen last. Every block asks for that of its runtime, and comparing a megabyte takes a twentieth of the time
/// that hashing it does.
#[derive(Default)]
struct CodeHashes(Mutex<VecDeque<Arc<HashedCode>>>);

struct HashedCode {
    code: Vec<u8>,
    hash: H256,
}

impl CodeHashes {
    /// As many as a chain has around an upgrade.
    const KEPT: usize = 2;

    fn of(&self, code: &[u8]) -> H256 {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<_> = lock().iter().cloned().collect();
        if let Some(known) = kept.iter().find(|known| known.code == code) {
            return known.hash;
        }
        let hash = code_hash(code);
        let mut kept = lock();
        kept.push_front(Arc::new(HashedCode {
            code: code.to_vec(),
            hash,
        }));
        kept.truncate(Self::KEPT);
        hash
    }
}

/// Compiles runtimes and calls them. `H` is the set of host functions offered to guests.
pub struct WasmExecutor<H = SlackwaterHostFunctions> {
    shared: Arc<Shared>,
    functions: PhantomData<fn() -> H>,
}

impl<H> Clone for WasmExecutor<H> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            functions: PhantomData,
        }
    }
}

impl<H> std::fmt::Debug for WasmExecutor<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WasmExecutor")
            .field("config", &self.shared.config)
            .finish()
    }
}

impl<H: HostFunctions> WasmExecutor<H> {
    /// Sets up the engine.
    ///
    /// # Errors
    /// [`EngineError`] when this machine cannot run it, such as for lack of address space.
    pub fn new(config: ExecutorConfig) -> Result<Self, EngineError> {
        if config.consensus_fuel.is_some() && !config.meter.is_guest() {
            let reason =
                "fuel in consensus needs a meter that guests carry: `Slacked` or `Checked`";
            return Err(EngineError::setup(reason));
        }
        if let Some(rules) = &config.consensus_fuel {
            rules.check(&config.schedule).map_err(EngineError::setup)?;
        }
        let engine = Engine::new(&config.engine())?;
        let runtimes = Mutex::new(LruMap::new(ByLength::new(config.runtimes_max.max(1))));
        let instrumentation = engine.instrumentation.as_deref();
        let rules = config.consensus_fuel.zip(instrumentation);
        let shared = Arc::new(Shared {
            instrumentation: instrumentation.map(Instrumentation::hash),
            fuel_rules: rules.map(|(rules, added)| (rules, rules.hash(added))),
            verdicts: (config.verify_ahead_threads > 0 && config.meter.is_guest())
                .then(|| Arc::new(VerdictMemory::new(VERDICTS_MAX_DEFAULT))),
            memory: config
                .memory_budget
                .map(|bytes| Arc::new(memory_budget(bytes, &engine))),
            config,
            engine,
            runtimes,
            hashes: CodeHashes::default(),
        });
        Ok(Self {
            shared,
            functions: PhantomData,
        })
    }

    /// The settings the executor was built with.
    pub fn config(&self) -> &ExecutorConfig {
        &self.shared.config
    }

    /// The chain's rules of fuel, and their hash; `None` where fuel is not in consensus.
    pub fn fuel_rules(&self) -> Option<(ConsensusFuel, H256)> {
        self.shared.fuel_rules
    }

    /// Verdicts about signatures that were found ahead, or when a block asked; `None` where none are kept: see
    /// [`ExecutorConfig::verify_ahead_threads`].
    pub fn verdicts(&self) -> Option<&Arc<VerdictMemory>> {
        self.shared.verdicts.as_ref()
    }

    /// The compiled runtime for `code`: from memory, from the cache on disk, or compiled now.
    ///
    /// # Errors
    /// [`RuntimeError`] when the code cannot be loaded; nothing is cached then.
    pub fn runtime(&self, code: &[u8]) -> Result<Arc<Runtime>, RuntimeError> {
        self.runtime_for(code, CallContext::Import)
    }

    /// As [`Self::runtime`], for calls in `context`: queries may get code that was made quickly, if the configuration allows it, and
    /// is being made better ([`crate::runtime::Compilation::quick_first`]); blocks never do.
    ///
    /// # Errors
    /// As [`Self::runtime`].
    pub fn runtime_for(
        &self,
        code: &[u8],
        context: CallContext,
    ) -> Result<Arc<Runtime>, RuntimeError> {
        let place = self.place(code);
        let config = &self.shared.config;
        let code = || Arc::new(Code::new(code, config.code_bytes_max, config.profile));
        let mut runtime = place.lock();
        match runtime.as_ref() {
            Some(there) if will_do(there, context) => return Ok(Arc::clone(there)),
            Some(_) => {
                drop(runtime);
                return self.improved(&place, &code());
            }
            None => {}
        }
        let code = code();
        let loaded = Arc::new(self.load(&code, effort(context))?);
        *runtime = Some(Arc::clone(&loaded));
        drop(runtime);
        if loaded.is_provisional() {
            self.improve(code, &place);
        }
        Ok(loaded)
    }

    /// The best code for a place that has some: it is made now, unless somebody else makes it.
    fn improved(&self, place: &Place, code: &Arc<Code>) -> Result<Arc<Runtime>, RuntimeError> {
        let improving = place.improving.lock();
        let _improving = improving.unwrap_or_else(PoisonError::into_inner);
        if let Some(best) = place.get(CallContext::Import) {
            return Ok(best);
        }
        let best = Arc::new(self.load(code, Effort::Full)?);
        let provisional = place.lock().replace(Arc::clone(&best));
        // Its instances go when nobody waits for the place any more.
        drop(provisional);
        Ok(best)
    }

    /// Where the runtime of the code with this hash is, or will be, if it was asked for before and is still kept.
    pub(crate) fn known_place(&self, code_hash: H256) -> Option<Arc<Place>> {
        let runtimes = self.shared.runtimes.lock();
        let mut runtimes = runtimes.unwrap_or_else(PoisonError::into_inner);
        let key = (code_hash, self.shared.instrumentation);
        runtimes.get(&key).map(|place| Arc::clone(place))
    }

    /// Where the runtime of `code` is, or will be.
    fn place(&self, code: &[u8]) -> Arc<Place> {
        let code_hash = self.shared.hashes.of(code);
        let mut runtimes = self
            .shared
            .runtimes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // `get_or_insert` returns `None` only if the limiter refuses, which `ByLength` does not.
        runtimes
            .get_or_insert((code_hash, self.shared.instrumentation), Arc::default)
            .cloned()
            .unwrap_or_default()
    }

    fn load(&self, code: &Arc<Code>, effort: Effort) -> Result<Runtime, RuntimeError> {
        let config = &self.shared.config;
        let begun = Instant::now();
        let runtime = Runtime::load::<H>(&self.shared.engine, code, effort, |runtime| match self
            .call_version(runtime, &mut BasicExternalities::default())
        {
            Ok(CallOutcome::Returned(output)) => Ok(Some(output)),
            Ok(CallOutcome::Trapped(_)) => Ok(None),
            Err(source) => Err(RuntimeError::VersionCall { source }),
        })?;
        let (source, time) = (runtime.source(), begun.elapsed());
        metrics::compiled(source.name(), time);
        log::debug!(
            target: "slackwater::runtime",
            "{runtime:?} is ready after {time:?}, from: {}",
            source.name()
        );
        let missing = runtime.missing_host_functions();
        if !missing.is_empty() {
            if config.refuse_missing_host_functions {
                return Err(RuntimeError::MissingHostFunctions {
                    names: missing.to_vec(),
                });
            }
            log::debug!(
                target: "slackwater::runtime",
                "{runtime:?} imports unknown host functions: {}",
                missing.join(", "),
            );
        }
        Ok(runtime)
    }

    /// Compiles `code` with full effort, on one thread beside whoever calls, and puts it into its place.
    fn improve(&self, code: Arc<Code>, place: &Arc<Place>) {
        let (executor, place) = (self.clone(), Arc::downgrade(place));
        let improve = move || {
            // If it is gone by now, nobody wants it any more.
            let Some(place) = place.upgrade() else { return };
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            let improved = match &one {
                Ok(one) => one.install(|| executor.improved(&place, &code)),
                Err(_) => executor.improved(&place, &code),
            };
            if let Err(error) = improved {
                log::warn!(
                    target: "slackwater::runtime",
                    "{:?} stays as it was compiled first: {error}",
                    code.hash()
                );
            }
        };
        let name = "slackwater-compile".to_owned();
        if let Err(error) = std::thread::Builder::new().name(name).spawn(improve) {
            log::warn!(
                target: "slackwater::runtime",
                "no thread for compiling, code stays as it was compiled first: {error}"
            );
        }
    }

    /// Memory that calls use now, of what they may: see [`ExecutorConfig::memory_budget`].
    pub fn memory_budget(&self) -> Option<&Arc<MemoryBudget>> {
        self.shared.memory.as_ref()
    }

    /// What has become of compiled code on disk; `None` where none is kept: see [`ExecutorConfig::runtime_cache`].
    pub fn runtime_cache_counts(&self) -> Option<RuntimeCacheCounts> {
        let cache = self.shared.engine.cache.as_ref();
        cache.map(|cache| cache.counts())
    }

    /// Instances of all its runtimes that were found to differ from a new one after they had been put back:
    /// see [`ExecutorConfig::verify_reset_every`]. Any is an error of this executor, to be reported.
    pub fn instances_differing(&self) -> u64 {
        let differing = &self.shared.engine.instances_differing;
        differing.load(Ordering::Relaxed)
    }

    /// Changes how many instances are kept for the next call, for each runtime: see
    /// [`ExecutorConfig::instances_cached_max`]. What waits beyond is dropped.
    pub fn set_instances_cached_max(&self, instances: u32) {
        let cached_max = &self.shared.engine.instances_cached_max;
        cached_max.store(instances, Ordering::Relaxed);
        let runtimes = self.shared.runtimes.lock();
        let runtimes = runtimes.unwrap_or_else(PoisonError::into_inner);
        let places: Vec<_> = runtimes
            .iter()
            .map(|(_, place)| Arc::clone(place))
            .collect();
        drop(runtimes);
        for place in places {
            let runtime = place.lock().clone();
            if let Some((pool, _)) = runtime.as_ref().and_then(|runtime| runtime.pool()) {
                pool.trim();
            }
        }
    }

    /// Calls `method` of `runtime` in a new instance, with `ext` as its storage. What the guest
    /// wrote is in `ext` afterwards, also when it trapped; keeping or dropping it is the caller's.
    ///
    /// # Errors
    /// [`CallError`] when the call has no outcome.
    pub fn call(
        &self,
        runtime: &Runtime,
        ext: &mut dyn Externalities,
        method: &str,
        input: &[u8],
        heap: HeapPages,
    ) -> Result<CallOutcome, CallError> {
        let limits = CallLimits::none();
        let called = self.call_limited(runtime, ext, method, input, heap, &limits)?;
        Ok(called.outcome)
    }

    /// As [`Self::call`], within `limits`, if fuel is counted. What host functions do with `ext`
    /// is not charged for; that of a block or of [`crate::call_on_state_limited`] is.
    ///
    /// # Errors
    /// [`CallError`] when the call has no outcome.
    pub fn call_limited(
        &self,
        runtime: &Runtime,
        ext: &mut dyn Externalities,
        method: &str,
        input: &[u8],
        heap: HeapPages,
        limits: &CallLimits,
    ) -> Result<Called, CallError> {
        let form = CallForm {
            mode: self.config().onchain_instances,
            heap,
            on_chain: true,
            told: true,
        };
        self.call_charged(runtime, ext, (method, input), form, limits, None)
    }

    /// As [`Self::call_limited`]; what host functions do is charged for through `state`.
    pub(crate) fn call_charged(
        &self,
        runtime: &Runtime,
        ext: &mut dyn Externalities,
        (method, input): (&str, &[u8]),
        form: CallForm,
        limits: &CallLimits,
        state: Option<&StateMeter>,
    ) -> Result<Called, CallError> {
        let CallForm { mode, heap, .. } = form;
        let charged = self.shared.memory.as_ref().map(|budget| CallLimits {
            memory: Some(MemoryFor {
                budget: Arc::clone(budget),
                enforced: !form.on_chain,
            }),
            ..limits.clone()
        });
        let limits = charged.as_ref().unwrap_or(limits);
        let _logging = begin_call(self.shared.config.log_limits);
        // Host functions that panic trap, also under the panic hook of a node.
        let _unwinding = unwinding();
        let metrics = self.shared.engine.metrics.as_ref();
        let metrics = metrics.filter(|_| form.told);
        let running = metrics.map(|metrics| metrics.begin());
        log::trace!(target: "slackwater::call", "{method} with {} bytes", input.len());
        let _span = span::call(method);
        let pool = runtime.pool().filter(|_| mode == InstanceMode::Snapshot);
        let profiled = profile::begin(method);
        let called = set_and_run_with_externalities(ext, || {
            if let Some(pool) = pool {
                return call_snapshot(pool, method, input, heap, limits, state);
            }
            match call_fresh(runtime.scratch(heap)?, method, input, heap, limits, state) {
                // The engine's pool is used up before the guest has begun.
                Err(CallError::NoFreeInstance) => {
                    call_fresh(runtime.overflow()?, method, input, heap, limits, state)
                }
                called => called,
            }
        });
        if let Some(running) = running {
            running.ended(&called);
        }
        if let Some(profiled) = profiled {
            let ended = called.as_ref().ok();
            let returned = ended.map(|called| matches!(called.outcome, CallOutcome::Returned(_)));
            let used = ended.and_then(|called| called.fuel.as_ref());
            profile::end(profiled, used, returned != Some(true));
        }
        called
    }

    /// Has a runtime say its version. What that may cost is a rule like any other where fuel is in
    /// consensus, else a limit of this machine.
    fn call_version(
        &self,
        runtime: &Runtime,
        ext: &mut dyn Externalities,
    ) -> Result<CallOutcome, CallError> {
        let limits = match self.config().consensus_fuel {
            Some(_) => CallLimits::consensus(VERSION_LIMIT),
            None => CallLimits::local(VERSION_LIMIT),
        };
        let heap = self.config().heap(CallContext::Build, None);
        let called = self.call_limited(runtime, ext, CORE_VERSION, &[], heap, &limits)?;
        Ok(called.outcome)
    }

    /// The SCALE version of `wasm_code`, as `ext_misc_runtime_version` answers it. Code that states
    /// its version in sections is only parsed, not validated, as the reference does; other code,
    /// from before 2021, is compiled and asked. `ext` is what the host function provides, an empty
    /// storage.
    pub(crate) fn version_of(
        &self,
        wasm_code: &[u8],
        ext: &mut dyn Externalities,
    ) -> Result<Vec<u8>, VersionError> {
        let config = &self.shared.config;
        if let Some(version) = blob_version(wasm_code, config.code_bytes_max)? {
            return Ok(version.encode());
        }
        let code = Arc::new(Code::new(wasm_code, config.code_bytes_max, config.profile));
        // It is not cached, and functions this host lacks do not stop it, so that all nodes answer
        // the same.
        let engine = self.shared.engine.uncached();
        let runtime = match Runtime::load::<H>(&engine, &code, Effort::Full, |_| Ok(None)) {
            // Where fuel is in consensus, no node can meter this code.
            Err(RuntimeError::Instrument(error)) if config.consensus_fuel.is_some() => {
                return Err(VersionError::Code(error.to_string()));
            }
            compiled => compiled?,
        };
        match self.call_version(&runtime, ext) {
            Ok(CallOutcome::Returned(output)) => Ok(output),
            Ok(CallOutcome::Trapped(trap)) => Err(VersionError::Code(trap.to_string())),
            Err(source) => Err(VersionError::Machine(ExecutionError::Call {
                method: CORE_VERSION.to_owned(),
                source,
            })),
        }
    }
}

/// Why the version of some code is not known.
pub(crate) enum VersionError {
    /// The code is to blame; every machine agrees.
    Code(String),
    /// This machine failed.
    Machine(ExecutionError),
}

impl From<RuntimeError> for VersionError {
    fn from(error: RuntimeError) -> Self {
        match error {
            // The code had been validated, so that it does not compile is not its fault; nor is it
            // that this machine meters and another does not.
            RuntimeError::Compile { .. }
            | RuntimeError::Machine { .. }
            | RuntimeError::Instrument(_) => Self::Machine(error.into()),
            error => Self::Code(error.to_string()),
        }
    }
}
