//! What undoes a block: the values and nodes there were, as it is stored beside the block.
//!
//! Invariant: it is of the state that the block was executed on. What was read of that while the block was executed is
//! believed, and the rest is read now. Cost: as large as the block's changes; no reads where all was gathered.

use std::collections::{HashMap, HashSet};

use codec::{Compact, Decode, Encode};
use foldhash::fast::RandomState;
use sp_core::{Blake2Hasher, Hasher, storage::TRIE_VALUE_NODE_THRESHOLD};

use super::{
    Before, Head, StateError, StateView, before::Gathered, patch::Patch, schema::FlatSpace,
};

/// What undoes a block, as it is stored.
#[derive(Debug)]
pub(super) struct UndoRecord {
    /// The head then.
    pub(super) parent: Head,
    /// [`Undo`], encoded; `None` where history is not kept.
    pub(super) record: Option<Vec<u8>>,
}

/// What undoes a block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Undo {
    /// The head then.
    pub(super) parent: Head,
    pub(super) patch: Patch,
}

/// What undoes a block that does this to the state of `view`; but for the parent nothing where that is not kept.
/// What was read of it while the block was executed is in `before`, if that is of the same state.
pub(super) fn undo_of(
    view: &StateView<'_>,
    patch: &Patch,
    before: &Before,
) -> Result<UndoRecord, StateError> {
    let parent = *view.head();
    let record = view
        .keeps_history()
        .then(|| undo_record(view, patch, before.of(&parent)))
        .transpose()?;
    Ok(UndoRecord { parent, record })
}

/// The encoded [`Undo`], in one go: a block has tens of thousands of entries.
fn undo_record(
    view: &StateView<'_>,
    patch: &Patch,
    gathered: Option<&Gathered>,
) -> Result<Vec<u8>, StateError> {
    let values = patch
        .flat
        .keys()
        .map(|key| Ok((key, view.flat_before(key, gathered)?)));
    let values = values.collect::<Result<Vec<_>, StateError>>()?;
    let values_removed = value_nodes(&values, patch);
    let nodes_read = gathered.map(Gathered::nodes);
    let mut record = view.head().encode();
    begin_entries(&mut record, values.len());
    for (key, value) in &values {
        (key, value).encode_to(&mut record);
    }
    begin_entries(&mut record, patch.nodes.len());
    for (key, node) in patch.nodes.iter() {
        key.encode_to(&mut record);
        let key = key.as_slice();
        let known = values_removed.get(key).copied();
        let known = known.or_else(|| nodes_read.as_ref()?.get(key));
        match (node, known) {
            (Some(_), _) => None::<&[u8]>.encode_to(&mut record),
            (None, Some(node)) => Some(node).encode_to(&mut record),
            (None, None) => view.node(key)?.encode_to(&mut record),
        }
    }
    Ok(record)
}

/// So many entries follow.
fn begin_entries(record: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("so many keys do not fit into memory");
    Compact(count).encode_to(record);
}

/// The nodes that the patch removes and that hold nothing but one of these values, as long ones of tries of version 1 do:
/// there is no need to read them. Their names end with the hash of what they hold, so none is mistaken.
fn value_nodes<'v>(
    before: &'v [(&Vec<u8>, Option<Vec<u8>>)],
    patch: &'v Patch,
) -> HashMap<&'v [u8], &'v [u8], RandomState> {
    let removed = patch.nodes.iter().filter(|(_, node)| node.is_none());
    // In tries of version 0 there are none, and no node stands where one would.
    let lengths: HashSet<_, RandomState> = removed.map(|(key, _)| key.len()).collect();
    let long = before.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        let is_long = value.len() >= TRIE_VALUE_NODE_THRESHOLD as usize;
        let length = FlatSpace::path(key).len() + Blake2Hasher::LENGTH;
        (is_long && lengths.contains(&length)).then_some((key, value))
    });
    let nodes = long.filter_map(|(key, value)| {
        let node = [FlatSpace::path(key), Blake2Hasher::hash(value).as_bytes()].concat();
        let (node, comes) = patch.nodes.get(&node)?;
        comes
            .is_none()
            .then_some((node.as_slice(), value.as_slice()))
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use codec::DecodeAll;
    use sp_core::{
        H256,
        storage::{ChildInfo, StateVersion, Storage, StorageChild},
    };
    use sp_externalities::{Extensions, Externalities};

    use super::*;
    use crate::state::{BlockChanges, BlockLayers, Database, DatabaseConfig, Durability};

    const KEYS: u32 = 400;

    fn entries() -> BTreeMap<Vec<u8>, Vec<u8>> {
        // Values of every length around the one from which on they are nodes.
        let value = |number: u32| {
            let bytes = number.to_le_bytes();
            let length = 30 + number as usize % 8;
            bytes.into_iter().cycle().take(length).collect()
        };
        (0..KEYS)
            .map(|number| (number.to_be_bytes().to_vec(), value(number)))
            .collect()
    }

    /// A block that overwrites half of all values, and removes a quarter of them, in the top trie and in a child.
    fn changes_of_a_block(view: &StateView<'_>, version: StateVersion) -> BlockChanges {
        let mut layers = BlockLayers::new(view, Extensions::new());
        let guest = |ext: &mut dyn Externalities| {
            for number in 0..KEYS * 3 / 4 {
                let key = number.to_be_bytes().to_vec();
                let value = (number < KEYS / 2).then(|| vec![7; 40]);
                let child = ChildInfo::new_default(b"child");
                ext.place_storage(key.clone(), value.clone());
                ext.place_child_storage(&child, key, value);
            }
        };
        layers.run(guest).expect("readable");
        layers.finish(version).expect("a root")
    }

    #[test]
    fn what_undoes_a_block_holds_the_nodes_there_were_and_long_values_are_not_read_twice() {
        for version in [StateVersion::V0, StateVersion::V1] {
            let folder = tempfile::tempdir().expect("a folder");
            let config = DatabaseConfig::new(Durability::Buffered);
            let database = Database::open_with(folder.path(), config).expect("opens");
            let child = StorageChild {
                data: entries(),
                child_info: ChildInfo::new_default(b"child"),
            };
            let storage = Storage {
                top: entries(),
                children_default: [(b"child".to_vec(), child)].into(),
            };
            let prepared = database.prepare_state(&storage, version).expect("state");
            let imported = database.import_state(prepared, 0, H256::zero());
            imported.expect("imports");
            let view = database.view().expect("a head");
            let changes = changes_of_a_block(&view, version);
            let patch = Patch::new(changes.writes, changes.nodes);
            let record = |before: &Before| {
                let undo = undo_of(&view, &patch, before).expect("readable");
                undo.record.expect("history is kept")
            };
            let undo = record(&Before::default());
            assert_eq!(record(&changes.before), undo);
            let undo = Undo::decode_all(&mut undo.as_slice()).expect("decodes");
            assert_eq!(undo.parent, *view.head());
            assert!(undo.patch.flat.keys().eq(patch.flat.keys()));
            for (key, value) in undo.patch.flat.iter() {
                assert_eq!(*value, view.flat(key).expect("readable"));
            }
            assert!(undo.patch.nodes.keys().eq(patch.nodes.keys()));
            for (key, node) in undo.patch.nodes.iter() {
                let stored = view.node(key).expect("readable");
                let expected = if patch.nodes.get(key).is_some_and(|(_, node)| node.is_some()) {
                    None
                } else {
                    stored
                };
                assert_eq!(*node, expected);
            }
            let values: Vec<_> = undo.patch.flat.iter().collect();
            let values: Vec<_> = values.iter().map(|(k, v)| (*k, (*v).clone())).collect();
            let removed = value_nodes(&values, &patch).len();
            let long = |value: &&Option<Vec<u8>>| value.as_ref().is_some_and(|it| it.len() > 32);
            let long = undo
                .patch
                .flat
                .iter()
                .map(|(_, value)| value)
                .filter(long)
                .count();
            match version {
                StateVersion::V0 => assert_eq!(removed, 0),
                StateVersion::V1 => {
                    assert_eq!(removed, long);
                    assert!(removed > KEYS as usize / 2, "{removed}");
                }
            }
        }
    }
}
