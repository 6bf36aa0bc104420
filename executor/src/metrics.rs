//! What dashboards are to see of an executor, through the facade of the crate `metrics`: an embedder installs whichever
//! recorder it likes, and calls [`describe`].
//!
//! Blocks, compilation and commits are told always; single calls only where [`crate::ExecutorConfig::metrics`] says so, and
//! not those that run ahead of a block, whose instances are told all the same.
//! Invariant: nothing that is executed reads any of it; every name is in [`METRICS`]. Cost: for a call, four additions that
//! all threads see, and two readings of the clock; a recorder installed after the executor was built sees no calls.

use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use slackwater_host_functions::MemoryChange;

use crate::{
    fuel::FuelUsed,
    instance::{CallError, CallOutcome, Called, TrapKind},
};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Many, of which their distribution is wanted.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// The label it has, and its values; empty if it has none.
    pub label: &'static str,
    /// What those can be.
    pub values: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const CALLS: &str = "slackwater_calls_total";
const CALL_SECONDS: &str = "slackwater_call_seconds";
const CALLS_RUNNING: &str = "slackwater_calls_running";
const FUEL: &str = "slackwater_fuel_total";
const OVERRUNS: &str = "slackwater_overruns_total";
const INSTANCES: &str = "slackwater_instances_total";
const WAITING: &str = "slackwater_instances_waiting";
const RESETS: &str = "slackwater_resets_total";
const PAGES: &str = "slackwater_reset_pages_total";
const MEMORY: &str = "slackwater_memory_used_bytes";
const COMPILE_SECONDS: &str = "slackwater_compile_seconds";
const CACHE: &str = "slackwater_runtime_cache_total";
const BLOCKS: &str = "slackwater_blocks_total";
const BLOCK_SECONDS: &str = "slackwater_block_seconds";
const EXTRINSICS: &str = "slackwater_extrinsics_total";
const ROOT_SECONDS: &str = "slackwater_root_seconds";
const COMMIT_SECONDS: &str = "slackwater_commit_seconds";

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    labelled(
        CALLS,
        "outcome",
        &["returned", "trapped", "stopped", "failed"],
        "Calls of guests, by how they ended; stopped by a limit of this machine, failed for another reason of its own",
    ),
    plain(
        CALL_SECONDS,
        MetricKind::Histogram,
        "Time of a call, instance included",
    ),
    plain(CALLS_RUNNING, MetricKind::Gauge, "Calls that run now"),
    plain(FUEL, MetricKind::Counter, "Fuel that calls used"),
    labelled(
        OVERRUNS,
        "limit",
        &["consensus", "depth", "local", "cancelled", "memory"],
        "Calls that were stopped at a limit",
    ),
    labelled(
        INSTANCES,
        "event",
        &["made", "reused", "surplus", "failed", "differing"],
        "Instances that are put back: made, taken again, dropped as too many, as they could not be put back, as they differed",
    ),
    plain(
        WAITING,
        MetricKind::Gauge,
        "Instances that wait for the next call",
    ),
    plain(
        RESETS,
        MetricKind::Counter,
        "Instances put back after a call",
    ),
    labelled(
        PAGES,
        "kind",
        &["hot", "cold"],
        "Pages put back: kept for the next call, or written to for the first time",
    ),
    plain(
        MEMORY,
        MetricKind::Gauge,
        "Bytes of memory that calls use, where there is a budget",
    ),
    labelled(
        COMPILE_SECONDS,
        "source",
        &["compiler", "quick", "cache"],
        "Time until the code of a runtime was ready, by where it came from",
    )
    .histogram(),
    labelled(
        CACHE,
        "result",
        &["hit", "miss", "refused", "stored", "evicted"],
        "Compiled code on disk",
    ),
    labelled(
        BLOCKS,
        "result",
        &["executed", "abandoned"],
        "Blocks begun, by whether they came to an end",
    ),
    plain(
        BLOCK_SECONDS,
        MetricKind::Histogram,
        "Time of a block, root included, commit not",
    ),
    labelled(
        EXTRINSICS,
        "outcome",
        &[
            "applied",
            "dispatch_error",
            "invalid",
            "trap",
            "out_of_fuel",
            "stack_exhausted",
            "no_fuel_left",
        ],
        "Extrinsics, by what became of them",
    ),
    plain(
        ROOT_SECONDS,
        MetricKind::Histogram,
        "Time of calculating the root behind a block",
    ),
    plain(
        COMMIT_SECONDS,
        MetricKind::Histogram,
        "Time of writing a block to the database",
    ),
];

/// Upper ends of buckets that suit all metrics in seconds: from 5 us to a minute.
pub const SECONDS_BUCKETS: [f64; 16] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 10.0, 60.0,
];

const fn plain(name: &'static str, kind: MetricKind, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        label: "",
        values: &[],
        help,
    }
}

const fn labelled(
    name: &'static str,
    label: &'static str,
    values: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        label,
        values,
        help,
    }
}

impl Metric {
    const fn histogram(mut self) -> Self {
        self.kind = MetricKind::Histogram;
        self
    }
}

/// Tells the recorder that is installed what each metric says.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Where single calls are told, of one executor.
pub(crate) struct CallMetrics {
    returned: Counter,
    trapped: Counter,
    stopped: Counter,
    failed: Counter,
    seconds: Histogram,
    running: Gauge,
    fuel: Counter,
    overrun_consensus: Counter,
    overrun_depth: Counter,
    overrun_local: Counter,
    overrun_cancelled: Counter,
    overrun_memory: Counter,
    memory: Gauge,
    pub(crate) instances: InstanceMetrics,
}

/// Where instances that are put back are told.
pub(crate) struct InstanceMetrics {
    pub(crate) made: Counter,
    pub(crate) reused: Counter,
    pub(crate) surplus: Counter,
    pub(crate) failed: Counter,
    pub(crate) differing: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) resets: Counter,
    pub(crate) hot_pages: Counter,
    pub(crate) cold_pages: Counter,
}

impl CallMetrics {
    /// With the recorder that is installed now.
    pub(crate) fn new() -> Self {
        let call = |outcome: &'static str| counter!(CALLS, "outcome" => outcome);
        let overrun = |limit: &'static str| counter!(OVERRUNS, "limit" => limit);
        let instance = |event: &'static str| counter!(INSTANCES, "event" => event);
        let pages = |kind: &'static str| counter!(PAGES, "kind" => kind);
        Self {
            returned: call("returned"),
            trapped: call("trapped"),
            stopped: call("stopped"),
            failed: call("failed"),
            seconds: histogram!(CALL_SECONDS),
            running: gauge!(CALLS_RUNNING),
            fuel: counter!(FUEL),
            overrun_consensus: overrun("consensus"),
            overrun_depth: overrun("depth"),
            overrun_local: overrun("local"),
            overrun_cancelled: overrun("cancelled"),
            overrun_memory: overrun("memory"),
            memory: gauge!(MEMORY),
            instances: InstanceMetrics {
                made: instance("made"),
                reused: instance("reused"),
                surplus: instance("surplus"),
                failed: instance("failed"),
                differing: instance("differing"),
                waiting: gauge!(WAITING),
                resets: counter!(RESETS),
                hot_pages: pages("hot"),
                cold_pages: pages("cold"),
            },
        }
    }

    /// A call begins, and is told when it ends, or when a panic takes it away.
    pub(crate) fn begin(&self) -> Running<'_> {
        self.running.increment(1.0);
        Running {
            metrics: self,
            begun: Instant::now(),
        }
    }

    /// Calls use more memory, or less.
    pub(crate) fn memory(&self, change: MemoryChange) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a double is exact for the steps that are charged"
        )]
        match change {
            MemoryChange::Charged(bytes) => self.memory.increment(bytes as f64),
            MemoryChange::GivenBack(bytes) => self.memory.decrement(bytes as f64),
        }
    }
}

/// A call that runs.
pub(crate) struct Running<'m> {
    metrics: &'m CallMetrics,
    begun: Instant,
}

impl Running<'_> {
    /// How it ended.
    pub(crate) fn ended(self, called: &Result<Called, CallError>) {
        let metrics = self.metrics;
        match called {
            Ok(Called {
                outcome: CallOutcome::Returned(_),
                fuel,
                ..
            }) => {
                metrics.returned.increment(1);
                metrics.count_fuel(fuel.as_ref());
            }
            Ok(Called {
                outcome: CallOutcome::Trapped(trap),
                fuel,
                ..
            }) => {
                metrics.trapped.increment(1);
                metrics.count_fuel(fuel.as_ref());
                match trap.kind {
                    TrapKind::OutOfFuel => metrics.overrun_consensus.increment(1),
                    TrapKind::StackExhausted => metrics.overrun_depth.increment(1),
                    _ => {}
                }
            }
            Err(CallError::LocalLimit { limit }) => {
                metrics.stopped.increment(1);
                metrics.overrun_local.increment(1);
                metrics.fuel.increment(limit.0);
            }
            Err(CallError::Cancelled) => {
                metrics.stopped.increment(1);
                metrics.overrun_cancelled.increment(1);
            }
            Err(CallError::MemoryBudget { .. }) => {
                metrics.stopped.increment(1);
                metrics.overrun_memory.increment(1);
            }
            Err(_) => metrics.failed.increment(1),
        }
        metrics.seconds.record(self.begun.elapsed());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.running.decrement(1.0);
    }
}

impl CallMetrics {
    fn count_fuel(&self, fuel: Option<&FuelUsed>) {
        if let Some(fuel) = fuel {
            self.fuel.increment(fuel.total.0);
        }
    }
}

/// The code of a runtime is ready.
pub(crate) fn compiled(source: &'static str, time: Duration) {
    histogram!(COMPILE_SECONDS, "source" => source).record(time);
}

/// Something became of compiled code on disk.
pub(crate) fn cached(result: &'static str) {
    counter!(CACHE, "result" => result).increment(1);
}

/// An extrinsic was run.
pub(crate) fn extrinsic(outcome: &'static str) {
    counter!(EXTRINSICS, "outcome" => outcome).increment(1);
}

/// A root was calculated, which began then.
pub(crate) fn root(begun: Instant) {
    histogram!(ROOT_SECONDS).record(begun.elapsed());
}

/// A block was written, which began then.
pub(crate) fn commit(begun: Instant) {
    histogram!(COMMIT_SECONDS).record(begun.elapsed());
}

/// A block that is executed, until it is dropped.
pub(crate) struct BlockRun {
    begun: Instant,
    executed: bool,
}

impl BlockRun {
    /// It begins.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            executed: false,
        }
    }

    /// It came to its end.
    pub(crate) fn executed(mut self) {
        self.executed = true;
        histogram!(BLOCK_SECONDS).record(self.begun.elapsed());
    }
}

impl Drop for BlockRun {
    fn drop(&mut self) {
        let result = if self.executed {
            "executed"
        } else {
            "abandoned"
        };
        counter!(BLOCKS, "result" => result).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_that_says_what_it_is() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == MetricKind::Counter, "{}", metric.name);
            let seconds = metric.name.ends_with("_seconds");
            assert_eq!(
                seconds,
                metric.kind == MetricKind::Histogram,
                "{}",
                metric.name
            );
            assert!(metric.name.starts_with("slackwater_"), "{}", metric.name);
            assert_eq!(
                metric.label.is_empty(),
                metric.values.is_empty(),
                "{}",
                metric.name
            );
        }
        assert!(SECONDS_BUCKETS.is_sorted());
    }
}
