//! Failing, in the ways a runtime fails.

use alloc::vec::Vec;

use crate::host;

/// Calls an import that nobody offers.
pub fn call_missing_import(_: &[u8]) -> Vec<u8> {
    host::missing_import();
    Vec::new()
}

/// Calls another import that nobody offers.
pub fn call_other_missing_import(_: &[u8]) -> Vec<u8> {
    host::other_missing_import();
    Vec::new()
}

/// Panics.
pub fn panic_always(_: &[u8]) -> Vec<u8> {
    panic!("asked to panic")
}

/// Nothing to nothing; panics if there is anything.
pub fn panic_if_any(arguments: &[u8]) -> Vec<u8> {
    assert!(arguments.is_empty(), "asked to panic");
    arguments.to_vec()
}

/// Tells the host of a panic that is none, and traps.
pub fn report_and_trap(_: &[u8]) -> Vec<u8> {
    host::abort_on_panic("asked to abort");
    core::arch::wasm32::unreachable()
}

/// Tells the host of a panic that is none, and returns nothing.
pub fn report_and_return(_: &[u8]) -> Vec<u8> {
    host::abort_on_panic("asked to abort");
    Vec::new()
}

/// Executes the instruction that traps.
pub fn execute_unreachable(_: &[u8]) -> Vec<u8> {
    core::arch::wasm32::unreachable()
}
