//! Metering: what executing costs, and guests that count it.
//!
//! This room knows wasm bytes and one page of memory; it does not know blocks, storage or instances.
//!
//! | file | |
//! |---|---|
//! | `schedule` | prices, as data |
//! | `instrument` | wasm to wasm: a module that counts |

mod instrument;
mod schedule;

pub use instrument::{
    COUNTER_OFFSET, Check, FUEL_MAX, FunctionStats, HEADROOM_OFFSET, InstrumentError, Instrumented,
    METER_EXPORT, instrument,
};
pub use schedule::{SCHEDULE_VERSION, Schedule};
