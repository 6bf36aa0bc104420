//! What does a clean instance for every call cost, next to the Polkadot SDK's executor?
//!
//! Every way of ours and every strategy of the peer makes the same calls in one process, in turns of a few
//! milliseconds, so that a machine that slows down slows all of them: criterion measures one thing after
//! another, which shared machines do not allow. Input is written and output read; the storage is empty.
//! Writes `reset.json`, `reset.md` and `reset.svg` into the folder `bench` of the build's results; `make
//! bench-reset` runs it. An argument keeps those cases whose name contains it; `--quick` takes fewer turns.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for people, and how far it has come"
)]

mod cases;
#[expect(unsafe_code, reason = "precompiled code is trusted")]
mod executors;
mod measure;
mod report;

use cases::Case;
use executors::{Ours, Peer, Way};
use measure::{Effort, interleaved, together};
use report::Row;
use sc_executor_wasmtime::InstantiationStrategy as Peers;
use slackwater_benches::Timed;
use slackwater_executor::{InstanceMode, Meter};

/// The way of ours that is compared most.
const OURS: (InstanceMode, Meter) = (InstanceMode::Snapshot, Meter::Slacked);
/// All ways of ours.
const WAYS: [(InstanceMode, Meter); 4] = [
    OURS,
    (InstanceMode::Snapshot, Meter::Off),
    (InstanceMode::Fresh, Meter::Slacked),
    (InstanceMode::Fresh, Meter::Off),
];
/// The peer's strategies, and whether its code is compiled beforehand.
const STRATEGIES: [(Peers, bool); 6] = [
    (Peers::PoolingCopyOnWrite, false),
    (Peers::RecreateInstanceCopyOnWrite, false),
    (Peers::PoolingCopyOnWrite, true),
    (Peers::RecreateInstanceCopyOnWrite, true),
    (Peers::Pooling, false),
    (Peers::RecreateInstance, false),
];
const THREADS: [usize; 4] = [2, 4, 8, 16];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes an argument of its own.
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let effort = if arguments.iter().any(|argument| argument == "--quick") {
        Effort::quick()
    } else {
        Effort::full()
    };
    let mut rows = Vec::new();
    for case in cases::all() {
        if wanted.is_some_and(|wanted| !case.id.contains(wanted)) {
            continue;
        }
        eprintln!("{}", case.id);
        rows.extend(on_one_thread(&case, effort));
        if case.threads {
            for threads in THREADS {
                rows.extend(on_threads(&case, threads, effort));
            }
        }
    }
    match report::write(&rows) {
        Ok(folder) => eprintln!("written to {}", folder.display()),
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            std::process::exit(2);
        }
    }
}

/// All ways against all strategies, or the most important pair.
fn on_one_thread(case: &Case, effort: Effort) -> Vec<Row> {
    let (ways, strategies) = if case.all_strategies {
        (WAYS.as_slice(), STRATEGIES.as_slice())
    } else {
        (&WAYS[..1], &STRATEGIES[..1])
    };
    let ours: Vec<_> = ways.iter().map(|way| Ours::new(case, *way)).collect();
    let peers = strategies
        .iter()
        .map(|(strategy, precompiled)| Peer::new(case, *strategy, *precompiled));
    let peers: Vec<_> = peers.collect();
    let all: Vec<&dyn Way> = ours
        .iter()
        .map(|way| way as &dyn Way)
        .chain(peers.iter().map(|peer| peer as &dyn Way))
        .collect();
    let timed = interleaved(case, &all, effort);
    let (ours, peers) = timed.split_at(ours.len());
    pairs(&case.id, 1, ours, peers)
}

/// As many threads, each calling as often as it can.
fn on_threads(case: &Case, threads: usize, effort: Effort) -> Vec<Row> {
    let ours = Ours::new(case, OURS);
    let (strategy, precompiled) = STRATEGIES[0];
    let peer = Peer::new(case, strategy, precompiled);
    let arithmetic = executors::Arithmetic;
    let ways: [&dyn Way; 3] = [&ours, &peer, &arithmetic];
    let timed = together(case, &ways, threads, effort);
    let alone = together(case, &ways, 1, effort);
    let mut rows = pairs(&case.id, threads, &timed[..1], &timed[1..2]);
    // How much more a pure calculation gets done on as many threads, and how much more calls do.
    for row in &mut rows {
        let gain = |way: usize| alone[way].median() / timed[way].median();
        row.gain = Some((gain(0), gain(1), gain(2)));
    }
    rows
}

fn pairs(id: &str, threads: usize, ours: &[Timed], peers: &[Timed]) -> Vec<Row> {
    let pair = |ours: &Timed, peer: &Timed| Row::new(id, threads, ours, peer);
    let of = |one: &Timed| peers.iter().map(|peer| pair(one, peer)).collect::<Vec<_>>();
    ours.iter().flat_map(of).collect()
}
