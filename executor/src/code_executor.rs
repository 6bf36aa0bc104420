//! The executor as a Substrate client asks for one: `sp-core`'s `CodeExecutor` and `ReadRuntimeVersion`.
//!
//! Invariant: a call in a context gets the code, the heap and the instance that the Polkadot SDK's executor would give it; what
//! ends a query early on this machine, a deadline, a limit of fuel or a cancellation, is an error of its own kind and
//! never met on chain. Cost: code is fetched once for each hash the client gives it, and compiled once, for any heap; once
//! more for instances from scratch where a state asks for less heap than is configured.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schnellru::{ByLength, LruMap};
use slackwater_host_functions::{HostFunctions, LogLimits, SlackwaterHostFunctions};
use sp_core::{
    H256,
    traits::{
        CallContext as ClientContext, CodeExecutor, FetchRuntimeCode, ReadRuntimeVersion,
        RuntimeCode,
    },
};
use sp_externalities::Externalities;
use thiserror::Error;

use crate::{
    CallContext, CallError, CallLimits, CallOutcome, Called, CancelToken, ExecutorConfig, Fuel,
    HeapPages, InstanceMode, Meter, Runtime, RuntimeError, Trap, WasmExecutor,
    block::ExecutionError,
    runtime::{EngineError, RuntimeCacheConfig},
    unwinding::caught,
    wasm_executor::{CallForm, VersionError},
};

/// Why a call of a client has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodeExecutorError {
    /// The guest faulted.
    #[error("{method}: {trap}")]
    Trapped {
        /// The method called.
        method: String,
        /// How, with a backtrace by the guest's names.
        trap: Trap,
    },
    /// A query took longer than [`SlackwaterExecutorBuilder::with_offchain_deadline`].
    #[error("{method} was stopped after {deadline:?}, the deadline of queries on this machine")]
    Deadline {
        /// The method called.
        method: String,
        /// The deadline.
        deadline: Duration,
    },
    /// A query used more fuel than [`SlackwaterExecutorBuilder::with_offchain_fuel`].
    #[error("{method} was stopped after {limit}, the limit of queries on this machine")]
    Fuel {
        /// The method called.
        method: String,
        /// The limit.
        limit: Fuel,
    },
    /// All calls were cancelled: see [`SlackwaterExecutor::cancelled_by`].
    #[error("{method} was cancelled")]
    Cancelled {
        /// The method called.
        method: String,
    },
    /// The client has no code.
    #[error("the state has no runtime code")]
    NoCode,
    /// The code cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The call has no outcome on this machine.
    #[error("{method}: {source}")]
    Call {
        /// The method called.
        method: String,
        /// Why.
        source: CallError,
    },
    /// What stands behind the host functions panicked, as states do that cannot be read.
    #[error("{method}: the host panicked: {message}")]
    Host {
        /// The method called.
        method: String,
        /// What it said.
        message: String,
    },
}

/// Settings of a [`SlackwaterExecutor`]. Those up to [`Self::with_cache_path`] are the ones of the Polkadot SDK's
/// `WasmExecutorBuilder`, with its defaults but for instances, of which 64 are kept.
#[derive(Debug, Clone)]
pub struct SlackwaterExecutorBuilder<H = SlackwaterHostFunctions> {
    config: ExecutorConfig,
    limits: OffchainLimits,
    functions: std::marker::PhantomData<fn() -> H>,
}

/// What queries may use.
#[derive(Debug, Clone, Copy, Default)]
struct OffchainLimits {
    fuel: Option<Fuel>,
    deadline: Option<Duration>,
}

impl<H: HostFunctions> Default for SlackwaterExecutorBuilder<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: HostFunctions> SlackwaterExecutorBuilder<H> {
    /// The defaults.
    pub fn new() -> Self {
        let config = ExecutorConfig::default().with_missing_host_functions_refused(true);
        Self {
            config,
            limits: OffchainLimits::default(),
            functions: std::marker::PhantomData,
        }
    }

    /// How instances come about: what `with_execution_method` chooses there. `Snapshot` by default.
    #[must_use]
    pub fn with_execution_method(mut self, mode: InstanceMode) -> Self {
        self.config = self.config.with_instances(mode);
        self
    }

    /// Heap of calls on chain, unless the state says otherwise. 2,048 pages by default.
    #[must_use]
    pub fn with_onchain_heap_alloc_strategy(mut self, heap: HeapPages) -> Self {
        self.config.onchain_heap = heap;
        self
    }

    /// Heap of queries. 2,048 pages by default.
    #[must_use]
    pub fn with_offchain_heap_alloc_strategy(mut self, heap: HeapPages) -> Self {
        self.config.offchain_heap = heap;
        self
    }

    /// Whether what the state says of the heap is ignored. It is not by default.
    #[must_use]
    pub fn with_ignore_onchain_heap_pages(mut self, ignore: bool) -> Self {
        self.config.ignore_onchain_heap_pages = ignore;
        self
    }

    /// How many instances of a runtime wait for the next call, at most. 64 by default; any number can run.
    #[must_use]
    pub fn with_max_runtime_instances(mut self, instances: usize) -> Self {
        self.config.instances_cached_max = u32::try_from(instances).unwrap_or(u32::MAX);
        self
    }

    /// Whether code that imports functions nobody offers is loaded; calling one traps. It is not by default.
    #[must_use]
    pub fn with_allow_missing_host_functions(mut self, allow: bool) -> Self {
        self.config.refuse_missing_host_functions = !allow;
        self
    }

    /// How many compiled runtimes are kept. 4 by default.
    #[must_use]
    pub fn with_runtime_cache_size(mut self, runtimes: u8) -> Self {
        self.config.runtimes_max = runtimes.into();
        self
    }

    /// Keeps compiled code in `folder`, which nobody else may enter, so that the next process need not compile: with the
    /// defaults of [`RuntimeCacheConfig`].
    #[must_use]
    pub fn with_cache_path(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.config.runtime_cache = Some(RuntimeCacheConfig::new(folder));
        self
    }

    /// Who counts fuel. `Slacked` by default; limits of queries need one that guests carry.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.config.meter = meter;
        self
    }

    /// How often running guests are looked at, and so how late a deadline may be noticed. 1 ms by default.
    #[must_use]
    pub fn with_arbiter_period(mut self, period: Duration) -> Self {
        self.config.arbiter_period = period;
        self
    }

    /// Fuel a query may use. No limit by default.
    #[must_use]
    pub fn with_offchain_fuel(mut self, fuel: Fuel) -> Self {
        self.limits.fuel = Some(fuel);
        self
    }

    /// Time a query may take, from when it is asked. No limit by default. One that runs longer ends within this and a period of
    /// the arbiter, or when the host function it is in returns; one whose code is not loaded yet, when that is.
    #[must_use]
    pub fn with_offchain_deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = Some(deadline);
        self
    }

    /// Bytes of memory that queries may use together: [`ExecutorConfig::memory_budget`]. No limit by default.
    #[must_use]
    pub fn with_memory_budget(mut self, bytes: u64) -> Self {
        self.config.memory_budget = Some(bytes);
        self
    }

    /// What a guest may have this host log in one call: [`ExecutorConfig::log_limits`].
    #[must_use]
    pub fn with_log_limits(mut self, limits: LogLimits) -> Self {
        self.config.log_limits = limits;
        self
    }

    /// Whether calls are told to the recorder of metrics that is installed when this is built: [`crate::metrics`]. They are
    /// not by default.
    #[must_use]
    pub fn with_metrics(mut self, metrics: bool) -> Self {
        self.config.metrics = metrics;
        self
    }

    /// Whether queries run code before it is compiled as well as it can be: [`crate::runtime::Compilation::quick_first`]. They do not
    /// by default.
    #[must_use]
    pub fn with_quick_start(mut self, quick: bool) -> Self {
        self.config.compilation.quick_first = quick;
        self
    }

    /// Computes exactly what the Polkadot SDK's executor computes, as [`ExecutorConfig::compat`] does; the other settings stay.
    /// Nobody counts then, so queries have no limits, unless [`Self::with_meter`] says otherwise afterwards.
    #[must_use]
    pub fn with_compat(mut self) -> Self {
        let compat = ExecutorConfig::compat();
        self.config.canonicalize_nans = compat.canonicalize_nans;
        self.config.meter = compat.meter;
        self.config.wasm_stack_bytes_max = compat.wasm_stack_bytes_max;
        self
    }

    /// All other settings, in the place of those made so far. [`ExecutorConfig`] loads code that imports functions nobody offers,
    /// which this builder does not by default.
    #[must_use]
    pub fn with_config(mut self, config: ExecutorConfig) -> Self {
        self.config = config;
        self
    }

    /// The executor.
    ///
    /// # Errors
    /// [`EngineError`] when this machine cannot run it, or limits are set that nobody would notice.
    pub fn build(self) -> Result<SlackwaterExecutor<H>, EngineError> {
        let OffchainLimits { fuel, deadline } = self.limits;
        if (fuel.is_some() || deadline.is_some()) && !self.config.meter.is_guest() {
            return Err(EngineError::setup(
                "limits of queries need a meter that guests carry: `Slacked` or `Checked`",
            ));
        }
        let names = ByLength::new(self.config.runtimes_max.max(1));
        Ok(SlackwaterExecutor {
            executor: WasmExecutor::new(self.config)?,
            limits: self.limits,
            cancel: None,
            names: Arc::new(Mutex::new(LruMap::new(names))),
        })
    }
}

/// Hashes of code by the hash that the client gives it.
type Names = Arc<Mutex<LruMap<Vec<u8>, H256, ByLength>>>;

/// An executor for Substrate clients. Cloning is cheap; clones share everything but [`Self::cancelled_by`].
///
/// ```
/// use slackwater_executor::{Fuel, SlackwaterExecutor};
/// # fn main() -> Result<(), slackwater_executor::runtime::EngineError> {
/// let executor: SlackwaterExecutor = SlackwaterExecutor::builder()
///     .with_offchain_fuel(Fuel(100_000_000_000))
///     .build()?;
/// # fn takes(_: impl sp_core::traits::CodeExecutor) {}
/// takes(executor);
/// # Ok(())
/// # }
/// ```
pub struct SlackwaterExecutor<H = SlackwaterHostFunctions> {
    executor: WasmExecutor<H>,
    limits: OffchainLimits,
    cancel: Option<CancelToken>,
    names: Names,
}

impl<H> Clone for SlackwaterExecutor<H> {
    fn clone(&self) -> Self {
        Self {
            executor: self.executor.clone(),
            limits: self.limits,
            cancel: self.cancel.clone(),
            names: Arc::clone(&self.names),
        }
    }
}

impl<H> std::fmt::Debug for SlackwaterExecutor<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SlackwaterExecutor")
            .field("executor", &self.executor)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<H: HostFunctions> SlackwaterExecutor<H> {
    /// Settings to begin with.
    pub fn builder() -> SlackwaterExecutorBuilder<H> {
        SlackwaterExecutorBuilder::new()
    }

    /// The executor beneath, for blocks and calls with limits of their own.
    pub fn wasm_executor(&self) -> &WasmExecutor<H> {
        &self.executor
    }

    /// A clone whose calls, in any context, end when `token` is cancelled, from any thread.
    ///
    /// # Errors
    /// [`EngineError::Setup`] when guests carry no meter, so that nobody would look at the token.
    pub fn cancelled_by(mut self, token: CancelToken) -> Result<Self, EngineError> {
        if !self.executor.config().meter.is_guest() {
            return Err(EngineError::setup(
                "cancellation needs a meter that guests carry: `Slacked` or `Checked`",
            ));
        }
        self.cancel = Some(token);
        Ok(self)
    }

    /// The runtime that a client names, for calls in `context`.
    ///
    /// # Errors
    /// [`CodeExecutorError::NoCode`] and [`CodeExecutorError::Runtime`].
    pub fn runtime(
        &self,
        code: &RuntimeCode<'_>,
        context: CallContext,
    ) -> Result<Arc<Runtime>, CodeExecutorError> {
        let lock = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&code.hash).copied();
        let place = known.and_then(|hash| self.executor.known_place(hash));
        if let Some(runtime) = place.and_then(|place| place.get(context)) {
            return Ok(runtime);
        }
        let bytes = code.fetch_runtime_code().ok_or(CodeExecutorError::NoCode)?;
        let runtime = self.executor.runtime_for(&bytes, context)?;
        lock().insert(code.hash.clone(), runtime.code_hash());
        Ok(runtime)
    }

    fn limits(&self, context: CallContext) -> CallLimits {
        let mut limits = CallLimits::none();
        limits.cancel.clone_from(&self.cancel);
        if context != CallContext::Offchain {
            return limits;
        }
        limits.local = self.limits.fuel.map(Into::into);
        if let Some(deadline) = self.limits.deadline {
            let token = limits.cancel.take().unwrap_or_default();
            limits.cancel = Some(token.or_within(deadline));
        }
        limits
    }

    /// As `CodeExecutor::call`, in a context of ours, and also says what fuel the call used and what it did with its heap.
    ///
    /// # Errors
    /// [`CodeExecutorError`]; a fault of the guest is an outcome here.
    pub fn call_with_stats(
        &self,
        ext: &mut dyn Externalities,
        code: &RuntimeCode<'_>,
        method: &str,
        data: &[u8],
        context: CallContext,
    ) -> Result<Called, CodeExecutorError> {
        // A deadline is that of the whole query, with the loading of its code.
        let limits = self.limits(context);
        let runtime = self.runtime(code, context)?;
        let config = self.executor.config();
        let heap = config.heap(context, code.heap_pages);
        let form = CallForm {
            mode: config.instances(context),
            heap,
            on_chain: context != CallContext::Offchain,
            told: true,
        };
        let call = || {
            let input = (method, data);
            self.executor
                .call_charged(&runtime, ext, input, form, &limits, None)
        };
        // A client's state panics where it cannot be read.
        let called = caught(call);
        let method = || method.to_owned();
        let called = called.map_err(|panic| CodeExecutorError::Host {
            method: method(),
            message: said(panic.as_ref()),
        })?;
        called.map_err(|error| self.stopped(error, method()))
    }

    /// What a call that has no outcome was ended by.
    fn stopped(&self, error: CallError, method: String) -> CodeExecutorError {
        let by_token = self.cancel.as_ref().is_some_and(CancelToken::is_cancelled);
        match (error, self.limits.deadline) {
            (CallError::LocalLimit { limit }, _) => CodeExecutorError::Fuel { method, limit },
            (CallError::Cancelled, Some(deadline)) if !by_token => {
                CodeExecutorError::Deadline { method, deadline }
            }
            (CallError::Cancelled, _) => CodeExecutorError::Cancelled { method },
            (source, _) => CodeExecutorError::Call { method, source },
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

impl<H: HostFunctions> CodeExecutor for SlackwaterExecutor<H> {
    type Error = CodeExecutorError;

    fn call(
        &self,
        ext: &mut dyn Externalities,
        runtime_code: &RuntimeCode<'_>,
        method: &str,
        data: &[u8],
        context: ClientContext,
    ) -> (Result<Vec<u8>, Self::Error>, bool) {
        let context = match context {
            ClientContext::Offchain => CallContext::Offchain,
            ClientContext::Onchain { import: false } => CallContext::Build,
            ClientContext::Onchain { import: true } => CallContext::Import,
        };
        let called = self.call_with_stats(ext, runtime_code, method, data, context);
        let result = called.and_then(|called| match called.outcome {
            CallOutcome::Returned(output) => Ok(output),
            CallOutcome::Trapped(trap) => Err(CodeExecutorError::Trapped {
                method: method.to_owned(),
                trap,
            }),
        });
        (result, false)
    }
}

impl<H: HostFunctions> ReadRuntimeVersion for SlackwaterExecutor<H> {
    fn read_runtime_version(
        &self,
        wasm_code: &[u8],
        ext: &mut dyn Externalities,
    ) -> Result<Vec<u8>, String> {
        self.executor
            .version_of(wasm_code, ext)
            .map_err(|error| match error {
                VersionError::Code(reason) => reason,
                VersionError::Machine(error) => ExecutionError::to_string(&error),
            })
    }
}
