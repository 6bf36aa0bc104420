//! Finding in an instance what its module is known to export.
//!
//! Invariant: the module was looked at when it was compiled, so that something is missing says something
//! about the machine, not about the guest.

use slackwater_host_functions::HostState;
use wasmtime::{Extern, Global, Instance, Memory, ModuleExport, Store, TypedFunc, Val};

use super::CallError;
use crate::{
    fuel::Metering,
    runtime::{EntryPoint, Form},
};

/// An entry point, as it is called.
pub(super) type EntryFunction = TypedFunc<(u32, u32), u64>;

fn missing(what: &str) -> CallError {
    CallError::Instantiate {
        reason: format!("{what} is missing"),
    }
}

/// The guest's memory.
pub(super) fn find_memory(
    store: &mut Store<HostState>,
    instance: &Instance,
    form: &Form,
) -> Result<Memory, CallError> {
    instance
        .get_module_export(store, &form.memory)
        .and_then(Extern::into_memory)
        .ok_or_else(|| missing("the memory"))
}

/// A global.
pub(super) fn find_global(
    store: &mut Store<HostState>,
    instance: &Instance,
    export: &ModuleExport,
) -> Result<Global, CallError> {
    instance
        .get_module_export(store, export)
        .and_then(Extern::into_global)
        .ok_or_else(|| missing("a global"))
}

/// Where the guest's heap begins.
pub(super) fn find_heap_base(
    store: &mut Store<HostState>,
    instance: &Instance,
    form: &Form,
) -> Result<u32, CallError> {
    match find_global(store, instance, &form.heap_base)?.get(store) {
        Val::I32(heap_base) => Ok(heap_base.cast_unsigned()),
        _ => Err(missing("the heap base")),
    }
}

/// The function to call before anything else, if that is left to us.
pub(super) fn find_start(
    store: &mut Store<HostState>,
    instance: &Instance,
    form: &Form,
) -> Result<Option<TypedFunc<(), ()>>, CallError> {
    let Metering::Guest {
        start: Some(start), ..
    } = &form.metering
    else {
        return Ok(None);
    };
    let start = instance
        .get_module_export(&mut *store, start)
        .and_then(Extern::into_func)
        .and_then(|function| function.typed(&*store).ok());
    start.map(Some).ok_or_else(|| missing("the start function"))
}

/// The function behind an entry point.
pub(super) fn find_function(
    store: &mut Store<HostState>,
    instance: &Instance,
    entry_point: EntryPoint,
) -> Result<EntryFunction, CallError> {
    instance
        .get_module_export(&mut *store, &entry_point.export)
        .and_then(Extern::into_func)
        .and_then(|function| function.typed(&*store).ok())
        .ok_or_else(|| missing("the entry point"))
}
