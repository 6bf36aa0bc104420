//! The executors, each as something that makes calls.

use std::{hint::black_box, sync::Arc};

use sc_executor_common::{
    runtime_blob::RuntimeBlob,
    wasm_runtime::{HeapAllocStrategy, WasmModule},
};
use sc_executor_wasmtime::{Config, InstantiationStrategy, Semantics, create_runtime};
use slackwater_executor::{
    CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, InstanceMode, Meter, Runtime,
    WasmExecutor,
    host_functions::{SlackwaterHostFunctions, StandardHostFunctions},
};
use sp_externalities::set_and_run_with_externalities;
use sp_state_machine::BasicExternalities;

use crate::cases::Case;

/// Makes a call with an input.
pub(crate) type Session<'a> = Box<dyn FnMut(&[u8]) + 'a>;

/// Something that makes calls, on any number of threads.
pub(crate) trait Way: Sync {
    fn name(&self) -> String;
    /// What one thread calls with, again and again.
    fn session(&self) -> Session<'_>;
}

/// This executor.
pub(crate) struct Ours {
    executor: WasmExecutor<SlackwaterHostFunctions>,
    runtime: Arc<Runtime>,
    way: (InstanceMode, Meter),
    method: &'static str,
    heap: HeapPages,
}

impl Ours {
    pub(crate) fn new(case: &Case, way: (InstanceMode, Meter)) -> Self {
        let (mode, meter) = way;
        let config = ExecutorConfig::default()
            .with_meter(meter)
            .with_instances(mode);
        let executor = WasmExecutor::new(config).expect("the engine");
        let runtime = executor.runtime(&case.code).expect("loads");
        Self {
            executor,
            runtime,
            way,
            method: case.method,
            heap: case.heap,
        }
    }
}

impl Way for Ours {
    fn name(&self) -> String {
        let (mode, meter) = self.way;
        format!("{mode:?}-{meter:?}").to_lowercase()
    }

    fn session(&self) -> Session<'_> {
        let mut ext = BasicExternalities::default();
        let limits = match self.way.1 {
            Meter::Off => CallLimits::none(),
            _ => CallLimits::consensus(Fuel(1 << 40)),
        };
        Box::new(move |input| {
            let called = self
                .executor
                .call_limited(
                    &self.runtime,
                    &mut ext,
                    self.method,
                    input,
                    self.heap,
                    &limits,
                )
                .expect("an outcome");
            assert!(matches!(
                black_box(called).outcome,
                CallOutcome::Returned(_)
            ));
        })
    }
}

/// The Polkadot SDK's.
pub(crate) struct Peer {
    module: Box<dyn WasmModule>,
    strategy: InstantiationStrategy,
    method: &'static str,
    heap: HeapAllocStrategy,
}

impl Peer {
    pub(crate) fn new(case: &Case, strategy: InstantiationStrategy) -> Self {
        let heap = match case.heap {
            HeapPages::Static { extra } => HeapAllocStrategy::Static { extra_pages: extra },
            HeapPages::Dynamic { maximum } => HeapAllocStrategy::Dynamic {
                maximum_pages: maximum,
            },
        };
        let config = Config {
            allow_missing_func_imports: true,
            cache_path: None,
            semantics: Semantics {
                heap_alloc_strategy: heap,
                instantiation_strategy: strategy,
                deterministic_stack_limit: None,
                canonicalize_nans: false,
                parallel_compilation: true,
                wasm_multi_value: false,
                wasm_bulk_memory: false,
                wasm_reference_types: false,
                wasm_simd: false,
            },
        };
        let blob = RuntimeBlob::uncompress_if_needed(&case.code).expect("a module");
        let module = create_runtime::<StandardHostFunctions>(blob, config).expect("loads");
        Self {
            module: Box::new(module),
            strategy,
            method: case.method,
            heap,
        }
    }
}

impl Way for Peer {
    fn name(&self) -> String {
        format!("{:?}", self.strategy)
    }

    fn session(&self) -> Session<'_> {
        let mut ext = BasicExternalities::default();
        let mut instance = self.module.new_instance(self.heap).expect("an instance");
        Box::new(move |input| {
            let called = set_and_run_with_externalities(&mut ext, || {
                instance.call_export(self.method, input)
            });
            black_box(called).expect("it returns");
        })
    }
}

/// Nothing but a calculation: what threads gain by being many.
pub(crate) struct Arithmetic;

impl Way for Arithmetic {
    fn name(&self) -> String {
        "arithmetic".to_owned()
    }

    fn session(&self) -> Session<'_> {
        Box::new(|_| {
            let sum = (0..500_u64).fold(1_u64, |sum, step| {
                black_box(
                    sum.wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(step),
                )
            });
            black_box(sum);
        })
    }
}
