//! Small programs that do nothing but compute: no host functions, no allocator, one number in, one out.
//!
//! Every entry point is `(ptr: i32, len: i32) -> i64` as those of runtimes are: 4 bytes at `ptr` say how much
//! is to be done, and 8 bytes come back, a number that depends on all that was computed.

#![no_std]

mod emulator;
mod hashes;
mod interpreter;
mod marks;
mod numbers;
mod table;
mod text;

use core::sync::atomic::{AtomicU64, Ordering};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// Where a result stands.
static RESULT: AtomicU64 = AtomicU64::new(0);

/// Runs a kernel for what stands at `ptr`.
fn enter(ptr: u32, kernel: fn(u32) -> u64) -> u64 {
    // SAFETY: the host wrote 4 bytes there, and nobody else knows of them.
    let work = unsafe { core::ptr::read_unaligned(ptr as *const u32) };
    RESULT.store(kernel(work), Ordering::Relaxed);
    (&raw const RESULT) as u64 | 8 << 32
}

macro_rules! kernels {
    ($($name:ident => $kernel:path,)*) => {$(
        #[doc = concat!("See `", stringify!($kernel), "`.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(ptr: u32, _: u32) -> u64 {
            enter(ptr, $kernel)
        }
    )*};
}

kernels! {
    fib => numbers::fib,
    collatz => numbers::collatz,
    sieve => numbers::sieve,
    matmul => numbers::matmul,
    quicksort => numbers::quicksort,
    byte_sums => numbers::byte_sums,
    blake2b => hashes::blake2b,
    sha256 => hashes::sha256,
    hash_map => table::hash_map,
    interpreter => interpreter::interpreter,
    emulator => emulator::emulator,
    json => text::json,
    regex => text::regex,
    marks => marks::marks,
}

/// Numbers nobody foresees, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}
