//! Modules of a general generator, by the bytes of an input: what it draws is what the fuzzer changes.

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// How a module is drawn: bits that turn features on or off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drawn(pub(crate) u8);

impl Drawn {
    fn config(self) -> Config {
        let bit = |number: u8| self.0 >> number & 1 != 0;
        let wide = !bit(0);
        Config {
            multi_value_enabled: wide,
            saturating_float_to_int_enabled: wide,
            sign_extension_ops_enabled: wide,
            bulk_memory_enabled: wide,
            reference_types_enabled: wide,
            simd_enabled: wide && bit(1),
            allow_start_export: bit(2),
            max_imports: if bit(3) { 8 } else { 0 },
            min_funcs: usize::from(bit(4)),
            max_funcs: 12,
            max_instructions: if bit(5) { 400 } else { 60 },
            disallow_traps: bit(6),
            relaxed_simd_enabled: false,
            exceptions_enabled: false,
            gc_enabled: false,
            memory64_enabled: false,
            tail_call_enabled: false,
            threads_enabled: false,
            custom_page_sizes_enabled: false,
            wide_arithmetic_enabled: false,
            extended_const_enabled: false,
            max_memories: 1,
            max_tables: if wide { 4 } else { 1 },
            max_memory32_bytes: 1 << 22,
            max_table_elements: 1_000,
            max_data_segments: 8,
            max_element_segments: 8,
            max_globals: 8,
            max_types: 12,
            max_exports: 12,
            canonicalize_nans: false,
            ..Config::default()
        }
    }

    /// The module that these bytes draw; `None` where they do not suffice.
    pub(crate) fn module(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let module = Module::new(self.config(), &mut Unstructured::new(bytes));
        Some(module.ok()?.to_bytes())
    }
}

/// Bytes to draw by, the same everywhere.
pub(crate) fn bytes(number: u8, length: u8) -> Vec<u8> {
    let blocks = (0..length).flat_map(|block| {
        let hash = blake2b_simd::blake2b(&[number, block]);
        hash.as_bytes().to_vec()
    });
    blocks.collect()
}
