//! One runtime call on a state, outside any block. Nothing is kept; the caller gets the changes.

use slackwater_host_functions::{AllocationStats, HostFunctions};
use sp_externalities::Extensions;

use crate::{
    block::ExecutionError,
    calls::RuntimeCalls,
    fuel::{CallLimits, FuelUsed},
    instance::{CallOutcome, Called},
    runtime::CallContext,
    state::{BlockChanges, BlockLayers, BlockState},
    wasm_executor::WasmExecutor,
};

/// The result of one call.
#[derive(Debug)]
#[non_exhaustive]
pub struct StateCall {
    /// How the call ended.
    pub outcome: CallOutcome,
    /// What it would change; `None` when it trapped, for then nothing of it is left.
    pub changes: Option<BlockChanges>,
    /// Fuel used, where it is counted.
    pub fuel: Option<FuelUsed>,
    /// What became of the guest's heap.
    pub allocation: AllocationStats,
}

/// Calls `method` of the runtime in `state` with `input` (SCALE). `context` decides which code runs
/// and how much heap it gets; `extensions` are what host functions find beside the storage.
///
/// # Errors
/// [`ExecutionError`] when the runtime does not load or the call has no outcome.
pub fn call_on_state<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    context: CallContext,
    method: &str,
    input: &[u8],
    extensions: Extensions,
) -> Result<StateCall, ExecutionError> {
    let limits = CallLimits::none();
    call_on_state_limited(executor, state, context, method, input, extensions, &limits)
}

/// As [`call_on_state`], within `limits`, if fuel is counted.
///
/// # Errors
/// See [`call_on_state`].
pub fn call_on_state_limited<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    context: CallContext,
    method: &str,
    input: &[u8],
    mut extensions: Extensions,
    limits: &CallLimits,
) -> Result<StateCall, ExecutionError> {
    let calls = RuntimeCalls::new(executor, state, context, &mut extensions)?;
    let mut layers = BlockLayers::new(state, extensions);
    let Called {
        outcome,
        fuel,
        allocation,
    } = calls.call(&mut layers, method, input, limits)?;
    let changes = match &outcome {
        CallOutcome::Returned(_) => Some(layers.finish(calls.runtime().version().state_version())?),
        CallOutcome::Trapped(_) => None,
    };
    Ok(StateCall {
        outcome,
        changes,
        fuel,
        allocation,
    })
}
