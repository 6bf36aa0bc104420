//! Blocks of more and more extrinsics, and the memory they need.
//!
//! Reading: what a block touches grows with it. Of ten times as many extrinsics there are ten times as many accounts,
//! contracts, keys and child tries, so that no block has its root cheaper than another.

use std::time::Duration;

use criterion::Criterion;
use slackwater_benches::{calls::Calls, median_interval};

use crate::{
    chain::Chain,
    memory::{self, peak_of},
    report::{Curve, Plot, Point, Report},
    rounds::{Line, ask, float, in_turns, rounds},
};

/// Extrinsics of a block, and how many such blocks are in a round: their mean counts.
const BLOCKS: [(u64, u32); 4] = [(10, 30), (100, 10), (1_000, 3), (10_000, 1)];
/// An extrinsic of the first is to take no more than so many times as long as one of the second.
const COMPARED: (u64, u64) = (10_000, 1_000);
const RATIO_MAX: f64 = 1.2;
/// Processes that measure the memory of a block.
const PROCESSES: usize = 5;

/// Twenty accounts call a contract.
const CALLS: Calls = Calls {
    accounts: 10_000,
    contract: |sender| sender / 20,
};

/// Blocks of calls.
struct Blocks {
    chain: Chain,
    sent: u64,
}

impl Blocks {
    fn new() -> Self {
        Self {
            chain: Chain::new(&CALLS.genesis()),
            sent: 0,
        }
    }

    /// The next so many calls.
    fn calls(&mut self, count: u64) -> Vec<Vec<u8>> {
        let numbers = self.sent..self.sent + count;
        self.sent = numbers.end;
        numbers.map(|number| CALLS.mixed(number)).collect()
    }

    fn block(&mut self, count: u64) -> Duration {
        let calls = self.calls(count);
        self.chain.block(calls).producing
    }

    /// The mean of so many blocks.
    fn blocks(&mut self, (count, blocks): (u64, u32)) -> Duration {
        let all: Duration = (0..blocks).map(|_| self.block(count)).sum();
        all / blocks
    }
}

/// Bytes of memory that a block adds, in this process; none if the kernel does not tell.
pub(crate) fn memory_of(count: u64) -> Option<u64> {
    let mut blocks = Blocks::new();
    // What every block needs is there already.
    blocks.block(BLOCKS[0].0);
    let calls = blocks.calls(count);
    let chain = &mut blocks.chain;
    peak_of(|| chain.block(calls))
}

pub(crate) fn extrinsics(criterion: &mut Criterion, report: &mut Report) {
    let sizes = BLOCKS.map(|(count, _)| count);
    let mut lines = [Line::new("extrinsics", &sizes)];
    ask(criterion, rounds(30), &mut lines, || {
        let mut blocks = Blocks::new();
        Box::new(move |round| in_turns(BLOCKS.len(), round, |which| blocks.blocks(BLOCKS[which])))
    });
    let [line] = &lines;
    let block = Curve::of(line, "", "a block", "us", |time, _| time / 1e3);
    let each = |time: f64, size| time / 1e3 / float(size);
    let each = Curve::of(line, "-each", "an extrinsic", "us", each);
    let measured = !block.points.is_empty();
    report.add(Plot {
        name: "extrinsics",
        title: "Time to produce a block, its root included",
        x: "extrinsics in a block",
        y: "time, \u{b5}s",
        curves: vec![block, each],
    });
    let (larger, smaller) = COMPARED;
    report.ratio(
        "growth/extrinsics/10000-to-1000",
        &line.ratios(larger, smaller),
        RATIO_MAX,
    );
    // It goes with the times, for criterion knows nothing of it.
    if measured {
        memory(report);
    }
}

fn memory(report: &mut Report) {
    let point = |count| {
        let measured: Vec<_> = (0..PROCESSES)
            .filter_map(|_| memory::of_child(count))
            .map(|bytes| float(bytes) / float(1 << 20))
            .collect();
        let (median, low, high) = median_interval(&measured);
        Point {
            size: count,
            at: float(count),
            median,
            low,
            high,
            measured: measured.len(),
        }
    };
    let points = BLOCKS.map(|(count, _)| point(count));
    report.add(Plot {
        name: "memory",
        title: "Memory that a block adds to the process at its peak",
        x: "extrinsics in a block",
        y: "resident memory, MiB",
        curves: vec![Curve {
            id: "growth/memory".to_owned(),
            name: "a block",
            unit: "MiB",
            points: points.into_iter().filter(|it| it.measured > 0).collect(),
        }],
    });
}
