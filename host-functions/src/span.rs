//! Spans of `tracing` around host functions that have none of their own.
//!
//! Invariant: nothing a guest sees depends on them. Cost: without the feature `tracing`, none at all; with it, a look at
//! whether anybody listens.

/// In a host function until it is dropped.
#[cfg(feature = "tracing")]
pub(crate) type HostCall = tracing::span::EnteredSpan;

/// In a host function until it is dropped.
#[cfg(not(feature = "tracing"))]
pub(crate) struct HostCall;

/// Enters a host function.
#[cfg(feature = "tracing")]
pub(crate) fn host_call(name: &'static str) -> HostCall {
    tracing::trace_span!(target: "slackwater::host", "host_call", name).entered()
}

/// Enters a host function.
#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn host_call(_name: &'static str) -> HostCall {
    HostCall
}
