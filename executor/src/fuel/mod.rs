//! Metering: what executing costs, guests that count it, and the thread that stops them.
//!
//! This room knows wasm bytes, prices, limits and the meter's page; it does not know storage or
//! blocks.
//!
//! | file | |
//! |---|---|
//! | `meter` | who counts, and in which unit |
//! | `schedule`, `host_prices`, `state_prices` | prices, as data |
//! | `limits` | whose limit a call is under |
//! | `layout` | the words of the meter |
//! | `shape` | what of a module matters here |
//! | `unroll` | small loops, written out for several turns |
//! | `placement`, `potentials`, `calls` | where a function charges and publishes |
//! | `body`, `shim`, `code` | what is added to a function, and around an imported one |
//! | `instrument` | wasm to wasm: a module that counts |
//! | `profiled` | a module that counts, made to tell when functions begin and end |
//! | `proof` | that it counts what it should, without asking what was placed where |
//! | `page` | the meter's page: its words, its protection, the fault |
//! | `handover`, `sync` | who may touch a page, and when |
//! | `arbiter` | the thread that looks at running guests |
//! | `state_meter` | charging for the state while a host function runs |
//! | `gauge` | one instance's seat, and one call: its limits set, its count read, the verdict given |

mod arbiter;
mod body;
mod calls;
mod code;
mod gauge;
#[expect(unsafe_code, reason = "cells passed between threads by a phase")]
mod handover;
mod host_prices;
mod instrument;
mod layout;
mod limits;
mod meter;
#[expect(
    unsafe_code,
    reason = "page protection, a signal handler, words beside the engine"
)]
mod page;
mod placement;
mod potentials;
mod profiled;
mod proof;
mod schedule;
mod shape;
mod shim;
mod state_meter;
mod state_prices;
mod sync;
mod unroll;

pub use arbiter::ARBITER_PERIOD_DEFAULT;
pub(crate) use arbiter::Arbiter;
pub(crate) use gauge::{Ending, GaugeError, MemoryFault, Metering, Seat};
pub use host_prices::{FUEL_LEFT, HostPrice};
pub(crate) use instrument::instrument_on;
pub use instrument::{
    Check, FunctionStats, InstrumentError, Instrumentation, Instrumented, instrument,
};
pub use layout::{
    COUNTER_OFFSET, DEPTH_OFFSET, EXHAUSTED_OFFSET, FUEL_MAX, HEADROOM_OFFSET, HOST_OFFSET,
    METER_EXPORT, SIZE_OFFSET, START_EXPORT, STATE_OFFSET, TOLD_OFFSET,
};
pub(crate) use limits::MemoryFor;
pub use limits::{
    CallLimits, CancelToken, ConsensusFuel, DEPTH_BYTES_DEFAULT, LocalLimit, OnOverrun, Refuel,
    RefuelCallback,
};
pub use meter::{Fuel, FuelUsed, Meter};
pub(crate) use profiled::{ENTER, LEAVE, Profiled, TELLER_MODULE, profiled};
pub use proof::{Proof, ProofError, ProofFault, prove};
pub(crate) use schedule::proposal;
pub use schedule::{SCHEDULE_VERSION, Schedule, SetPriceError, UnitPrice};
pub use state_meter::StateMeter;
pub use state_prices::{StateCost, StatePrices};
