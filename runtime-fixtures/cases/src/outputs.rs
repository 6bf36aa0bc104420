//! Saying wrong things about where the output is, and one right thing at the very edge.

const PAGE: usize = 65_536;

fn memory_bytes() -> u32 {
    (core::arch::wasm32::memory_size::<0>() * PAGE) as u32
}

fn output(ptr: u32, len: u32) -> u64 {
    u64::from(ptr) | u64::from(len) << 32
}

/// An output longer than any memory here.
#[unsafe(no_mangle)]
pub extern "C" fn output_too_long(_: u32, _: u32) -> u64 {
    output(0, u32::MAX)
}

/// An output that is the last byte of the memory, 255.
#[unsafe(no_mangle)]
pub extern "C" fn output_at_end(_: u32, _: u32) -> u64 {
    let last = memory_bytes() - 1;
    // SAFETY: the byte is in the memory, and the heap has not come so far.
    unsafe { core::ptr::write_volatile(last as *mut u8, u8::MAX) };
    output(last, 1)
}

/// An output of one byte behind the memory.
#[unsafe(no_mangle)]
pub extern "C" fn output_behind_end(_: u32, _: u32) -> u64 {
    output(memory_bytes(), 1)
}

/// An output whose end is no address.
#[unsafe(no_mangle)]
pub extern "C" fn output_overflowing(_: u32, _: u32) -> u64 {
    output(u32::MAX, 1)
}
