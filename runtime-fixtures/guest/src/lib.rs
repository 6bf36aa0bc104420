//! The guest: a small runtime that speaks the Substrate runtime ABI without any framework.
//!
//! It exists to be executed in tests: it does what real runtimes do (balances, fees, events,
//! nested storage transactions, child tries, upgrades), and fails in every way a runtime can, on
//! demand. README.md beside this crate states its formats. Invariant: what it computes depends on
//! storage and arguments alone, except in the `test_*` calls that exist to ask the host.

#![no_std]
#![allow(non_snake_case)]
#![feature(asm_experimental_arch)]

extern crate alloc;

mod account;
mod block;
mod call;
mod dispatch;
mod error;
mod event;
mod extrinsic;
mod faults;
mod float;
mod header;
mod host;
mod keys;
mod probes;
mod rt;
mod scale;
mod upgrade;
mod version;

/// Exports functions `(ptr, len) -> ptr | len << 32` that call `fn(&[u8]) -> Vec<u8>`.
macro_rules! entry_points {
    ($($name:ident => $function:path,)*) => {$(
        /// Entry point; arguments and result are described in README.md.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(ptr: u32, len: u32) -> u64 {
            rt::enter(ptr, len, $function)
        }
    )*};
}

entry_points! {
    Core_version => version::core_version,
    Core_initialize_block => block::core_initialize_block,
    Core_execute_block => block::core_execute_block,
    BlockBuilder_apply_extrinsic => block::block_builder_apply_extrinsic,
    BlockBuilder_finalize_block => block::block_builder_finalize_block,
    BlockBuilder_inherent_extrinsics => block::block_builder_inherent_extrinsics,
    BlockBuilder_check_inherents => block::block_builder_check_inherents,
    AccountNonceApi_account_nonce => account::account_nonce,
    test_echo => probes::echo,
    test_empty_return => probes::empty_return,
    test_storage_get => probes::storage_get,
    test_call => probes::call,
    test_dirty_plenty_memory => probes::dirty_plenty_memory,
    test_memory_size => probes::memory_size,
    test_alloc => probes::alloc,
    test_nan => probes::nan,
    test_recurse => probes::recurse,
    test_burn => probes::burn,
    test_host_calls => probes::host_calls,
    test_max_level => probes::max_level,
    test_tracing_enabled => probes::tracing_enabled,
    test_proof_size => probes::proof_size,
    test_offchain_index => probes::offchain_index,
    test_transaction_index => probes::transaction_index,
    test_leave_transaction_open => probes::leave_transaction_open,
    test_append_after_root => probes::append_after_root,
    test_runtime_version => probes::runtime_version,
    test_child_storage => probes::child_storage,
}
