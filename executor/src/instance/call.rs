//! One call into an instance: input in, entry point, output out.
//!
//! ABI: the input is allocated on the guest's heap by the same allocator the guest uses (also when
//! it is empty), the entry point gets pointer and length, and returns pointer (low 32 bits) and
//! length (high 32 bits) of its output.

use slackwater_host_functions::{
    HostOutOfMemory, HostState,
    context::{allocate_in_guest, read_guest, write_guest},
};
use thiserror::Error;
use wasmtime::{Store, TypedFunc};

use super::{Trap, TrapKind, trap};
use crate::fuel::{Fuel, FuelUsed};

/// How a guest call ended, as every machine would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call returned these bytes.
    Returned(Vec<u8>),
    /// The call ended in a fault; its storage changes must be rolled back.
    Trapped(Trap),
}

/// A call that ended, and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// How it ended.
    pub outcome: CallOutcome,
    /// Fuel used, where it is counted; the limit if that was passed.
    pub fuel: Option<FuelUsed>,
}

/// Why a call has no outcome. None of these says anything about the guest's validity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// All slots of the pool are in use; raise `instances_max` or call again later.
    #[error("all {instances_max} instance slots are in use")]
    NoFreeInstance {
        /// The configured number of slots.
        instances_max: u32,
    },
    /// The instance could not be created.
    #[error("the runtime cannot be instantiated: {reason}")]
    Instantiate {
        /// What the engine said.
        reason: String,
    },
    /// The heap the configuration asks for cannot be had: initial and extra pages exceed what wasm
    /// allows.
    #[error(
        "a heap of {extra} pages beyond the initial {initial} is more than a wasm memory holds"
    )]
    HeapTooLarge {
        /// Pages of the module's memory at the start.
        initial: u32,
        /// Pages asked for beyond them.
        extra: u32,
    },
    /// The host could not provide memory within the guest's limit.
    #[error(transparent)]
    HostOutOfMemory(#[from] HostOutOfMemory),
    /// The native stack was exhausted. How deep a guest gets depends on machine and compiler, so
    /// this is no outcome.
    #[error("the guest exhausted the native stack, whose depth differs between machines")]
    NativeStack,
    /// The call used more fuel than this machine allows.
    #[error("the call used more than {limit}, this machine's limit")]
    LocalLimit {
        /// The limit.
        limit: Fuel,
    },
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// A limit with a callback needs a meter that can pause a guest.
    #[error("a limit that can be extended needs the meter `Slacked`")]
    NotResumable,
}

impl CallOutcome {
    pub(crate) fn trapped(kind: TrapKind, message: impl Into<String>) -> Self {
        Self::Trapped(Trap::new(kind, message))
    }
}

/// Calls `entry_point` of the instance in `store`, whose [`HostState`] has been attached.
pub(super) fn call_entry_point(
    store: &mut Store<HostState>,
    entry_point: &TypedFunc<(u32, u32), u64>,
    input: &[u8],
) -> Result<CallOutcome, CallError> {
    let (pointer, length) = match write_input(store, input) {
        Ok(range) => range,
        Err(message) => {
            return match store.data_mut().take_out_of_memory() {
                Some(out_of_memory) => Err(out_of_memory.into()),
                None => Ok(CallOutcome::trapped(TrapKind::InputTooLarge, message)),
            };
        }
    };
    match entry_point.call(&mut *store, (pointer, length)) {
        Ok(packed) => Ok(read_output(store, packed)),
        Err(error) => trap::classify(store, &error).map(CallOutcome::Trapped),
    }
}

fn write_input(store: &mut Store<HostState>, input: &[u8]) -> Result<(u32, u32), String> {
    let length = u32::try_from(input.len()).map_err(|error| error.to_string())?;
    let pointer = allocate_in_guest(&mut *store, length)?;
    write_guest(&mut *store, pointer, input)?;
    Ok((pointer, length))
}

/// Reads what `packed` points to. The range is checked before anything is allocated for it.
fn read_output(store: &Store<HostState>, packed: u64) -> CallOutcome {
    let [p0, p1, p2, p3, l0, l1, l2, l3] = packed.to_le_bytes();
    let pointer = u32::from_le_bytes([p0, p1, p2, p3]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let outside = || {
        CallOutcome::trapped(
            TrapKind::OutputOutOfBounds,
            format!("output at {pointer:#x} of {length} bytes lies outside guest memory"),
        )
    };
    let memory_bytes = store.data().memory_bytes(store);
    if u64::from(pointer) + u64::from(length) > memory_bytes {
        return outside();
    }
    let mut output = vec![0; usize::try_from(length).unwrap_or(0)];
    match read_guest(store, pointer, &mut output) {
        Ok(()) => CallOutcome::Returned(output),
        Err(_) => outside(),
    }
}
