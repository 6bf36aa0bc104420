//! What the cases of the reference call, one entry point for each. Its source is in `cases/`.

/// The module. It keeps its names, so that backtraces say where a call was.
pub const CASES_WASM: &[u8] = include_bytes!("../wasm/cases.wasm");
