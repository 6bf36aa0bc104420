//! The wasmtime engine: one per executor, shared by all runtimes it compiles.
//!
//! Invariant: every setting that changes what a guest computes follows from [`EngineConfig`], not
//! from the environment. Memory: the pool reserves 4 GiB of addresses per instance and commits
//! nothing until an instance touches it.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::GuestProfile;
use crate::fuel::{Arbiter, Instrumentation, Meter};

/// Most bytes a pooled instance may need beside its memory. The largest published runtimes
/// (14,600 functions) stay below a tenth of it.
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Most elements of a pooled table; published runtimes stay below 2,400.
const TABLE_ELEMENTS_MAX: usize = 65_536;
/// A wasm memory can become this large; the heap limit of each call is far below.
const MEMORY_BYTES_MAX: usize = 4 << 30;
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
    pub(crate) parallel_compilation: bool,
}

/// The engine could not be set up on this machine.
#[derive(Debug, Error)]
#[error("the wasm engine cannot be set up: {reason}")]
pub struct EngineError {
    /// What the engine said.
    pub reason: String,
}

/// A wasmtime engine with a pool of instances.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) meter: Meter,
    pub(crate) instrumentation: Option<Arc<Instrumentation>>,
    /// Looks at the guests that count.
    pub(crate) arbiter: Option<Arc<Arbiter>>,
}

impl Engine {
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let wasmtime =
            wasmtime::Engine::new(&wasmtime_config(config)).map_err(|error| EngineError {
                reason: format!("{error:#}"),
            })?;
        let arbiter = match &config.instrumentation {
            Some(_) => Some(Arc::new(arbiter(config)?)),
            None => None,
        };
        Ok(Self {
            wasmtime,
            meter: config.meter,
            instrumentation: config.instrumentation.clone().map(Arc::new),
            arbiter,
        })
    }
}

fn arbiter(config: &EngineConfig) -> Result<Arbiter, EngineError> {
    if config.meter == Meter::Slacked && !Arbiter::can_protect() {
        return Err(EngineError {
            reason: "the pages of this host are too large for the meter `Slacked`; use `Checked`"
                .to_owned(),
        });
    }
    Arbiter::start(config.meter, config.instances_max, config.arbiter_period).map_err(|error| {
        EngineError {
            reason: format!("the arbiter's thread: {error}"),
        }
    })
}

fn wasmtime_config(settings: &EngineConfig) -> Config {
    // The guest's own, and the meter; a guest was validated to have one before it is instrumented.
    let memories = if settings.meter.is_guest() { 2 } else { 1 };
    let mut pool = PoolingAllocationConfig::default();
    pool.max_unused_warm_slots(WARM_SLOTS_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .total_tables(settings.instances_max)
        .total_memories(settings.instances_max.saturating_mul(memories))
        .max_memories_per_module(memories)
        .total_core_instances(settings.instances_max);

    let mut config = Config::new();
    settings.profile.configure(&mut config);
    config
        // A store's signal handler is asked only where signals are used.
        .macos_use_mach_ports(false)
        .wasm_multi_memory(memories > 1)
        .consume_fuel(settings.meter == Meter::Engine)
        .cranelift_opt_level(OptLevel::SpeedAndSize)
        .cranelift_nan_canonicalization(settings.canonicalize_nans)
        .max_wasm_stack(settings.wasm_stack_bytes_max)
        .parallel_compilation(settings.parallel_compilation)
        .memory_init_cow(true)
        // Any image is mapped whole; the heap limit of each call bounds the memory.
        .memory_guaranteed_dense_image_size(u64::MAX)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
