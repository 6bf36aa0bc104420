//! Modules run as they are with the engine's own fuel, or instrumented: what tests of metering share.

use slackwater_executor::fuel::{
    COUNTER_OFFSET, Check, DEPTH_OFFSET, HOST_OFFSET, InstrumentError, Instrumentation,
    Instrumented, METER_EXPORT, SIZE_OFFSET, STATE_OFFSET, instrument, prove,
};
use wasmtime::{AsContext, AsContextMut, Config, Engine, Instance, Memory, Trap, Val, ValType};

/// What became of a call: values, comparable across stores, or the trap.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned these.
    Returned(Vec<String>),
    /// It trapped.
    Trapped(Option<Trap>),
}

impl Outcome {
    /// The outcome of a call that left `results`.
    pub fn of(ended: Result<(), wasmtime::Error>, results: &[Val]) -> Self {
        match ended {
            Ok(()) => Self::Returned(results.iter().map(bits).collect()),
            Err(error) => Self::trapped(&error),
        }
    }

    /// The outcome of a call that failed.
    pub fn trapped(error: &wasmtime::Error) -> Self {
        Self::Trapped(error.downcast_ref().copied())
    }
}

fn bits(value: &Val) -> String {
    match value {
        Val::FuncRef(reference) => format!("function {}", reference.is_some()),
        Val::ExternRef(reference) => format!("extern {}", reference.is_some()),
        other => format!("{other:?}"),
    }
}

/// An engine for instrumented modules, or one that counts itself.
pub fn engine(metered: bool) -> Engine {
    let mut config = Config::new();
    config
        .consume_fuel(!metered)
        .wasm_multi_memory(metered)
        .cranelift_nan_canonicalization(true);
    Engine::new(&config).expect("an engine")
}

/// A value of a type made from a number; `None` for a type that has no default.
pub fn value(ty: &ValType, number: i32) -> Option<Val> {
    match ty {
        ValType::I32 => Some(Val::I32(number)),
        ValType::I64 => Some(Val::I64(number.into())),
        ValType::F32 => Some(Val::F32(f32::from(number.to_le_bytes()[0]).to_bits())),
        ValType::F64 => Some(Val::F64(f64::from(number).to_bits())),
        other => other.default_value(),
    }
}

/// The instrumented module, which is proved to count what it should.
pub fn instrumented(wasm: &[u8], instrumentation: &Instrumentation) -> Instrumented {
    let made = instrument(wasm, instrumentation).expect("it can be metered");
    let proof = prove(wasm, &made.wasm, instrumentation);
    proof.unwrap_or_else(|error| panic!("{error}"));
    made
}

/// Whether a module imports a table, which instrumented modules may not.
pub fn imports_table(wasm: &[u8]) -> bool {
    let refused = instrument(wasm, &Instrumentation::new(Check::None));
    matches!(refused, Err(InstrumentError::ForeignFunctions { .. }))
}

/// The meter of an instrumented instance.
pub fn meter(store: impl AsContextMut, instance: &Instance) -> Memory {
    let meter = instance.get_memory(store, METER_EXPORT);
    meter.expect("an instrumented module exports its meter")
}

/// The word at `offset` of a meter.
pub fn word(store: impl AsContext, meter: Memory, offset: u64) -> u64 {
    let offset = usize::try_from(offset).expect("small");
    let mut word = [0; 8];
    meter.read(store, offset, &mut word).expect("readable");
    u64::from_le_bytes(word)
}

/// Sets the word at `offset` of a meter.
pub fn set_word(store: impl AsContextMut, meter: Memory, offset: u64, word: u64) {
    let offset = usize::try_from(offset).expect("small");
    let word = word.to_le_bytes();
    meter.write(store, offset, &word).expect("writable");
}

/// What operators cost, without sizes and host functions: what the engine counts.
pub fn operators_fuel(store: impl AsContext, meter: Memory) -> u64 {
    let word = |offset| word(&store, meter, offset);
    // Of a meter that was never published to, the parts exceed the whole: then it is a number that is
    // equal to no other.
    word(COUNTER_OFFSET)
        .wrapping_sub(word(SIZE_OFFSET))
        .wrapping_sub(word(HOST_OFFSET))
}

/// Empties a meter.
pub fn empty(mut store: impl AsContextMut, meter: Memory) {
    let counts = [
        COUNTER_OFFSET,
        SIZE_OFFSET,
        HOST_OFFSET,
        DEPTH_OFFSET,
        STATE_OFFSET,
    ];
    for offset in counts {
        set_word(&mut store, meter, offset, 0);
    }
}
