//! Makes the blocks: a chain of its own, always one block ahead.

use codec::Encode;
use slackwater_executor::{
    Block, Database, Durability, ExecutorConfig, Meter, WasmExecutor,
    block::{Offered, Origin, ProducerConfig},
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{
    production::{ChainProducer, ProducedBlock, Queue, begin_chain, genesis_of},
    transfers::{Senders, Transfers},
};
use slackwater_substrate_node::Transactions;
use sp_core::storage::Storage;
use sp_runtime::{DigestItem, generic::Digest};
use tempfile::TempDir;

use crate::workloads::{Content, Workload, call};

/// A block, in all forms that ways want.
pub(crate) struct Given {
    pub(crate) block: Block,
    pub(crate) header: Vec<u8>,
    /// What stands in the header before the block begins.
    pub(crate) digest: Vec<DigestItem>,
    pub(crate) encoded_digest: Vec<u8>,
    /// How many extrinsics at the front are inherents.
    pub(crate) inherents: usize,
    pub(crate) body: Transactions,
}

pub(crate) struct Author {
    executor: WasmExecutor<SlackwaterHostFunctions>,
    database: Database,
    _folder: TempDir,
    workload: Workload,
    senders: Option<Senders>,
    sent: u64,
}

impl Author {
    /// The author, and the blocks that every way executes before anything is timed.
    pub(crate) fn new(workload: Workload, genesis: &Storage) -> (Self, Vec<Given>) {
        let config = ExecutorConfig::default().with_meter(Meter::Off);
        let executor = WasmExecutor::new(config).expect("the engine");
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        begin_chain(&executor, &database, genesis).expect("begins");
        let (senders, sent) = (None, 0);
        let mut author = Self {
            executor,
            database,
            _folder: folder,
            workload,
            senders,
            sent,
        };
        let before = author.fund();
        (author, before)
    }

    fn fund(&mut self) -> Vec<Given> {
        let mut queue = Queue::default();
        if self.workload.accounts() > 0 {
            let view = self.database.view().expect("a state");
            let genesis = genesis_of(&self.database).expect("a chain");
            let transfers = Transfers::of_state(&self.executor, &view, genesis).expect("transfers");
            let mut senders = Senders::new(transfers, self.workload.accounts()).expect("keys");
            for funding in senders.funding(&view).expect("funds") {
                queue.push(funding);
            }
            self.senders = Some(senders);
        }
        let mut before = Vec::new();
        while !queue.is_empty() {
            queue.begin_block();
            before.push(given(self.produce(&mut queue)));
        }
        if let Some(senders) = &mut self.senders {
            senders
                .begin(&self.database.view().expect("a state"))
                .expect("nonces");
        }
        before
    }

    fn produce(&self, queue: &mut Queue) -> ProducedBlock {
        let config = ProducerConfig::default();
        let producer = ChainProducer::new(&self.executor, &self.database, config);
        producer.produce(queue).expect("a block")
    }

    /// The next block, in which everything is that it should have.
    pub(crate) fn next(&mut self) -> Given {
        let mut queue = Queue::default();
        for _ in 0..self.workload.count {
            queue.push(match (&mut self.senders, self.workload.content) {
                (Some(senders), Content::Transfers) => senders.transfer().expect("a key"),
                _ => call(self.sent),
            });
            self.sent += 1;
        }
        let given = given(self.produce(&mut queue));
        let transactions = given.block.extrinsics.len() - given.inherents;
        assert_eq!(transactions, self.workload.count, "what a block has");
        given
    }
}

fn given(produced: ProducedBlock) -> Given {
    let inherents = produced.offered.iter().filter(|it| {
        it.origin == Origin::Inherent && matches!(it.result, Offered::Included { .. })
    });
    let inherents = inherents.count();
    let block = produced.block;
    let digest = block.header.digest.logs.iter();
    let digest = digest.filter(|item| matches!(item, DigestItem::PreRuntime(..)));
    let digest: Vec<_> = digest.cloned().collect();
    let body = block.extrinsics.iter().map(Vec::as_slice);
    Given {
        header: block.header.encode(),
        encoded_digest: Digest {
            logs: digest.clone(),
        }
        .encode(),
        body: Transactions::new(body).expect("what was included decodes"),
        digest,
        inherents,
        block,
    }
}
