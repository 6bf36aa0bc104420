//! What a block needs of its parent's state: recorded while it is executed, and the state that such a proof shows.
//!
//! A state that records is read through its trie, node by node, unlike a view. Layers that are rolled back take with
//! them what they recorded, so that a proof is of what a block holds. Sizes of proofs, which guests may ask for, come
//! from `sp-trie`'s `RecordingProofSizeProvider`, which keeps them to be given again by `ReplayProofSizeProvider`.
//!
//! Invariant: a proof shows the state that its root names, or says what it lacks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use sp_core::{Blake2Hasher, H256};
use sp_state_machine::{TrieBackend, TrieBackendBuilder, TrieBackendStorage};
use sp_trie::{
    DBValue, EMPTY_PREFIX, HashDBT, MemoryDB, StorageProof,
    proof_size_extension::{ProofSizeExt, RecordingProofSizeProvider},
    recorder::Recorder,
};

use super::{
    BlockState, StateError, StateView,
    node_reader::{NodeReader, Prefix},
    trie_state::{TrieSource, TrieState},
};

/// The state of a view, which records the nodes that are read.
pub type RecordingState<'v, 'db> =
    TrieState<TrieBackend<NodeReader<'v, 'db>, Blake2Hasher>, RecordedNodes<'v, 'db>>;

/// The nodes of a view, and which of them were read.
pub struct RecordedNodes<'v, 'db> {
    view: &'v StateView<'db>,
    recorder: Recorder<Blake2Hasher>,
}

impl fmt::Debug for RecordedNodes<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("RecordedNodes");
        shown.field("view", self.view).finish_non_exhaustive()
    }
}

impl TrieSource for RecordedNodes<'_, '_> {
    fn check(&self) -> Result<(), StateError> {
        self.view.check()
    }

    fn open_layer(&self) {
        self.recorder.start_transaction();
    }

    fn close_layer(&self, kept: bool) {
        let closed = if kept {
            self.recorder.commit_transaction()
        } else {
            self.recorder.rollback_transaction()
        };
        debug_assert!(closed.is_ok(), "layers are opened and closed in pairs");
    }
}

impl<'db> StateView<'db> {
    /// The same state, read through its trie, which records what is read.
    pub fn recording(&self) -> RecordingState<'_, 'db> {
        let recorder = Recorder::default();
        let nodes = NodeReader::checking(self);
        let backend = TrieBackendBuilder::new(nodes, self.head().state_root);
        let backend = backend.with_recorder(recorder.clone()).build();
        let view = self;
        TrieState::over(backend, RecordedNodes { view, recorder })
    }
}

impl RecordingState<'_, '_> {
    /// The nodes read so far.
    pub fn proof(&self) -> StorageProof {
        self.source().recorder.to_storage_proof()
    }

    /// About how many bytes the proof takes, encoded: what guests are told.
    pub fn proof_bytes(&self) -> usize {
        self.source().recorder.estimate_encoded_size()
    }

    /// What tells guests the size of the proof, as an extension, and what keeps all it has told: whoever executes the
    /// block again has to tell the same.
    pub fn proof_size(&self) -> (ProofSizeExt, RecordingProofSizeProvider) {
        let provider = RecordingProofSizeProvider::new(self.source().recorder.clone());
        (ProofSizeExt::new(provider.clone()), provider)
    }
}

/// The part of a state that a proof shows.
pub type ProofState = TrieState<TrieBackend<ProofNodes, Blake2Hasher>, ProvenNodes>;

/// The nodes of a proof.
pub struct ProofNodes {
    nodes: MemoryDB<Blake2Hasher>,
    fault: ProvenNodes,
}

impl fmt::Debug for ProofNodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProofNodes").finish_non_exhaustive()
    }
}

/// Whether all nodes asked for were there.
#[derive(Debug, Clone, Default)]
pub struct ProvenNodes(Arc<Mutex<Option<StateError>>>);

impl TrieSource for ProvenNodes {
    fn check(&self) -> Result<(), StateError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}

impl TrieBackendStorage<Blake2Hasher> for ProofNodes {
    fn get(&self, hash: &H256, _prefix: Prefix<'_>) -> Result<Option<DBValue>, String> {
        if let Some(node) = HashDBT::get(&self.nodes, hash, EMPTY_PREFIX) {
            return Ok(Some(node));
        }
        let reason = format!("node {hash:?} is not in the proof");
        let mut fault = self.fault.0.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| StateError::Trie {
            reason: reason.clone(),
        });
        Err(reason)
    }
}

impl ProofState {
    /// What `proof` shows of the state with this root.
    ///
    /// # Errors
    /// [`StateError::Trie`] when it does not hold the root.
    pub fn new(state_root: H256, proof: StorageProof) -> Result<Self, StateError> {
        let nodes = proof.into_memory_db::<Blake2Hasher>();
        if !HashDBT::contains(&nodes, &state_root, EMPTY_PREFIX) {
            return Err(StateError::Trie {
                reason: format!("the root {state_root:?} is not in the proof"),
            });
        }
        let fault = ProvenNodes::default();
        let nodes = ProofNodes {
            nodes,
            fault: fault.clone(),
        };
        let backend = TrieBackendBuilder::new(nodes, state_root).build();
        Ok(Self::over(backend, fault))
    }
}
