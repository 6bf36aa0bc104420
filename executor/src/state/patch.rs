//! What stands between two states, in the bytes of the database: values and trie nodes that are written, or
//! removed. A block is one, undoing it is another, and a state that is not in the database is read through some.
//!
//! Invariant: keys are those of the columns `flat` and `nodes`. Cost: as many entries as the block has changes.

use std::{collections::BTreeMap, ops::Bound};

use codec::{Decode, Encode};
use rocksdb::WriteBatch;
use sp_core::Blake2Hasher;
use sp_state_machine::BackendTransaction;

use super::{
    Database, WriteSet,
    schema::{CF_FLAT, CF_NODES, FlatSpace},
};

/// What an entry takes in a batch beside key and value: what it is, its column, and two lengths.
const ENTRY_BYTES: usize = 8;

/// Entries of a column: written, or removed.
type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The difference of one state to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Patch {
    pub(super) flat: Entries,
    pub(super) nodes: Entries,
}

impl Patch {
    /// That of a block with these writes and nodes.
    pub(super) fn new(writes: &WriteSet, mut nodes: BackendTransaction<Blake2Hasher>) -> Self {
        let flat = writes.iter().flat_map(|(child, entries)| {
            let space = FlatSpace::of(child.as_deref());
            let entries = entries.iter();
            entries.map(move |(key, value)| (space.key(key), value.clone()))
        });
        let nodes = nodes.drain().into_iter();
        let nodes = nodes.filter_map(|(key, (node, count))| match count {
            0 => None,
            1.. => Some((key, Some(node))),
            ..0 => Some((key, None)),
        });
        // There are many, with long keys. What is sorted becomes a map in one go.
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            flat: flat.collect(),
            nodes: nodes.into_iter().collect(),
        }
    }

    /// Makes it what it is together with another that comes after it.
    pub(super) fn then(&mut self, other: Self) {
        self.flat.extend(other.flat);
        self.nodes.extend(other.nodes);
    }

    /// Bytes that it takes in a batch, about.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.flat.iter().chain(&self.nodes);
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        entries
            .map(|(key, value)| key.len() + bytes(value) + ENTRY_BYTES)
            .sum()
    }

    /// The value under a key, if this decides about it; `None` within is none.
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.flat.get(key).map(Option::as_deref)
    }

    /// A node, if this holds it.
    pub(super) fn node(&self, key: &[u8]) -> Option<&[u8]> {
        self.nodes.get(key).and_then(Option::as_deref)
    }

    /// The entries of `flat` from `start` on, in order.
    pub(super) fn from(&self, start: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
        let range = (Bound::Included(start), Bound::Unbounded);
        let entries = self.flat.range::<[u8], _>(range);
        entries.map(|(key, value)| (key.as_slice(), value.is_some()))
    }
}

impl Database {
    /// Adds a patch to a batch.
    pub(super) fn put_patch(&self, batch: &mut WriteBatch, patch: &Patch) {
        for (column, entries) in [(CF_FLAT, &patch.flat), (CF_NODES, &patch.nodes)] {
            let column = self.column(column);
            for (key, value) in entries {
                match value {
                    Some(value) => batch.put_cf(column, key, value),
                    None => batch.delete_cf(column, key),
                }
            }
        }
    }
}
