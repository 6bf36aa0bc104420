//! A chain that blocks are produced on.
//!
//! Invariant: a block has every transaction that was offered, and is committed before the next one begins.

use std::time::Duration;

use slackwater_benches::{session::executor, turns::timed};
use slackwater_executor::{
    Database, Durability, InstanceMode, WasmExecutor,
    block::{BlockInputs, Producer, ProducerConfig, genesis_hash},
    host_functions::SlackwaterHostFunctions,
    state::{DatabaseConfig, Head, StateImport},
};
use slackwater_runtime_fixtures::production::begin_chain;
use sp_core::storage::{StateVersion, Storage};
use tempfile::TempDir;

/// How long it took.
pub(crate) struct Taken {
    /// With the root.
    pub(crate) producing: Duration,
    pub(crate) committing: Duration,
}

pub(crate) struct Chain {
    producer: Producer<SlackwaterHostFunctions>,
    database: Database,
    head: Head,
    _folder: TempDir,
}

impl Chain {
    pub(crate) fn new(genesis: &Storage) -> Self {
        let (executor, folder) = (executor(InstanceMode::Snapshot), folder());
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        let head = begin_chain(&executor, &database, genesis).expect("begins");
        Self::of(executor, database, head, folder)
    }

    /// With so many values more, which are made one by one.
    pub(crate) fn with_more(
        genesis: &Storage,
        more: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Self {
        let folder = folder();
        let config = DatabaseConfig::new(Durability::Buffered);
        let mut import = StateImport::begin(&folder.path().join("db"), config).expect("begins");
        let given = genesis.top.iter();
        let given = given.map(|(key, value)| (key.clone(), value.clone()));
        for (key, value) in given.chain(more) {
            import.put(None, &key, &value).expect("written");
        }
        // What the guest wants.
        let state_root = import.build(StateVersion::V1).expect("builds");
        let head = Head {
            number: 0,
            hash: genesis_hash(state_root),
            state_root,
        };
        let database = import.finish(head).expect("finishes");
        Self::of(executor(InstanceMode::Snapshot), database, head, folder)
    }

    fn of(
        executor: WasmExecutor<SlackwaterHostFunctions>,
        database: Database,
        head: Head,
        folder: TempDir,
    ) -> Self {
        let config = ProducerConfig {
            // The largest blocks are to have room.
            block_bytes_max: 1 << 30,
            ..ProducerConfig::default()
        };
        Self {
            producer: Producer::new(executor, config),
            database,
            head,
            _folder: folder,
        }
    }

    /// The next block.
    pub(crate) fn block(&mut self, transactions: Vec<Vec<u8>>) -> Taken {
        let count = transactions.len();
        let mut transactions = transactions.into_iter();
        let view = self.database.view().expect("a state");
        let inputs = BlockInputs::default();
        let (produced, producing) = timed(|| {
            self.producer
                .produce(&view, &self.head, inputs, &mut transactions)
        });
        drop(view);
        let built = produced.expect("a block").built;
        assert_eq!(built.block.extrinsics.len(), count, "what a block has");
        let record = built.record();
        let (head, committing) = timed(|| self.database.commit(&self.head, built.changes, &record));
        self.head = head.expect("commits");
        Taken {
            producing,
            committing,
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}
