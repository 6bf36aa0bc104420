//! Random modules of a general generator: they use everything there is, but do little.

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Iterations and calls a random module makes before it traps.
const PATIENCE: u32 = 20_000;

/// Random bytes of a number, the same everywhere.
fn bytes(number: usize) -> Vec<u8> {
    let number = u64::try_from(number).expect("64 bits");
    let length = 32 << (number % 6);
    let blocks = (0..length).map(|block: u64| {
        let mut seed = number.to_le_bytes().to_vec();
        seed.extend(block.to_le_bytes());
        sp_crypto_hashing::blake2_256(&seed)
    });
    blocks.flatten().collect()
}

/// The random module of this number, that ends; every third one may trap.
pub fn smith_module(number: usize) -> Option<Vec<u8>> {
    let bytes = bytes(number);
    let mut random = Unstructured::new(&bytes);
    let config = Config {
        allow_start_export: false,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        simd_enabled: number.is_multiple_of(4),
        relaxed_simd_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        extended_const_enabled: false,
        max_imports: 0,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1_000,
        min_funcs: 1,
        min_exports: 4,
        max_exports: 20,
        disallow_traps: !number.is_multiple_of(3),
        canonicalize_nans: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut random).ok()?;
    module.ensure_termination(PATIENCE).ok()?;
    Some(module.to_bytes())
}
