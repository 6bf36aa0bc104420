//! Two chains of the same blocks: ours, and one of Substrate's client.
//!
//! Invariant: a block is in both chains before the next one is produced, and both have come to its root.

use std::time::Duration;

use codec::Encode;
use slackwater_benches::turns::timed;
use slackwater_executor::{
    CallContext, Database, Durability, WasmExecutor,
    block::{Header, Producer, ProducerConfig, TransactionSource, load_runtime, state_version_of},
    host_functions::SlackwaterHostFunctions,
    state::{BlockChanges, BlockRecord, Head},
};
use slackwater_runtime_fixtures::{
    production::{Queue, begin_chain},
    slots::Slots,
    transfers::{Senders, Transfers},
};
use slackwater_substrate_node::{Node, NodeConfig, Transactions};
use sp_core::{
    H256,
    storage::{StateVersion, Storage},
};
use sp_state_machine::Backend;
use tempfile::TempDir;

/// Accounts that send to one another, each once a block.
const ACCOUNTS: u32 = 1_000;

pub(crate) struct Blocks {
    chain: Chain,
    node: Node,
    senders: Senders,
    version: StateVersion,
    pending: Option<Pending>,
    _folder: TempDir,
}

/// A block that was produced, and not yet committed by both.
struct Pending {
    turn: u64,
    header: Vec<u8>,
    record: BlockRecord,
    /// Until it is in our chain.
    changes: Option<BlockChanges>,
    /// Until it is in the peer's.
    body: Option<Transactions>,
}

/// Ours.
struct Chain {
    producer: Producer<SlackwaterHostFunctions>,
    slots: Slots,
    database: Database,
    head: Head,
    header: Option<Header>,
    _folder: TempDir,
}

impl Blocks {
    /// With the accounts funded.
    pub(crate) fn new(executor: WasmExecutor<SlackwaterHostFunctions>, genesis: &Storage) -> Self {
        let version = state_version_of(&executor, genesis).expect("a runtime");
        let folder = folder();
        let config = NodeConfig::default();
        let node = Node::new(folder.path(), genesis.clone(), version, config);
        let chain = Chain::new(executor.clone(), genesis);
        let view = chain.database.view().expect("a state");
        let transfers = Transfers::of_state(&executor, &view, chain.head.hash);
        let senders = Senders::new(transfers.expect("transfers"), ACCOUNTS);
        let mut senders = senders.expect("keys");
        let funding = senders.funding(&view).expect("funds");
        drop(view);
        let mut blocks = Self {
            chain,
            node: node.expect("a chain"),
            senders,
            version,
            pending: None,
            _folder: folder,
        };
        blocks.fund(funding);
        blocks
    }

    fn fund(&mut self, funding: Vec<Vec<u8>>) {
        let mut queue = Queue::default();
        for transfer in funding {
            queue.push(transfer);
        }
        while !queue.is_empty() {
            queue.begin_block();
            self.pending = Some(self.chain.produce(0, &mut queue));
            self.finish();
        }
        let view = self.chain.database.view().expect("a state");
        self.senders.begin(&view).expect("nonces");
    }

    /// Has the block of this turn pending.
    pub(crate) fn begin(&mut self, turn: u64) {
        if self.pending.as_ref().is_some_and(|it| it.turn == turn) {
            return;
        }
        self.finish();
        let transfers = (0..ACCOUNTS).map(|_| self.senders.transfer().expect("a key"));
        let transfers: Vec<_> = transfers.collect();
        let pending = self.chain.produce(turn, &mut transfers.into_iter());
        let changed = pending.changes.as_ref().map_or(0, BlockChanges::keys);
        let wanted = usize::try_from(ACCOUNTS).expect("it has room");
        assert!(
            changed >= wanted && pending.record.extrinsics.len() > wanted,
            "a block has all transfers"
        );
        self.pending = Some(pending);
    }

    /// Has the block that is pending, if any, in both chains.
    pub(crate) fn finish(&mut self) {
        self.commit();
        self.peers_commit();
        self.pending = None;
    }

    /// Calculates the root of the block.
    pub(crate) fn root(&self) -> Duration {
        let view = self.chain.database.view().expect("a state");
        self.root_of(&view)
    }

    /// Calculates it as Substrate does.
    pub(crate) fn peers_root(&self) -> Duration {
        let view = self.chain.database.view().expect("a state");
        self.root_of(&view.trie())
    }

    fn root_of(&self, state: &impl Backend<sp_core::Blake2Hasher>) -> Duration {
        let pending = self.pending.as_ref();
        let changes = pending.and_then(|it| it.changes.as_ref()).expect("pending");
        let top = changes.writes.get(&None).expect("changes");
        let delta = || {
            top.iter()
                .map(|(key, value)| (key.as_slice(), value.as_deref()))
        };
        let (root, took): (H256, _) = timed(|| state.storage_root(delta(), self.version).0);
        assert_eq!(root, changes.state_root);
        took
    }

    /// Commits the block, unless it is there.
    pub(crate) fn commit(&mut self) -> Option<Duration> {
        let pending = self.pending.as_mut()?;
        let changes = pending.changes.take()?;
        let Chain { database, head, .. } = &mut self.chain;
        let (committed, took) = timed(|| database.commit(head, changes, &pending.record));
        *head = committed.expect("commits");
        Some(took)
    }

    /// Has the peer execute and commit it, unless it is there; how long the commit took.
    pub(crate) fn peers_commit(&mut self) -> Option<Duration> {
        let pending = self.pending.as_mut()?;
        let body = pending.body.take()?;
        let executed = self.node.execute(&pending.header, body);
        let executed = executed.expect("the block is valid");
        let (committed, took) = timed(|| self.node.commit(executed));
        committed.expect("commits");
        Some(took)
    }
}

impl Chain {
    fn new(executor: WasmExecutor<SlackwaterHostFunctions>, genesis: &Storage) -> Self {
        let folder = folder();
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        let head = begin_chain(&executor, &database, genesis).expect("begins");
        let view = database.view().expect("a state");
        let (runtime, _) = load_runtime(&executor, &view, CallContext::Build).expect("a runtime");
        let slots = Slots::of_state(&executor, &view, &runtime).expect("slots");
        drop(view);
        Self {
            producer: Producer::new(executor, ProducerConfig::default()),
            slots,
            database,
            head,
            header: None,
            _folder: folder,
        }
    }

    fn produce(&mut self, turn: u64, transactions: &mut dyn TransactionSource) -> Pending {
        let number = self.head.number + 1;
        let inputs = self.slots.inputs(number, self.header.as_ref());
        let view = self.database.view().expect("a state");
        let produced = self
            .producer
            .produce(&view, &self.head, inputs, transactions);
        drop(view);
        let built = produced.expect("a block").built;
        let body = built.block.extrinsics.iter().map(Vec::as_slice);
        let body = Transactions::new(body).expect("what was included decodes");
        self.header = Some(built.block.header.clone());
        Pending {
            turn,
            header: built.block.header.encode(),
            record: built.record(),
            changes: Some(built.changes),
            body: Some(body),
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}
