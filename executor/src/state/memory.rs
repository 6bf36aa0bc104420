//! A whole state in memory, over `sp-state-machine`'s trie backend: for single calls on a chain
//! spec, and as an independent twin of the database in tests.

use sp_core::{
    Blake2Hasher, H256,
    storage::{ChildInfo, StateVersion, Storage},
};
use sp_state_machine::{
    Backend, BackendTransaction, InMemoryBackend, IterArgs, StateMachineStats, StorageIterator,
    StorageKey, StorageValue, UsageInfo,
};
use sp_trie::MerkleValue;

use super::{BlockState, DeltaDigest, StateError, delta::effective_delta};

/// A state held in memory. Building it hashes every value once.
#[derive(Debug)]
pub struct MemoryState {
    backend: InMemoryBackend<Blake2Hasher>,
}

impl MemoryState {
    /// The state with the contents of `storage`, hashed with tries of `state_version`.
    pub fn new(storage: Storage, state_version: StateVersion) -> Self {
        Self {
            backend: (storage, state_version).into(),
        }
    }

    /// Root of the state.
    pub fn state_root(&self) -> H256 {
        *self.backend.root()
    }
}

impl BlockState for MemoryState {
    fn check(&self) -> Result<(), StateError> {
        Ok(())
    }

    fn last_root_delta(&self) -> Option<DeltaDigest> {
        None
    }
}

/// An iterator over a [`MemoryState`].
pub struct MemoryIter(<InMemoryBackend<Blake2Hasher> as Backend<Blake2Hasher>>::RawIter);

impl StorageIterator<Blake2Hasher> for MemoryIter {
    type Backend = MemoryState;
    type Error = StateError;

    fn next_key(&mut self, state: &MemoryState) -> Option<Result<StorageKey, StateError>> {
        self.0.next_key(&state.backend).map(|key| key.map_err(trie))
    }

    fn next_pair(
        &mut self,
        state: &MemoryState,
    ) -> Option<Result<(StorageKey, StorageValue), StateError>> {
        self.0
            .next_pair(&state.backend)
            .map(|pair| pair.map_err(trie))
    }

    fn was_complete(&self) -> bool {
        self.0.was_complete()
    }
}

fn trie(reason: String) -> StateError {
    StateError::Trie { reason }
}

impl Backend<Blake2Hasher> for MemoryState {
    type Error = StateError;
    type TrieBackendStorage =
        <InMemoryBackend<Blake2Hasher> as Backend<Blake2Hasher>>::TrieBackendStorage;
    type RawIter = MemoryIter;

    fn storage(&self, key: &[u8]) -> Result<Option<StorageValue>, StateError> {
        self.backend.storage(key).map_err(trie)
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<H256>, StateError> {
        self.backend.storage_hash(key).map_err(trie)
    }

    fn closest_merkle_value(&self, key: &[u8]) -> Result<Option<MerkleValue<H256>>, StateError> {
        self.backend.closest_merkle_value(key).map_err(trie)
    }

    fn child_closest_merkle_value(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<MerkleValue<H256>>, StateError> {
        self.backend
            .child_closest_merkle_value(child_info, key)
            .map_err(trie)
    }

    fn child_storage(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageValue>, StateError> {
        self.backend.child_storage(child_info, key).map_err(trie)
    }

    fn child_storage_hash(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<H256>, StateError> {
        self.backend
            .child_storage_hash(child_info, key)
            .map_err(trie)
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<StorageKey>, StateError> {
        self.backend.next_storage_key(key).map_err(trie)
    }

    fn next_child_storage_key(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageKey>, StateError> {
        self.backend
            .next_child_storage_key(child_info, key)
            .map_err(trie)
    }

    fn storage_root<'a>(
        &self,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, BackendTransaction<Blake2Hasher>) {
        let exists = |key: &[u8]| self.backend.exists_storage(key).unwrap_or(true);
        let delta = effective_delta(delta, exists);
        self.backend.storage_root(delta.into_iter(), state_version)
    }

    fn child_storage_root<'a>(
        &self,
        child_info: &ChildInfo,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, bool, BackendTransaction<Blake2Hasher>) {
        let exists = |key: &[u8]| {
            let exists = self.backend.exists_child_storage(child_info, key);
            exists.unwrap_or(true)
        };
        let delta = effective_delta(delta, exists);
        self.backend
            .child_storage_root(child_info, delta.into_iter(), state_version)
    }

    fn raw_iter(&self, args: IterArgs<'_>) -> Result<MemoryIter, StateError> {
        self.backend.raw_iter(args).map(MemoryIter).map_err(trie)
    }

    fn register_overlay_stats(&self, stats: &StateMachineStats) {
        self.backend.register_overlay_stats(stats);
    }

    fn usage_info(&self) -> UsageInfo {
        self.backend.usage_info()
    }
}
