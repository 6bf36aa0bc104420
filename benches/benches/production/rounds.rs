//! A question, asked of all ways in turns.

use std::{collections::VecDeque, time::Duration};

use criterion::{BenchmarkId, Criterion, SamplingMode};
use slackwater_executor::{
    WasmExecutor, block::state_version_of, host_functions::SlackwaterHostFunctions,
};
use sp_crypto_hashing::twox_64;

use crate::{
    author::{Author, Given},
    cores::{Cores, Taken},
    ours::{Ours, Way},
    peer::{self, Peer},
    report::{Report, Table},
    workloads::Workload,
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Produce,
    Import,
    ImportFinal,
    ImportSplit,
}

impl Question {
    const ALL: [Self; 4] = [
        Self::Produce,
        Self::Import,
        Self::ImportFinal,
        Self::ImportSplit,
    ];

    /// Those that the environment asks for, all by default.
    pub(crate) fn chosen() -> impl Iterator<Item = Self> {
        let part = std::env::var("SLACKWATER_BENCH_QUESTION").unwrap_or_default();
        let all = Self::ALL.into_iter();
        all.filter(move |question| part.is_empty() || question.name() == part)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Import => "import",
            Self::ImportFinal => "import_final",
            Self::ImportSplit => "import_split",
        }
    }
}

/// Everybody who answers.
struct Ways {
    cores: Cores,
    author: Author,
    ours: Vec<Ours>,
    peers: Vec<Peer>,
    round: usize,
}

impl Ways {
    fn new(question: Question, workload: Workload) -> Self {
        let genesis = workload.genesis();
        let (author, before) = Author::new(workload, &genesis);
        let cores = Cores::new();
        let ways = Way::chosen(cores.count()).into_iter();
        // Extrinsic by extrinsic is how the first one makes blocks too: one line shows what it costs.
        let ways = ways.take(if question == Question::ImportSplit {
            2
        } else {
            usize::MAX
        });
        let executor = WasmExecutor::<SlackwaterHostFunctions>::new(Default::default());
        let version =
            state_version_of(&executor.expect("the engine"), &genesis).expect("a runtime");
        let mut ways = Self {
            ours: ways.map(|way| Ours::new(way, &genesis)).collect(),
            peers: (1..=cores.count().min(2))
                .map(|count| Peer::new(count, &genesis, version))
                .collect(),
            cores,
            author,
            round: 0,
        };
        for given in before {
            ways.ask(question, &given);
        }
        ways
    }

    /// Has the next block behind them; who goes first changes.
    fn next(&mut self, question: Question) -> Vec<Taken> {
        let given = self.author.next();
        self.ask(question, &given)
    }

    fn ask(&mut self, question: Question, given: &Given) -> Vec<Taken> {
        let ours = self.ours.len();
        self.round += 1;
        // Who comes behind whom changes as well, and is the same in every run.
        let mut order: Vec<_> = (0..ours + self.peers.len()).collect();
        order.sort_by_key(|which| {
            twox_64(&[self.round.to_le_bytes(), which.to_le_bytes()].concat())
        });
        let mut taken: Vec<_> = order
            .into_iter()
            .map(|which| {
                let taken = match which.checked_sub(ours) {
                    None => self.ours[which].answer(&self.cores, question, given),
                    Some(peer) => self.peers[peer].answer(&self.cores, question, given),
                };
                (which, taken)
            })
            .collect();
        taken.sort_by_key(|(which, _)| *which);
        taken.into_iter().map(|(_, taken)| taken).collect()
    }

    fn names(&self) -> Vec<String> {
        let ours = self.ours.iter().map(|ours| ours.way.name());
        let peers = self.peers.iter().map(|peer| peer::name(peer.cores));
        ours.chain(peers).collect()
    }
}

/// Asks it. What a round has measured of each way waits until criterion wants it.
pub(crate) fn ask(
    criterion: &mut Criterion,
    question: Question,
    workload: Workload,
    report: &mut Report,
) {
    let id = format!("{}/{}", question.name(), workload.name());
    let mut ways = Ways::new(question, workload);
    let names = ways.names();
    let mut table = Table::new(&id, workload.count, ways.ours.iter().map(|ours| ours.way));
    let mut waiting = vec![VecDeque::<Duration>::new(); names.len()];
    let mut group = criterion.benchmark_group(&id);
    group.sample_size(workload.rounds.max(10));
    group.sampling_mode(SamplingMode::Flat);
    // A sample is one round.
    group.warm_up_time(Duration::from_nanos(1));
    group.measurement_time(Duration::from_nanos(1));
    for (which, name) in names.iter().enumerate() {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        if waiting[which].is_empty() {
                            let taken = ways.next(question);
                            for (waiting, taken) in waiting.iter_mut().zip(&taken) {
                                waiting.push_back(taken.time);
                            }
                            table.push(taken);
                        }
                        waiting[which].pop_front().expect("a round has one of each")
                    })
                    .sum()
            });
        });
    }
    group.finish();
    report.add(table);
}
