//! A compiled runtime, ready to be instantiated any number of times.
//!
//! Invariant: memory, heap base and entry points have been looked up and type-checked once; a call
//! looks nothing up by name in the instance. Cost: compilation takes seconds for a large runtime.

use std::{collections::BTreeMap, sync::Arc};

use slackwater_host_functions::{HostFunctions, HostState, register};
use sp_core::H256;
use sp_version::RuntimeVersion;
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::fuel::{METER_EXPORT, Meter, Metering, START_EXPORT, instrument};

use super::{
    Engine, RuntimeBlob, RuntimeError,
    own_memory::{MEMORY_EXPORT, own_memory},
    version,
};

const HEAP_BASE_EXPORT: &str = "__heap_base";

/// An exported function with the signature of a runtime call: `(pointer, length) -> packed`.
#[derive(Clone, Copy)]
pub(crate) struct EntryPoint(pub(crate) ModuleExport);

/// The result of looking for an entry point.
pub(crate) enum ExportLookup {
    Found(EntryPoint),
    Missing,
    NotAnEntryPoint,
}

/// Runtime code, compiled and bound to its host functions.
pub struct Runtime {
    pub(crate) instance_pre: InstancePre<HostState>,
    pub(crate) memory: ModuleExport,
    pub(crate) heap_base: ModuleExport,
    pub(crate) memory_pages_initial: u32,
    pub(crate) metering: Metering,
    entry_points: BTreeMap<String, Option<EntryPoint>>,
    version: RuntimeVersion,
    code_hash: H256,
    missing_host_functions: Vec<String>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Runtime")
            .field("spec_name", &self.version.spec_name)
            .field("spec_version", &self.version.spec_version)
            .field("code_hash", &self.code_hash)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Compiles `blob` and binds the functions of `H`. Where the module carries no version,
    /// `call_core_version` is asked to run `Core_version` on the runtime compiled so far. Code that
    /// has no answer either has the default version, all zero.
    pub(crate) fn compile<H: HostFunctions>(
        engine: &Engine,
        blob: &RuntimeBlob,
        call_core_version: impl FnOnce(&Runtime) -> Result<Option<Vec<u8>>, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        let mut wasm = own_memory(blob.wasm())?;
        if let Some(instrumentation) = &engine.instrumentation {
            wasm = instrument(&wasm, instrumentation)?.wasm;
        }
        let module =
            Module::new(&engine.wasmtime, &wasm).map_err(|error| RuntimeError::Compile {
                reason: format!("{error:#}"),
            })?;
        let (memory, memory_pages_initial) = find_memory(&module)?;
        let heap_base = find_heap_base(&module)?;
        let mut linker = Linker::new(&engine.wasmtime);
        let missing_host_functions = register::<H>(&mut linker, &module)?;
        let instance_pre =
            linker
                .instantiate_pre(&module)
                .map_err(|error| RuntimeError::Compile {
                    reason: format!("{error:#}"),
                })?;
        let mut runtime = Self {
            entry_points: entry_points(&module),
            instance_pre,
            memory,
            heap_base,
            memory_pages_initial,
            metering: metering(engine, &module),
            version: RuntimeVersion::default(),
            code_hash: blob.code_hash(),
            missing_host_functions,
        };
        if let Some(version) = blob.embedded_version()? {
            runtime.version = version;
        } else if let Some(output) = call_core_version(&runtime)? {
            runtime.version = version::from_call(&output)?;
        }
        Ok(runtime)
    }

    /// The version the code states of itself.
    pub fn version(&self) -> &RuntimeVersion {
        &self.version
    }

    /// BLAKE2b-256 of the code as it stands in state.
    pub fn code_hash(&self) -> H256 {
        self.code_hash
    }

    /// Imported functions this host does not offer, sorted. Calling one of them traps.
    pub fn missing_host_functions(&self) -> &[String] {
        &self.missing_host_functions
    }

    /// Whether the runtime exports `method` with the signature of a runtime call.
    pub fn has_method(&self, method: &str) -> bool {
        matches!(self.entry_points.get(method), Some(Some(_)))
    }

    pub(crate) fn entry_point(&self, method: &str) -> ExportLookup {
        match self.entry_points.get(method) {
            Some(Some(entry_point)) => ExportLookup::Found(*entry_point),
            Some(None) => ExportLookup::NotAnEntryPoint,
            None => ExportLookup::Missing,
        }
    }
}

fn metering(engine: &Engine, module: &Module) -> Metering {
    if engine.meter == Meter::Engine {
        return Metering::Engine;
    }
    let meter = module.get_export_index(METER_EXPORT);
    match (&engine.instrumentation, &engine.arbiter, meter) {
        (Some(instrumentation), Some(arbiter), Some(meter)) => Metering::Guest {
            meter,
            start: module.get_export_index(START_EXPORT),
            prices: instrumentation.schedule.state(),
            arbiter: Arc::clone(arbiter),
        },
        _ => Metering::Off,
    }
}

fn find_memory(module: &Module) -> Result<(ModuleExport, u32), RuntimeError> {
    let missing = || RuntimeError::MissingExport {
        name: MEMORY_EXPORT,
        expected: "a 32-bit memory",
    };
    let index = module.get_export_index(MEMORY_EXPORT).ok_or_else(missing)?;
    match module.get_export(MEMORY_EXPORT) {
        Some(ExternType::Memory(memory)) if !memory.is_64() => {
            let pages = u32::try_from(memory.minimum()).map_err(|_too_large| missing())?;
            Ok((index, pages))
        }
        _ => Err(missing()),
    }
}

fn find_heap_base(module: &Module) -> Result<ModuleExport, RuntimeError> {
    let missing = || RuntimeError::MissingExport {
        name: HEAP_BASE_EXPORT,
        expected: "a global of type i32",
    };
    let index = module
        .get_export_index(HEAP_BASE_EXPORT)
        .ok_or_else(missing)?;
    match module.get_export(HEAP_BASE_EXPORT) {
        Some(ExternType::Global(global)) if matches!(global.content(), ValType::I32) => Ok(index),
        _ => Err(missing()),
    }
}

/// Every exported function; `None` for one without the signature of a runtime call.
fn entry_points(module: &Module) -> BTreeMap<String, Option<EntryPoint>> {
    module
        .exports()
        .filter_map(|export| {
            let ExternType::Func(function) = export.ty() else {
                return None;
            };
            let callable = function.params().all(|ty| matches!(ty, ValType::I32))
                && function.params().len() == 2
                && function.results().all(|ty| matches!(ty, ValType::I64))
                && function.results().len() == 1;
            let entry_point = module.get_export_index(export.name()).filter(|_| callable);
            Some((export.name().to_owned(), entry_point.map(EntryPoint)))
        })
        .collect()
}
