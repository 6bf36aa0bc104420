//! Two ways of doing a thing, in turns.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

use super::report::Report;

/// The two ways: each is given the number of the turn, prepares what is not timed, and returns what is.
pub(crate) struct Turns<'a> {
    pub(crate) ours: &'a mut dyn FnMut(u64) -> Duration,
    pub(crate) peer: &'a mut dyn FnMut(u64) -> Duration,
}

/// Times `work`.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = std::hint::black_box(work());
    (done, start.elapsed())
}

impl Turns<'_> {
    /// Asks a question, which takes so many samples.
    pub(crate) fn ask(
        self,
        criterion: &mut Criterion,
        question: &'static str,
        samples: usize,
        report: &mut Report,
    ) {
        let Self { ours, peer } = self;
        let mut group = criterion.benchmark_group(question);
        group.sample_size(samples);
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
