//! A module compiled for one engine and bound to its host functions, ready to be instantiated any number of times.
//!
//! Invariant: memory, heap base and entry points have been looked up and type-checked once; a call looks nothing up by
//! name in the instance. Cost: a look at every import and export.

use std::{collections::HashMap, sync::Arc};

use slackwater_host_functions::{HostFunctions, HostState, register, register_beside};
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, ValType};

use super::{
    Engine, RuntimeError,
    own_memory::MEMORY_EXPORT,
    prepare::{Prepared, wasmtime},
};
use crate::{
    fuel::{METER_EXPORT, Meter, Metering, START_EXPORT, TELLER_MODULE},
    profile::listen,
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
    /// Binds the functions of `H` to `prepared`; also returns those it has not.
    pub(super) fn new<H: HostFunctions>(
        engine: &Engine,
        prepared: Prepared,
    ) -> Result<(Self, Vec<String>), RuntimeError> {
        let Prepared {
            module,
            facts,
            names,
            ..
        } = prepared;
        let failed = |error: wasmtime::Error| RuntimeError::of_engine(&error);
        let (memory, memory_pages_made) = find_memory(&module)?;
        let heap_base = find_heap_base(&module)?;
        let mut linker = Linker::new(wasmtime(engine, facts.pooled));
        let missing_host_functions = match names {
            Some(names) => {
                listen(&mut linker, names.into()).map_err(failed)?;
                register_beside::<H>(&mut linker, &module, TELLER_MODULE)?
            }
            None => register::<H>(&mut linker, &module)?,
        };
        let globals = facts.globals.iter().map(|name| {
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
            memory_pages_initial: facts.pages,
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
