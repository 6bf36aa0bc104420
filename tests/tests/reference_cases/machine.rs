//! Executors under one face: ours and the reference, in every form a case is run in.
//!
//! Cost: each has an engine of its own, and compiles what it runs.

use sc_executor::{
    HeapAllocStrategy, WasmExecutionMethod, WasmExecutor, WasmtimeInstantiationStrategy,
};
use sc_executor_common::{runtime_blob::RuntimeBlob, wasm_runtime::WasmModule};
use sc_executor_wasmtime::{Config, DeterministicStackLimit, Semantics};
use slackwater_executor::{
    CallContext as OwnContext, CodeExecutorError, ExecutorConfig, Fuel, HeapPages, InstanceMode,
    Meter, SlackwaterExecutor,
    host_functions::{HostFunctions, SlackwaterHostFunctions, StandardHostFunctions},
};
use slackwater_tests::rules_for_extrinsics;
use sp_core::traits::{CallContext, CodeExecutor, Externalities, RuntimeCode, WrappedRuntimeCode};
use sp_state_machine::BasicExternalities;
use tempfile::TempDir;

use super::case::{Settings, Special, runtime_code};

/// Meters of ours that a case is run with, unless it says otherwise.
pub(crate) const METERS: [Meter; 3] = [Meter::Slacked, Meter::Checked, Meter::Off];

const STRATEGIES: [WasmtimeInstantiationStrategy; 4] = [
    WasmtimeInstantiationStrategy::PoolingCopyOnWrite,
    WasmtimeInstantiationStrategy::Pooling,
    WasmtimeInstantiationStrategy::RecreateInstanceCopyOnWrite,
    WasmtimeInstantiationStrategy::RecreateInstance,
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            heap: HeapPages::default(),
            meters: &METERS,
            special: Special::None,
            cache: None,
        }
    }
}

/// What a call gave.
#[derive(Debug)]
pub(crate) enum Outcome {
    Output(Vec<u8>),
    Ours(CodeExecutorError),
    Reference(sc_executor::error::Error),
}

type Call = dyn Fn(&mut dyn Externalities, &RuntimeCode<'_>, (&str, &[u8]), CallContext) -> Outcome
    + Send
    + Sync;

/// An executor.
pub(crate) struct Machine {
    /// Which one, and in which form.
    pub(crate) name: String,
    call: Box<Call>,
}

impl Machine {
    /// Calls an entry point with an input.
    pub(crate) fn call(
        &self,
        ext: &mut dyn Externalities,
        code: &RuntimeCode<'_>,
        call: (&str, &[u8]),
        context: CallContext,
    ) -> Outcome {
        (self.call)(ext, code, call, context)
    }

    fn new<E: CodeExecutor>(name: String, executor: E, error: fn(E::Error) -> Outcome) -> Self {
        let call = move |ext: &mut dyn Externalities,
                         code: &RuntimeCode<'_>,
                         (entry, input): (&str, &[u8]),
                         context| {
            let (result, native) = executor.call(ext, code, entry, input, context);
            assert!(!native);
            result.map_or_else(error, Outcome::Output)
        };
        Self {
            name,
            call: Box::new(call),
        }
    }
}

fn strategy(heap: HeapPages) -> HeapAllocStrategy {
    match heap {
        HeapPages::Static { extra } => HeapAllocStrategy::Static { extra_pages: extra },
        HeapPages::Dynamic { maximum } => HeapAllocStrategy::Dynamic {
            maximum_pages: maximum,
        },
    }
}

/// Ours with these host functions, in all forms.
pub(crate) fn ours<H: HostFunctions>(
    settings: &Settings,
) -> impl Iterator<Item = (String, SlackwaterExecutor<H>)> + use<H> {
    let modes = [InstanceMode::Snapshot, InstanceMode::Fresh];
    let (heap, meters, special) = (settings.heap, settings.meters, settings.special);
    let cache = settings.cache.as_ref().map(|folder| folder.join("ours"));
    let forms = modes
        .into_iter()
        .flat_map(move |mode| meters.iter().map(move |meter| (mode, *meter)));
    forms.map(move |(mode, meter)| {
        let config = ExecutorConfig::default();
        let config = match special {
            Special::None | Special::CanonicalNans | Special::Precompiled => config,
            Special::NativeNans => ExecutorConfig {
                canonicalize_nans: false,
                ..config
            },
            Special::DepthByCode => config.with_consensus_fuel(rules_for_extrinsics(Fuel(1 << 50))),
        };
        let builder = SlackwaterExecutor::builder().with_config(config);
        let builder = match &cache {
            Some(folder) => builder.with_cache_path(folder),
            None => builder,
        };
        let executor = builder
            .with_execution_method(mode)
            .with_meter(meter)
            .with_onchain_heap_alloc_strategy(heap)
            .with_offchain_heap_alloc_strategy(heap)
            .with_allow_missing_host_functions(true)
            .build();
        let name = format!("ours, {mode:?}, {meter:?}");
        (name, executor.expect("an engine"))
    })
}

/// The reference with these host functions, in all forms.
pub(crate) fn references<H: HostFunctions>(
    settings: &Settings,
) -> impl Iterator<Item = (String, WasmExecutor<H>)> + use<H> {
    let heap = strategy(settings.heap);
    let cache = settings.cache.as_ref();
    let cache = cache.map(|folder| folder.join("reference"));
    STRATEGIES.into_iter().map(move |instantiation_strategy| {
        let builder = WasmExecutor::builder();
        let builder = match &cache {
            Some(folder) => builder.with_cache_path(folder),
            None => builder,
        };
        let executor = builder
            .with_execution_method(WasmExecutionMethod::Compiled {
                instantiation_strategy,
            })
            .with_onchain_heap_alloc_strategy(heap)
            .with_offchain_heap_alloc_strategy(heap)
            .with_allow_missing_host_functions(true)
            .build();
        (format!("reference, {instantiation_strategy:?}"), executor)
    })
}

/// Both with these host functions, in all forms.
pub(crate) fn with_functions<Ours: HostFunctions, Theirs: HostFunctions>(
    settings: &Settings,
) -> Vec<Machine> {
    let ours = ours::<Ours>(settings);
    let ours = ours.map(|(name, executor)| Machine::new(name, executor, Outcome::Ours));
    let theirs = references::<Theirs>(settings);
    let theirs = theirs.map(|(name, executor)| Machine::new(name, executor, Outcome::Reference));
    ours.chain(theirs).collect()
}

/// The reference's engine without the executor around it: some of its settings are reached so only. It knows one module.
fn engines(settings: &Settings, module: &[u8]) -> impl Iterator<Item = Machine> {
    let heap = strategy(settings.heap);
    let special = settings.special;
    STRATEGIES.into_iter().map(move |instantiation_strategy| {
        let deep = DeterministicStackLimit {
            logical_max: 65_536,
            native_stack_max: 256 << 20,
        };
        let config = Config {
            allow_missing_func_imports: true,
            cache_path: None,
            semantics: Semantics {
                instantiation_strategy,
                deterministic_stack_limit: (special == Special::DepthByCode).then_some(deep),
                canonicalize_nans: special == Special::CanonicalNans,
                parallel_compilation: true,
                heap_alloc_strategy: heap,
                wasm_multi_value: false,
                wasm_bulk_memory: false,
                wasm_reference_types: false,
                wasm_simd: false,
            },
        };
        let blob = RuntimeBlob::uncompress_if_needed(module).expect("a module");
        let runtime = sc_executor_wasmtime::create_runtime::<StandardHostFunctions>(blob, config);
        let runtime = runtime.expect("a runtime");
        let call = move |_: &mut dyn Externalities,
                         _: &RuntimeCode<'_>,
                         (entry, input): (&str, &[u8]),
                         _: CallContext| {
            let instance = runtime.new_instance(heap);
            let mut instance = instance.expect("an instance");
            let result = instance.call_export(entry, input);
            result.map_or_else(Outcome::Reference, Outcome::Output)
        };
        Machine {
            name: format!("the reference's engine, {instantiation_strategy:?}"),
            call: Box::new(call),
        }
    })
}

/// Executors that find compiled what they run, in a folder, where others of the same form have left it.
fn precompiled(settings: &Settings, module: &[u8]) -> (TempDir, Vec<Machine>) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        cache: Some(folder.path().to_owned()),
        ..settings.clone()
    };
    let code = WrappedRuntimeCode(module.into());
    let code = runtime_code(module, &code);
    for (name, executor) in ours::<SlackwaterHostFunctions>(&settings) {
        executor.runtime(&code, OwnContext::Import).expect("loads");
        let counts = executor.wasm_executor().runtime_cache_counts();
        let counts = counts.expect("a cache");
        assert!(counts.stored > 0 || counts.hits > 0, "{name}: {counts:?}");
    }
    for (_, executor) in references::<StandardHostFunctions>(&settings) {
        let mut ext = BasicExternalities::default();
        let (none, _) = executor.call(&mut ext, &code, "", &[], CallContext::Offchain);
        none.expect_err("there is no such entry point");
    }
    let ours = ours::<SlackwaterHostFunctions>(&settings).map(|(name, executor)| {
        executor.runtime(&code, OwnContext::Import).expect("loads");
        let counts = executor.wasm_executor().runtime_cache_counts();
        let counts = counts.expect("a cache");
        assert!(counts.hits > 0 && counts.misses == 0, "{name}: {counts:?}");
        Machine::new(name, executor, Outcome::Ours)
    });
    let theirs = references::<StandardHostFunctions>(&settings);
    let theirs = theirs.map(|(name, executor)| Machine::new(name, executor, Outcome::Reference));
    let machines = ours.chain(theirs).collect();
    (folder, machines)
}

/// All machines for a case, and the folder they need, if any.
pub(crate) fn all(settings: &Settings, module: &[u8]) -> (Option<TempDir>, Vec<Machine>) {
    match settings.special {
        Special::None | Special::NativeNans => {
            let machines =
                with_functions::<SlackwaterHostFunctions, StandardHostFunctions>(settings);
            (None, machines)
        }
        Special::CanonicalNans | Special::DepthByCode => {
            let ours = ours::<SlackwaterHostFunctions>(settings);
            let ours = ours.map(|(name, executor)| Machine::new(name, executor, Outcome::Ours));
            (None, ours.chain(engines(settings, module)).collect())
        }
        Special::Precompiled => {
            let (folder, machines) = precompiled(settings, module);
            (Some(folder), machines)
        }
    }
}
