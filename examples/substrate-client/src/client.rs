//! A node's client over an executor: `sc_service::Client` with `LocalCallExecutor`, over `sc-client-db` in a folder that goes
//! with it.
//!
//! Nothing here knows which executor it is. That is all a node has to change: the value that is handed to
//! [`sc_service::new_client`]. Invariant: a block that is imported was executed by the client, whoever built it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use codec::{Decode, Encode};
use sc_block_builder::BlockBuilderBuilder;
use sc_client_api::{
    CallExecutor, ExecutorProvider, HeaderBackend, ProofProvider,
    execution_extensions::ExecutionExtensions,
};
use sc_client_db::{Backend, DatabaseSettings};
use sc_consensus::{BlockImport, BlockImportParams, ForkChoiceStrategy, ImportResult, StateAction};
use sc_executor::RuntimeVersionOf;
use sc_service::{
    BlocksPruning, DatabaseSource, GenesisBlockBuilder, PruningMode, TaskManager,
    client::{Client, ClientConfig, LocalCallExecutor},
};
use sp_consensus::BlockOrigin;
use sp_core::{
    H256,
    traits::{CallContext, CodeExecutor},
};
use sp_runtime::traits::{Block as _, Header as _};
use sp_version::RuntimeVersion;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    api::{Block, Header, RuntimeApi},
    chain::Chain,
    error::Error,
};

/// Blocks whose state is kept: a node's default.
const STATES_KEPT: u32 = 256;
/// Bytes of the trie cache.
const TRIE_CACHE: usize = 64 << 20;
/// MiB of RocksDB's cache.
const DATABASE_CACHE: usize = 64;

/// What answers calls of a query, as JSON-RPC's `state_call` does.
const QUERY: CallContext = CallContext::Offchain;

type FullClient<E> =
    Client<Backend<Block>, LocalCallExecutor<Block, Backend<Block>, E>, Block, RuntimeApi>;

/// What a client answers at a block, by what was asked; nothing where the runtime does not know the call.
pub(crate) type Answers = BTreeMap<&'static str, Option<Vec<u8>>>;

/// A client. Fields are dropped in this order: the folder last.
pub(crate) struct Node<E> {
    client: FullClient<E>,
    _tasks: TaskManager,
    threads: Runtime,
    _folder: TempDir,
}

impl<E: CodeExecutor + RuntimeVersionOf> Node<E> {
    /// A client of a chain that only has its genesis block.
    pub(crate) fn new(executor: E, chain: &Chain) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let settings = DatabaseSettings {
            trie_cache_maximum_size: Some(TRIE_CACHE),
            state_pruning: Some(PruningMode::blocks_pruning(STATES_KEPT)),
            source: DatabaseSource::RocksDb {
                path: folder.path().to_owned(),
                cache_size: DATABASE_CACHE,
            },
            blocks_pruning: BlocksPruning::KeepFinalized,
            pruning_filters: Vec::new(),
            metrics_registry: None,
        };
        let threads = Runtime::new()?;
        let tasks = TaskManager::new(threads.handle().clone(), None);
        let tasks = tasks.map_err(Error::machine("tasks"))?;
        let client = new_client(executor, chain, settings, &tasks);
        let client = client.map_err(Error::client("a client"))?;
        Ok(Self {
            client,
            _tasks: tasks,
            threads,
            _folder: folder,
        })
    }

    /// Hash of the best block, which is the genesis block at first.
    pub(crate) fn best(&self) -> H256 {
        self.client.info().best_hash
    }

    /// Builds the block after the best one: the runtime's inherents, then the chain's transfers.
    pub(crate) fn build(&self, chain: &Chain) -> Result<(Block, Duration), Error> {
        let info = self.client.info();
        let parent = self.header(info.best_hash)?;
        let number = info.best_number.saturating_add(1);
        let inputs = chain.inputs(number, &parent)?;
        let transfers = chain.transfers(number);
        let begun = Instant::now();
        let built = || -> sp_blockchain::Result<Block> {
            let mut builder = BlockBuilderBuilder::new(&self.client)
                .on_parent_block(info.best_hash)
                .with_parent_block_number(info.best_number)
                .with_inherent_digests(inputs.digest)
                .build()?;
            for inherent in builder.create_inherents(inputs.inherents)? {
                builder.push(inherent)?;
            }
            for transfer in transfers {
                builder.push(transfer.clone())?;
            }
            // What it changes is thrown away: the import has to find that out again.
            Ok(builder.build()?.block)
        };
        let block = built().map_err(Error::client(format!("block {number}")))?;
        Ok((block, begun.elapsed()))
    }

    /// Executes a block and makes it the best one.
    pub(crate) fn import(&self, block: &Block) -> Result<Duration, Error> {
        let (header, body) = block.clone().deconstruct();
        let number = *header.number();
        let mut params = BlockImportParams::new(BlockOrigin::NetworkBroadcast, header);
        params.body = Some(body);
        params.state_action = StateAction::Execute;
        params.fork_choice = Some(ForkChoiceStrategy::LongestChain);
        let begun = Instant::now();
        let imported = self.threads.block_on(self.client.import_block(params));
        let took = begun.elapsed();
        match imported.map_err(|source| Error::Refused { number, source })? {
            ImportResult::Imported(imported) if imported.is_new_best => Ok(took),
            result => Err(Error::NotTaken { number, result }),
        }
    }

    /// The answers at the best block.
    pub(crate) fn answers(&self, account: &[u8; 32]) -> Result<Answers, Error> {
        const NONCE: &str = "AccountNonceApi_account_nonce";
        let at = self.best();
        let executor = ExecutorProvider::executor(&self.client);
        let calls: [(&str, &[u8]); 3] = [
            ("Core_version", &[]),
            ("Metadata_metadata", &[]),
            (NONCE, account),
        ];
        let call = |(method, data)| (method, executor.call(at, method, data, QUERY).ok());
        let mut answers: Answers = calls.map(call).into();
        let version = self.version()?;
        answers.insert("runtime_version", Some(version.encode()));
        let proven = self.client.execution_proof(at, NONCE, account).ok();
        answers.insert("execution_proof", proven.map(|proven| proven.encode()));
        Ok(answers)
    }

    /// The version of the runtime of the best block, from its code; as its code answers, if it does.
    pub(crate) fn version(&self) -> Result<RuntimeVersion, Error> {
        let at = self.best();
        let executor = ExecutorProvider::executor(&self.client);
        let read = CallExecutor::runtime_version(executor, at, QUERY);
        let read = read.map_err(Error::client("the version of the runtime"))?;
        let said = executor.call(at, "Core_version", &[], QUERY);
        let said = said.map_err(Error::client("Core_version"))?;
        let said = RuntimeVersion::decode(&mut said.as_slice());
        let said = said.map_err(Error::undecodable("the answer of Core_version"))?;
        if said == read {
            return Ok(read);
        }
        Err(Error::Difference {
            what: "version of the runtime".to_owned(),
            this: "runtime_version".to_owned(),
            other: "Core_version".to_owned(),
            found: format!("{read:?}"),
            expected: format!("{said:?}"),
        })
    }

    fn header(&self, hash: H256) -> Result<Header, Error> {
        let header = self
            .client
            .header(hash)
            .map_err(Error::client("a header"))?;
        header.ok_or(Error::Machine {
            what: "database",
            reason: format!("no header of {hash:?}"),
        })
    }
}

fn new_client<E: CodeExecutor + RuntimeVersionOf>(
    executor: E,
    chain: &Chain,
    settings: DatabaseSettings,
    tasks: &TaskManager,
) -> sp_blockchain::Result<FullClient<E>> {
    let backend = sc_service::new_db_backend::<Block>(settings)?;
    let genesis = GenesisBlockBuilder::new_with_storage(
        chain.genesis.clone(),
        true,
        backend.clone(),
        executor.clone(),
    )?;
    let extensions = ExecutionExtensions::new(None, std::sync::Arc::new(executor.clone()));
    sc_service::new_client(
        backend,
        executor,
        genesis,
        None,
        None,
        extensions,
        Box::new(tasks.spawn_handle()),
        None,
        None,
        ClientConfig::default(),
    )
}
