//! What stands between two states, in the bytes of the database: values and trie nodes that are written, or
//! removed. A block is one, undoing it is another, and a state that is not in the database is read through some.
//!
//! Invariant: keys are those of the columns `flat` and `nodes`. Cost: as many entries as the block has changes.

use std::collections::BTreeMap;

use codec::{Decode, Encode, Input};
use rocksdb::WriteBatch;
use sp_core::Blake2Hasher;
use sp_state_machine::BackendTransaction;

use super::{
    Database, WriteSet,
    schema::{CF_FLAT, CF_NODES, FlatSpace},
};

/// What an entry takes in a batch beside key and value: what it is, its column, and two lengths.
const ENTRY_BYTES: usize = 8;

/// An entry of a column: its key, and what is written there, or that it is removed.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// Entries of a column, in the order of their keys, of which there is one each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode)]
pub(super) struct Entries(Vec<Entry>);

impl Entries {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(entries)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let found = self
            .0
            .binary_search_by(|(other, _)| other.as_slice().cmp(key));
        self.0.get(found.ok()?)
    }

    /// Those whose keys are not less than `start`.
    fn from(&self, start: &[u8]) -> &[Entry] {
        let begin = self.0.partition_point(|(key, _)| key.as_slice() < start);
        self.0.get(begin..).unwrap_or_default()
    }
}

impl Decode for Entries {
    fn decode<I: Input>(input: &mut I) -> Result<Self, codec::Error> {
        let entries = Vec::<Entry>::decode(input)?;
        if entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            Ok(Self(entries))
        } else {
            Err("entries are out of order".into())
        }
    }
}

/// The difference of one state to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Patch {
    pub(super) flat: Entries,
    pub(super) nodes: Entries,
}

impl Patch {
    /// That of a block with these writes and nodes.
    pub(super) fn new(writes: WriteSet, mut nodes: BackendTransaction<Blake2Hasher>) -> Self {
        let flat = writes.into_iter().flat_map(|(child, entries)| {
            let space = FlatSpace::of(child.as_deref());
            let entries = entries.into_iter();
            entries.map(move |(key, value)| (space.key(&key), value))
        });
        let nodes = nodes.drain().into_iter();
        let nodes = nodes.filter_map(|(key, (node, count))| match count {
            0 => None,
            1.. => Some((key, Some(node))),
            ..0 => Some((key, None)),
        });
        Self {
            flat: Entries::new(flat.collect()),
            nodes: Entries::new(nodes.collect()),
        }
    }

    /// What these make together, of which each comes after the one before it.
    pub(super) fn together(patches: impl IntoIterator<Item = Self>) -> Self {
        let [mut flat, mut nodes] = [(); 2].map(|()| BTreeMap::new());
        for patch in patches {
            flat.extend(patch.flat.0);
            nodes.extend(patch.nodes.0);
        }
        Self {
            flat: Entries(flat.into_iter().collect()),
            nodes: Entries(nodes.into_iter().collect()),
        }
    }

    /// Bytes that it takes in a batch, about.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.flat.iter().chain(self.nodes.iter());
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        entries
            .map(|(key, value)| key.len() + bytes(value) + ENTRY_BYTES)
            .sum()
    }

    /// The value under a key, if this decides about it; `None` within is none.
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let (_, value) = self.flat.get(key)?;
        Some(value.as_deref())
    }

    /// A node, if this holds it.
    pub(super) fn node(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, node) = self.nodes.get(key)?;
        node.as_deref()
    }

    /// The entries of `flat` from `start` on, in order, and whether they are written.
    pub(super) fn from(&self, start: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
        let entries = self.flat.from(start).iter();
        entries.map(|(key, value)| (key.as_slice(), value.is_some()))
    }
}

impl Database {
    /// Adds a patch to a batch.
    pub(super) fn put_patch(&self, batch: &mut WriteBatch, patch: &Patch) {
        for (column, entries) in [(CF_FLAT, &patch.flat), (CF_NODES, &patch.nodes)] {
            let column = self.column(column);
            for (key, value) in entries.iter() {
                match value {
                    Some(value) => batch.put_cf(column, key, value),
                    None => batch.delete_cf(column, key),
                }
            }
        }
    }
}
