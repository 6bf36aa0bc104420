//! How a host function reaches the guest that called it: an implementation of
//! [`sp_wasm_interface::FunctionContext`] over a wasmtime `Caller`, and what it is made of.
//!
//! Invariant: every access is checked against the current size of the guest memory.

use std::any::Any;

use sp_wasm_interface::{FunctionContext, Pointer, WordSize};
use wasmtime::{AsContext, AsContextMut, Caller, Memory};

use crate::state::{Heap, HostState, WASM_PAGE_BYTES};

/// Bytes of a memory of 32 bits.
const LARGEST_MEMORY_BYTES: u64 = 1 << 32;
const NO_GUEST: &str = "host function called outside a guest call";

/// The context handed to host functions.
pub struct HostContext<'a> {
    pub(crate) caller: Caller<'a, HostState>,
}

/// Why a guest memory range cannot be accessed.
pub(crate) fn out_of_bounds(address: u32, len: usize) -> String {
    format!("guest memory range at {address:#x} of {len} bytes is out of bounds")
}

/// Copies `destination.len()` bytes out of guest memory.
///
/// # Errors
/// When the range reaches past the end of the memory, or no guest is attached.
pub fn read_guest(
    context: impl AsContext<Data = HostState>,
    address: u32,
    destination: &mut [u8],
) -> Result<(), String> {
    let memory = context.as_context().data().memory.ok_or(NO_GUEST)?;
    let offset = usize::try_from(address).map_err(|error| error.to_string())?;
    memory
        .read(context, offset, destination)
        .map_err(|_access_error| out_of_bounds(address, destination.len()))
}

/// Copies `data` into guest memory.
///
/// # Errors
/// When the range reaches past the end of the memory, or no guest is attached.
pub fn write_guest(
    context: impl AsContextMut<Data = HostState>,
    address: u32,
    data: &[u8],
) -> Result<(), String> {
    let memory = context.as_context().data().memory.ok_or(NO_GUEST)?;
    let offset = usize::try_from(address).map_err(|error| error.to_string())?;
    memory
        .write(context, offset, data)
        .map_err(|_access_error| out_of_bounds(address, data.len()))
}

/// Allocates `size` bytes on the guest's heap, growing its memory within its limit when needed.
///
/// # Errors
/// When the heap is exhausted, the request is larger than 32 MiB, or no guest is attached.
pub fn allocate_in_guest(
    mut context: impl AsContextMut<Data: 'static>,
    size: u32,
) -> Result<u32, String> {
    let fitting = in_place(&mut context, |heap, bytes| heap.allocate_in(bytes, size))?;
    match fitting {
        Some(allocated) => allocated,
        None => allocate_growing(&mut context, size),
    }
}

/// Frees what was allocated at `pointer`.
pub(crate) fn deallocate_in_guest<C>(context: &mut C, pointer: Pointer<u8>) -> Result<(), String>
where
    C: AsContextMut<Data: 'static>,
{
    let freed = in_place(context, |heap, bytes| {
        heap.allocator.deallocate(&mut Bytes(bytes), pointer)
    })?;
    freed.map_err(|error| error.to_string())
}

/// The state of the guest that calls, in a store whose data it is.
fn state_of<S: 'static>(data: &mut S) -> Result<&mut HostState, String> {
    let data: &mut dyn Any = data;
    data.downcast_mut().ok_or_else(|| NO_GUEST.to_owned())
}

/// The memory of the guest that calls.
pub(crate) fn memory_of<C: AsContextMut<Data: 'static>>(context: &mut C) -> Result<Memory, String> {
    let mut store = context.as_context_mut();
    let state = state_of(store.data_mut())?;
    state.memory.ok_or_else(|| NO_GUEST.to_owned())
}

/// Runs `operation` on the guest's heap and the bytes of its memory, which does not grow.
pub(crate) fn in_place<C: AsContextMut<Data: 'static>, R>(
    context: &mut C,
    operation: impl FnOnce(&mut Heap, &mut [u8]) -> R,
) -> Result<R, String> {
    let memory = memory_of(context)?;
    let (bytes, data) = memory.data_and_store_mut(context);
    let heap = state_of(data)?.heap.as_deref_mut().ok_or(NO_GUEST)?;
    Ok(operation(heap, bytes))
}

impl Heap {
    /// Allocates `size` bytes in a memory of these bytes; `None` where it may have to grow, or be refused.
    pub(crate) fn allocate_in(
        &mut self,
        bytes: &mut [u8],
        size: u32,
    ) -> Option<Result<u32, String>> {
        if !self.fits(size, bytes.len()) {
            return None;
        }
        let allocated = self.allocator.allocate(&mut Bytes(bytes), size);
        if let Ok(pointer) = allocated {
            self.reaches(u32::from(pointer), size);
        }
        Some(allocated.map(u32::from).map_err(|error| error.to_string()))
    }
}

/// Allocates from a memory that may have to grow. The heap is taken out of the store meanwhile, because both need the
/// store at once, and is always put back.
pub(crate) fn allocate_growing<C>(context: &mut C, size: u32) -> Result<u32, String>
where
    C: AsContextMut<Data: 'static>,
{
    let memory = memory_of(context)?;
    let mut store = context.as_context_mut();
    let state = state_of(store.data_mut())?;
    let end = state.heap.as_ref().map_or(0, |heap| heap.end_with(size));
    // What has no room in any memory is refused by the allocator, as everywhere.
    if end <= LARGEST_MEMORY_BYTES {
        state.charge_up_to(end).map_err(|error| error.to_string())?;
    }
    let pages_max = state.limit().pages_max;
    let mut heap = state.heap.take().ok_or(NO_GUEST)?;
    let mut growing = Growing {
        memory,
        pages_max,
        context,
    };
    let allocated = heap.allocator.allocate(&mut growing, size);
    if let Ok(pointer) = allocated {
        heap.reaches(u32::from(pointer), size);
    }
    state_of(context.as_context_mut().data_mut())?.heap = Some(heap);
    allocated.map(u32::from).map_err(|error| error.to_string())
}

impl FunctionContext for HostContext<'_> {
    fn read_memory_into(
        &mut self,
        address: Pointer<u8>,
        destination: &mut [u8],
    ) -> sp_wasm_interface::Result<()> {
        read_guest(&self.caller, address.into(), destination)
    }

    fn write_memory(&mut self, address: Pointer<u8>, data: &[u8]) -> sp_wasm_interface::Result<()> {
        write_guest(&mut self.caller, address.into(), data)
    }

    fn allocate_memory(&mut self, size: WordSize) -> sp_wasm_interface::Result<Pointer<u8>> {
        allocate_in_guest(&mut self.caller, size).map(Pointer::new)
    }

    fn deallocate_memory(&mut self, pointer: Pointer<u8>) -> sp_wasm_interface::Result<()> {
        deallocate_in_guest(&mut self.caller, pointer)
    }

    fn register_panic_error_message(&mut self, message: &str) {
        self.caller.data_mut().panic_message = Some(message.to_owned());
    }
}

/// Pages in a memory of so many bytes. One of 32 bits has at most 65,536, and no pages of another size.
fn pages(bytes: usize) -> u32 {
    u32::try_from(bytes / WASM_PAGE_BYTES).unwrap_or(u32::MAX)
}

/// A guest's memory, as the allocator wants to see it, for what fits into it.
struct Bytes<'a>(&'a mut [u8]);

impl sc_allocator::Memory for Bytes<'_> {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(self.0)
    }

    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.0)
    }

    fn grow(&mut self, _additional: u32) -> Result<(), ()> {
        Err(())
    }

    fn pages(&self) -> u32 {
        pages(self.0.len())
    }

    fn max_pages(&self) -> Option<u32> {
        Some(self.pages())
    }
}

/// The same, and it can grow.
struct Growing<'a, C> {
    memory: Memory,
    pages_max: Option<u32>,
    context: &'a mut C,
}

impl<C: AsContextMut<Data: 'static>> sc_allocator::Memory for Growing<'_, C> {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(self.memory.data_mut(&mut *self.context))
    }

    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.memory.data(&*self.context))
    }

    fn grow(&mut self, additional: u32) -> Result<(), ()> {
        match self.memory.grow(&mut *self.context, u64::from(additional)) {
            Ok(_) => Ok(()),
            Err(error) => {
                log::error!(
                    target: "slackwater::host",
                    "could not grow a guest memory by {additional} pages: {error:#}",
                );
                Err(())
            }
        }
    }

    fn pages(&self) -> u32 {
        pages(self.memory.data_size(&*self.context))
    }

    fn max_pages(&self) -> Option<u32> {
        self.pages_max
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, MemoryType, Store};

    use super::*;
    use crate::state::HeapLimit;

    /// A memory of two pages that may have so many.
    fn guest(base: u32, pages_max: u32) -> Store<HostState> {
        let limit = HeapLimit {
            pages_max: Some(pages_max),
        };
        let mut store = Store::new(&Engine::default(), HostState::new(limit));
        store.limiter(|state| state);
        let memory = Memory::new(&mut store, MemoryType::new(2, None)).expect("a memory");
        store.data_mut().attach(memory, base);
        store
    }

    fn bytes(store: &Store<HostState>) -> &[u8] {
        store.data().memory.expect("attached").data(store)
    }

    /// What fits is allocated in place; here is the same by a memory that always may grow.
    fn free_growing(store: &mut Store<HostState>, pointer: u32) -> Result<(), String> {
        let mut heap = store.data_mut().heap.take().expect("attached");
        let memory = store.data().memory.expect("attached");
        let mut growing = Growing {
            memory,
            pages_max: store.data().limit().pages_max,
            context: &mut *store,
        };
        let freed = heap
            .allocator
            .deallocate(&mut growing, Pointer::new(pointer));
        store.data_mut().heap = Some(heap);
        freed.map_err(|error| error.to_string())
    }

    #[test]
    fn a_heap_worked_on_in_place_is_one_that_may_grow() {
        let (mut grown, mut refused) = (0, 0);
        for seed in 0..60_u64 {
            let mut state = seed;
            let mut draw = |bound: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % bound
            };
            let base = 60_000 + u32::try_from(draw(20)).expect("small");
            let pages_max = 2 + u32::try_from(draw(3)).expect("small");
            let [mut ours, mut reference] = [(); 2].map(|()| guest(base, pages_max));
            let mut live = Vec::new();
            for _ in 0..400 {
                if draw(3) == 0 && !live.is_empty() {
                    let index = usize::try_from(draw(live.len() as u64)).expect("small");
                    let pointer = live.swap_remove(index);
                    let freed = deallocate_in_guest(&mut ours, Pointer::new(pointer));
                    assert_eq!(freed, free_growing(&mut reference, pointer));
                } else {
                    let size = match draw(40) {
                        0 => 0,
                        1 if draw(20) == 0 => u32::MAX,
                        2 => u32::try_from(draw(70_000)).expect("small"),
                        _ => u32::try_from(draw(900)).expect("small"),
                    };
                    let allocated = allocate_in_guest(&mut ours, size);
                    let expected = allocate_growing(&mut reference, size);
                    assert_eq!(allocated, expected);
                    refused += usize::from(allocated.is_err());
                    live.extend(allocated);
                }
                assert_eq!(bytes(&ours).len(), bytes(&reference).len());
            }
            grown += usize::from(bytes(&ours).len() > 2 * WASM_PAGE_BYTES);
            assert!(bytes(&ours) == bytes(&reference), "seed {seed}");
        }
        assert!(
            grown > 5 && refused > 5,
            "{grown} grew, {refused} were refused"
        );
    }
}
