//! The node: a chain in a database, the next block built, executed and committed.

use std::{path::Path, sync::Arc};

use codec::{Decode, DecodeAll, Encode};
use sc_block_builder::BlockBuilderBuilder;
use sc_client_api::{Backend as _, BlockImportOperation as _, NewBlockState};
use sc_client_db::{Backend, BlocksPruning, DatabaseSettings, DatabaseSource, PruningMode};
use sc_executor::{WasmExecutionMethod, WasmExecutor, WasmtimeInstantiationStrategy};
use sp_api::{ApiExt, CallApiAt, Core, ProvideRuntimeApi, StorageChanges};
use sp_core::{
    Blake2Hasher, H256,
    storage::{StateVersion, Storage},
    traits::CallContext,
};
use sp_runtime::{
    Digest, OpaqueExtrinsic,
    traits::{Block as _, Header as _},
};
use sp_trie::{LayoutV0, empty_trie_root};

use crate::{
    NodeError,
    api::{Block, Header},
    calls::Calls,
};

/// Blocks behind the head whose state is kept: a node's default.
const STATES_KEPT: u32 = 256;
/// How far a block may be behind before it counts as final: `sc-service`'s value.
const CANONICALIZATION_DELAY: u64 = 4096;

/// What of a node can be chosen.
#[derive(Debug, Clone, Copy)]
pub struct NodeConfig {
    /// Bytes of the trie cache. Default: 1 GiB, as a node's.
    pub trie_cache: usize,
    /// MiB of RocksDB's cache. Default: 1024, as a node's.
    pub database_cache: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            trie_cache: 1 << 30,
            database_cache: 1024,
        }
    }
}

/// Extrinsics as a pool holds them.
#[derive(Debug, Clone, Default)]
pub struct Transactions(Vec<OpaqueExtrinsic>);

impl Transactions {
    /// Of SCALE with length prefix.
    ///
    /// # Errors
    /// One does not decode.
    pub fn new<'a>(encoded: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NodeError> {
        let decode = |mut bytes: &[u8]| OpaqueExtrinsic::decode(&mut bytes);
        let decoded = encoded.into_iter().map(decode).collect::<Result<_, _>>();
        decoded.map(Self).map_err(|source| NodeError::Undecodable {
            what: "an extrinsic",
            source,
        })
    }
}

/// A block, and what it does to the state.
pub struct Executed {
    block: Block,
    changes: StorageChanges<Block>,
}

impl Executed {
    /// The encoded header.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        self.block.header().encode()
    }

    /// The root of the state behind it.
    #[must_use]
    pub fn state_root(&self) -> H256 {
        *self.block.header().state_root()
    }

    /// How many extrinsics it has.
    #[must_use]
    pub fn extrinsics(&self) -> usize {
        self.block.extrinsics().len()
    }
}

/// A chain.
pub struct Node {
    calls: Calls,
    head: (u32, H256),
}

impl Node {
    /// A chain that begins with `genesis`, in a folder that is empty.
    ///
    /// # Errors
    /// The database cannot be made.
    pub fn new(
        folder: &Path,
        genesis: Storage,
        version: StateVersion,
        config: NodeConfig,
    ) -> Result<Self, NodeError> {
        let settings = DatabaseSettings {
            trie_cache_maximum_size: Some(config.trie_cache),
            state_pruning: Some(PruningMode::blocks_pruning(STATES_KEPT)),
            source: DatabaseSource::RocksDb {
                path: folder.to_owned(),
                cache_size: config.database_cache,
            },
            blocks_pruning: BlocksPruning::KeepFinalized,
            pruning_filters: Vec::new(),
            metrics_registry: None,
        };
        let backend = Arc::new(Backend::<Block>::new(settings, CANONICALIZATION_DELAY)?);
        let executor = WasmExecutor::builder()
            .with_execution_method(WasmExecutionMethod::Compiled {
                instantiation_strategy: WasmtimeInstantiationStrategy::PoolingCopyOnWrite,
            })
            .with_allow_missing_host_functions(true)
            .build();
        let head = begin(&backend, genesis, version)?;
        let calls = Calls { backend, executor };
        Ok(Self {
            calls,
            head: (0, head),
        })
    }

    /// Hash of the latest block.
    #[must_use]
    pub fn head(&self) -> H256 {
        self.head.1
    }

    /// Builds the block after the head. What the runtime refuses is left out.
    ///
    /// # Errors
    /// The runtime fails, or the digest, which is encoded, does not decode.
    pub fn build(&self, digest: &[u8], offered: &Transactions) -> Result<Executed, NodeError> {
        let (number, head) = self.head;
        let builder = BlockBuilderBuilder::new(&self.calls)
            .on_parent_block(head)
            .with_parent_block_number(number)
            .with_inherent_digests(decode::<Digest>("a digest", digest)?);
        let mut builder = builder.build()?;
        for extrinsic in &offered.0 {
            match builder.push(extrinsic.clone()) {
                Ok(())
                | Err(sp_blockchain::Error::ApplyExtrinsicFailed(
                    sp_blockchain::ApplyExtrinsicFailed::Validity(_),
                )) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (block, changes) = builder.build()?.into_inner();
        Ok(Executed { block, changes })
    }

    /// Executes the block after the head, as an importing node does.
    ///
    /// # Errors
    /// The runtime refuses the block, or its root is another.
    pub fn execute(&self, header: &[u8], body: Transactions) -> Result<Executed, NodeError> {
        let header = decode::<Header>("a header", header)?;
        let parent = self.head.1;
        let block = Block::new(header, body.0);
        let mut api = self.calls.runtime_api();
        api.set_call_context(CallContext::Onchain { import: true });
        api.execute_block(parent, block.clone().into())?;
        let state = self.calls.state_at(parent)?;
        let changes = api
            .into_storage_changes(&state, parent)
            .map_err(NodeError::Changes)?;
        let (stated, found) = (
            *block.header().state_root(),
            changes.transaction_storage_root,
        );
        if stated != found {
            let number = *block.header().number();
            return Err(NodeError::Root {
                number,
                stated,
                found,
            });
        }
        Ok(Executed { block, changes })
    }

    /// Makes a block the head, without `fsync`, which Substrate never asks for. What is written of its state is a journal;
    /// its trie is kept in memory until the block is final.
    ///
    /// # Errors
    /// The database fails.
    pub fn commit(&mut self, executed: Executed) -> Result<(), NodeError> {
        let Executed { block, changes } = executed;
        let backend = &self.calls.backend;
        let (header, body) = block.deconstruct();
        let head = (*header.number(), header.hash());
        let mut operation = backend.begin_operation()?;
        backend.begin_state_operation(&mut operation, self.head.1)?;
        let (top, children, offchain, nodes, _, indexed) = changes.into_inner();
        operation.update_db_storage(nodes)?;
        operation.update_storage(top, children)?;
        operation.update_offchain_storage(offchain)?;
        operation.update_transaction_index(indexed)?;
        operation.set_block_data(header, Some(body), None, None, NewBlockState::Best, true)?;
        backend.commit_operation(operation)?;
        self.head = head;
        Ok(())
    }

    /// Makes the head final: its trie is written, and what it replaces is noted for pruning.
    ///
    /// # Errors
    /// The database fails.
    pub fn finalize(&self) -> Result<(), NodeError> {
        Ok(self.calls.backend.finalize_block(self.head.1, None)?)
    }
}

fn decode<T: DecodeAll>(what: &'static str, mut bytes: &[u8]) -> Result<T, NodeError> {
    T::decode_all(&mut bytes).map_err(|source| NodeError::Undecodable { what, source })
}

/// Writes the genesis block; its hash.
fn begin(
    backend: &Backend<Block>,
    genesis: Storage,
    version: StateVersion,
) -> Result<H256, NodeError> {
    let mut operation = backend.begin_operation()?;
    let root = operation.set_genesis_state(genesis, true, version)?;
    let empty = empty_trie_root::<LayoutV0<Blake2Hasher>>();
    let header = Header::new(0, empty, root, H256::zero(), Digest::default());
    let hash = header.hash();
    let block = Block::new(header, Vec::new());
    let (header, body) = block.deconstruct();
    operation.set_block_data(header, Some(body), None, None, NewBlockState::Final, true)?;
    backend.commit_operation(operation)?;
    Ok(hash)
}
