//! How a host function reaches the guest that called it: an implementation of
//! [`sp_wasm_interface::FunctionContext`] over a wasmtime `Caller`.
//!
//! Invariant: every access is checked against the current size of the guest memory.

use sp_wasm_interface::{FunctionContext, Pointer, WordSize};
use wasmtime::{AsContext, AsContextMut, Caller, Memory};

use crate::state::HostState;

const NO_GUEST: &str = "host function called outside a guest call";

/// The context handed to host functions.
pub struct HostContext<'a> {
    pub(crate) caller: Caller<'a, HostState>,
}

/// Why a guest memory range cannot be accessed.
fn out_of_bounds(address: u32, len: usize) -> String {
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
    mut context: impl AsContextMut<Data = HostState>,
    size: u32,
) -> Result<u32, String> {
    with_allocator(&mut context, |allocator, memory| {
        allocator.allocate(memory, size)
    })
    .map(u32::from)
}

/// Runs `operation` on the guest's allocator and memory. The allocator is taken out of the store
/// while it runs, because both need the store at once, and is always put back.
fn with_allocator<C: AsContextMut<Data = HostState>, R>(
    context: &mut C,
    operation: impl FnOnce(
        &mut sc_allocator::FreeingBumpHeapAllocator,
        &mut HeapMemory<'_, C>,
    ) -> Result<R, sc_allocator::Error>,
) -> Result<R, String> {
    let mut store = context.as_context_mut();
    let state = store.data_mut();
    let memory = state.memory.ok_or(NO_GUEST)?;
    let mut allocator = state.allocator.take().ok_or(NO_GUEST)?;
    let result = operation(&mut allocator, &mut HeapMemory { memory, context });
    context.as_context_mut().data_mut().allocator = Some(allocator);
    result.map_err(|error| error.to_string())
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
        with_allocator(&mut self.caller, |allocator, memory| {
            allocator.deallocate(memory, pointer)
        })
    }

    fn register_panic_error_message(&mut self, message: &str) {
        self.caller.data_mut().panic_message = Some(message.to_owned());
    }
}

/// The guest memory as the allocator wants to see it.
struct HeapMemory<'a, C> {
    memory: Memory,
    context: &'a mut C,
}

impl<C: AsContextMut<Data = HostState>> sc_allocator::Memory for HeapMemory<'_, C> {
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
        // A 32-bit memory has at most 65,536 pages.
        u32::try_from(self.memory.size(&*self.context)).unwrap_or(u32::MAX)
    }

    fn max_pages(&self) -> Option<u32> {
        self.context.as_context().data().limit().pages_max
    }
}
