//! A question, asked at all sizes in turns.
//!
//! Invariant: a round measures every size once, so that what slows the machine down slows all of them; criterion is given
//! one round a sample. Whatever a question needs is made when the first of its ids is measured.

use std::{collections::VecDeque, time::Duration};

use criterion::{BenchmarkId, Criterion};
use slackwater_benches::{report::nanoseconds, turns::once_a_sample};

/// Measures everything once, in the order of lines and sizes; it is given the number of the round.
pub(crate) type Round = Box<dyn FnMut(usize) -> Vec<Duration>>;

/// What was measured of one thing.
pub(crate) struct Line {
    /// The second part of its criterion ids, of which the third is the size.
    pub(crate) what: &'static str,
    pub(crate) sizes: Vec<u64>,
    /// Nanoseconds of each size, in the order they were measured.
    times: Vec<Vec<f64>>,
}

impl Line {
    pub(crate) fn new(what: &'static str, sizes: &[u64]) -> Self {
        Self {
            what,
            sizes: sizes.to_vec(),
            times: vec![Vec::new(); sizes.len()],
        }
    }

    /// Those of a size, without the first round, which fills caches, if there are more.
    pub(crate) fn times(&self, which: usize) -> &[f64] {
        match self.times[which].as_slice() {
            [_, more @ ..] if !more.is_empty() => more,
            all => all,
        }
    }

    /// What is larger, round by round, of two sizes, as parts of that size: how much more one unit of it takes.
    pub(crate) fn ratios(&self, larger: u64, smaller: u64) -> Vec<f64> {
        let of = |size| self.sizes.iter().position(|it| *it == size);
        let (Some(one), Some(other)) = (of(larger), of(smaller)) else {
            return Vec::new();
        };
        let pairs = self.times(one).iter().zip(self.times(other));
        pairs
            .map(|(one, other)| (one / float(larger)) / (other / float(smaller)))
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(crate) fn float(size: u64) -> f64 {
    size as f64
}

/// How many rounds, unless the environment says otherwise.
pub(crate) fn rounds(usually: usize) -> usize {
    let stated = std::env::var("SLACKWATER_BENCH_ROUNDS").ok();
    let stated = stated.map(|text| text.parse().expect("a number of rounds"));
    // Criterion wants as many.
    stated.unwrap_or(usually).max(10)
}

/// Asks; what was measured is in the lines then.
pub(crate) fn ask(
    criterion: &mut Criterion,
    samples: usize,
    lines: &mut [Line],
    begin: impl FnOnce() -> Round,
) {
    let count = lines.iter().map(|line| line.sizes.len()).sum();
    let mut asked = Asked {
        begin: Some(begin),
        round: None,
        number: 0,
        waiting: vec![VecDeque::new(); count],
        times: vec![Vec::new(); count],
    };
    let mut which = 0;
    for line in &*lines {
        let mut group = criterion.benchmark_group(format!("growth/{}", line.what));
        group.sample_size(samples);
        once_a_sample(&mut group);
        for size in &line.sizes {
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| asked.take(which)).sum());
            });
            which += 1;
        }
        group.finish();
    }
    let mut times = asked.times.into_iter();
    for line in lines {
        line.times = times.by_ref().take(line.sizes.len()).collect();
    }
}

/// A question that is being asked. What a round has measured waits until criterion wants it.
struct Asked<B> {
    begin: Option<B>,
    round: Option<Round>,
    number: usize,
    waiting: Vec<VecDeque<Duration>>,
    times: Vec<Vec<f64>>,
}

impl<B: FnOnce() -> Round> Asked<B> {
    fn take(&mut self, which: usize) -> Duration {
        if self.waiting[which].is_empty() {
            self.next();
        }
        let taken = self.waiting[which].pop_front();
        taken.expect("a round has one of each")
    }

    fn next(&mut self) {
        if let Some(begin) = self.begin.take() {
            self.round = Some(begin());
        }
        let round = self.round.as_mut().expect("it has begun");
        let taken = round(self.number);
        self.number += 1;
        for (which, time) in taken.into_iter().enumerate() {
            self.waiting[which].push_back(time);
            self.times[which].push(nanoseconds(time));
        }
    }
}

/// Does something at each of so many places, and begins elsewhere in each round; what it gave, in the order of places.
pub(crate) fn in_turns<T>(count: usize, round: usize, mut work: impl FnMut(usize) -> T) -> Vec<T> {
    let order = (0..count).map(|turn| (turn + round) % count);
    let mut done: Vec<_> = order.map(|which| (which, work(which))).collect();
    done.sort_by_key(|(which, _)| *which);
    done.into_iter().map(|(_, done)| done).collect()
}
