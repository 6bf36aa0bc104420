//! The Polkadot SDK's executor, stage by stage.

use sc_executor_common::{
    runtime_blob::RuntimeBlob,
    wasm_runtime::{HeapAllocStrategy, WasmInstance, WasmModule},
};
use sc_executor_wasmtime::{Config, InstantiationStrategy, Semantics, create_runtime};
use slackwater_executor::{HeapPages, host_functions::StandardHostFunctions};
use sp_externalities::set_and_run_with_externalities;
use sp_state_machine::BasicExternalities;

/// A module that was unpacked and parsed.
pub(crate) fn load(code: &[u8]) -> RuntimeBlob {
    RuntimeBlob::uncompress_if_needed(code).expect("a module")
}

/// A runtime that was compiled.
pub(crate) struct Peer {
    module: Box<dyn WasmModule>,
    heap: HeapAllocStrategy,
}

impl Peer {
    pub(crate) fn new(code: &[u8]) -> Self {
        let heap = heap();
        let config = Config {
            allow_missing_func_imports: true,
            cache_path: None,
            semantics: Semantics {
                heap_alloc_strategy: heap,
                instantiation_strategy: InstantiationStrategy::PoolingCopyOnWrite,
                deterministic_stack_limit: None,
                canonicalize_nans: false,
                parallel_compilation: true,
                wasm_multi_value: false,
                wasm_bulk_memory: false,
                wasm_reference_types: false,
                wasm_simd: false,
            },
        };
        let module = create_runtime::<StandardHostFunctions>(load(code), config);
        Self {
            module: Box::new(module.expect("loads")),
            heap,
        }
    }

    pub(crate) fn instance(&self) -> Box<dyn WasmInstance> {
        self.module.new_instance(self.heap).expect("an instance")
    }
}

/// As ours.
fn heap() -> HeapAllocStrategy {
    match HeapPages::default() {
        HeapPages::Static { extra } => HeapAllocStrategy::Static { extra_pages: extra },
        HeapPages::Dynamic { maximum } => HeapAllocStrategy::Dynamic {
            maximum_pages: maximum,
        },
    }
}

/// A call on an empty storage; its answer.
pub(crate) fn call(
    instance: &mut dyn WasmInstance,
    ext: &mut BasicExternalities,
    method: &str,
    input: &[u8],
) -> Vec<u8> {
    let called = set_and_run_with_externalities(ext, || instance.call_export(method, input));
    called.expect("it returns")
}
