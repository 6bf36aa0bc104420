//! Two ways of doing a thing, in turns.
//!
//! Invariant: both ways are run in every turn, whichever of them criterion times, and who goes first changes, so that
//! what disturbs one disturbs the other.

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, measurement::WallTime as Clock,
};

use crate::report::Report;

/// The two ways: each is given the number of the turn, prepares what is not timed, and returns what is.
pub struct Turns<'a> {
    /// This project's.
    pub ours: &'a mut dyn FnMut(u64) -> Duration,
    /// The other.
    pub peer: &'a mut dyn FnMut(u64) -> Duration,
}

impl std::fmt::Debug for Turns<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Turns").finish_non_exhaustive()
    }
}

/// Times `work`.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = std::hint::black_box(work());
    (done, start.elapsed())
}

/// The time of one call, of as many as fill `least`: what takes less than a look at the clock cannot be timed alone.
pub fn per_call(least: Duration, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut calls = 0_u32;
    let mut at_once = 1;
    while calls == 0 || start.elapsed() < least {
        for _ in 0..at_once {
            call();
        }
        calls += at_once;
        at_once = (at_once * 2).min(16);
    }
    start.elapsed() / calls
}

impl Turns<'_> {
    /// Asks a question, which takes so many samples.
    pub fn ask(
        self,
        criterion: &mut Criterion,
        question: &'static str,
        samples: usize,
        report: &mut Report,
    ) {
        let mut group = criterion.benchmark_group(question);
        group.sample_size(samples);
        self.ask_in(group, question, report);
    }

    /// As [`Self::ask`]; a sample is one turn. For turns of which little is timed, or which take long.
    pub fn ask_once_a_sample(
        self,
        criterion: &mut Criterion,
        question: &'static str,
        samples: usize,
        report: &mut Report,
    ) {
        let mut group = criterion.benchmark_group(question);
        group.sample_size(samples);
        once_a_sample(&mut group);
        self.ask_in(group, question, report);
    }

    fn ask_in(
        self,
        mut group: BenchmarkGroup<'_, Clock>,
        question: &'static str,
        report: &mut Report,
    ) {
        let Self { ours, peer } = self;
        let mut turn = 0;
        for is_ours in [true, false] {
            let name = if is_ours { "ours" } else { "peer" };
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut own = Duration::ZERO;
                    for _ in 0..iterations {
                        turn += 1;
                        // Who goes first has the colder caches.
                        let (one, other) = if turn % 2 == 0 {
                            let one = ours(turn);
                            (one, peer(turn))
                        } else {
                            let other = peer(turn);
                            (ours(turn), other)
                        };
                        report.add(question, one, other);
                        own += if is_ours { one } else { other };
                    }
                    own
                });
            });
        }
        group.finish();
    }
}

/// Has criterion measure once a sample, and warm up no longer than that.
pub fn once_a_sample(group: &mut BenchmarkGroup<'_, Clock>) {
    group.sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_nanos(1));
    group.measurement_time(Duration::from_nanos(1));
    // Intervals of the tables are by order; criterion's take longer than what they are of.
    group.nresamples(10_000);
}
