//! What the cases of the reference call: one entry point for each thing an executor must do, or must not let pass.
//!
//! Every entry point is `(ptr: i32, len: i32) -> i64` as those of runtimes are. Arguments are plain bytes, without a
//! length before them. What the host answers goes back as it came, one answer behind the other, so that who asks can
//! compare all of it. Invariant: nothing is remembered between calls but by mistake of the executor.

#![no_std]

extern crate alloc;

mod answers;
mod faults;
mod host;
mod memory;
mod offchain;
mod outputs;
mod rt;
mod spans;

/// Exports functions `(ptr, len) -> ptr | len << 32` that call `fn(&[u8]) -> Vec<u8>`.
macro_rules! entry_points {
    ($($name:ident => $function:path,)*) => {$(
        #[doc = concat!("See `", stringify!($function), "`.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(ptr: u32, len: u32) -> u64 {
            rt::enter(ptr, len, $function)
        }
    )*};
}

entry_points! {
    return_nothing => answers::nothing,
    return_number => answers::number,
    return_small => answers::small,
    take_small => answers::take_small,
    add_f32 => answers::add_f32,
    store_and_copy => answers::store_and_copy,
    clear_prefix => answers::clear_prefix,
    ordered_root => answers::ordered_root,
    hash_blake2_256 => host::blake2_256,
    hash_blake2_128 => host::blake2_128,
    hash_sha2_256 => host::sha2_256,
    hash_twox_256 => host::twox_256,
    hash_twox_128 => host::twox_128,
    verify_ed25519 => answers::verify_ed25519,
    verify_sr25519 => answers::verify_sr25519,
    call_missing_import => faults::call_missing_import,
    call_other_missing_import => faults::call_other_missing_import,
    panic_always => faults::panic_always,
    panic_if_any => faults::panic_if_any,
    report_and_trap => faults::report_and_trap,
    report_and_return => faults::report_and_return,
    execute_unreachable => faults::execute_unreachable,
    allocate => memory::allocate,
    allocate_two_gigabytes => memory::allocate_two_gigabytes,
    count_in_data => memory::count_in_data,
    count_in_zeroes => memory::count_in_zeroes,
    fill_stack => memory::fill_stack,
    index_for_offchain => offchain::index,
    store_offchain => offchain::store,
    store_offchain_from_none => offchain::store_from_none,
    request_http => offchain::request,
    enter_span => spans::enter,
    exit_span => spans::exit,
    nest_spans => spans::nest,
}
