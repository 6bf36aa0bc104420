//! Instances of a runtime, and calls into them. Knows the runtime and guest memory; knows neither
//! blocks nor the database.

mod call;
mod fresh;
mod trap;

pub use call::{CallError, CallOutcome, Called};
pub(crate) use fresh::call_fresh;
pub use trap::{Trap, TrapKind};
