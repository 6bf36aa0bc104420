//! The `fresh` mode: every call gets an instance made from scratch, in a slot of wasmtime's pool
//! whose memory is a copy-on-write mapping of the module's initial data.
//!
//! Invariant: nothing of one call is visible to the next; the store is dropped, and with it
//! memory, globals, tables, allocator and host state. Cost: tens of microseconds, most of it the
//! growth to the configured heap and the page faults after it.

use slackwater_host_functions::{AllocationStats, HostState};
use wasmtime::{Instance, PoolConcurrencyLimitError, Store};

use super::{
    CallError, CallOutcome, Called,
    call::{Admitted, admit, call_entry_point, charge, verdict},
    exports::{find_function, find_heap_base, find_memory, find_start},
    trap,
};
use crate::{
    fuel::{CallLimits, Seat, StateMeter},
    runtime::{EntryPoint, Form, HeapPages},
    timing::{self, Phase},
};

/// Runs `method` with `input` in a new instance of `form`, within `limits`, if fuel is counted; what
/// host functions do is charged for through `state`. Must be called inside
/// [`sp_externalities::set_and_run_with_externalities`] for guests that touch storage.
pub(crate) fn call_fresh(
    form: &Form,
    method: &str,
    input: &[u8],
    heap: HeapPages,
    limits: &CallLimits,
    state: Option<&StateMeter>,
) -> Result<Called, CallError> {
    let entry_point = match admit(form, method, limits)? {
        Admitted::Entry(entry_point) => entry_point,
        Admitted::Ended(called) => return Ok(called),
    };
    let making = timing::enter(Phase::Instantiate);
    let mut store = new_store(form, heap);
    Seat::prepare(&mut store, &form.metering)?;
    let instance = match form.instance_pre.instantiate(&mut store) {
        Ok(instance) => instance,
        Err(error) => {
            let outcome = instantiation_failed(&mut store, &error)?;
            return Ok(Called {
                outcome,
                fuel: None,
                allocation: AllocationStats::default(),
            });
        }
    };
    let seat = Seat::find(&mut store, &instance, &form.metering, None)?;
    charge(&mut store, limits, form.memory_pages_initial)?;
    let gauge = seat.begin(limits, state)?;
    drop(making);
    let ended = run(&mut store, &instance, form, entry_point, heap, input);
    let trapped = !matches!(ended, Ok(CallOutcome::Returned(_)));
    let ending = gauge.ending(&store, trapped)?;
    let allocation = store.data().allocation_stats();
    let _reset = timing::enter(Phase::Reset);
    drop(store);
    verdict(ending, ended, allocation)
}

/// Starts the instance, if that is left to us, and calls its entry point.
fn run(
    store: &mut Store<HostState>,
    instance: &Instance,
    form: &Form,
    entry_point: EntryPoint,
    heap: HeapPages,
    input: &[u8],
) -> Result<CallOutcome, CallError> {
    let making = timing::enter(Phase::Instantiate);
    if let Some(start) = find_start(store, instance, form)?
        && let Err(error) = start.call(&mut *store, ())
    {
        return trap::classify(store, &error).map(CallOutcome::Trapped);
    }
    let memory = find_memory(store, instance, form)?;
    let heap_base = find_heap_base(store, instance, form)?;
    let pages = u64::from(form.memory_pages_initial) + u64::from(heap.extra());
    let missing = pages.saturating_sub(form.memory_pages_made.into());
    if missing > 0 && memory.grow(&mut *store, missing).is_err() {
        return Err(match store.data_mut().take_out_of_memory() {
            Some(out_of_memory) => out_of_memory.into(),
            None => CallError::HeapTooLarge {
                initial: form.memory_pages_initial,
                extra: heap.extra(),
            },
        });
    }
    store.data_mut().attach(memory, heap_base);
    let function = find_function(store, instance, entry_point)?;
    drop(making);
    call_entry_point(store, &function, input, None)
}

fn new_store(form: &Form, heap: HeapPages) -> Store<HostState> {
    let limit = heap.limit(form.memory_pages_initial);
    let mut store = Store::new(form.instance_pre.module().engine(), HostState::new(limit));
    store.limiter(|state| state);
    store
}

/// A start function or an active segment may trap, which is the guest's doing; the rest is not.
fn instantiation_failed(
    store: &mut Store<HostState>,
    error: &wasmtime::Error,
) -> Result<CallOutcome, CallError> {
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(CallError::NoFreeInstance);
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
