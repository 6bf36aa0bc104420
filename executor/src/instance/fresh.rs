//! The `fresh` mode: every call gets an instance made from scratch, in a slot of wasmtime's pool
//! whose memory is a copy-on-write mapping of the module's initial data.
//!
//! Invariant: nothing of one call is visible to the next; the store is dropped, and with it
//! memory, globals, tables, allocator and host state. Cost: tens of microseconds, most of it the
//! growth to the configured heap and the page faults after it.

use slackwater_host_functions::HostState;
use wasmtime::{Instance, PoolConcurrencyLimitError, Store, TypedFunc, Val};

use super::{CallError, CallOutcome, Called, TrapKind, call::call_entry_point, trap};
use crate::{
    fuel::{CallLimits, CancelToken, Ending, FuelUsed, Gauge, GaugeError, Metering, StateMeter},
    runtime::{EntryPoint, ExportLookup, HeapPages, Runtime},
};

/// Runs `method` with `input` in a new instance of `runtime`, within `limits`, if fuel is counted;
/// what host functions do is charged for through `state`. Must be called inside
/// [`sp_externalities::set_and_run_with_externalities`] for guests that touch storage.
pub(crate) fn call_fresh(
    runtime: &Runtime,
    method: &str,
    input: &[u8],
    heap: HeapPages,
    limits: &CallLimits,
    state: Option<&StateMeter>,
    instances_max: u32,
) -> Result<Called, CallError> {
    let not_called = |kind, message: String| {
        Ok(Called {
            outcome: CallOutcome::trapped(kind, message),
            fuel: None,
        })
    };
    let entry_point = match runtime.entry_point(method) {
        ExportLookup::Found(entry_point) => entry_point,
        ExportLookup::Missing => {
            let message = format!("the runtime does not export `{method}`");
            return not_called(TrapKind::MissingMethod, message);
        }
        ExportLookup::NotAnEntryPoint => {
            let message = format!("`{method}` does not have the signature (i32, i32) -> i64");
            return not_called(TrapKind::MistypedMethod, message);
        }
    };
    let cancelled = limits
        .cancel
        .as_ref()
        .is_some_and(CancelToken::is_cancelled);
    if cancelled && runtime.metering.is_guest() {
        return Err(CallError::Cancelled);
    }
    let mut store = new_store(runtime, heap);
    let unmetered = |error| gauge_failed(error, instances_max);
    Gauge::prepare(&mut store, &runtime.metering).map_err(unmetered)?;
    let instance = match runtime.instance_pre.instantiate(&mut store) {
        Ok(instance) => instance,
        Err(error) => {
            let outcome = instantiation_failed(&mut store, &error, instances_max)?;
            return Ok(Called {
                outcome,
                fuel: None,
            });
        }
    };
    let gauge = Gauge::attach(&mut store, &instance, &runtime.metering, limits, state)
        .map_err(unmetered)?;
    let ended = run(&mut store, &instance, runtime, entry_point, heap, input);
    let trapped = !matches!(ended, Ok(CallOutcome::Returned(_)));
    let ending = gauge.ending(&store, trapped).map_err(unmetered)?;
    verdict(ending, ended)
}

/// What the count says goes before how the run ended.
fn verdict(ending: Ending, ended: Result<CallOutcome, CallError>) -> Result<Called, CallError> {
    let stopped = |kind, message: String, fuel| {
        let outcome = CallOutcome::trapped(kind, message);
        Ok(Called { outcome, fuel })
    };
    match ending {
        Ending::Within(fuel) => ended.map(|outcome| Called { outcome, fuel }),
        Ending::OutOfFuel(limit) => {
            let message = format!("more than {limit} were used");
            stopped(TrapKind::OutOfFuel, message, Some(FuelUsed::all_of(limit)))
        }
        Ending::StackExhausted(fuel) => {
            let message = "the guest called deeper than it may".to_owned();
            stopped(TrapKind::StackExhausted, message, fuel)
        }
        Ending::LocalLimit(limit) => Err(CallError::LocalLimit { limit }),
        Ending::Cancelled => Err(CallError::Cancelled),
    }
}

fn gauge_failed(error: GaugeError, instances_max: u32) -> CallError {
    match error {
        GaugeError::Unusable(reason) => CallError::Instantiate { reason },
        GaugeError::NoRoom => CallError::NoFreeInstance { instances_max },
        GaugeError::NotResumable => CallError::NotResumable,
    }
}

/// Starts the instance, if that is left to us, and calls its entry point.
fn run(
    store: &mut Store<HostState>,
    instance: &Instance,
    runtime: &Runtime,
    entry_point: EntryPoint,
    heap: HeapPages,
    input: &[u8],
) -> Result<CallOutcome, CallError> {
    if let Metering::Guest {
        start: Some(start), ..
    } = &runtime.metering
    {
        let start = instance
            .get_module_export(&mut *store, start)
            .and_then(wasmtime::Extern::into_func)
            .and_then(|function| function.typed::<(), ()>(&*store).ok());
        let start = start.ok_or_else(|| CallError::Instantiate {
            reason: "the start function is missing".to_owned(),
        })?;
        if let Err(error) = start.call(&mut *store, ()) {
            return trap::classify(store, &error).map(CallOutcome::Trapped);
        }
    }
    let function = attach(store, instance, runtime, entry_point, heap)?;
    call_entry_point(store, &function, input)
}

fn new_store(runtime: &Runtime, heap: HeapPages) -> Store<HostState> {
    let limit = heap.limit(runtime.memory_pages_initial);
    let mut store = Store::new(
        runtime.instance_pre.module().engine(),
        HostState::new(limit),
    );
    store.limiter(|state| state);
    store
}

/// A start function or an active segment may trap, which is the guest's doing; the rest is not.
fn instantiation_failed(
    store: &mut Store<HostState>,
    error: &wasmtime::Error,
    instances_max: u32,
) -> Result<CallOutcome, CallError> {
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(CallError::NoFreeInstance { instances_max });
    }
    // A backtrace says that the guest was running.
    if error.is::<wasmtime::Trap>() || error.is::<wasmtime::WasmBacktrace>() {
        return trap::classify(store, error).map(CallOutcome::Trapped);
    }
    match store.data_mut().take_out_of_memory() {
        Some(out_of_memory) => Err(out_of_memory.into()),
        None => Err(CallError::Instantiate {
            reason: format!("{error:#}"),
        }),
    }
}

/// Sizes the memory, gives the host state its allocator, and resolves the entry point.
fn attach(
    store: &mut Store<HostState>,
    instance: &Instance,
    runtime: &Runtime,
    entry_point: EntryPoint,
    heap: HeapPages,
) -> Result<TypedFunc<(u32, u32), u64>, CallError> {
    let unexpected = |what: &str| CallError::Instantiate {
        reason: format!("{what} is missing"),
    };
    let memory = instance
        .get_module_export(&mut *store, &runtime.memory)
        .and_then(wasmtime::Extern::into_memory)
        .ok_or_else(|| unexpected("the memory"))?;
    let heap_base = instance
        .get_module_export(&mut *store, &runtime.heap_base)
        .and_then(wasmtime::Extern::into_global)
        .ok_or_else(|| unexpected("the heap base"))?;
    let Val::I32(heap_base) = heap_base.get(&mut *store) else {
        return Err(unexpected("the heap base"));
    };
    if memory.grow(&mut *store, u64::from(heap.extra())).is_err() {
        return Err(match store.data_mut().take_out_of_memory() {
            Some(out_of_memory) => out_of_memory.into(),
            None => CallError::HeapTooLarge {
                initial: runtime.memory_pages_initial,
                extra: heap.extra(),
            },
        });
    }
    store.data_mut().attach(memory, heap_base.cast_unsigned());
    instance
        .get_module_export(&mut *store, &entry_point.0)
        .and_then(wasmtime::Extern::into_func)
        .and_then(|function| function.typed(&*store).ok())
        .ok_or_else(|| unexpected("the entry point"))
}
