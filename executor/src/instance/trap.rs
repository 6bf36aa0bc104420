//! Telling apart how a guest call can end badly.
//!
//! Invariant: a [`Trap`] is deterministic, a function of guest, input and state; whatever depends
//! on this machine becomes a [`CallError`] instead. The backtrace is for people and is never part
//! of a receipt.

use slackwater_host_functions::{HostState, register::MissingFunction};
use wasmtime::{Store, Trap as WasmTrap, WasmBacktrace};

use super::CallError;

/// What kind of fault ended a guest call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// The runtime does not export the method called.
    MissingMethod,
    /// The method called is exported, but not with the signature of a runtime call.
    MistypedMethod,
    /// The guest panicked and said so through `ext_panic_handler_abort_on_panic`.
    Panic,
    /// `unreachable` was executed, usually a panic without a message.
    Unreachable,
    /// A memory access outside the guest's memory.
    MemoryOutOfBounds,
    /// A table access outside a table, or a call through a null or mistyped entry.
    BadIndirectCall,
    /// Integer division by zero, integer overflow, or an invalid conversion to an integer.
    Arithmetic,
    /// A host function refused or failed, the guest's heap allocator among them.
    HostFunction,
    /// The guest called an import that this host does not offer.
    MissingHostFunction,
    /// The input could not be put on the guest's heap.
    InputTooLarge,
    /// The output the guest pointed to lies outside its memory.
    OutputOutOfBounds,
    /// The output does not decode as the call's result.
    UndecodableOutput,
    /// The guest used more fuel than it was given. Whatever else happened, this comes first.
    OutOfFuel,
    /// The guest called deeper than the chain allows.
    StackExhausted,
    /// Any other trap of the engine.
    Other,
}

/// A deterministic fault of a guest call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// What kind of fault.
    pub kind: TrapKind,
    /// The panic message, or the engine's description.
    pub message: String,
    /// The guest's call stack, if known. Depends on the build of the engine; for people only.
    pub backtrace: Option<String>,
}

impl std::fmt::Display for Trap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.message)
    }
}

impl Trap {
    /// The name of the outcome in reports and fixtures: `trap`, `out_of_fuel` or `stack_exhausted`.
    pub fn outcome_name(&self) -> &'static str {
        match self.kind {
            TrapKind::OutOfFuel => "out_of_fuel",
            TrapKind::StackExhausted => "stack_exhausted",
            _ => "trap",
        }
    }

    pub(crate) fn new(kind: TrapKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            backtrace: None,
        }
    }
}

/// Sorts the error of a guest call into fault or operational error.
pub(super) fn classify(
    store: &mut Store<HostState>,
    error: &wasmtime::Error,
) -> Result<Trap, CallError> {
    if let Some(out_of_memory) = store.data_mut().take_out_of_memory() {
        return Err(out_of_memory.into());
    }
    let wasm_trap = error.downcast_ref::<WasmTrap>().copied();
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(ToString::to_string);
    if wasm_trap == Some(WasmTrap::StackOverflow) {
        return Err(CallError::NativeStack);
    }
    let trap = match store.data_mut().take_panic_message() {
        Some(message) => Trap {
            kind: TrapKind::Panic,
            message,
            backtrace,
        },
        None => Trap {
            kind: kind_of(wasm_trap, error),
            message: error.root_cause().to_string(),
            backtrace,
        },
    };
    Ok(trap)
}

fn kind_of(wasm_trap: Option<WasmTrap>, error: &wasmtime::Error) -> TrapKind {
    match wasm_trap {
        None if error.root_cause().is::<MissingFunction>() => TrapKind::MissingHostFunction,
        None => TrapKind::HostFunction,
        Some(WasmTrap::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(WasmTrap::MemoryOutOfBounds | WasmTrap::HeapMisaligned) => TrapKind::MemoryOutOfBounds,
        Some(
            WasmTrap::TableOutOfBounds | WasmTrap::IndirectCallToNull | WasmTrap::BadSignature,
        ) => TrapKind::BadIndirectCall,
        Some(
            WasmTrap::IntegerDivisionByZero
            | WasmTrap::IntegerOverflow
            | WasmTrap::BadConversionToInteger,
        ) => TrapKind::Arithmetic,
        Some(_) => TrapKind::Other,
    }
}
