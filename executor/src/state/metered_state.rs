//! A state that charges: every key stepped over, every changed key a root is calculated from, and values
//! by their size are charged to the guest, and a guest that has no fuel left sees no more keys.
//!
//! Invariant: within the limit, everything is as the state says. Beyond it, answers are void, and the
//! guest that asked is rolled back. Keys of the block's own layers are charged above, in
//! `metered_storage`.

use sp_core::{
    Blake2Hasher, H256,
    storage::{ChildInfo, StateVersion},
};
use sp_state_machine::{
    Backend, BackendTransaction, IterArgs, StateMachineStats, StorageIterator, StorageKey,
    StorageValue, UsageInfo,
};
use sp_trie::MerkleValue;

use crate::{
    fuel::{StateCost, StateMeter},
    timing::{self, Phase},
};

/// `state`, with what is done to it charged to `meter`.
#[derive(Debug)]
pub(super) struct MeteredState<'s, S> {
    pub(super) state: &'s S,
    pub(super) meter: StateMeter,
}

impl<S> MeteredState<'_, S> {
    /// Charges for stepping over a key. Whether it may be shown.
    fn step(&self) -> bool {
        self.meter.charge(StateCost::Walked, 1)
    }

    /// Charges for a root over these changes, whose values are hashed. Whether it may be calculated.
    fn rooted(&self, delta: &[(&[u8], Option<&[u8]>)]) -> bool {
        let bytes = delta.iter().map(|(_, value)| value.map_or(0, <[u8]>::len));
        self.meter.charge(StateCost::Rooted, delta.len())
            && self.meter.charge_bytes(StateCost::Hashed, bytes.sum())
    }

    /// Charges for a value that was read.
    fn read<E>(&self, value: Result<Option<StorageValue>, E>) -> Result<Option<StorageValue>, E> {
        if let Ok(Some(value)) = &value {
            self.meter.charge_bytes(StateCost::Value, value.len());
        }
        value
    }
}

impl<S: Backend<Blake2Hasher>> Backend<Blake2Hasher> for MeteredState<'_, S> {
    type Error = S::Error;
    type TrieBackendStorage = S::TrieBackendStorage;
    type RawIter = MeteredIter<Self, S::RawIter>;

    fn storage(&self, key: &[u8]) -> Result<Option<StorageValue>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.read(self.state.storage(key))
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<H256>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.storage_hash(key)
    }

    fn closest_merkle_value(&self, key: &[u8]) -> Result<Option<MerkleValue<H256>>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.closest_merkle_value(key)
    }

    fn child_closest_merkle_value(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<MerkleValue<H256>>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.child_closest_merkle_value(child_info, key)
    }

    fn child_storage(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageValue>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.read(self.state.child_storage(child_info, key))
    }

    fn child_storage_hash(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<H256>, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.child_storage_hash(child_info, key)
    }

    fn exists_storage(&self, key: &[u8]) -> Result<bool, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.exists_storage(key)
    }

    fn exists_child_storage(&self, child_info: &ChildInfo, key: &[u8]) -> Result<bool, S::Error> {
        let _reading = timing::enter(Phase::Storage);
        self.state.exists_child_storage(child_info, key)
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<StorageKey>, S::Error> {
        if !self.step() {
            return Ok(None);
        }
        let _reading = timing::enter(Phase::Storage);
        self.state.next_storage_key(key)
    }

    fn next_child_storage_key(
        &self,
        child_info: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageKey>, S::Error> {
        if !self.step() {
            return Ok(None);
        }
        let _reading = timing::enter(Phase::Storage);
        self.state.next_child_storage_key(child_info, key)
    }

    fn storage_root<'a>(
        &self,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, BackendTransaction<Blake2Hasher>) {
        let delta: Vec<_> = delta.collect();
        if !self.rooted(&delta) {
            return Default::default();
        }
        let _root = timing::enter(Phase::Root);
        self.state.storage_root(delta.into_iter(), state_version)
    }

    fn child_storage_root<'a>(
        &self,
        child_info: &ChildInfo,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        state_version: StateVersion,
    ) -> (H256, bool, BackendTransaction<Blake2Hasher>) {
        let delta: Vec<_> = delta.collect();
        if !self.rooted(&delta) {
            return Default::default();
        }
        let _root = timing::enter(Phase::Root);
        self.state
            .child_storage_root(child_info, delta.into_iter(), state_version)
    }

    fn raw_iter(&self, args: IterArgs<'_>) -> Result<Self::RawIter, S::Error> {
        Ok(MeteredIter {
            iter: self.state.raw_iter(args)?,
            stopped: false,
            backend: std::marker::PhantomData,
        })
    }

    fn register_overlay_stats(&self, stats: &StateMachineStats) {
        self.state.register_overlay_stats(stats);
    }

    fn usage_info(&self) -> UsageInfo {
        self.state.usage_info()
    }
}

/// An iterator that charges for each step.
pub(super) struct MeteredIter<B, I> {
    iter: I,
    stopped: bool,
    backend: std::marker::PhantomData<fn() -> B>,
}

impl<'s, S: Backend<Blake2Hasher>> StorageIterator<Blake2Hasher>
    for MeteredIter<MeteredState<'s, S>, S::RawIter>
{
    type Backend = MeteredState<'s, S>;
    type Error = S::Error;

    fn next_key(&mut self, backend: &MeteredState<'s, S>) -> Option<Result<StorageKey, S::Error>> {
        self.stopped = !backend.step();
        if self.stopped {
            return None;
        }
        let _reading = timing::enter(Phase::Storage);
        self.iter.next_key(backend.state)
    }

    fn next_pair(
        &mut self,
        backend: &MeteredState<'s, S>,
    ) -> Option<Result<(StorageKey, StorageValue), S::Error>> {
        self.stopped = !backend.step();
        if self.stopped {
            return None;
        }
        let _reading = timing::enter(Phase::Storage);
        self.iter.next_pair(backend.state)
    }

    fn was_complete(&self) -> bool {
        !self.stopped && self.iter.was_complete()
    }
}
