//! This executor, in all its ways.

use codec::Encode;
use slackwater_executor::{
    Database, Durability, ExecutionPath, ExecutorConfig, InstanceMode, Meter, WasmExecutor,
    block::{BlockInputs, Producer, ProducerConfig, execute},
    host_functions::SlackwaterHostFunctions,
    state::{Extensions, Head},
};
use slackwater_runtime_fixtures::production::{Queue, begin_chain};
use sp_core::storage::Storage;
use tempfile::TempDir;

use crate::{
    author::Given,
    cores::{Cores, Taken, timed_on},
    rounds::Question,
};

/// How it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) mode: InstanceMode,
    pub(crate) meter: Meter,
    pub(crate) cores: usize,
    /// Whether the second core verifies signatures ahead.
    pub(crate) ahead: bool,
}

impl Way {
    /// Those that the environment asks for, all by default.
    pub(crate) fn chosen(cores: usize) -> Vec<Self> {
        let part = std::env::var("SLACKWATER_BENCH_WAYS").unwrap_or_default();
        let all = Self::all(cores).into_iter();
        all.filter(|way| way.name().contains(&part)).collect()
    }

    /// All ways on a machine with so many cores.
    fn all(cores: usize) -> Vec<Self> {
        let mut ways = Vec::new();
        for mode in [InstanceMode::Snapshot, InstanceMode::Fresh] {
            for meter in [Meter::Off, Meter::Slacked, Meter::Checked] {
                ways.push(Self {
                    mode,
                    meter,
                    cores: 1,
                    ahead: false,
                });
            }
        }
        for ahead in [false, true] {
            if cores > 1 {
                let (mode, meter) = (InstanceMode::Snapshot, Meter::Slacked);
                ways.push(Self {
                    mode,
                    meter,
                    cores: 2,
                    ahead,
                });
            }
        }
        ways
    }

    pub(crate) fn name(self) -> String {
        let mode = match self.mode {
            InstanceMode::Snapshot => "snapshot",
            _ => "fresh",
        };
        let meter = match self.meter {
            Meter::Off => "off",
            Meter::Slacked => "slacked",
            _ => "checked",
        };
        let ahead = if self.ahead { "-ahead" } else { "" };
        format!("{mode}-{meter}{ahead}-{}", self.cores)
    }
}

/// A chain, and what makes it longer.
pub(crate) struct Ours {
    pub(crate) way: Way,
    executor: WasmExecutor<SlackwaterHostFunctions>,
    producer: Producer<SlackwaterHostFunctions>,
    database: Database,
    head: Head,
    _folder: TempDir,
}

impl Ours {
    pub(crate) fn new(way: Way, genesis: &Storage) -> Self {
        let config = ExecutorConfig::default()
            .with_meter(way.meter)
            .with_instances(way.mode)
            .with_verify_ahead_threads(u32::from(way.ahead));
        let executor = WasmExecutor::new(config).expect("the engine");
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        let head = begin_chain(&executor, &database, genesis).expect("begins");
        let producer = Producer::new(executor.clone(), ProducerConfig::default());
        Self {
            way,
            executor,
            producer,
            database,
            head,
            _folder: folder,
        }
    }

    /// Does what is asked, and has the block behind it.
    pub(crate) fn answer(&mut self, cores: &Cores, question: Question, given: &Given) -> Taken {
        match question {
            Question::Produce => self.produce(cores, given),
            Question::Import => self.import(cores, ExecutionPath::Whole, given, false),
            Question::ImportFinal => self.import(cores, ExecutionPath::Whole, given, true),
            Question::ImportSplit => self.import(cores, ExecutionPath::Split, given, false),
        }
    }

    fn produce(&mut self, cores: &Cores, given: &Given) -> Taken {
        let (inherents, transactions) = given.block.extrinsics.split_at(given.inherents);
        let inputs = BlockInputs {
            digest: given.digest.clone(),
            inherents: inherents.to_vec(),
            ..BlockInputs::default()
        };
        let mut queue = Queue::default();
        for transaction in transactions {
            queue.push(transaction.clone());
        }
        let view = self.database.view().expect("a state");
        let (produced, taken) = timed_on(cores, self.way.cores, || {
            self.producer.produce(&view, &self.head, inputs, &mut queue)
        });
        drop(view);
        let built = produced.expect("a block").built;
        assert_eq!(
            built.block.header.encode(),
            given.header,
            "{}",
            self.way.name()
        );
        let record = built.record();
        self.head = self
            .database
            .commit(&self.head, built.changes, &record)
            .expect("commits");
        taken
    }

    /// Imports the block; `settled` has the trie in its column as well.
    fn import(
        &mut self,
        cores: &Cores,
        path: ExecutionPath,
        given: &Given,
        settled: bool,
    ) -> Taken {
        let block = &given.block;
        let (head, taken) = timed_on(cores, self.way.cores, || {
            let view = self.database.view().expect("a state");
            let executed = execute(&self.executor, &view, block, path, &Extensions::new);
            let executed = executed.expect("the block is valid");
            drop(view);
            let record = block.record(&executed.receipts);
            let committed = self.database.commit(&self.head, executed.changes, &record);
            if settled {
                self.database.settle().expect("settles");
            }
            committed.expect("commits")
        });
        // The root in the header was compared with that of the state.
        assert_eq!(head.hash, block.hash(), "{}", self.way.name());
        self.head = head;
        taken
    }
}
