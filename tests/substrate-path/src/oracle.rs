//! A state in memory, and Substrate's executor on it.
//!
//! Heap and instantiation are a node's defaults (pooling, copy on write, 2048 extra heap pages).
//! Invariant: only [`Oracle::advance`] changes the state; every other call starts from it and
//! leaves it alone.

use codec::{Decode, Encode};
use sc_executor::{WasmExecutionMethod, WasmExecutor, WasmtimeInstantiationStrategy};
use slackwater_runtime_fixtures::{ExpectedWrite, Offered, OfferedOutcome, Refusal, RefusedBlock};
use sp_core::Blake2Hasher;
use sp_core::storage::{ChildInfo, StateVersion, Storage, well_known_keys};
use sp_core::traits::{CallContext, ReadRuntimeVersionExt};
use sp_externalities::Extensions;
use sp_state_machine::backend::BackendRuntimeCode;
use sp_state_machine::{Backend, InMemoryBackend, OverlayedChanges, StateMachine, StorageChanges};
use sp_trie::PrefixedMemoryDB;

use crate::error::{CallFault, OracleError};
use crate::header::HeaderFields;

/// All host functions that real runtimes on a relay chain or parachain import.
pub type HostFunctions = (
    sp_io::SubstrateHostFunctions,
    cumulus_primitives_proof_size_hostfunction::storage_proof_size::HostFunctions,
);

/// The entry points that a block cannot do without.
pub const INITIALIZE: &str = "Core_initialize_block";
/// See [`INITIALIZE`].
pub const FINALIZE: &str = "BlockBuilder_finalize_block";
/// See [`INITIALIZE`].
pub const EXECUTE: &str = "Core_execute_block";

/// The validity error of a mandatory extrinsic that failed.
const BAD_MANDATORY: &[u8] = &[0, 8];

/// A state, and the executor for calls on it.
pub struct Oracle {
    executor: WasmExecutor<HostFunctions>,
    backend: InMemoryBackend<Blake2Hasher>,
    state_version: StateVersion,
}

/// What a single call did.
#[derive(Debug)]
pub struct CallResult {
    /// The result's bytes, or the fault.
    pub output: Result<Vec<u8>, CallFault>,
    /// Every key touched, sorted; empty after a fault.
    pub writes: Vec<ExpectedWrite>,
}

/// What a block did to the state.
pub struct BlockChanges {
    /// Every key touched, roots of child tries as top keys included, sorted.
    pub writes: Vec<ExpectedWrite>,
    /// State root after the block.
    pub state_root: [u8; 32],
    nodes: PrefixedMemoryDB<Blake2Hasher>,
}

/// A block as a builder makes it.
pub struct BuiltBlock {
    /// The included extrinsics.
    pub body: Vec<Vec<u8>>,
    /// What came of each offered extrinsic.
    pub offered: Vec<Offered>,
    /// For each offered extrinsic, the executor's words if it trapped.
    pub faults: Vec<Option<CallFault>>,
    /// The encoded header, without a seal.
    pub header: Vec<u8>,
    /// What the block does to the state.
    pub changes: BlockChanges,
}

/// The state version that a fixture's number means; a chain that states none has version 0.
#[must_use]
pub fn state_version(number: Option<u8>) -> StateVersion {
    match number {
        Some(1) => StateVersion::V1,
        _ => StateVersion::V0,
    }
}

impl Oracle {
    /// An oracle on a state.
    ///
    /// # Errors
    /// The state has no `:code`.
    pub fn new(storage: Storage, state_version: StateVersion) -> Result<Self, OracleError> {
        if !storage.top.contains_key(well_known_keys::CODE) {
            return Err(OracleError::NoCode);
        }
        let strategy = WasmtimeInstantiationStrategy::PoolingCopyOnWrite;
        let executor = WasmExecutor::builder()
            .with_execution_method(WasmExecutionMethod::Compiled {
                instantiation_strategy: strategy,
            })
            .with_allow_missing_host_functions(true)
            .build();
        Ok(Self {
            executor,
            backend: (storage, state_version).into(),
            state_version,
        })
    }

    /// The root of the present state.
    #[must_use]
    pub fn state_root(&self) -> [u8; 32] {
        self.backend.root().0
    }

    /// The present value under a key of the top trie, or of a child trie by its unprefixed key.
    ///
    /// # Errors
    /// The state machine cannot read its own trie.
    pub fn read(&self, child: Option<&[u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, OracleError> {
        match child {
            None => self.backend.storage(key),
            Some(child) => self
                .backend
                .child_storage(&ChildInfo::new_default(child), key),
        }
        .map_err(OracleError::State)
    }

    /// Calls an entry point outside of any block and drops what it wrote.
    ///
    /// # Errors
    /// The state machine fails; a fault of the runtime is part of the result instead.
    pub fn call(&self, method: &str, arguments: &[u8]) -> Result<CallResult, OracleError> {
        let mut calls = Calls::new(self, CallContext::Offchain);
        calls.overlay.start_transaction();
        let output = calls.call(method, arguments);
        calls.close(output.is_ok())?;
        Ok(CallResult {
            output,
            writes: calls.changes()?.writes,
        })
    }

    /// Executes a block whole, as an importing node does.
    ///
    /// `header` is encoded and without a seal, each extrinsic has its length prefix.
    ///
    /// # Errors
    /// The runtime panics, which is how it refuses a block, or the state machine fails.
    pub fn execute_block(
        &self,
        header: &[u8],
        body: &[Vec<u8>],
    ) -> Result<BlockChanges, OracleError> {
        let mut calls = Calls::new(self, CallContext::Onchain { import: true });
        let mut block = header.to_vec();
        block.extend(encode_body(body));
        calls.call_for_block(EXECUTE, &block)?;
        calls.changes()
    }

    /// Builds a block of the extrinsics offered, as an authoring node does: each in a transaction
    /// that is kept only if the runtime included the extrinsic. `header` is encoded and holds the
    /// parent's hash, the number and the first digest items.
    ///
    /// # Errors
    /// A call that the whole block needs fails, or returns what cannot be decoded; a mandatory
    /// extrinsic fails.
    pub fn build_block(
        &self,
        header: &[u8],
        offered: &[Vec<u8>],
    ) -> Result<BuiltBlock, OracleError> {
        let mut calls = Calls::new(self, CallContext::Onchain { import: false });
        calls.call_for_block(INITIALIZE, header)?;
        let (mut outcomes, mut faults) = (Vec::new(), Vec::new());
        for (index, extrinsic) in offered.iter().enumerate() {
            let (outcome, fault) = calls.apply(extrinsic)?;
            if outcome.error.as_deref() == Some(BAD_MANDATORY) {
                return Err(OracleError::Mandatory { index });
            }
            outcomes.push(outcome);
            faults.push(fault);
        }
        let included = outcomes.iter().filter(|o| o.outcome.is_included());
        Ok(BuiltBlock {
            body: included.map(|o| o.extrinsic.clone()).collect(),
            offered: outcomes,
            faults,
            header: calls.call_for_block(FINALIZE, &[])?,
            changes: calls.changes()?,
        })
    }

    /// Attempts a block that must be refused.
    ///
    /// # Errors
    /// It is not refused, or elsewhere than stated; the text says what came instead.
    pub fn check_refused(&self, refused: &RefusedBlock) -> Result<(), String> {
        let (header, extrinsics) = (&refused.header, &refused.extrinsics);
        let attempt = match refused.refusal {
            Refusal::Import | Refusal::ImportWhole => {
                self.execute_block(header, extrinsics).map(drop)
            }
            _ => self.build_block(header, extrinsics).map(drop),
        };
        let last = extrinsics.len().saturating_sub(1);
        match (refused.refusal, attempt) {
            (_, Ok(())) => Err("it is not refused".to_owned()),
            (Refusal::BuildInitialize, Err(OracleError::Call { method, .. }))
                if method == INITIALIZE =>
            {
                Ok(())
            }
            (Refusal::BuildMandatory, Err(OracleError::Mandatory { index })) if index == last => {
                Ok(())
            }
            (Refusal::BuildFinalize, Err(OracleError::Call { method, .. }))
                if method == FINALIZE =>
            {
                Ok(())
            }
            (Refusal::Import | Refusal::ImportWhole, Err(OracleError::Call { method, .. }))
                if method == EXECUTE =>
            {
                Ok(())
            }
            (_, Err(other)) => Err(other.to_string()),
        }
    }

    /// Makes the state after a block the present one.
    pub fn advance(&mut self, changes: BlockChanges) {
        self.backend
            .apply_transaction(changes.state_root.into(), changes.nodes);
    }
}

/// A list of extrinsics that carry their length prefixes.
fn encode_body(body: &[Vec<u8>]) -> Vec<u8> {
    // The elements of a list are as opaque as its length allows.
    let count = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [codec::Compact(count).encode(), body.concat()].concat()
}

/// Consecutive calls on one overlay.
struct Calls<'a> {
    oracle: &'a Oracle,
    context: CallContext,
    overlay: OverlayedChanges<Blake2Hasher>,
    extensions: Extensions,
}

impl<'a> Calls<'a> {
    fn new(oracle: &'a Oracle, context: CallContext) -> Self {
        let mut extensions = Extensions::default();
        extensions.register(ReadRuntimeVersionExt::new(oracle.executor.clone()));
        Self {
            oracle,
            context,
            overlay: OverlayedChanges::default(),
            extensions,
        }
    }

    fn call(&mut self, method: &str, arguments: &[u8]) -> Result<Vec<u8>, CallFault> {
        let backend = &self.oracle.backend;
        let code = BackendRuntimeCode::new(backend, self.context.into());
        let runtime_code = code.runtime_code().map_err(|message| CallFault {
            message: message.to_owned(),
        })?;
        StateMachine::new(
            backend,
            &mut self.overlay,
            &self.oracle.executor,
            method,
            arguments,
            &mut self.extensions,
            &runtime_code,
            self.context,
        )
        .execute()
        .map_err(|fault| CallFault {
            message: fault.to_string(),
        })
    }

    fn call_for_block(
        &mut self,
        method: &'static str,
        arguments: &[u8],
    ) -> Result<Vec<u8>, OracleError> {
        self.call(method, arguments)
            .map_err(|fault| OracleError::Call { method, fault })
    }

    /// Closes the outermost transaction.
    fn close(&mut self, keep: bool) -> Result<(), OracleError> {
        let closed = if keep {
            self.overlay.commit_transaction()
        } else {
            self.overlay.rollback_transaction()
        };
        closed.map_err(|fault| OracleError::State(format!("{fault:?}")))
    }

    fn apply(&mut self, extrinsic: &[u8]) -> Result<(Offered, Option<CallFault>), OracleError> {
        const METHOD: &str = "BlockBuilder_apply_extrinsic";
        self.overlay.start_transaction();
        let (outcome, error, fault) = match self.call(METHOD, extrinsic) {
            Ok(output) => {
                let (outcome, error) = classify(&output).ok_or(OracleError::Output {
                    method: METHOD,
                    output,
                })?;
                (outcome, error, None)
            }
            Err(fault) if fault.is_stack_overflow() => {
                (OfferedOutcome::NativeStack, None, Some(fault))
            }
            Err(fault) => (OfferedOutcome::Trap, None, Some(fault)),
        };
        self.close(outcome.is_included())?;
        let extrinsic = extrinsic.to_vec();
        let offered = Offered {
            extrinsic,
            outcome,
            error,
        };
        Ok((offered, fault))
    }

    /// Everything that was written and kept.
    fn changes(&mut self) -> Result<BlockChanges, OracleError> {
        let backend = &self.oracle.backend;
        let version = self.oracle.state_version;
        let changes = self
            .overlay
            .drain_storage_changes(backend, version)
            .map_err(OracleError::State)?;
        Ok(BlockChanges {
            writes: sorted_writes(backend, version, &changes),
            state_root: changes.transaction_storage_root.0,
            nodes: changes.transaction,
        })
    }
}

/// Splits a result of `BlockBuilder_apply_extrinsic` into outcome and encoded error.
fn classify(output: &[u8]) -> Option<(OfferedOutcome, Option<Vec<u8>>)> {
    match output {
        [0, 0] => Some((OfferedOutcome::Applied, None)),
        [0, 1, error @ ..] => Some((OfferedOutcome::DispatchError, Some(error.to_vec()))),
        [1, error @ ..] => Some((OfferedOutcome::Invalid, Some(error.to_vec()))),
        _ => None,
    }
}

fn sorted_writes(
    backend: &InMemoryBackend<Blake2Hasher>,
    version: StateVersion,
    changes: &StorageChanges<Blake2Hasher>,
) -> Vec<ExpectedWrite> {
    let mut writes = Vec::new();
    let write =
        |child: Option<&Vec<u8>>, (key, value): &(Vec<u8>, Option<Vec<u8>>)| ExpectedWrite {
            child: child.cloned(),
            key: key.clone(),
            value: value.clone(),
        };
    writes.extend(changes.main_storage_changes.iter().map(|w| write(None, w)));
    for (child, touched) in &changes.child_storage_changes {
        if touched.is_empty() {
            continue;
        }
        let info = ChildInfo::new_default(child);
        let delta = touched.iter().map(|(k, v)| (&k[..], v.as_deref()));
        let (root, is_empty, _) = backend.child_storage_root(&info, delta, version);
        writes.push(ExpectedWrite {
            child: None,
            key: info.prefixed_storage_key().into_inner(),
            value: (!is_empty).then(|| root.encode()),
        });
        writes.extend(touched.iter().map(|w| write(Some(child), w)));
    }
    writes.sort();
    writes
}

/// Decodes the header that `BlockBuilder_finalize_block` returned.
///
/// # Errors
/// The bytes are no header.
pub fn decode_header(header: &[u8]) -> Result<HeaderFields, OracleError> {
    HeaderFields::decode(header).map_err(|_undecodable| OracleError::Output {
        method: "BlockBuilder_finalize_block",
        output: header.to_vec(),
    })
}

/// Decodes the whole output of a call.
///
/// # Errors
/// The bytes are no `T`, or something is behind it.
pub fn decode_all<T: Decode>(mut output: &[u8]) -> Result<T, codec::Error> {
    let decoded = T::decode(&mut output)?;
    if output.is_empty() {
        Ok(decoded)
    } else {
        Err("bytes behind the value".into())
    }
}
