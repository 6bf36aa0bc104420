//! How code is made of wasm: what may be chosen without changing any result.
//!
//! Invariant: every choice gives the same outcomes, fuel and state; the determinism matrix compares them.

/// How much is done to make code fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Optimisation {
    /// As little as possible: compiles fastest, and runs some times slower.
    None,
    /// For speed.
    Speed,
    /// For speed and size; like `Speed`, but code is smaller.
    #[default]
    SpeedAndSize,
}

/// What code is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Target {
    /// This machine's processor.
    #[default]
    Native,
    /// The bytecode of wasmtime's interpreter, Pulley: another instruction set, on any 64-bit machine whose smaller byte
    /// comes first; tens of times slower. Not with [`crate::Meter::Slacked`], which stops guests by a fault.
    Pulley,
}

/// How code is made. Default: for this machine, for speed and size, unseen by `perf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Compilation {
    /// How much is done to make it fast.
    pub optimisation: Optimisation,
    /// What it is made for.
    pub target: Target,
    /// Whether `/tmp/perf-PID.map` names its functions for Linux' `perf`.
    pub perf_map: bool,
    /// Whether guests tell when functions begin and end: see [`crate::profile`]. Needs a meter that guests carry; makes them
    /// several times slower, and their native stacks twice as deep.
    pub profile_fuel: bool,
    /// Whether queries have code that is made with as little effort as possible, until it is made, on one thread, as it
    /// should be. Blocks wait for that: such code can need several times as much of the native stack, and a block that others
    /// take would end in [`crate::CallError::NativeStack`] here. What is in the cache of compiled code is taken at once.
    pub quick_first: bool,
}
