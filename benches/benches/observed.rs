//! What does it cost to be seen, and to be limited? Calls and blocks of one executor that tells its metrics, has a budget of
//! memory, or caps on logs, next to one that does not.
//!
//! `ours` is with it, `peer` without. A recorder of Prometheus is installed for all of them, so blocks are told either way.

use std::{sync::Arc, time::Duration};

use criterion::Criterion;
use metrics_exporter_prometheus::PrometheusBuilder;
use slackwater_benches::{
    report::Report,
    turns::{Turns, per_call, timed},
};
use slackwater_executor::{
    CallOutcome, ExecutorConfig, HeapPages, Runtime, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
    metrics::describe,
    recording::{Recording, Verifier},
};
use slackwater_runtime_fixtures::{
    BlockFixture, FixtureChain,
    guest::{self, GUEST_WASM},
};
use slackwater_tests::{load_blocks, real_blocks};
use sp_state_machine::BasicExternalities;

type Executor = WasmExecutor<SlackwaterHostFunctions>;

const SAMPLES: usize = 30;

/// What calls are timed together for.
const LEAST: Duration = Duration::from_millis(2);

/// What no call comes near.
const BUDGET: u64 = 8 << 30;

fn executor(config: ExecutorConfig) -> Executor {
    Executor::new(config).expect("the engine can be set up")
}

/// Our guest, called again and again.
struct Called {
    executor: Executor,
    runtime: Arc<Runtime>,
}

impl Called {
    fn new(config: ExecutorConfig) -> Self {
        let executor = executor(config);
        let runtime = executor.runtime(GUEST_WASM).expect("loads");
        Self { executor, runtime }
    }

    /// One call that only returns.
    fn empty(&self) -> Duration {
        let mut ext = BasicExternalities::default();
        per_call(LEAST, || {
            let method = "test_empty_return";
            let heap = HeapPages::default();
            let called = self
                .executor
                .call(&self.runtime, &mut ext, method, &[0], heap);
            assert!(matches!(called, Ok(CallOutcome::Returned(_))));
        })
    }
}

/// A chain that is verified on one thread.
struct Verified {
    executor: Executor,
    chain: FixtureChain,
    recording: Recording,
}

impl Verified {
    fn new(name: &str, chain: &BlockFixture, metrics: bool) -> Self {
        let executor = executor(ExecutorConfig::default().with_metrics(metrics));
        let chain = FixtureChain::open(&executor, chain).expect("a chain");
        let recording = chain.record(&executor, name).expect("records");
        Self {
            executor,
            chain,
            recording,
        }
    }

    fn verify(&self) -> Duration {
        let verifier = Verifier::new(&self.executor, &self.recording);
        let parent = self.chain.parent_state().expect("readable");
        let (verified, time) = timed(|| verifier.verify(parent, self.chain.blocks(), &|_block| {}));
        verified.expect("as recorded");
        time
    }
}

fn calls(criterion: &mut Criterion, report: &mut Report) {
    let plain = Called::new(ExecutorConfig::default());
    let questions = [
        (
            "a call, metrics",
            ExecutorConfig::default().with_metrics(true),
        ),
        (
            "a call, budget of memory",
            ExecutorConfig::default().with_memory_budget(BUDGET),
        ),
        (
            "a call, both",
            ExecutorConfig::default()
                .with_metrics(true)
                .with_memory_budget(BUDGET),
        ),
        ("a call, nothing", ExecutorConfig::default()),
    ];
    for (question, config) in questions {
        let with = Called::new(config);
        let turns = Turns {
            ours: &mut |_turn| with.empty(),
            peer: &mut |_turn| plain.empty(),
        };
        turns.ask_once_a_sample(criterion, question, SAMPLES, report);
    }
}

fn blocks(criterion: &mut Criterion, report: &mut Report) {
    let chains = [
        (
            "our guest's chain, metrics",
            Some(load_blocks(&guest::fixture_chain_path())),
        ),
        (
            "westend 1-128, metrics",
            real_blocks("westend-blocks-1-128"),
        ),
    ];
    for (question, chain) in chains {
        let Some(chain) = chain else { continue };
        let with = Verified::new(&chain.name, &chain, true);
        let without = Verified::new(&chain.name, &chain, false);
        let turns = Turns {
            ours: &mut |_turn| with.verify(),
            peer: &mut |_turn| without.verify(),
        };
        turns.ask_once_a_sample(criterion, question, SAMPLES, report);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::set_global_recorder(recorder).expect("the only recorder");
    describe();
    let mut report = Report::new("observed");
    calls(&mut criterion, &mut report);
    blocks(&mut criterion, &mut report);
    report.finish();
    criterion.final_summary();
}
