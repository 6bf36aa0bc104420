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
    /// Whether code is first made with as little effort as possible, and meanwhile, on one thread, as it should be, which
    /// then takes its place. What is in the cache of compiled code is taken at once. The first may need more of the native stack,
    /// so a guest that comes near its end may meet [`crate::CallError::NativeStack`] until then: an error of this machine.
    pub quick_first: bool,
}
