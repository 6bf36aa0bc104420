//! The `snapshot` mode: an instance is used for one call after another, and put back to its beginning in
//! between.
//!
//! Invariant: between two calls, a slot is as a new instance would be: contents and size of its memory,
//! mutable globals, allocator, host state and meter. A slot of which that is not certain is dropped. What
//! else a module could change, it does not: see `runtime::template`. Cost: that of copying back
//! the few pages the guest writes to.

use std::sync::Arc;

use slackwater_host_functions::{
    HeapLimit, HostState,
    state::{WASM_PAGE_BYTES, WASM_PAGES_MAX},
};
use wasmtime::{Global, Instance, Memory, Store, Val};

use super::{
    CallError, CallOutcome, Called,
    call::{Admitted, admit, call_entry_point, charge, out_of_memory, verdict},
    exports::{EntryFunction, find_function, find_global, find_heap_base, find_memory},
    pool::Pool,
};
use crate::{
    fuel::{CallLimits, Ending, MemoryFault, Seat, StateMeter},
    memory::{Area, Image, Resetter, Tracker, collect, first_difference},
    runtime::{EntryPoint, Form, HeapPages},
    timing::{self, Phase},
};

/// Runs `method` with `input` in an instance of `pool`; otherwise as [`super::call_fresh`].
pub(crate) fn call_snapshot(
    (pool, form): (&Pool, &Form),
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
    let taking = timing::enter(Phase::Instantiate);
    let mut slot = pool.take(form, heap)?;
    drop(taking);
    let called = slot.call(entry_point, input, limits, state);
    let _reset = timing::enter(Phase::Reset);
    if !slot.doubtful {
        pool.give(slot);
    }
    called
}

/// An instance that is put back after each call.
pub(super) struct Slot {
    store: Store<HostState>,
    instance: Instance,
    memory: Memory,
    area: Arc<Area>,
    tracker: Tracker,
    /// With the values they begin with.
    globals: Vec<(Global, Val)>,
    heap_base: u32,
    heap: HeapPages,
    /// Pages of the code's own memory.
    pages_initial: u32,
    /// Bytes of memory a call begins with.
    length: usize,
    limit: HeapLimit,
    /// Whether this machine failed in a call, whatever became of that.
    doubtful: bool,
    seat: Seat,
    /// By their numbers.
    functions: Vec<Option<EntryFunction>>,
}

impl Slot {
    /// A new instance.
    pub(super) fn new(form: &Form, image: &Arc<Image>, heap: HeapPages) -> Result<Self, CallError> {
        let engine = form.instance_pre.module().engine();
        let limit = HeapLimit { pages_max: None };
        let mut store = Store::new(engine, HostState::new(limit));
        store.limiter(|state| state);
        Seat::prepare(&mut store, &form.metering)?;
        let (instance, areas) = collect(|| form.instance_pre.instantiate(&mut store));
        let instance = instance.map_err(|error| out_of_memory(&error))?;
        let area = areas.into_iter().next();
        let area = area.ok_or_else(|| CallError::Instantiate {
            reason: "its memory is not ours".to_owned(),
        })?;
        area.set_image(image)
            .map_err(|error| out_of_memory(&error))?;
        let faults = Arc::clone(&area);
        let faults: MemoryFault = Box::new(move |address| faults.fault(address));
        let seat = Seat::find(&mut store, &instance, &form.metering, Some(faults))?;
        let memory = find_memory(&mut store, &instance, form)?;
        let heap_base = find_heap_base(&mut store, &instance, form)?;
        let mut globals = Vec::with_capacity(form.globals.len());
        for export in &form.globals {
            let global = find_global(&mut store, &instance, export)?;
            globals.push((global, global.get(&mut store)));
        }
        store.data_mut().attach(memory, heap_base);
        let mut slot = Self {
            pages_initial: form.memory_pages_initial,
            length: area.length(),
            store,
            instance,
            memory,
            area,
            tracker: Tracker::new(),
            globals,
            heap_base,
            heap,
            limit,
            doubtful: false,
            seat,
            functions: vec![None; form.entry_points_count],
        };
        slot.set_heap(form, heap)?;
        Ok(slot)
    }

    pub(super) fn heap(&self) -> HeapPages {
        self.heap
    }

    /// Gives a slot that was put back another size.
    pub(super) fn set_heap(&mut self, form: &Form, heap: HeapPages) -> Result<(), CallError> {
        let initial = form.memory_pages_initial;
        let pages = u64::from(initial) + u64::from(heap.extra());
        if pages > u64::from(WASM_PAGES_MAX) {
            return Err(CallError::HeapTooLarge {
                initial,
                extra: heap.extra(),
            });
        }
        let limit = heap.limit(initial);
        if limit.pages_max.is_some_and(|limit| limit < initial) {
            return Err(CallError::Instantiate {
                reason: format!("memory minimum size of {initial} pages exceeds memory limits"),
            });
        }
        self.limit = limit;
        self.heap = heap;
        self.length = usize::try_from(pages).unwrap_or(usize::MAX) * WASM_PAGE_BYTES;
        if self.area.length() != self.length {
            self.tracker
                .set_length(&self.area, self.length)
                .map_err(|error| out_of_memory(&error))?;
        }
        self.reload_length()
            .map_err(|error| out_of_memory(&error))?;
        self.store.data_mut().reset(limit, self.heap_base);
        Ok(())
    }

    /// Makes the engine see how large the memory is.
    fn reload_length(&mut self) -> Result<(), wasmtime::Error> {
        if self.memory.data_size(&self.store) != self.length {
            // Growing by nothing makes the engine ask.
            self.memory.grow(&mut self.store, 0)?;
        }
        if self.memory.data_size(&self.store) != self.length {
            return Err(wasmtime::Error::msg(
                "the engine sees a memory of another size",
            ));
        }
        Ok(())
    }

    /// Makes a call.
    fn call(
        &mut self,
        entry_point: EntryPoint,
        input: &[u8],
        limits: &CallLimits,
        state: Option<&StateMeter>,
    ) -> Result<Called, CallError> {
        charge(&mut self.store, limits, self.pages_initial)?;
        // Until it is known how it ended.
        self.doubtful = true;
        let (ending, ended) = self.run(entry_point, input, limits, state)?;
        if self.area.is_broken() {
            return Err(out_of_memory(&"a page could not be made writable"));
        }
        self.doubtful = ended.is_err();
        verdict(ending, ended, self.store.data().allocation_stats())
    }

    fn run(
        &mut self,
        entry_point: EntryPoint,
        input: &[u8],
        limits: &CallLimits,
        state: Option<&StateMeter>,
    ) -> Result<(Ending, Result<CallOutcome, CallError>), CallError> {
        let opening = timing::enter(Phase::Instantiate);
        self.find(entry_point)?;
        let area = &self.area;
        self.tracker
            .open(area, &input_range(self.heap_base, input.len(), self.length))
            .map_err(|error| out_of_memory(&error))?;
        let gauge = self.seat.begin(limits, state)?;
        drop(opening);
        let store = &mut self.store;
        // A function is not cloned: all clones count themselves in one place of the engine's.
        let ended = match self.functions.get(entry_point.number) {
            Some(Some(function)) => call_entry_point(store, function, input, Some(area)),
            _ => Err(CallError::Instantiate {
                reason: "the entry point is missing".to_owned(),
            }),
        };
        let trapped = !matches!(ended, Ok(CallOutcome::Returned(_)));
        let ending = gauge.ending(&self.store, trapped)?;
        Ok((ending, ended))
    }

    /// Finds the function behind an entry point, unless that was done before.
    fn find(&mut self, entry_point: EntryPoint) -> Result<(), CallError> {
        if let Some(place @ None) = self.functions.get_mut(entry_point.number) {
            *place = Some(find_function(&mut self.store, &self.instance, entry_point)?);
        }
        Ok(())
    }

    /// Puts everything back that the last call may have changed.
    pub(super) fn reset(&mut self, resetter: &Resetter) -> Result<(), wasmtime::Error> {
        self.seat.clear(&mut self.store).map_err(CallError::from)?;
        self.tracker.reset(&self.area, self.length, resetter)?;
        self.reload_length()?;
        for (global, value) in &self.globals {
            global.set(&mut self.store, *value)?;
        }
        self.store.data_mut().reset(self.limit, self.heap_base);
        Ok(())
    }

    /// Gives the memory back that a slot that was put back keeps for the next call.
    pub(super) fn release(&mut self, resetter: &Resetter) -> Result<(), wasmtime::Error> {
        Ok(self.tracker.release(&self.area, resetter)?)
    }

    /// Pages that putting it back kept, and those that it met for the first time.
    pub(super) fn last_pages(&self) -> (usize, usize) {
        self.tracker.last_pages()
    }

    /// In what a slot that was put back is not as a new one, if in anything.
    pub(super) fn difference(
        &mut self,
        resetter: &Resetter,
    ) -> Result<Option<String>, wasmtime::Error> {
        let bytes = self.memory.data_size(&self.store);
        if bytes != self.length {
            let length = self.length;
            return Ok(Some(format!(
                "a memory of {bytes} bytes instead of {length}"
            )));
        }
        for (number, (global, value)) in self.globals.iter().enumerate() {
            let found = global.get(&mut self.store);
            if bits(&found) != bits(value) {
                return Ok(Some(format!(
                    "mutable global {number}: {found:?} instead of {value:?}"
                )));
            }
        }
        let page = first_difference(&self.area, resetter)?;
        Ok(page.map(|page| format!("memory at {page:#x}")))
    }
}

/// A number's bits, which also compare where floats are not equal to themselves.
fn bits(value: &Val) -> Option<u128> {
    match value {
        Val::I32(value) => Some(value.cast_unsigned().into()),
        Val::I64(value) => Some(value.cast_unsigned().into()),
        Val::F32(bits) => Some((*bits).into()),
        Val::F64(bits) => Some((*bits).into()),
        Val::V128(value) => Some(value.as_u128()),
        _ => None,
    }
}

/// Where a call's input is put, with what the allocator writes before it: it is the first on the heap, and
/// blocks are powers of two.
fn input_range(heap_base: u32, input_bytes: usize, length: usize) -> std::ops::Range<usize> {
    const HEADER_BYTES: usize = 8;
    let start = usize::try_from(heap_base).unwrap_or(usize::MAX);
    let start = start.next_multiple_of(HEADER_BYTES).min(length);
    let bytes = input_bytes.next_power_of_two().max(HEADER_BYTES) + HEADER_BYTES;
    start..start.saturating_add(bytes).min(length)
}
