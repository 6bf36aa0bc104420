//! A compiled runtime, ready to be instantiated any number of times.
//!
//! A runtime has up to four forms: one whose instances are put back after a call, two that are made from
//! scratch in the engine's pool, with the smallest heap that is configured and without one, and one from
//! scratch beyond that. The first is compiled at once if it is wanted and possible, else the second; the
//! others when they are needed first.
//!
//! Invariant: memory, heap base and entry points have been looked up and type-checked once; a call
//! looks nothing up by name in the instance. Cost: compiling a form takes seconds for a large runtime.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use slackwater_host_functions::{HostFunctions, HostState, register, register_beside};
use sp_core::H256;
use sp_version::RuntimeVersion;
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, ValType};

use crate::{
    fuel::{
        METER_EXPORT, Meter, Metering, Profiled, START_EXPORT, TELLER_MODULE, instrument_on,
        profiled,
    },
    instance::{CallError, InstanceCounts, Pool},
    memory::{Image, MemoryStrategy},
    profile::listen,
};

use super::{
    Engine, HeapPages, RuntimeBlob, RuntimeError,
    own_memory::{MEMORY_EXPORT, initial_pages, own_memory},
    template, version,
};

const HEAP_BASE_EXPORT: &str = "__heap_base";

/// An exported function with the signature of a runtime call: `(pointer, length) -> packed`.
#[derive(Clone, Copy)]
pub(crate) struct EntryPoint {
    pub(crate) export: ModuleExport,
    /// Counts entry points.
    pub(crate) number: usize,
}

/// By name, looked up in every call; `None` for functions without the signature of a runtime call.
type EntryPoints = HashMap<String, Option<EntryPoint>, foldhash::fast::RandomState>;

/// The result of looking for an entry point.
pub(crate) enum ExportLookup {
    Found(EntryPoint),
    Missing,
    NotAnEntryPoint,
}

/// A module compiled for one engine and bound to its host functions.
pub(crate) struct Form {
    pub(crate) instance_pre: InstancePre<HostState>,
    pub(crate) memory: ModuleExport,
    pub(crate) heap_base: ModuleExport,
    /// Pages of the code's memory at the beginning.
    pub(crate) memory_pages_initial: u32,
    /// Pages an instance is made with; more where every heap has them.
    pub(crate) memory_pages_made: u32,
    pub(crate) metering: Metering,
    /// What has to be put back beside memory.
    pub(crate) globals: Vec<ModuleExport>,
    entry_points: EntryPoints,
    /// How many entry points there are.
    pub(crate) entry_points_count: usize,
}

impl Form {
    /// Compiles `wasm`, which has a memory of its own, for `wasmtime`, an engine of `engine`, and binds
    /// the functions of `H`; also returns those it has not. `globals` are names of exports.
    fn new<H: HostFunctions>(
        engine: &Engine,
        wasmtime: &wasmtime::Engine,
        wasm: &[u8],
        memory_pages_initial: u32,
        globals: &[String],
    ) -> Result<(Self, Vec<String>), RuntimeError> {
        let instrumented = match &engine.instrumentation {
            Some(instrumentation) => {
                Some(instrument_on(wasm, instrumentation, engine.is_parallel)?.wasm)
            }
            None => None,
        };
        let profiled = match &instrumented {
            Some(instrumented) if engine.profile_fuel => Some(profiled(instrumented, wasm)?),
            _ => None,
        };
        let (instrumented, names) = match profiled {
            Some(Profiled { wasm, names }) => (Some(wasm), Some(names)),
            None => (instrumented, None),
        };
        let wasm = instrumented.as_deref().unwrap_or(wasm);
        let failed = |error: wasmtime::Error| RuntimeError::Compile {
            reason: format!("{error:#}"),
        };
        let module = Module::new(wasmtime, wasm).map_err(failed)?;
        let (memory, memory_pages_made) = find_memory(&module)?;
        let heap_base = find_heap_base(&module)?;
        let mut linker = Linker::new(wasmtime);
        let missing_host_functions = match names {
            Some(names) => {
                listen(&mut linker, names.into()).map_err(failed)?;
                register_beside::<H>(&mut linker, &module, TELLER_MODULE)?
            }
            None => register::<H>(&mut linker, &module)?,
        };
        let globals = globals.iter().map(|name| {
            let missing = || RuntimeError::Compile {
                reason: format!("the global `{name}` was not exported"),
            };
            module.get_export_index(name).ok_or_else(missing)
        });
        let entry_points = entry_points(&module);
        let form = Self {
            entry_points_count: entry_points.values().flatten().count(),
            entry_points,
            globals: globals.collect::<Result<_, _>>()?,
            instance_pre: linker.instantiate_pre(&module).map_err(failed)?,
            memory,
            heap_base,
            memory_pages_initial,
            memory_pages_made,
            metering: metering(engine, &module),
        };
        Ok((form, missing_host_functions))
    }

    pub(crate) fn entry_point(&self, method: &str) -> ExportLookup {
        match self.entry_points.get(method) {
            Some(Some(entry_point)) => ExportLookup::Found(*entry_point),
            Some(None) => ExportLookup::NotAnEntryPoint,
            None => ExportLookup::Missing,
        }
    }
}

/// A form that is compiled when it is needed first.
struct Later {
    compile: Box<dyn Fn() -> Result<Form, RuntimeError> + Send + Sync>,
    compiled: OnceLock<Result<Form, String>>,
}

impl Later {
    fn new<H: HostFunctions>(
        engine: &Engine,
        wasmtime: &wasmtime::Engine,
        wasm: &Arc<[u8]>,
        pages: u32,
        extra: u32,
    ) -> Self {
        let (engine, wasmtime, wasm) = (engine.clone(), wasmtime.clone(), Arc::clone(wasm));
        let compile = move || {
            let wasm = own_memory(&wasm, extra)?;
            Ok(Form::new::<H>(&engine, &wasmtime, &wasm, pages, &[])?.0)
        };
        Self {
            compile: Box::new(compile),
            compiled: OnceLock::new(),
        }
    }

    fn form(&self) -> Result<&Form, CallError> {
        let compiled = self
            .compiled
            .get_or_init(|| (self.compile)().map_err(|error| error.to_string()));
        compiled.as_ref().map_err(|reason| CallError::Instantiate {
            reason: reason.clone(),
        })
    }
}

/// Runtime code, compiled and bound to its host functions.
pub struct Runtime {
    /// What calls use: of the pool, or from scratch.
    form: Form,
    /// Instances that are put back after a call; `None` if this code's cannot be, or are not wanted.
    pool: Option<Pool>,
    /// To be made from scratch, where `form` is the pool's.
    scratch: Later,
    /// The same, with no more pages than the code asks for.
    scratch_small: Later,
    /// To be made from scratch when the engine's pool is used up.
    overflow: Later,
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
        let wasm: Arc<[u8]> = own_memory(blob.wasm(), 0)?.into();
        let template = template::template(&wasm);
        if let (true, Err(why)) = (engine.snapshots, &template) {
            log::info!(
                target: "slackwater::runtime",
                "{:?}: instances are made from scratch: {why}",
                blob.code_hash()
            );
        }
        let pages = initial_pages(&wasm)?;
        // A start function would see a larger memory, and data could lie beyond the code's own.
        let extra = template.as_ref().map_or(0, |_| engine.heap_extra_min);
        let template = template.ok().filter(|_| engine.snapshots);
        let (form, missing_host_functions) = match &template {
            Some(made) => {
                Form::new::<H>(engine, &engine.on_demand, &made.wasm, pages, &made.globals)?
            }
            None => {
                let larger = own_memory(&wasm, extra)?;
                // What the pool has no room for is made without it.
                Form::new::<H>(engine, &engine.wasmtime, &larger, pages, &[])
                    .or_else(|_| Form::new::<H>(engine, &engine.on_demand, &wasm, pages, &[]))?
            }
        };
        let pool = template.map(|made| {
            let bytes =
                |range: &std::ops::Range<usize>| wasm.get(range.clone()).unwrap_or_default();
            let segments = made.segments.iter();
            let mapped = engine.resetter.strategy() != MemoryStrategy::Plain;
            let image = Image::new(segments.map(|(at, range)| (*at, bytes(range))), mapped);
            Pool::new(image, engine)
        });
        let mut runtime = Self {
            form,
            pool,
            scratch: Later::new::<H>(engine, &engine.wasmtime, &wasm, pages, extra),
            scratch_small: Later::new::<H>(engine, &engine.wasmtime, &wasm, pages, 0),
            overflow: Later::new::<H>(engine, &engine.on_demand, &wasm, pages, 0),
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
        matches!(self.form.entry_point(method), ExportLookup::Found(_))
    }

    /// Whether its instances can be put back after a call; those of other code are made from scratch.
    pub fn is_resettable(&self) -> bool {
        self.pool.is_some()
    }

    /// What has become of its instances that are put back.
    pub fn instances(&self) -> InstanceCounts {
        self.pool.as_ref().map(Pool::counts).unwrap_or_default()
    }

    /// The instances that are put back, and the form they are of.
    pub(crate) fn pool(&self) -> Option<(&Pool, &Form)> {
        self.pool.as_ref().map(|pool| (pool, &self.form))
    }

    /// The form for instances from scratch with this heap.
    pub(crate) fn scratch(&self, heap: HeapPages) -> Result<&Form, CallError> {
        // What the pool has no room for is made without it.
        let form = match self.pool {
            Some(_) => self.scratch.form().or_else(|_| self.overflow())?,
            None => &self.form,
        };
        let pages = form.memory_pages_initial.saturating_add(heap.extra());
        if form.memory_pages_made > pages {
            return self.scratch_small.form().or_else(|_| self.overflow());
        }
        Ok(form)
    }

    /// The form for instances from scratch beyond what the engine's pool holds.
    pub(crate) fn overflow(&self) -> Result<&Form, CallError> {
        self.overflow.form()
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
fn entry_points(module: &Module) -> EntryPoints {
    let mut numbers = 0..;
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
            // Only entry points are counted.
            let entry_point = entry_point.and_then(|export| {
                let number = numbers.next()?;
                Some(EntryPoint { export, number })
            });
            Some((export.name().to_owned(), entry_point))
        })
        .collect()
}
