//! The wasmtime engines: two per executor, shared by all runtimes it compiles. One has a pool for instances
//! made from scratch; the other gives instances memories of ours, which are put back after a call. Code
//! compiled for one does not run in the other.
//!
//! Invariant: every setting that changes what a guest computes follows from [`EngineConfig`], not
//! from the environment. Memory: the pool reserves 4 GiB of addresses per instance and commits
//! nothing until an instance touches it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
    time::Duration,
};

use slackwater_host_functions::state::TABLE_ELEMENTS_MAX;
use thiserror::Error;
use wasmtime::{
    Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ProfilingStrategy,
};

use super::{
    Compilation, GuestProfile, Optimisation, RuntimeCacheConfig, RuntimeCacheError, Target,
    runtime_cache::RuntimeCache,
};
use crate::{
    fuel::{Arbiter, Instrumentation, Meter},
    memory::{Areas, MemoryStrategy, Resetter},
    metrics::CallMetrics,
};

/// Most bytes a pooled instance may need beside its memory. The largest published runtimes
/// (14,600 functions) stay below a tenth of it.
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Bytes from the beginning of a memory to the end of its initial data that are made an image, and
/// mapped; published runtimes stay below 4 MiB.
pub(super) const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// A wasm memory can become this large; the heap limit of each call is far below.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Bytes at the beginning of a pooled memory that are cleared instead of given back: both words pages of a
/// meter are among them, and clearing costs less than the two faults of the next instance.
const RESIDENT_BYTES_MAX: usize = 40 << 10;
/// The same of a pooled table; those of published runtimes are below 20 KiB.
const RESIDENT_TABLE_BYTES_MAX: usize = 32 << 10;
/// The engine's own bytecode, for hosts with words of 64 bits, the smaller byte first.
const PULLEY: &str = "pulley64";
/// What the engine's pool has room for, and how forms are chosen with it.
pub(super) const POOL_LIMITS: (usize, usize, usize, u64) = (
    INSTANCE_BYTES_MAX,
    TABLE_ELEMENTS_MAX,
    MEMORY_BYTES_MAX,
    IMAGE_BYTES_MAX,
);
/// Slots kept mapped for a module between calls.
const WARM_SLOTS_MAX: u32 = 4;

/// What the engine is built from; see the knobs of the same names in
/// [`crate::ExecutorConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineConfig {
    pub(crate) profile: GuestProfile,
    pub(crate) canonicalize_nans: bool,
    pub(crate) meter: Meter,
    /// What is added to guests; `None` where they do not count.
    pub(crate) instrumentation: Option<Instrumentation>,
    pub(crate) arbiter_period: Duration,
    pub(crate) wasm_stack_bytes_max: usize,
    pub(crate) instances_max: u32,
    /// Whether any instances are put back after a call.
    pub(crate) snapshots: bool,
    /// Pages beyond the initial ones that every configured heap has.
    pub(crate) heap_extra_min: u32,
    pub(crate) instances_cached_max: u32,
    pub(crate) memory: MemoryStrategy,
    pub(crate) hot_bytes_max: usize,
    pub(crate) verify_reset_every: Option<NonZeroU32>,
    pub(crate) parallel_compilation: bool,
    pub(crate) compilation: Compilation,
    pub(crate) cache: Option<RuntimeCacheConfig>,
    pub(crate) metrics: bool,
}

/// An executor could not be set up on this machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine refuses, or settings contradict each other.
    #[error("the wasm engine cannot be set up: {reason}")]
    Setup {
        /// Why.
        reason: String,
    },
    /// The folder of compiled code is refused.
    #[error(transparent)]
    RuntimeCache(#[from] RuntimeCacheError),
}

impl EngineError {
    pub(crate) fn setup(reason: impl Into<String>) -> Self {
        Self::Setup {
            reason: reason.into(),
        }
    }
}

/// Engines of the same kinds that only compile, with the least effort.
#[derive(Clone)]
pub(crate) struct QuickEngines {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) on_demand: wasmtime::Engine,
}

/// A wasmtime engine with a pool of instances, and one whose memories are ours.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    /// For instances that are put back after a call, and for those beyond the pool.
    pub(crate) on_demand: wasmtime::Engine,
    pub(crate) snapshots: bool,
    pub(crate) heap_extra_min: u32,
    pub(crate) resetter: Arc<Resetter>,
    pub(crate) instances_cached_max: Arc<AtomicU32>,
    /// Instances of any runtime that differed from a new one after they had been put back.
    pub(crate) instances_differing: Arc<AtomicU64>,
    pub(crate) verify_reset_every: Option<NonZeroU32>,
    pub(crate) meter: Meter,
    pub(crate) instrumentation: Option<Arc<Instrumentation>>,
    /// Whether functions are instrumented at once.
    pub(crate) is_parallel: bool,
    /// Whether guests tell when functions begin and end.
    pub(crate) profile_fuel: bool,
    /// Looks at the guests that count.
    pub(crate) arbiter: Option<Arc<Arbiter>>,
    /// For code that is to be ready soon, and made again later.
    pub(crate) quick: Option<QuickEngines>,
    /// Where compiled code is kept.
    pub(crate) cache: Option<Arc<RuntimeCache>>,
    /// Where single calls are told.
    pub(crate) metrics: Option<Arc<CallMetrics>>,
}

impl Engine {
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        if config.meter == Meter::Slacked && config.compilation.target == Target::Pulley {
            return Err(EngineError::setup(
                "an interpreted guest cannot be stopped by a fault: use the meter `Checked`",
            ));
        }
        if config.compilation.profile_fuel && config.instrumentation.is_none() {
            return Err(EngineError::setup(
                "a profile of fuel needs a meter that guests carry: `Slacked` or `Checked`",
            ));
        }
        let wasmtime = new_engine(&pooling(config)?)?;
        let on_demand = new_engine(&on_demand(config)?)?;
        let arbiter = match &config.instrumentation {
            Some(_) => Some(Arc::new(arbiter(config)?)),
            None => None,
        };
        Ok(Self {
            wasmtime,
            on_demand,
            snapshots: config.snapshots,
            heap_extra_min: config.heap_extra_min,
            resetter: Arc::new(Resetter::new(config.memory, config.hot_bytes_max)),
            instances_cached_max: Arc::new(AtomicU32::new(config.instances_cached_max)),
            instances_differing: Arc::default(),
            verify_reset_every: config.verify_reset_every,
            meter: config.meter,
            instrumentation: config.instrumentation.clone().map(Arc::new),
            is_parallel: config.parallel_compilation,
            profile_fuel: config.compilation.profile_fuel,
            arbiter,
            quick: quick(config)?,
            cache: match &config.cache {
                Some(cache) => Some(Arc::new(RuntimeCache::open(cache)?)),
                None => None,
            },
            metrics: config.metrics.then(|| Arc::new(CallMetrics::new())),
        })
    }

    /// The same, that keeps nothing on disk.
    pub(crate) fn uncached(&self) -> Self {
        Self {
            cache: None,
            ..self.clone()
        }
    }
}

fn new_engine(config: &Config) -> Result<wasmtime::Engine, EngineError> {
    wasmtime::Engine::new(config).map_err(|error| EngineError::setup(format!("{error:#}")))
}

fn quick(config: &EngineConfig) -> Result<Option<QuickEngines>, EngineError> {
    // With the least effort anyway, nothing would be made again.
    if !config.compilation.quick_first || config.compilation.optimisation == Optimisation::None {
        return Ok(None);
    }
    let mut config = config.clone();
    config.compilation.optimisation = Optimisation::None;
    // It only compiles.
    config.instances_max = 1;
    Ok(Some(QuickEngines {
        wasmtime: new_engine(&pooling(&config)?)?,
        on_demand: new_engine(&on_demand(&config)?)?,
    }))
}

fn arbiter(config: &EngineConfig) -> Result<Arbiter, EngineError> {
    if config.meter == Meter::Slacked && !Arbiter::can_protect() {
        return Err(EngineError::setup(
            "the pages of this host are too large for the meter `Slacked`; use `Checked`",
        ));
    }
    Arbiter::start(config.meter, config.arbiter_period)
        .map_err(|error| EngineError::setup(format!("the arbiter's thread: {error}")))
}

fn memories(settings: &EngineConfig) -> u32 {
    // The guest's own, and the meter; a guest was validated to have one before it is instrumented.
    if settings.meter.is_guest() { 2 } else { 1 }
}

/// What both engines have in common: all that changes what a guest computes.
fn wasmtime_config(settings: &EngineConfig) -> Result<Config, EngineError> {
    let mut config = Config::new();
    settings.profile.configure(&mut config);
    config
        // A store's signal handler is asked only where signals are used.
        .macos_use_mach_ports(false)
        .wasm_multi_memory(memories(settings) > 1)
        .consume_fuel(settings.meter == Meter::Engine)
        .cranelift_opt_level(match settings.compilation.optimisation {
            Optimisation::None => OptLevel::None,
            Optimisation::Speed => OptLevel::Speed,
            Optimisation::SpeedAndSize => OptLevel::SpeedAndSize,
        })
        .cranelift_nan_canonicalization(settings.canonicalize_nans)
        .max_wasm_stack(settings.wasm_stack_bytes_max)
        .parallel_compilation(settings.parallel_compilation);
    if settings.meter.is_guest() {
        // Functions return the counter beside their results.
        config.wasm_multi_value(true);
    }
    if settings.compilation.target == Target::Pulley {
        config
            .target(PULLEY)
            .map_err(|error| EngineError::setup(format!("the target {PULLEY}: {error:#}")))?;
    }
    if settings.compilation.perf_map {
        config.profiler(ProfilingStrategy::PerfMap);
    }
    Ok(config)
}

fn pooling(settings: &EngineConfig) -> Result<Config, EngineError> {
    let mut pool = PoolingAllocationConfig::default();
    pool.max_unused_warm_slots(WARM_SLOTS_MAX)
        .linear_memory_keep_resident(if settings.meter.is_guest() {
            RESIDENT_BYTES_MAX
        } else {
            0
        })
        .table_keep_resident(RESIDENT_TABLE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .total_tables(settings.instances_max)
        .total_memories(settings.instances_max.saturating_mul(memories(settings)))
        .max_memories_per_module(memories(settings))
        .total_core_instances(settings.instances_max);
    let mut config = wasmtime_config(settings)?;
    config
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(IMAGE_BYTES_MAX)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(config)
}

fn on_demand(settings: &EngineConfig) -> Result<Config, EngineError> {
    let mut config = wasmtime_config(settings)?;
    config
        // The engine maps no image over memories that are not its own.
        .memory_init_cow(false)
        .memory_reservation(MEMORY_BYTES_MAX as u64)
        .memory_may_move(false)
        .with_host_memory(Arc::new(Areas))
        .allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Ok(config)
}
