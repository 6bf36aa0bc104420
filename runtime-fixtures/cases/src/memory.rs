//! Using memory: heap, data, stack.

use alloc::vec::Vec;
use core::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

/// Something that the module's data says is 32 when a call begins.
static IN_DATA: AtomicU64 = AtomicU64::new(32);
/// Something that is 0 when a call begins, which no data says.
static IN_ZEROES: AtomicU64 = AtomicU64::new(0);

/// Three quarters of the stack.
const STACK_BYTES: usize = 768 << 10;

/// A size, of which that much is allocated, to nothing.
pub fn allocate(arguments: &[u8]) -> Vec<u8> {
    let size = u32::from_le_bytes(arguments.try_into().expect("4 bytes"));
    Vec::with_capacity(size as usize)
}

/// Allocates 205 times 10 MiB; how much that was, a u32.
pub fn allocate_two_gigabytes(_: &[u8]) -> Vec<u8> {
    let allocations: Vec<Vec<u8>> = (0..205).map(|_| Vec::with_capacity(10 << 20)).collect();
    let sum: usize = black_box(&allocations).iter().map(Vec::capacity).sum();
    (sum as u32).to_le_bytes().to_vec()
}

fn count(counter: &AtomicU64) -> Vec<u8> {
    (counter.fetch_add(1, Ordering::Relaxed) + 1)
        .to_le_bytes()
        .to_vec()
}

/// Adds one to 32.
pub fn count_in_data(_: &[u8]) -> Vec<u8> {
    count(&IN_DATA)
}

/// Adds one to 0.
pub fn count_in_zeroes(_: &[u8]) -> Vec<u8> {
    count(&IN_ZEROES)
}

/// Fills three quarters of the stack, then panics if the first byte says so, else gives back what it wrote.
#[inline(never)]
pub fn fill_stack(arguments: &[u8]) -> Vec<u8> {
    let mut bytes = [0_u8; STACK_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = index as u8;
    }
    let bytes = black_box(&bytes);
    assert!(arguments != [1], "asked to panic");
    bytes.to_vec()
}
