//! Every knob of the executor, with unit, default and what it changes. Parsed once; the executor
//! built from it never changes its mind.

use std::{num::NonZeroU32, time::Duration};

use slackwater_host_functions::LogLimits;

use crate::fuel::{
    ARBITER_PERIOD_DEFAULT, Check, ConsensusFuel, Fuel, Instrumentation, Meter, Schedule,
};
use crate::instance::InstanceMode;
use crate::memory::MemoryStrategy;
use crate::runtime::{
    CODE_BYTES_MAX, CallContext, Compilation, EngineConfig, GuestProfile, HeapPages,
    RuntimeCacheConfig,
};

/// Native stack a guest may use by default: 1 MiB, what the Polkadot SDK has used since 2021.
pub const WASM_STACK_BYTES_DEFAULT: usize = 1 << 20;

/// Memory kept of each instance for its next call, by default: 4 MiB.
pub const HOT_BYTES_MAX_DEFAULT: usize = 4 << 20;

/// Settings of an executor. Start from [`ExecutorConfig::default`] or
/// [`ExecutorConfig::compat`] and change single knobs.
///
/// ```
/// use slackwater_executor::{ExecutorConfig, HeapPages};
/// let config = ExecutorConfig::default()
///     .with_onchain_heap(HeapPages::Static { extra: 4_096 })
///     .with_instances_max(16);
/// assert!(config.canonicalize_nans);
/// assert!(!ExecutorConfig::compat().canonicalize_nans);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// WebAssembly features offered to guests. Default: [`GuestProfile::Substrate`].
    pub profile: GuestProfile,
    /// Whether every NaN a float operation produces gets one bit pattern. Default: true. Off, the
    /// pattern is the processor's, so guests with floats may differ between machines; the Polkadot
    /// SDK has it off.
    pub canonicalize_nans: bool,
    /// Who counts the fuel of guests. Default: [`Meter::Slacked`]. Changes no result but those of
    /// calls that are given a limit.
    pub meter: Meter,
    /// What everything costs. Default: [`Schedule::default`].
    pub schedule: Schedule,
    /// Fuel as a rule of the chain: a block in which it is broken is invalid, and a guest that calls
    /// too deep ends in [`crate::TrapKind::StackExhausted`]. Default: none. Needs a meter that guests
    /// carry.
    pub consensus_fuel: Option<ConsensusFuel>,
    /// What a call for a block may use on this machine: more is left out when building, and when
    /// importing the operational error [`crate::CallError::LocalLimit`]. Default: no limit.
    pub local_limit: Option<Fuel>,
    /// How often running guests are looked at. Default: 1 ms. Changes no result.
    pub arbiter_period: Duration,
    /// Native stack a guest may use, in bytes. Default: 1 MiB. A guest that needs more ends in the
    /// operational error [`crate::CallError::NativeStack`].
    pub wasm_stack_bytes_max: usize,
    /// Heap for calls on chain, unless the state's `:heappages` says otherwise. Default: 2,048
    /// pages. Importing a block gets twice as many.
    pub onchain_heap: HeapPages,
    /// Heap for calls off chain. Default: 2,048 pages.
    pub offchain_heap: HeapPages,
    /// Whether `:heappages` in state is ignored. Default: false.
    pub ignore_onchain_heap_pages: bool,
    /// Whether a runtime that imports unknown functions is refused. Default: false: it loads, and
    /// calling one of them traps.
    pub refuse_missing_host_functions: bool,
    /// How instances of calls on chain come about. Default: [`InstanceMode::Snapshot`]. Changes no
    /// result.
    pub onchain_instances: InstanceMode,
    /// How instances of calls off chain come about. Default: [`InstanceMode::Snapshot`].
    pub offchain_instances: InstanceMode,
    /// Instances that are kept for the next call, for each runtime. Default: 64. There may be more,
    /// which are dropped after their call. Each reserves 8 GiB of addresses.
    pub instances_cached_max: u32,
    /// How memory of instances is put back. Default: what `SLACKWATER_MEMORY` says, else
    /// [`MemoryStrategy::Auto`].
    pub memory: MemoryStrategy,
    /// Memory that is kept of each instance for its next call, in bytes, at most. Default: 4 MiB.
    pub hot_bytes_max: usize,
    /// Compare an instance with a new one after every so many resets, and drop one that differs.
    /// Default: never.
    pub verify_reset_every: Option<NonZeroU32>,
    /// Instances made from scratch that have a place in the engine's pool. Default: 64. More are made
    /// without. Each reserves 4 GiB of addresses.
    pub instances_max: u32,
    /// Compiled runtimes kept. Default: 4, at least 1.
    pub runtimes_max: u32,
    /// Largest unpacked runtime code, in bytes. Default: 50 MiB.
    pub code_bytes_max: usize,
    /// Whether compilation uses all cores. Default: true. Changes no result.
    pub parallel_compilation: bool,
    /// How code is made. Changes no result.
    pub compilation: Compilation,
    /// Bytes of memory that all calls together may use: what their code begins with, and their heaps as far as they are
    /// allocated. A call off chain that would use more is [`crate::CallError::MemoryBudget`]; calls for blocks are counted,
    /// and go on. What waiting instances keep, [`Self::hot_bytes_max`] each, is not in it. Default: no limit.
    pub memory_budget: Option<u64>,
    /// How much a guest may have this host log, by the logging functions of
    /// [`crate::host_functions::SlackwaterHostFunctions`].
    pub log_limits: LogLimits,
    /// Whether single calls are told to the recorder of [`crate::metrics`] that is installed when the executor is built.
    /// Default: false. Changes no result.
    pub metrics: bool,
    /// Where compiled code is kept for the next process. Default: nowhere. Changes no result.
    pub runtime_cache: Option<RuntimeCacheConfig>,
    /// Threads beside the one of a block that verify its signatures ahead: best as many as there are idle cores. Each
    /// holds an instance and a view of the state. Default: none. Needs a meter that guests carry, so that such a thread
    /// can be stopped. Changes no result. The runtime is asked to begin the block and apply each extrinsic, and verdicts
    /// are remembered by the host functions of [`crate::host_functions::SlackwaterHostFunctions`]; a set that lays
    /// others over those that verify has nothing of it.
    pub verify_ahead_threads: u32,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            profile: GuestProfile::Substrate,
            canonicalize_nans: true,
            meter: Meter::default(),
            schedule: Schedule::default(),
            consensus_fuel: None,
            local_limit: None,
            arbiter_period: ARBITER_PERIOD_DEFAULT,
            wasm_stack_bytes_max: WASM_STACK_BYTES_DEFAULT,
            onchain_heap: HeapPages::default(),
            offchain_heap: HeapPages::default(),
            ignore_onchain_heap_pages: false,
            refuse_missing_host_functions: false,
            onchain_instances: InstanceMode::default(),
            offchain_instances: InstanceMode::default(),
            instances_cached_max: 64,
            memory: MemoryStrategy::default(),
            hot_bytes_max: HOT_BYTES_MAX_DEFAULT,
            verify_reset_every: None,
            instances_max: 64,
            runtimes_max: 4,
            code_bytes_max: CODE_BYTES_MAX,
            parallel_compilation: true,
            compilation: Compilation::default(),
            memory_budget: None,
            log_limits: LogLimits::default(),
            runtime_cache: None,
            metrics: false,
            verify_ahead_threads: 0,
        }
    }
}

impl ExecutorConfig {
    /// Runs guests exactly as the Polkadot SDK's executor does: NaN patterns are the processor's, the
    /// wasm stack is 1 MiB, nobody counts fuel.
    pub fn compat() -> Self {
        Self {
            canonicalize_nans: false,
            meter: Meter::Off,
            wasm_stack_bytes_max: WASM_STACK_BYTES_DEFAULT,
            ..Self::default()
        }
    }

    /// Sets [`Self::profile`].
    #[must_use]
    pub fn with_profile(mut self, profile: GuestProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets [`Self::meter`].
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// Sets [`Self::schedule`].
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Sets [`Self::consensus_fuel`].
    #[must_use]
    pub fn with_consensus_fuel(mut self, fuel: ConsensusFuel) -> Self {
        self.consensus_fuel = Some(fuel);
        self
    }

    /// Sets [`Self::local_limit`].
    #[must_use]
    pub fn with_local_limit(mut self, limit: Fuel) -> Self {
        self.local_limit = Some(limit);
        self
    }

    /// Sets [`Self::arbiter_period`].
    #[must_use]
    pub fn with_arbiter_period(mut self, period: Duration) -> Self {
        self.arbiter_period = period;
        self
    }

    /// What is added to guests; `None` where they do not count.
    pub fn instrumentation(&self) -> Option<Instrumentation> {
        let check = match self.meter {
            Meter::Slacked => Check::None,
            Meter::Checked => Check::Synchronous,
            Meter::Off | Meter::Engine => return None,
        };
        Some(Instrumentation {
            schedule: self.schedule.clone(),
            check,
            depth_bytes_max: self.consensus_fuel.map(|fuel| fuel.depth_bytes_max),
        })
    }

    /// Sets [`Self::compilation`].
    #[must_use]
    pub fn with_compilation(mut self, compilation: Compilation) -> Self {
        self.compilation = compilation;
        self
    }

    /// Sets [`Self::memory_budget`].
    #[must_use]
    pub fn with_memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// Sets [`Self::log_limits`].
    #[must_use]
    pub fn with_log_limits(mut self, limits: LogLimits) -> Self {
        self.log_limits = limits;
        self
    }

    /// Sets [`Self::metrics`].
    #[must_use]
    pub fn with_metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets [`Self::runtime_cache`].
    #[must_use]
    pub fn with_runtime_cache(mut self, cache: RuntimeCacheConfig) -> Self {
        self.runtime_cache = Some(cache);
        self
    }

    /// Sets [`Self::verify_ahead_threads`].
    #[must_use]
    pub fn with_verify_ahead_threads(mut self, threads: u32) -> Self {
        self.verify_ahead_threads = threads;
        self
    }

    /// Sets [`Self::onchain_heap`].
    #[must_use]
    pub fn with_onchain_heap(mut self, heap: HeapPages) -> Self {
        self.onchain_heap = heap;
        self
    }

    /// Sets [`Self::offchain_heap`].
    #[must_use]
    pub fn with_offchain_heap(mut self, heap: HeapPages) -> Self {
        self.offchain_heap = heap;
        self
    }

    /// Sets [`Self::onchain_instances`] and [`Self::offchain_instances`].
    #[must_use]
    pub fn with_instances(mut self, mode: InstanceMode) -> Self {
        self.onchain_instances = mode;
        self.offchain_instances = mode;
        self
    }

    /// Sets [`Self::instances_cached_max`].
    #[must_use]
    pub fn with_instances_cached_max(mut self, instances: u32) -> Self {
        self.instances_cached_max = instances;
        self
    }

    /// Sets [`Self::memory`].
    #[must_use]
    pub fn with_memory(mut self, memory: MemoryStrategy) -> Self {
        self.memory = memory;
        self
    }

    /// Sets [`Self::verify_reset_every`].
    #[must_use]
    pub fn with_verify_reset_every(mut self, resets: Option<NonZeroU32>) -> Self {
        self.verify_reset_every = resets;
        self
    }

    /// How instances of calls in `context` come about.
    pub fn instances(&self, context: CallContext) -> InstanceMode {
        match context {
            CallContext::Offchain => self.offchain_instances,
            CallContext::Build | CallContext::Import => self.onchain_instances,
        }
    }

    /// Sets [`Self::instances_max`].
    #[must_use]
    pub fn with_instances_max(mut self, instances_max: u32) -> Self {
        self.instances_max = instances_max;
        self
    }

    /// Sets [`Self::refuse_missing_host_functions`].
    #[must_use]
    pub fn with_missing_host_functions_refused(mut self, refuse: bool) -> Self {
        self.refuse_missing_host_functions = refuse;
        self
    }

    /// The heap of a call in `context` on a state whose `:heappages` is `heap_pages`.
    ///
    /// Precedence: off chain, [`Self::offchain_heap`]; on chain, `:heappages` unless ignored, else
    /// [`Self::onchain_heap`]; doubled when importing.
    pub fn heap(&self, context: CallContext, heap_pages: Option<u64>) -> HeapPages {
        // The reference truncates `:heappages` to 32 bits.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "consensus-visible truncation"
        )]
        let from_state = heap_pages
            .filter(|_| !self.ignore_onchain_heap_pages)
            .map(|pages| HeapPages::Static {
                extra: pages as u32,
            });
        let onchain = from_state.unwrap_or(self.onchain_heap);
        match context {
            CallContext::Offchain => self.offchain_heap,
            CallContext::Build => onchain,
            CallContext::Import => onchain.double(),
        }
    }

    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            profile: self.profile,
            canonicalize_nans: self.canonicalize_nans,
            meter: self.meter,
            instrumentation: self.instrumentation(),
            arbiter_period: self.arbiter_period,
            wasm_stack_bytes_max: self.wasm_stack_bytes_max,
            instances_max: self.instances_max,
            snapshots: [self.onchain_instances, self.offchain_instances]
                .contains(&InstanceMode::Snapshot),
            heap_extra_min: self.onchain_heap.extra().min(self.offchain_heap.extra()),
            instances_cached_max: self.instances_cached_max,
            memory: self.memory,
            hot_bytes_max: self.hot_bytes_max,
            verify_reset_every: self.verify_reset_every,
            parallel_compilation: self.parallel_compilation,
            compilation: self.compilation,
            cache: self.runtime_cache.clone(),
            metrics: self.metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_precedence() {
        let config = ExecutorConfig::default()
            .with_onchain_heap(HeapPages::Static { extra: 10 })
            .with_offchain_heap(HeapPages::Static { extra: 5 });
        let extra = |context, state| config.heap(context, state);
        assert_eq!(
            extra(CallContext::Build, None),
            HeapPages::Static { extra: 10 }
        );
        assert_eq!(
            extra(CallContext::Import, None),
            HeapPages::Static { extra: 20 }
        );
        assert_eq!(
            extra(CallContext::Build, Some(7)),
            HeapPages::Static { extra: 7 }
        );
        assert_eq!(
            extra(CallContext::Import, Some(7)),
            HeapPages::Static { extra: 14 }
        );
        assert_eq!(
            extra(CallContext::Offchain, Some(7)),
            HeapPages::Static { extra: 5 }
        );
        let ignoring = ExecutorConfig {
            ignore_onchain_heap_pages: true,
            ..config
        };
        assert_eq!(
            ignoring.heap(CallContext::Build, Some(7)),
            HeapPages::Static { extra: 10 }
        );
    }
}
