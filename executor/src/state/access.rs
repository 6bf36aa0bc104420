//! What an extrinsic asked for and what it changed, on request: a wrapper around the storage a guest sees, which takes
//! notes.
//!
//! Invariants: the guest sees and is charged the same with and without it. Changes are those that are left when the
//! layer is closed, compared with what was there when it was opened. Cost: a note for each call, and for each key
//! written a look at what was there before.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, BTreeSet},
};

use sp_core::{
    Blake2Hasher,
    storage::{ChildInfo, StateVersion, TrackedStorageKey},
};
use sp_externalities::{Error, Extension, ExtensionStore, Externalities, MultiRemovalResults};
use sp_state_machine::OverlayedChanges;

use super::{BlockState, StateError};

/// A key of the state: the child trie by its storage key without prefix, `None` for the top trie, and the key there.
pub type Place = (Option<Vec<u8>>, Vec<u8>);

/// What an extrinsic asked for and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Keys whose values, hashes or presence it asked for, its own among them; also where it was rolled back.
    pub reads: BTreeSet<Place>,
    /// Keys it asked for the next one of, each with the answer; also where it was rolled back.
    pub steps: BTreeMap<Place, Option<Vec<u8>>>,
    /// What begins so it removed or tried to; also where it was rolled back.
    pub cleared: BTreeSet<Place>,
    /// What has another value than before.
    pub writes: BTreeMap<Place, Change>,
}

/// A value that changed; `None` is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Before the extrinsic.
    pub before: Option<Vec<u8>>,
    /// After it.
    pub after: Option<Vec<u8>>,
}

/// Notes about one layer.
#[derive(Debug, Default)]
pub(super) struct Notes {
    access: Access,
    /// What was written, and may be as before.
    written: BTreeSet<Place>,
}

/// Notes about the layer that is open, and what the layers closed so far have left.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    pub(super) notes: Notes,
    /// Values of all that was written so far.
    values: BTreeMap<Place, Option<Vec<u8>>>,
    /// About the layer closed last.
    pub(super) last: Option<Access>,
}

impl AccessLog {
    /// Begins behind what the block has left so far.
    pub(super) fn begin(&mut self, overlay: &mut OverlayedChanges<Blake2Hasher>) {
        let top = overlay.changes().map(|(key, _)| (None, key.clone()));
        let mut places: Vec<Place> = top.collect();
        for (changes, child) in overlay.children() {
            let child = child.storage_key();
            places.extend(changes.map(|(key, _)| (Some(child.to_vec()), key.clone())));
        }
        for place in places {
            if let Some(value) = changed(overlay, &place) {
                self.values.insert(place, value);
            }
        }
    }

    /// Ends the notes about a layer, and begins those about the next. `overlay` is what the layer has left over
    /// `state`.
    pub(super) fn settle<S: BlockState>(
        &mut self,
        overlay: &mut OverlayedChanges<Blake2Hasher>,
        state: &S,
    ) -> Access {
        let Notes {
            mut access,
            mut written,
        } = std::mem::take(&mut self.notes);
        for (child, prefix) in &access.cleared {
            written.insert((child.clone(), prefix.clone()));
            let changed: Vec<_> = match child {
                None => beginning(overlay.iter_after(prefix), prefix),
                Some(child) => beginning(overlay.child_iter_after(child, prefix), prefix),
            };
            written.extend(changed.into_iter().map(|key| (child.clone(), key)));
        }
        for place in written {
            let stored = || stored(state, &place);
            let after = changed(overlay, &place).unwrap_or_else(stored);
            let before = match self.values.get(&place) {
                Some(value) => value.clone(),
                None => stored(),
            };
            self.values.insert(place.clone(), after.clone());
            if before != after {
                access.writes.insert(place, Change { before, after });
            }
        }
        access
    }
}

/// The keys that begin so, which come first.
fn beginning<'o, V>(changes: impl Iterator<Item = (&'o [u8], V)>, prefix: &[u8]) -> Vec<Vec<u8>> {
    changes
        .map(|(key, _)| key)
        .take_while(|key| key.starts_with(prefix))
        .map(<[u8]>::to_vec)
        .collect()
}

/// What the block has left under a key, if it has changed it.
fn changed(
    overlay: &mut OverlayedChanges<Blake2Hasher>,
    (child, key): &Place,
) -> Option<Option<Vec<u8>>> {
    let value = match child {
        None => overlay.storage(key),
        Some(child) => overlay.child_storage(&ChildInfo::new_default(child), key),
    };
    value.map(|value| value.map(<[u8]>::to_vec))
}

/// The value of a key in a state.
///
/// # Errors
/// [`StateError`] when it cannot be read, or something before it could not.
pub fn value_at<S: BlockState>(state: &S, place: &Place) -> Result<Option<Vec<u8>>, StateError> {
    let value = stored(state, place);
    state.check()?;
    Ok(value)
}

/// The same, for who asks the state later whether it could be read.
fn stored<S: BlockState>(state: &S, (child, key): &Place) -> Option<Vec<u8>> {
    let value = match child {
        None => state.storage(key),
        Some(child) => state.child_storage(&ChildInfo::new_default(child), key),
    };
    value.ok().flatten()
}

/// A guest's storage, with notes taken.
pub(super) struct Noting<'a> {
    pub(super) storage: &'a mut dyn Externalities,
    pub(super) notes: &'a mut Notes,
}

fn place(child: Option<&ChildInfo>, key: &[u8]) -> Place {
    (
        child.map(|child| child.storage_key().to_vec()),
        key.to_vec(),
    )
}

impl Noting<'_> {
    fn read(&mut self, child: Option<&ChildInfo>, key: &[u8]) {
        self.notes.access.reads.insert(place(child, key));
    }

    fn stepped(&mut self, child: Option<&ChildInfo>, key: &[u8], next: Option<&Vec<u8>>) {
        let steps = &mut self.notes.access.steps;
        steps.insert(place(child, key), next.cloned());
    }

    fn write(&mut self, child: Option<&ChildInfo>, key: &[u8]) {
        self.notes.written.insert(place(child, key));
    }

    fn clear(&mut self, child: Option<&ChildInfo>, prefix: &[u8]) {
        self.notes.access.cleared.insert(place(child, prefix));
    }
}

impl Externalities for Noting<'_> {
    fn set_offchain_storage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.storage.set_offchain_storage(key, value);
    }

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.read(None, key);
        self.storage.storage(key)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.read(None, key);
        self.storage.storage_hash(key)
    }

    fn child_storage_hash(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.read(Some(child), key);
        self.storage.child_storage_hash(child, key)
    }

    fn child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.read(Some(child), key);
        self.storage.child_storage(child, key)
    }

    fn exists_storage(&mut self, key: &[u8]) -> bool {
        self.read(None, key);
        self.storage.exists_storage(key)
    }

    fn exists_child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> bool {
        self.read(Some(child), key);
        self.storage.exists_child_storage(child, key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let next = self.storage.next_storage_key(key);
        self.stepped(None, key, next.as_ref());
        next
    }

    fn next_child_storage_key(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        let next = self.storage.next_child_storage_key(child, key);
        self.stepped(Some(child), key, next.as_ref());
        next
    }

    fn kill_child_storage(
        &mut self,
        child: &ChildInfo,
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.clear(Some(child), &[]);
        self.storage.kill_child_storage(child, limit, cursor)
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.clear(None, prefix);
        self.storage.clear_prefix(prefix, limit, cursor)
    }

    fn clear_child_prefix(
        &mut self,
        child: &ChildInfo,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.clear(Some(child), prefix);
        self.storage
            .clear_child_prefix(child, prefix, limit, cursor)
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.write(None, &key);
        self.storage.place_storage(key, value);
    }

    fn place_child_storage(&mut self, child: &ChildInfo, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.write(Some(child), &key);
        self.storage.place_child_storage(child, key, value);
    }

    fn storage_root(&mut self, state_version: StateVersion) -> Vec<u8> {
        self.storage.storage_root(state_version)
    }

    fn child_storage_root(&mut self, child: &ChildInfo, state_version: StateVersion) -> Vec<u8> {
        // The root becomes a value of the top trie.
        self.write(None, &child.prefixed_storage_key());
        self.storage.child_storage_root(child, state_version)
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.read(None, &key);
        self.write(None, &key);
        self.storage.storage_append(key, value);
    }

    fn storage_start_transaction(&mut self) {
        self.storage.storage_start_transaction();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.storage.storage_rollback_transaction()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.storage.storage_commit_transaction()
    }

    fn storage_index_transaction(&mut self, index: u32, hash: &[u8], size: u32) {
        self.storage.storage_index_transaction(index, hash, size);
    }

    fn storage_renew_transaction_index(&mut self, index: u32, hash: &[u8]) {
        self.storage.storage_renew_transaction_index(index, hash);
    }

    fn wipe(&mut self) {
        self.storage.wipe();
    }

    fn commit(&mut self) {
        self.storage.commit();
    }

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        self.storage.read_write_count()
    }

    fn reset_read_write_count(&mut self) {
        self.storage.reset_read_write_count();
    }

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        self.storage.get_whitelist()
    }

    fn set_whitelist(&mut self, keys: Vec<TrackedStorageKey>) {
        self.storage.set_whitelist(keys);
    }

    fn proof_size(&self) -> Option<u32> {
        self.storage.proof_size()
    }

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        self.storage.get_read_and_written_keys()
    }
}

impl ExtensionStore for Noting<'_> {
    fn extension_by_type_id(&mut self, id: TypeId) -> Option<&mut dyn Any> {
        self.storage.extension_by_type_id(id)
    }

    fn register_extension_with_type_id(
        &mut self,
        id: TypeId,
        extension: Box<dyn Extension>,
    ) -> Result<(), Error> {
        self.storage.register_extension_with_type_id(id, extension)
    }

    fn deregister_extension_by_type_id(&mut self, id: TypeId) -> Result<(), Error> {
        self.storage.deregister_extension_by_type_id(id)
    }
}
