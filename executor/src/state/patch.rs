//! What stands between two states, in the bytes of the database: values and trie nodes that are written, or
//! removed. A block is one, undoing it is another, and a state that is not in the database is read through some.
//!
//! Invariant: keys are those of the columns `flat` and `nodes`. Cost: as many entries as the block has changes.

use std::{collections::BTreeMap, hash::BuildHasher, sync::Arc};

use codec::{Decode, Encode, Input, Output};
use foldhash::fast::FixedState;
use rocksdb::{DB, WriteBatch};
use sp_core::Blake2Hasher;
use sp_state_machine::BackendTransaction;

use super::{
    WriteSet,
    columns::column,
    filter::Filter,
    schema::{CF_FLAT, CF_NODES, FlatSpace},
};

/// What an entry takes in a batch beside key and value: what it is, its column, and two lengths.
const ENTRY_BYTES: usize = 8;

/// An entry of a column: its key, and what is written there, or that it is removed.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// Entries of a column, in the order of their keys, of which there is one each.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    filter: Filter,
}

impl Entries {
    fn new(mut list: Vec<Entry>) -> Self {
        list.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self::sorted(list)
    }

    fn sorted(list: Vec<Entry>) -> Self {
        let filter = Filter::new(list.len(), list.iter().map(|(key, _)| hash(key)));
        Self { list, filter }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> + Clone {
        self.list.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.list.iter().map(|(key, _)| key)
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.get_hashed(key, hash(key))
    }

    /// The same, with the key's hash.
    fn get_hashed(&self, key: &[u8], hash: u64) -> Option<&Entry> {
        if !self.filter.may_have(hash) {
            return None;
        }
        let found = self
            .list
            .binary_search_by(|(other, _)| other.as_slice().cmp(key));
        self.list.get(found.ok()?)
    }

    /// The place of the first whose key is not less than `start`. Where a walk goes on it is `near`, or behind it.
    fn position(&self, start: &[u8], near: usize) -> usize {
        let is_before = |place: usize| {
            let entry = self.list.get(place);
            entry.is_some_and(|(key, _)| key.as_slice() < start)
        };
        let begins_at = |place: usize| {
            let follows = place.checked_sub(1).is_none_or(is_before);
            place <= self.list.len() && follows && !is_before(place)
        };
        let mut nearby = [near, near.saturating_add(1)].into_iter();
        let found = nearby.find(|place| begins_at(*place));
        found.unwrap_or_else(|| self.list.partition_point(|(key, _)| key.as_slice() < start))
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Entries {}

impl Encode for Entries {
    fn size_hint(&self) -> usize {
        self.list.size_hint()
    }

    fn encode_to<O: Output + ?Sized>(&self, output: &mut O) {
        self.list.encode_to(output);
    }
}

impl Decode for Entries {
    fn decode<I: Input>(input: &mut I) -> Result<Self, codec::Error> {
        let entries = Vec::<Entry>::decode(input)?;
        if entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            Ok(Self::sorted(entries))
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
            flat.extend(patch.flat.list);
            nodes.extend(patch.nodes.list);
        }
        Self {
            flat: Entries::sorted(flat.into_iter().collect()),
            nodes: Entries::sorted(nodes.into_iter().collect()),
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

    /// The entries of `flat` from `start` on, in order, and whether they are written. The cursor says where they may begin, and
    /// then, where they do.
    pub(super) fn from(
        &self,
        start: &[u8],
        cursor: &mut usize,
    ) -> impl Iterator<Item = (&[u8], bool)> {
        *cursor = self.flat.position(start, *cursor);
        let entries = self.flat.list.iter().skip(*cursor);
        entries.map(|(key, value)| (key.as_slice(), value.is_some()))
    }
}

/// What patches say of a key of the column `flat`, the topmost of which is the first; `None` within is none.
pub(super) fn value_in<'p>(
    patches: impl IntoIterator<Item = &'p Arc<Patch>>,
    key: &[u8],
) -> Option<Option<&'p [u8]>> {
    let mut patches = patches.into_iter().peekable();
    // Mostly there is none.
    patches.peek()?;
    let hash = hash(key);
    let (_, value) = patches.find_map(|patch| patch.flat.get_hashed(key, hash))?;
    Some(value.as_deref())
}

/// The node that one of these holds.
pub(super) fn node_in<'p>(
    patches: impl IntoIterator<Item = &'p Arc<Patch>>,
    key: &[u8],
) -> Option<&'p [u8]> {
    let mut patches = patches.into_iter().peekable();
    patches.peek()?;
    let hash = hash(key);
    let entry = |patch: &'p Arc<Patch>| patch.nodes.get_hashed(key, hash);
    patches.find_map(|patch| entry(patch)?.1.as_deref())
}

fn hash(key: &[u8]) -> u64 {
    FixedState::default().hash_one(key)
}

/// Adds what a patch does to the columns to a batch.
pub(super) fn put_patch(rocksdb: &DB, batch: &mut WriteBatch, patch: &Patch) {
    put_entries(rocksdb, batch, CF_FLAT, patch.flat.iter());
    put_entries(rocksdb, batch, CF_NODES, patch.nodes.iter());
}

/// Adds what these do together, of which each comes after the one before it, but for nodes that come and go among them.
pub(super) fn put_patches<'p>(
    rocksdb: &DB,
    batch: &mut WriteBatch,
    patches: impl Iterator<Item = &'p Patch> + Clone,
) {
    let flat: BTreeMap<_, _> = patches.clone().flat_map(|it| it.flat.iter()).collect();
    put_entries(rocksdb, batch, CF_FLAT, flat.into_iter());
    let mut nodes = BTreeMap::new();
    for (key, node) in patches.flat_map(|patch| patch.nodes.iter()) {
        // What a patch writes was not there before.
        let is_new = node.is_some();
        let (_, last) = nodes.entry(key).or_insert((is_new, node));
        *last = node;
    }
    let nodes = nodes.into_iter().filter_map(|(key, (is_new, node))| {
        let leaves_nothing = is_new && node.is_none();
        (!leaves_nothing).then_some((key, node))
    });
    put_entries(rocksdb, batch, CF_NODES, nodes);
}

fn put_entries<'e>(
    rocksdb: &DB,
    batch: &mut WriteBatch,
    name: &'static str,
    entries: impl Iterator<Item = (&'e Vec<u8>, &'e Option<Vec<u8>>)>,
) {
    let column = column(rocksdb, name);
    for (key, value) in entries {
        match value {
            Some(value) => batch.put_cf(column, key, value),
            None => batch.delete_cf(column, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Database, Durability};

    #[test]
    fn wherever_a_cursor_stands_a_walk_begins_at_its_place() {
        let list: Vec<_> = [1_u8, 3, 5, 7].map(|key| (vec![key], None)).into();
        for length in 0..=list.len() {
            let entries = Entries::new(list[..length].to_vec());
            for start in 0..9_u8 {
                let expected = list[..length]
                    .iter()
                    .filter(|(key, _)| key[0] < start)
                    .count();
                for near in 0..7 {
                    assert_eq!(entries.position(&[start], near), expected, "{start} {near}");
                }
            }
        }
    }
    /// Of all programs of four patches on two keys: what they leave together is what they leave one after the other.
    #[test]
    fn patches_together_are_patches_in_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
        let keys = [vec![1; 40], vec![2; 40]];
        let column = database.column(CF_NODES);
        for program in 0..3_u32.pow(8) * 4 {
            let mut draw = program;
            let mut next = |bound: u32| {
                let drawn = draw % bound;
                draw /= bound;
                drawn
            };
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for key in &keys {
                database.rocksdb().delete_cf(column, key).expect("written");
                if next(2) == 1 {
                    database
                        .rocksdb()
                        .put_cf(column, key, b"0")
                        .expect("written");
                    model.insert(key.clone(), b"0".to_vec());
                }
            }
            let patches = [(); 4].map(|()| {
                let mut nodes = Vec::new();
                for key in &keys {
                    let node = vec![u8::try_from(next(3)).expect("small")];
                    // What is there is removed or stays, what is not comes or does not.
                    match (node[0], model.contains_key(key)) {
                        (0, true) => {
                            model.remove(key);
                            nodes.push((key.clone(), None));
                        }
                        (1.., false) => {
                            model.insert(key.clone(), node.clone());
                            nodes.push((key.clone(), Some(node)));
                        }
                        _ => {}
                    }
                }
                Patch {
                    nodes: Entries::new(nodes),
                    ..Patch::default()
                }
            });
            let mut batch = WriteBatch::default();
            put_patches(database.rocksdb(), &mut batch, patches.iter());
            database.rocksdb().write(batch).expect("written");
            for key in &keys {
                let node = database.rocksdb().get_cf(column, key).expect("readable");
                assert_eq!(node.as_ref(), model.get(key), "program {program}");
            }
        }
    }
}
