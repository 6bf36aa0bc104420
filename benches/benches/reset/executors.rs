//! The executors, each as something that makes calls.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
};

use sc_executor_common::{
    runtime_blob::RuntimeBlob,
    wasm_runtime::{HeapAllocStrategy, WasmModule},
};
use sc_executor_wasmtime::{
    Config, InstantiationStrategy, Semantics, create_runtime, create_runtime_from_artifact_bytes,
    prepare_runtime_artifact,
};
use slackwater_executor::{
    CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, InstanceMode, LocalLimit, Meter,
    Runtime, WasmExecutor,
    fuel::{OnOverrun, Refuel},
    host_functions::{SlackwaterHostFunctions, StandardHostFunctions},
};
use sp_externalities::{Externalities, set_and_run_with_externalities};
use sp_state_machine::BasicExternalities;

use crate::cases::{Beginning, Case};

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
    beginning: Option<Beginning>,
}

impl Ours {
    pub(crate) fn new(case: &Case, way: (InstanceMode, Meter)) -> Self {
        let (mode, meter) = way;
        let mut config = ExecutorConfig::default()
            .with_meter(meter)
            .with_instances(mode)
            .with_onchain_heap(case.heap);
        if case.waiting > 0 {
            config = config.with_instances_cached_max(2_000);
        }
        let executor = WasmExecutor::new(config).expect("the engine");
        let runtime = executor.runtime(&case.code).expect("loads");
        let ours = Self {
            executor,
            runtime,
            way,
            method: case.method,
            heap: case.heap,
            beginning: case.beginning.clone(),
        };
        ours.have_waiting(case.waiting, &(case.input)(0));
        ours
    }

    /// Has so many calls under way at the same time, whose instances then wait.
    fn have_waiting(&self, instances: usize, input: &[u8]) {
        let barrier = Arc::new(Barrier::new(instances));
        std::thread::scope(|scope| {
            for _ in 0..instances {
                let barrier = Arc::clone(&barrier);
                scope.spawn(move || {
                    let refuel = move |_| {
                        barrier.wait();
                        Refuel::Extend(Fuel(1 << 50))
                    };
                    let mut limits = CallLimits::none();
                    limits.local = Some(LocalLimit {
                        fuel: Fuel(0),
                        on_overrun: OnOverrun::Refuel(Arc::new(refuel)),
                    });
                    self.call(
                        &mut BasicExternalities::default(),
                        (self.method, input),
                        &limits,
                    );
                });
            }
        });
    }

    fn call(
        &self,
        ext: &mut BasicExternalities,
        (method, input): (&str, &[u8]),
        limits: &CallLimits,
    ) -> Vec<u8> {
        let called =
            self.executor
                .call_limited(&self.runtime, ext, method, input, self.heap, limits);
        match black_box(called).expect("an outcome").outcome {
            CallOutcome::Returned(output) => output,
            CallOutcome::Trapped(trap) => panic!("{method}: {trap}"),
        }
    }
}

/// Calls on what was there before, again and again.
fn repeatedly<'a>(
    beginning: Option<&'a Beginning>,
    method: &'a str,
    mut call: impl FnMut(&mut BasicExternalities, &str, &[u8]) -> Vec<u8> + 'a,
) -> Session<'a> {
    let Some(beginning) = beginning else {
        let mut ext = BasicExternalities::default();
        return Box::new(move |input| {
            black_box(call(&mut ext, method, input));
        });
    };
    let mut ext = BasicExternalities::new(beginning.state.clone());
    for (method, input) in &beginning.calls {
        call(&mut ext, method, input);
    }
    Box::new(move |input| {
        ext.storage_start_transaction();
        let answer = call(&mut ext, method, input);
        assert_eq!(answer, beginning.answer, "{method}");
        ext.storage_rollback_transaction().expect("it was started");
    })
}

impl Way for Ours {
    fn name(&self) -> String {
        let (mode, meter) = self.way;
        format!("{mode:?}-{meter:?}").to_lowercase()
    }

    fn session(&self) -> Session<'_> {
        let limits = match self.way.1 {
            Meter::Off => CallLimits::none(),
            _ => CallLimits::consensus(Fuel(1 << 40)),
        };
        repeatedly(
            self.beginning.as_ref(),
            self.method,
            move |ext, method, input| self.call(ext, (method, input), &limits),
        )
    }
}

/// The Polkadot SDK's.
pub(crate) struct Peer {
    module: Box<dyn WasmModule>,
    strategy: InstantiationStrategy,
    precompiled: bool,
    method: &'static str,
    heap: HeapAllocStrategy,
    beginning: Option<Beginning>,
}

impl Peer {
    /// `precompiled` has its code compiled first, and loaded then.
    pub(crate) fn new(case: &Case, strategy: InstantiationStrategy, precompiled: bool) -> Self {
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
        let module = if precompiled {
            let artifact = prepare_runtime_artifact(blob, &config.semantics).expect("compiles");
            // SAFETY: the artifact is what this executor has just compiled.
            unsafe {
                create_runtime_from_artifact_bytes::<StandardHostFunctions>(&artifact, config)
            }
        } else {
            create_runtime::<StandardHostFunctions>(blob, config)
        };
        let module = module.expect("loads");
        Self {
            module: Box::new(module),
            strategy,
            precompiled,
            method: case.method,
            heap,
            beginning: case.beginning.clone(),
        }
    }
}

impl Way for Peer {
    fn name(&self) -> String {
        let how = if self.precompiled { "Precompiled" } else { "" };
        format!("{how}{:?}", self.strategy)
    }

    fn session(&self) -> Session<'_> {
        let mut instance = self.module.new_instance(self.heap).expect("an instance");
        repeatedly(
            self.beginning.as_ref(),
            self.method,
            move |ext, method, input| {
                let called =
                    set_and_run_with_externalities(ext, || instance.call_export(method, input));
                black_box(called).expect("it returns")
            },
        )
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
