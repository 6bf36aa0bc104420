//! Instances of a runtime, and calls into them. Knows the runtime and guest memory; knows neither
//! blocks nor the database.

mod call;
mod exports;
mod fresh;
mod pool;
#[cfg(test)]
mod refused;
mod snapshot;
mod trap;

pub use call::{CallError, CallOutcome, Called};
pub(crate) use fresh::call_fresh;
pub use pool::InstanceCounts;
pub(crate) use pool::Pool;
pub(crate) use snapshot::call_snapshot;
pub use trap::{Trap, TrapKind};

/// How the instance of a call comes about. Both give the same outcome, changes, fuel and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InstanceMode {
    /// One that was used before, put back to its beginning. Where code can change more than can be put
    /// back, such as its tables, as [`Self::Fresh`].
    #[default]
    Snapshot,
    /// A new one, made by the engine.
    Fresh,
}
