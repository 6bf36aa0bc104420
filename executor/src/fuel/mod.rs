//! Metering: what executing costs, and guests that count it.
//!
//! This room knows wasm bytes and one page of memory; it does not know blocks, storage or instances.
//!
//! | file | |
//! |---|---|
//! | `meter` | who counts |
//! | `schedule` | prices, as data |
//! | `placement` | where a function charges and publishes |
//! | `instrument` | wasm to wasm: a module that counts |

mod instrument;
mod meter;
mod placement;
mod schedule;

pub use instrument::{
    COUNTER_OFFSET, Check, FUEL_MAX, FunctionStats, HEADROOM_OFFSET, InstrumentError, Instrumented,
    METER_EXPORT, START_EXPORT, instrument,
};
pub use meter::{Fuel, Meter};
pub use schedule::{SCHEDULE_VERSION, Schedule};
