//! One call into an instance, however that came about: admission, input in, entry point, output out,
//! verdict.
//!
//! ABI: the input is allocated on the guest's heap by the same allocator the guest uses (also when
//! it is empty), the entry point gets pointer and length, and returns pointer (low 32 bits) and
//! length (high 32 bits) of its output.

use slackwater_host_functions::{
    AllocationStats, HostOutOfMemory, HostState,
    context::{allocate_in_guest, read_guest, write_guest},
    state::WASM_PAGE_BYTES,
};
use thiserror::Error;
use wasmtime::{Store, TypedFunc};

use super::{Trap, TrapKind, trap};
use crate::{
    fuel::{CallLimits, CancelToken, Ending, Fuel, FuelUsed, GaugeError},
    memory::Area,
    runtime::{EntryPoint, ExportLookup, Form},
    timing::{self, Phase},
};

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
#[non_exhaustive]
pub struct Called {
    /// How it ended.
    pub outcome: CallOutcome,
    /// Fuel used, where it is counted; the limit if that was passed.
    pub fuel: Option<FuelUsed>,
    /// What became of the guest's heap; nothing where no guest began.
    pub allocation: AllocationStats,
}

/// Why a call has no outcome. None of these says anything about the guest's validity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The engine's pool is used up, or more calls run than can be watched.
    #[error("no more calls can run at the same time")]
    NoFreeInstance,
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
    HostOutOfMemory(HostOutOfMemory),
    /// A call off chain would have used more memory than all calls together may: see
    /// [`crate::ExecutorConfig::memory_budget`].
    #[error("the budget of {bytes_max} bytes of memory for all calls is used up")]
    MemoryBudget {
        /// The budget.
        bytes_max: u64,
    },
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

/// Whether a call can begin.
pub(super) enum Admitted {
    /// It enters here.
    Entry(EntryPoint),
    /// It has ended already.
    Ended(Called),
}

/// Finds the entry point, before an instance is made or taken.
pub(super) fn admit(form: &Form, method: &str, limits: &CallLimits) -> Result<Admitted, CallError> {
    let not_called = |kind, message: String| {
        Ok(Admitted::Ended(Called {
            outcome: CallOutcome::trapped(kind, message),
            fuel: None,
            allocation: AllocationStats::default(),
        }))
    };
    let entry_point = match form.entry_point(method) {
        ExportLookup::Found(entry_point) => entry_point,
        ExportLookup::Missing => {
            let message = format!("the runtime does not export `{method}`");
            return not_called(TrapKind::MissingMethod, message);
        }
        ExportLookup::NotAnEntryPoint => {
            let message = format!("`{method}` does not have the signature (i32, i32) -> i64");
            return not_called(TrapKind::MistypedMethod, message);
        }
    };
    let cancelled = limits
        .cancel
        .as_ref()
        .is_some_and(CancelToken::is_cancelled);
    if cancelled && form.metering.is_guest() {
        return Err(CallError::Cancelled);
    }
    Ok(Admitted::Entry(entry_point))
}

/// Charges a call that begins for the memory its code has, if memory is charged for.
pub(super) fn charge(
    store: &mut Store<HostState>,
    limits: &CallLimits,
    pages_initial: u32,
) -> Result<(), CallError> {
    if let Some(memory) = &limits.memory {
        let bytes = u64::from(pages_initial) * WASM_PAGE_BYTES as u64;
        store.data_mut().begin_charge(memory.charge(), bytes)?;
    }
    Ok(())
}

/// What the count says goes before how the run ended.
pub(super) fn verdict(
    ending: Ending,
    ended: Result<CallOutcome, CallError>,
    allocation: AllocationStats,
) -> Result<Called, CallError> {
    let called = |outcome, fuel| Called {
        outcome,
        fuel,
        allocation,
    };
    let stopped =
        |kind, message: String, fuel| Ok(called(CallOutcome::trapped(kind, message), fuel));
    match ending {
        Ending::Within(fuel) => ended.map(|outcome| called(outcome, fuel)),
        Ending::OutOfFuel(limit) => {
            let message = format!("more than {limit} were used");
            stopped(TrapKind::OutOfFuel, message, Some(FuelUsed::all_of(limit)))
        }
        Ending::StackExhausted(fuel) => {
            let message = "the guest called deeper than it may".to_owned();
            stopped(TrapKind::StackExhausted, message, fuel)
        }
        Ending::LocalLimit(limit) => Err(CallError::LocalLimit { limit }),
        Ending::Cancelled => Err(CallError::Cancelled),
    }
}

impl From<HostOutOfMemory> for CallError {
    fn from(error: HostOutOfMemory) -> Self {
        match error.budget {
            Some(bytes_max) => Self::MemoryBudget { bytes_max },
            None => Self::HostOutOfMemory(error),
        }
    }
}

impl From<GaugeError> for CallError {
    fn from(error: GaugeError) -> Self {
        match error {
            GaugeError::Unusable(reason) => Self::Instantiate { reason },
            GaugeError::NoRoom => Self::NoFreeInstance,
            GaugeError::NotResumable => Self::NotResumable,
        }
    }
}

/// Calls `entry_point` of the instance in `store`, whose [`HostState`] has been attached. Its memory is `area`
/// if it is ours.
pub(super) fn call_entry_point(
    store: &mut Store<HostState>,
    entry_point: &TypedFunc<(u32, u32), u64>,
    input: &[u8],
    area: Option<&Area>,
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
    // Only within the call faults are handled.
    area.inspect(|area| area.begin_run());
    timing::watch(store);
    let guest = timing::enter(Phase::Wasm);
    let returned = entry_point.call(&mut *store, (pointer, length));
    drop(guest);
    area.inspect(|area| area.end_run());
    match returned {
        Ok(packed) => read_output(store, packed, area),
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
fn read_output(
    store: &Store<HostState>,
    packed: u64,
    area: Option<&Area>,
) -> Result<CallOutcome, CallError> {
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
    let end = u64::from(pointer) + u64::from(length);
    if end > memory_bytes {
        return Ok(outside());
    }
    let length = usize::try_from(length).unwrap_or(0);
    if let Some(area) = area {
        let start = usize::try_from(pointer).unwrap_or(usize::MAX);
        area.open_to_read(&(start..start.saturating_add(length)))
            .map_err(|error| out_of_memory(&error))?;
    }
    let mut output = vec![0; length];
    Ok(match read_guest(store, pointer, &mut output) {
        Ok(()) => CallOutcome::Returned(output),
        Err(_) => outside(),
    })
}

/// What the machine has not.
pub(super) fn out_of_memory(error: &dyn std::fmt::Display) -> CallError {
    CallError::HostOutOfMemory(HostOutOfMemory {
        reason: format!("{error:#}"),
        budget: None,
    })
}
