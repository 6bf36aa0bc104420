//! Is a recording verified faster on two threads than on one? Beside it, what the machine's cores gain on a loop that only
//! computes: they may share more than one thinks.
//!
//! `ours` is two threads, `peer` is one.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use criterion::Criterion;
use slackwater_benches::{
    report::Report,
    turns::{Turns, timed},
};
use slackwater_executor::{
    ExecutorConfig, InstanceMode, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
    recording::{Recording, Verifier},
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureChain, guest};
use slackwater_tests::{load_blocks, real_blocks};

type Executor = WasmExecutor<SlackwaterHostFunctions>;

const SAMPLES: usize = 30;

/// Turns of the loop that only computes: about as long as verifying takes.
const LOOP_TURNS: u64 = 200_000_000;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("some")
}

/// Verifies a chain on so many threads.
struct Verified {
    executor: Executor,
    chain: FixtureChain,
    recording: Recording,
}

impl Verified {
    fn new(fixture: &BlockFixture, mode: InstanceMode) -> Self {
        let config = ExecutorConfig::default().with_instances(mode);
        let executor = Executor::new(config).expect("the engine can be set up");
        let chain = FixtureChain::open(&executor, fixture).expect("a chain");
        let recording = chain.record(&executor, &fixture.name).expect("records");
        Self {
            executor,
            chain,
            recording,
        }
    }

    fn on(&self, count: usize) -> Duration {
        let verifier = Verifier::new(&self.executor, &self.recording).with_threads(threads(count));
        let parent = self.chain.parent_state().expect("readable");
        let verify = || verifier.verify(parent, self.chain.blocks(), &|_block| {});
        let (verified, time) = timed(verify);
        verified.expect("as recorded");
        time
    }
}

/// A chain of multiplications, each of which waits for the one before it.
fn compute(turns: u64) -> u64 {
    (0..turns).fold(1, |value: u64, turn| {
        value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(turn)
    })
}

fn compute_on(count: u64) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| std::hint::black_box(compute(LOOP_TURNS / count)));
        }
    });
    begun.elapsed()
}

fn ask(criterion: &mut Criterion, question: &'static str, chain: &Verified, report: &mut Report) {
    let turns = Turns {
        ours: &mut |_turn| chain.on(2),
        peer: &mut |_turn| chain.on(1),
    };
    turns.ask_once_a_sample(criterion, question, SAMPLES, report);
}

fn verify(criterion: &mut Criterion) {
    let mut report = Report::new("verify");
    let westend = real_blocks("westend-blocks-1-128");
    if let Some(fixture) = &westend {
        let chain = Verified::new(fixture, InstanceMode::Snapshot);
        ask(criterion, "westend 1-128, snapshot", &chain, &mut report);
        let chain = Verified::new(fixture, InstanceMode::Fresh);
        ask(criterion, "westend 1-128, fresh", &chain, &mut report);
    }
    let guest = load_blocks(&guest::fixture_chain_path());
    let chain = Verified::new(&guest, InstanceMode::Snapshot);
    ask(criterion, "our guest's chain", &chain, &mut report);
    let turns = Turns {
        ours: &mut |_turn| compute_on(2),
        peer: &mut |_turn| compute_on(1),
    };
    turns.ask_once_a_sample(criterion, "a loop that computes", SAMPLES, &mut report);
    report.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    verify(&mut criterion);
    criterion.final_summary();
}
