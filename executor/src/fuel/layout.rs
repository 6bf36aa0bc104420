//! The words of the meter: a memory of one wasm page behind the guest's own.
//!
//! Invariant: the first half is written by the guest's added code while it runs, and may be write
//! protected then; the second half is written by the host only, and never protected. So a host
//! function never faults.

/// The name under which the meter is exported; a guest may not use it.
pub const METER_EXPORT: &str = "slackwater.meter";
/// The name under which the module's start function is exported, if it has one; a guest may not use
/// it. The module does not start by itself any more: whoever instantiates it calls this first, when
/// the meter has its limit.
pub const START_EXPORT: &str = "slackwater.start";

/// Byte offset of the counter, an `i64`: all the guest's added code has charged.
pub const COUNTER_OFFSET: u64 = 0;
/// Byte offset of the part of the counter that was for sizes, an `i64`.
pub const SIZE_OFFSET: u64 = 8;
/// Byte offset of the part of the counter that was for host functions, an `i64`.
pub const HOST_OFFSET: u64 = 16;
/// Byte offset of the stack depth in bytes, an `i32`; only where the depth is limited.
pub const DEPTH_OFFSET: u64 = 24;
/// Byte offset of what says that the depth was exceeded, an `i32`: 1 then.
pub const EXHAUSTED_OFFSET: u64 = 28;

/// Where the host's half begins. Host pages may be as large as this.
pub(super) const HOST_HALF: u64 = 32_768;
/// Byte offset of the headroom, an `i64`: [`FUEL_MAX`] less the limit, and less what host functions
/// charged by themselves, so that a fresh meter has no limit. Checks read it: a run is over its limit
/// if and only if counter and headroom together exceed [`FUEL_MAX`].
pub const HEADROOM_OFFSET: u64 = HOST_HALF;
/// Byte offset of what host functions charged by themselves, an `i64`.
pub const STATE_OFFSET: u64 = HOST_HALF + 8;
/// Byte offset of the limit that the guest is told, less 2^64 - 1, an `i64`: so that a fresh meter
/// tells that there is none.
pub const TOLD_OFFSET: u64 = HOST_HALF + 16;

/// The largest limit, 2^63 - 1.
pub const FUEL_MAX: u64 = i64::MAX.unsigned_abs();
