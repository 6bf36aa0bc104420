//! A whole state in memory: for single calls on a chain spec, and as an independent twin of the database in tests.

use sp_core::{
    Blake2Hasher, H256,
    storage::{StateVersion, Storage},
};
use sp_state_machine::InMemoryBackend;

use super::{
    StateError,
    trie_state::{TrieSource, TrieState},
};

/// A state held in memory. Building it hashes every value once.
pub type MemoryState = TrieState<InMemoryBackend<Blake2Hasher>, InMemory>;

/// Nodes that are in memory, and always can be read.
#[derive(Debug)]
pub struct InMemory;

impl TrieSource for InMemory {
    fn check(&self) -> Result<(), StateError> {
        Ok(())
    }
}

impl MemoryState {
    /// The state with the contents of `storage`, hashed with tries of `state_version`.
    pub fn new(storage: Storage, state_version: StateVersion) -> Self {
        Self::over((storage, state_version).into(), InMemory)
    }

    /// Root of the state.
    pub fn state_root(&self) -> H256 {
        *self.backend().root()
    }
}
