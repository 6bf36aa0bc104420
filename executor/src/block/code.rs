//! Which runtime code a block runs, and with how much heap: always that of its parent's state.
//!
//! On chain, `:pending_code` goes before `:code`: since system version 3, `set_code` leaves the new
//! code there for the next block to run, and that block's `initialize` moves it over. Queries run
//! `:code`.

use std::sync::Arc;

use codec::Decode;
use slackwater_host_functions::HostFunctions;
use sp_core::storage::{
    StateVersion, Storage,
    well_known_keys::{CODE, HEAP_PAGES, PENDING_CODE},
};

use super::ExecutionError;
use crate::{
    runtime::{CallContext, HeapPages, Runtime, RuntimeError},
    state::{BlockState, StateError},
    wasm_executor::WasmExecutor,
};

/// How the tries of a whole state are built: what the runtime in it says, by its system version.
///
/// # Errors
/// [`RuntimeError`] when the state has no runtime or it cannot be loaded.
pub fn state_version_of<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    storage: &Storage,
) -> Result<StateVersion, RuntimeError> {
    let code = storage.top.get(PENDING_CODE).or(storage.top.get(CODE));
    let runtime = executor.runtime(code.ok_or(RuntimeError::NoCode)?)?;
    Ok(runtime.version().state_version())
}

/// Loads the runtime that calls in `context` run on `state`, and sizes its heap.
///
/// # Errors
/// [`ExecutionError::Runtime`] with [`RuntimeError::NoCode`] when the state has no code, or with the
/// reason why it cannot be loaded.
pub fn load_runtime<H: HostFunctions, S: BlockState>(
    executor: &WasmExecutor<H>,
    state: &S,
    context: CallContext,
) -> Result<(Arc<Runtime>, HeapPages), ExecutionError> {
    let read = |key: &[u8]| -> Result<Option<Vec<u8>>, StateError> {
        let value = state.storage(key);
        state.check()?;
        Ok(value.ok().flatten())
    };
    let pending = match context {
        CallContext::Build | CallContext::Import => read(PENDING_CODE)?,
        CallContext::Offchain => None,
    };
    let code = match pending {
        Some(code) => code,
        None => read(CODE)?.ok_or(RuntimeError::NoCode)?,
    };
    let heap_pages = read(HEAP_PAGES)?.and_then(|bytes| u64::decode(&mut bytes.as_slice()).ok());
    let heap = executor.config().heap(context, heap_pages);
    Ok((executor.runtime_for(&code, context)?, heap))
}
