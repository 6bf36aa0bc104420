//! Signatures verified ahead of a block: whatever is known by then, blocks are the same.

use std::time::{Duration, Instant};

use slackwater_executor::{
    Block, Database, Durability, ExecutionPath, ExecutorConfig, Meter,
    block::{
        Executed, Produced, Producer, ProducerConfig, ReplayError, TransactionSource, execute,
        load_runtime,
    },
    runtime::CallContext,
    state::Extensions,
};
use slackwater_runtime_fixtures::{
    ChainSpec,
    production::{Queue, begin_chain, genesis_of},
    real_fixtures_or_skip,
    slots::Slots,
    transfers::{Senders, Transfers},
};
use slackwater_tests::{Executor, executor_with};
use sp_core::storage::Storage;
use tempfile::TempDir;

const COUNT: usize = 60;

/// The node template at its genesis.
struct Chain {
    executor: Executor,
    database: Database,
    _folder: TempDir,
}

fn genesis() -> Option<Storage> {
    let name = "smoldot-substrate-node-template";
    let path = real_fixtures_or_skip(name)?.join(format!("genesis/{name}.json"));
    Some(ChainSpec::load(&path).expect("loads").genesis)
}

impl Chain {
    fn new(threads: u32, meter: Meter, genesis: &Storage) -> Self {
        let config = ExecutorConfig::default().with_meter(meter);
        let executor = executor_with(config.with_verify_ahead_threads(threads));
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        begin_chain(&executor, &database, genesis).expect("begins");
        Self {
            executor,
            database,
            _folder: folder,
        }
    }

    fn transactions(&self) -> Vec<Vec<u8>> {
        let view = self.database.view().expect("a view");
        let genesis = genesis_of(&self.database).expect("a chain");
        let transfers = Transfers::of_state(&self.executor, &view, genesis).expect("known");
        let mut senders = Senders::new(transfers, 0).expect("keys");
        senders.begin(&view).expect("nonces");
        let mut transactions = Vec::new();
        for index in 0..COUNT {
            let transfer = senders.transfer().expect("a key");
            if index % 7 == 6 {
                let mut wrong = transfer.clone();
                // The last byte of the amount is signed.
                *wrong.last_mut().expect("bytes") ^= 4;
                transactions.push(wrong);
            }
            transactions.push(transfer);
        }
        transactions
    }

    fn produce(&self, source: &mut dyn TransactionSource) -> Produced {
        let view = self.database.view().expect("a view");
        let (runtime, _) = load_runtime(&self.executor, &view, CallContext::Build).expect("loads");
        let slots = Slots::of_state(&self.executor, &view, &runtime).expect("known");
        let inputs = slots.inputs(1, None);
        let producer = Producer::new(self.executor.clone(), ProducerConfig::default());
        producer
            .produce(&view, view.head(), inputs, source)
            .expect("a block")
    }

    fn known(&self) -> u64 {
        self.executor.verdicts().expect("they are kept").known()
    }
}

/// A queue that hands out nothing before so many verdicts were found ahead.
struct Patient<'c> {
    queue: Queue,
    chain: &'c Chain,
    verdicts: usize,
}

impl TransactionSource for Patient<'_> {
    fn next_transaction(&mut self) -> Option<Vec<u8>> {
        let memory = self.chain.executor.verdicts().expect("they are kept");
        let begun = Instant::now();
        while memory.len() < self.verdicts {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "nothing runs ahead"
            );
            std::thread::yield_now();
        }
        self.queue.next_transaction()
    }

    fn peek(&self, others: usize) -> Option<&[u8]> {
        self.queue.peek(others)
    }
}

fn queue(transactions: &[Vec<u8>]) -> Queue {
    let mut queue = Queue::default();
    for transaction in transactions {
        queue.push(transaction.clone());
    }
    queue
}

#[test]
fn blocks_are_the_same_with_signatures_verified_ahead() {
    let Some(genesis) = genesis() else {
        return;
    };
    let plain = Chain::new(0, Meter::Slacked, &genesis);
    assert!(plain.executor.verdicts().is_none());
    let transactions = plain.transactions();
    let expected = plain.produce(&mut queue(&transactions));
    assert_eq!(expected.built.block.extrinsics.len(), COUNT + 1);
    for (threads, meter) in [(1, Meter::Slacked), (3, Meter::Checked)] {
        let chain = Chain::new(threads, meter, &genesis);
        // No more than 64 are looked at ahead.
        let mut patient = Patient {
            queue: queue(&transactions),
            chain: &chain,
            verdicts: transactions.len().min(60),
        };
        let produced = chain.produce(&mut patient);
        assert!(chain.known() >= 60, "{} were known", chain.known());
        assert_eq!(produced.offered, expected.offered);
        assert_eq!(produced.built.block, expected.built.block);
        assert_eq!(produced.built.receipts, expected.built.receipts);
        assert_eq!(produced.built.changes.writes, expected.built.changes.writes);
        assert_eq!(produced.built.fuel, expected.built.fuel);
    }
}

#[test]
fn what_is_verified_ahead_of_a_replay_changes_nothing() {
    let Some(genesis) = genesis() else {
        return;
    };
    let plain = Chain::new(0, Meter::Slacked, &genesis);
    let block = plain.produce(&mut queue(&plain.transactions())).built.block;
    for path in [ExecutionPath::Split, ExecutionPath::Whole] {
        let expected = replay(&plain, &block, path).expect("the block is valid");
        // Who is first is up to the machine; nobody is last twenty times.
        let found = (0..20).any(|_| {
            let chain = Chain::new(2, Meter::Slacked, &genesis);
            let executed = replay(&chain, &block, path).expect("the block is valid");
            assert_eq!(executed.receipts, expected.receipts);
            assert_eq!(executed.fuel, expected.fuel);
            assert_eq!(executed.changes.writes, expected.changes.writes);
            assert_eq!(executed.changes.state_root, expected.changes.state_root);
            chain.known() > 0
        });
        assert!(found, "{path:?}: nothing runs ahead");
    }
}

fn replay(chain: &Chain, block: &Block, path: ExecutionPath) -> Result<Executed, ReplayError> {
    let view = chain.database.view().expect("a view");
    execute(&chain.executor, &view, block, path, &Extensions::new)
}

#[test]
fn a_block_with_a_wrong_signature_is_refused_whatever_is_known() {
    let Some(genesis) = genesis() else {
        return;
    };
    let plain = Chain::new(0, Meter::Slacked, &genesis);
    let mut block = plain.produce(&mut queue(&plain.transactions())).built.block;
    let last = block.extrinsics.last_mut().and_then(|it| it.last_mut());
    *last.expect("bytes") ^= 4;
    let chain = Chain::new(1, Meter::Slacked, &genesis);
    for path in [ExecutionPath::Whole, ExecutionPath::Split] {
        let expected = replay(&plain, &block, path).expect_err("a signature is wrong");
        for _ in 0..3 {
            let error = replay(&chain, &block, path).expect_err("a signature is wrong");
            assert_eq!(error.to_string(), expected.to_string());
        }
    }
    // From the second time on everything was known, what is wrong as well.
    assert!(chain.known() >= 4 * COUNT as u64, "{}", chain.known());
}

#[test]
fn nothing_is_verified_ahead_where_it_could_not_be_stopped() {
    let config = ExecutorConfig::default().with_verify_ahead_threads(1);
    for (meter, ahead) in [(Meter::Off, false), (Meter::Slacked, true)] {
        let executor = executor_with(config.clone().with_meter(meter));
        assert_eq!(executor.verdicts().is_some(), ahead);
    }
}
