//! A state that is read through its trie, over any of `sp-state-machine`'s trie backends.
//!
//! Cost: a read is a walk from the root.

use std::{
    fmt::Debug,
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use sp_core::{
    Blake2Hasher, H256,
    storage::{ChildInfo, StateVersion},
};
use sp_state_machine::{
    Backend, BackendTransaction, IterArgs, StateMachineStats, StorageIterator, StorageKey,
    StorageValue, UsageInfo,
};
use sp_trie::MerkleValue;

use super::{BlockState, DeltaDigest, StateError, delta::effective_delta};

/// What stands behind a state that is read through its trie.
pub trait TrieSource: Debug {
    /// The first fault of reading nodes.
    ///
    /// # Errors
    /// That fault.
    fn check(&self) -> Result<(), StateError>;

    /// A layer is opened.
    fn open_layer(&self) {}

    /// A layer is closed, and kept or rolled back.
    fn close_layer(&self, _kept: bool) {}
}

/// A state that is read through its trie.
#[derive(Debug)]
pub struct TrieState<B, N> {
    backend: B,
    source: N,
    /// The first fault of reading through the trie.
    fault: Mutex<Option<StateError>>,
}

impl<B, N> TrieState<B, N> {
    pub(super) fn over(backend: B, source: N) -> Self {
        Self {
            backend,
            source,
            fault: Mutex::new(None),
        }
    }

    pub(super) fn backend(&self) -> &B {
        &self.backend
    }

    pub(super) fn source(&self) -> &N {
        &self.source
    }

    /// Keeps the first fault and passes the result on.
    fn noted<T>(&self, result: Result<T, String>) -> Result<T, StateError> {
        result.map_err(|reason| {
            let error = StateError::Trie { reason };
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert_with(|| error.clone());
            error
        })
    }
}

impl<B, N> BlockState for TrieState<B, N>
where
    B: Backend<Blake2Hasher, Error = String> + Send,
    N: TrieSource + Send,
{
    fn check(&self) -> Result<(), StateError> {
        // What the source says names the node.
        self.source.check()?;
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    fn last_root_delta(&self) -> Option<DeltaDigest> {
        None
    }

    fn open_layer(&self) {
        self.source.open_layer();
    }

    fn close_layer(&self, kept: bool) {
        self.source.close_layer(kept);
    }
}

/// An iterator over a [`TrieState`].
pub struct TrieIter<B: Backend<Blake2Hasher>, N> {
    iter: B::RawIter,
    source: PhantomData<fn() -> N>,
}

impl<B, N> StorageIterator<Blake2Hasher> for TrieIter<B, N>
where
    B: Backend<Blake2Hasher, Error = String>,
    N: TrieSource,
{
    type Backend = TrieState<B, N>;
    type Error = StateError;

    fn next_key(&mut self, state: &TrieState<B, N>) -> Option<Result<StorageKey, StateError>> {
        let key = self.iter.next_key(&state.backend)?;
        Some(state.noted(key))
    }

    fn next_pair(
        &mut self,
        state: &TrieState<B, N>,
    ) -> Option<Result<(StorageKey, StorageValue), StateError>> {
        let pair = self.iter.next_pair(&state.backend)?;
        Some(state.noted(pair))
    }

    fn was_complete(&self) -> bool {
        self.iter.was_complete()
    }
}

impl<B, N> Backend<Blake2Hasher> for TrieState<B, N>
where
    B: Backend<Blake2Hasher, Error = String>,
    N: TrieSource,
{
    type Error = StateError;
    type TrieBackendStorage = B::TrieBackendStorage;
    type RawIter = TrieIter<B, N>;

    fn storage(&self, key: &[u8]) -> Result<Option<StorageValue>, StateError> {
        self.noted(self.backend.storage(key))
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<H256>, StateError> {
        self.noted(self.backend.storage_hash(key))
    }

    fn closest_merkle_value(&self, key: &[u8]) -> Result<Option<MerkleValue<H256>>, StateError> {
        self.noted(self.backend.closest_merkle_value(key))
    }

    fn child_closest_merkle_value(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<MerkleValue<H256>>, StateError> {
        self.noted(self.backend.child_closest_merkle_value(child_info, key))
    }

    fn child_storage(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageValue>, StateError> {
        self.noted(self.backend.child_storage(child_info, key))
    }

    fn child_storage_hash(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<H256>, StateError> {
        self.noted(self.backend.child_storage_hash(child_info, key))
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<StorageKey>, StateError> {
        self.noted(self.backend.next_storage_key(key))
    }

    fn next_child_storage_key(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageKey>, StateError> {
        self.noted(self.backend.next_child_storage_key(child_info, key))
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

    fn raw_iter(&self, args: IterArgs<'_>) -> Result<TrieIter<B, N>, StateError> {
        Ok(TrieIter {
            iter: self.noted(self.backend.raw_iter(args))?,
            source: PhantomData,
        })
    }

    fn register_overlay_stats(&self, stats: &StateMachineStats) {
        self.backend.register_overlay_stats(stats);
    }

    fn usage_info(&self) -> UsageInfo {
        self.backend.usage_info()
    }
}
