//! What the language needs to run: the allocator, the panic handler, the entry of a call.
//!
//! Invariant: all memory but data and stack comes from the host's allocator.

use alloc::{format, vec::Vec};
use core::alloc::{GlobalAlloc, Layout};

use crate::host;

struct HostAllocator;

// SAFETY: the host gives blocks that do not overlap, aligned to 8, the largest alignment used here, and traps
// instead of failing.
unsafe impl GlobalAlloc for HostAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        host::malloc(layout.size() as u32) as *mut u8
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _: Layout) {
        host::free(ptr as u32);
    }
}

#[global_allocator]
static ALLOCATOR: HostAllocator = HostAllocator;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    host::abort_on_panic(&format!("{}", info.message()));
    core::arch::wasm32::unreachable()
}

/// Runs an entry point: arguments at `ptr`, result leaked to the host.
pub fn enter(ptr: u32, len: u32, function: fn(&[u8]) -> Vec<u8>) -> u64 {
    // SAFETY: the host wrote `len` bytes of arguments at `ptr`, and nobody else knows of them.
    let arguments = unsafe { core::slice::from_raw_parts(ptr as *const u8, len as usize) };
    let result = function(arguments).leak();
    result.as_ptr() as u64 | (result.len() as u64) << 32
}
