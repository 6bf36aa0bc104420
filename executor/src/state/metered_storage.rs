//! Storage as a guest sees it: `sp-state-machine`'s, and the keys of the block's own layers are charged
//! to the guest where a host function looks at many of them for one call.
//!
//! Invariant: what a guest reads and writes is the reference's doing; this charges, and leaves out what
//! a guest over its limit may not do any more. Cost: that of the reference, and of counting a part of
//! what it looks at again.

use std::{
    any::{Any, TypeId},
    collections::HashSet,
};

use sp_core::{
    Blake2Hasher,
    storage::{ChildInfo, StateVersion, TrackedStorageKey},
};
use sp_externalities::{
    Error, Extension, ExtensionStore, Extensions, Externalities, MultiRemovalResults,
};
use sp_state_machine::{Backend, Ext, OverlayedChanges};

use super::{BlockState, metered_state::MeteredState};
use crate::fuel::StateCost;

/// What a removal answers that was not begun.
const NOTHING_REMOVED: MultiRemovalResults = MultiRemovalResults {
    maybe_cursor: None,
    backend: 0,
    unique: 0,
    loops: 0,
};

/// `overlay` over `state`.
pub(super) struct MeteredStorage<'a, 's, S>
where
    MeteredState<'s, S>: Backend<Blake2Hasher>,
{
    overlay: &'a mut OverlayedChanges<Blake2Hasher>,
    state: &'a MeteredState<'s, S>,
    /// The reference keeps extensions only together with an overlay. This one stays empty; its layers
    /// are opened and closed with those of the other.
    extensions: Ext<'a, Blake2Hasher, MeteredState<'s, S>>,
    /// For each layer that the guest has open, and the one below: the keys appended to there. The
    /// reference copies the value when such a key is appended to for the first time.
    appended: Vec<HashSet<Vec<u8>>>,
}

impl<'a, 's, S> MeteredStorage<'a, 's, S>
where
    MeteredState<'s, S>: Backend<Blake2Hasher>,
{
    /// `empty` has no changes.
    pub(super) fn new(
        overlay: &'a mut OverlayedChanges<Blake2Hasher>,
        state: &'a MeteredState<'s, S>,
        extensions: &'a mut Extensions,
        empty: &'a mut OverlayedChanges<Blake2Hasher>,
    ) -> Self {
        Self {
            overlay,
            state,
            extensions: Ext::new(empty, state, Some(extensions)),
            appended: vec![HashSet::new()],
        }
    }

    /// The reference, which does the work.
    fn reference(&mut self) -> Ext<'_, Blake2Hasher, MeteredState<'s, S>> {
        Ext::new(self.overlay, self.state, None)
    }

    fn charge(&self, cost: StateCost, times: usize) -> bool {
        self.state.meter.charge(cost, times)
    }

    /// Layers that the guest has open.
    fn layers(&self) -> usize {
        self.appended.len() - 1
    }

    /// Charges for so many keys having changed: each layer that is open hands them on when it is
    /// committed.
    fn changed(&self, keys: usize) -> bool {
        self.charge(StateCost::Changed, keys.saturating_mul(self.layers()))
    }

    /// Charges for a value that is handed out.
    fn handed_out(&self, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if let Some(value) = &value {
            self.state.meter.charge_bytes(StateCost::Value, value.len());
        }
        value
    }

    /// Charges for a child trie whose first change this is: it gets all layers that are open, which
    /// will be closed in it. Whether it may be changed.
    fn touch(&self, child: &ChildInfo) -> bool {
        let known = self.overlay.child_changes(child.storage_key()).is_some();
        known
            || self.charge(StateCost::Child, 1)
                && self.charge(StateCost::Changed, self.layers().saturating_mul(2))
    }

    /// Charges for opening a layer in each child trie that was changed, and for closing it, by whomever
    /// that is done.
    fn open_in_children(&self) {
        let children = at_least(self.overlay.children());
        self.charge(StateCost::Changed, children.saturating_mul(2));
    }

    /// The keys that the block has changed in this child trie.
    fn changes_of(&self, child: &ChildInfo) -> usize {
        let changes = self.overlay.child_changes(child.storage_key());
        changes.map_or(0, |(changes, _)| at_least(changes))
    }

    /// Charges for what a removal did, `changed` being the keys it may have marked.
    fn removed(&self, removed: MultiRemovalResults, changed: usize) -> MultiRemovalResults {
        let keys = usize::try_from(removed.unique).unwrap_or(usize::MAX);
        self.charge(StateCost::Removed, keys);
        self.changed(changed);
        removed
    }
}

/// How many the reference's maps say that they hold, without counting.
fn at_least(entries: impl Iterator) -> usize {
    entries.size_hint().0
}

/// How many of `keys` come before `end`.
fn before<'k>(keys: impl Iterator<Item = &'k [u8]>, end: Option<&[u8]>) -> usize {
    keys.take_while(|key| end.is_none_or(|end| *key < end))
        .count()
}

/// How many of `keys` begin with `prefix`, if those come first.
fn beginning<'k>(keys: impl Iterator<Item = &'k [u8]>, prefix: &[u8]) -> usize {
    keys.take_while(|key| key.starts_with(prefix)).count()
}

impl<'s, S: BlockState> Externalities for MeteredStorage<'_, 's, S>
where
    MeteredState<'s, S>: Backend<Blake2Hasher>,
{
    fn set_offchain_storage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.changed(1);
        self.reference().set_offchain_storage(key, value);
    }

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.reference().storage(key);
        self.handed_out(value)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.reference().storage_hash(key)
    }

    fn child_storage_hash(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.reference().child_storage_hash(child, key)
    }

    fn child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.reference().child_storage(child, key);
        self.handed_out(value)
    }

    fn exists_storage(&mut self, key: &[u8]) -> bool {
        self.reference().exists_storage(key)
    }

    fn exists_child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> bool {
        self.reference().exists_child_storage(child, key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let next = self.reference().next_storage_key(key);
        let changes = self.overlay.iter_after(key).map(|(key, _)| key);
        let passed = before(changes, next.as_deref());
        self.charge(StateCost::Changed, passed);
        next
    }

    fn next_child_storage_key(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        let next = self.reference().next_child_storage_key(child, key);
        let changes = self.overlay.child_iter_after(child.storage_key(), key);
        let passed = before(changes.map(|(key, _)| key), next.as_deref());
        self.charge(StateCost::Changed, passed);
        next
    }

    fn kill_child_storage(
        &mut self,
        child: &ChildInfo,
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        if !self.touch(child) || !self.charge(StateCost::Changed, self.changes_of(child)) {
            return NOTHING_REMOVED;
        }
        let removed = self.reference().kill_child_storage(child, limit, cursor);
        self.removed(removed, self.changes_of(child))
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        // The reference looks at every key the block has changed.
        if !self.charge(StateCost::Changed, at_least(self.overlay.changes())) {
            return NOTHING_REMOVED;
        }
        let removed = self.reference().clear_prefix(prefix, limit, cursor);
        let changes = self.overlay.iter_after(prefix).map(|(key, _)| key);
        let changed = beginning(changes, prefix);
        self.removed(removed, changed)
    }

    fn clear_child_prefix(
        &mut self,
        child: &ChildInfo,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        if !self.touch(child) || !self.charge(StateCost::Changed, self.changes_of(child)) {
            return NOTHING_REMOVED;
        }
        let mut reference = self.reference();
        let removed = reference.clear_child_prefix(child, prefix, limit, cursor);
        let changes = self.overlay.child_iter_after(child.storage_key(), prefix);
        let changed = beginning(changes.map(|(key, _)| key), prefix);
        self.removed(removed, changed)
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changed(1);
        for keys in &mut self.appended {
            keys.remove(&key);
        }
        self.state.state.written(None, &key);
        self.reference().place_storage(key, value);
    }

    fn place_child_storage(&mut self, child: &ChildInfo, key: Vec<u8>, value: Option<Vec<u8>>) {
        if self.touch(child) && self.changed(1) {
            self.state.state.written(Some(child), &key);
            self.reference().place_child_storage(child, key, value);
        }
    }

    fn storage_root(&mut self, state_version: StateVersion) -> Vec<u8> {
        self.reference().storage_root(state_version)
    }

    fn child_storage_root(&mut self, child: &ChildInfo, state_version: StateVersion) -> Vec<u8> {
        // The root becomes a value of the block's layers.
        self.changed(1);
        self.reference().child_storage_root(child, state_version)
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changed(1);
        if !self.appended.iter().any(|keys| keys.contains(&key)) {
            // One of the state is charged for when it is read.
            let copied = self.overlay.storage(&key).flatten().map_or(0, <[u8]>::len);
            if !self.state.meter.charge_bytes(StateCost::Value, copied) {
                return;
            }
            if let Some(keys) = self.appended.last_mut() {
                keys.insert(key.clone());
            }
        }
        self.state.state.written(None, &key);
        self.reference().storage_append(key, value);
    }

    fn storage_start_transaction(&mut self) {
        self.open_in_children();
        self.reference().storage_start_transaction();
        self.extensions.storage_start_transaction();
        self.appended.push(HashSet::new());
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.reference().storage_rollback_transaction()?;
        self.appended.pop();
        self.extensions.storage_rollback_transaction()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.reference().storage_commit_transaction()?;
        let committed = self.appended.pop().unwrap_or_default();
        if let Some(below) = self.appended.last_mut() {
            below.extend(committed);
        }
        self.extensions.storage_commit_transaction()
    }

    fn storage_index_transaction(&mut self, index: u32, hash: &[u8], size: u32) {
        self.reference()
            .storage_index_transaction(index, hash, size);
    }

    fn storage_renew_transaction_index(&mut self, index: u32, hash: &[u8]) {
        self.reference()
            .storage_renew_transaction_index(index, hash);
    }

    fn wipe(&mut self) {
        self.reference().wipe();
    }

    fn commit(&mut self) {
        self.reference().commit();
    }

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        self.state.read_write_count()
    }

    fn reset_read_write_count(&mut self) {
        self.state.reset_read_write_count();
    }

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        self.state.get_whitelist()
    }

    fn set_whitelist(&mut self, keys: Vec<TrackedStorageKey>) {
        self.state.set_whitelist(keys);
    }

    fn proof_size(&self) -> Option<u32> {
        self.state.proof_size()
    }

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        self.state.get_read_and_written_keys()
    }
}

impl<'s, S: BlockState> ExtensionStore for MeteredStorage<'_, 's, S>
where
    MeteredState<'s, S>: Backend<Blake2Hasher>,
{
    fn extension_by_type_id(&mut self, id: TypeId) -> Option<&mut dyn Any> {
        self.extensions.extension_by_type_id(id)
    }

    fn register_extension_with_type_id(
        &mut self,
        id: TypeId,
        extension: Box<dyn Extension>,
    ) -> Result<(), Error> {
        self.extensions
            .register_extension_with_type_id(id, extension)
    }

    fn deregister_extension_by_type_id(&mut self, id: TypeId) -> Result<(), Error> {
        self.extensions.deregister_extension_by_type_id(id)
    }
}
