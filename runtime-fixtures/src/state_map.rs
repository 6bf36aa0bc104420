//! Between JSON maps of hexadecimal and [`Storage`], for block fixtures and chain specs alike.
//!
//! Invariant: a child trie is always kept under its *unprefixed* key, whichever form the file
//! uses, and a state always holds `:code`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sp_core::storage::{ChildInfo, Storage, StorageChild, well_known_keys};

use crate::cursor::Cursor;
use crate::error::FixtureError;
use crate::hexadecimal;

/// Key and value pairs of one trie.
pub(crate) type Trie = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads one trie: `{hex key: hex value}`.
pub(crate) fn trie(cursor: &Cursor) -> Result<Trie, FixtureError> {
    let mut map = Trie::new();
    for (key_text, value) in cursor.members()? {
        let key = cursor.hex_result(hexadecimal::decode(value.field(), key_text))?;
        map.insert(key, value.bytes()?);
    }
    Ok(map)
}

/// Reads the whole state: the top trie, and the child tries if there are any.
pub(crate) fn storage(top: &Cursor, children: Option<&Cursor>) -> Result<Storage, FixtureError> {
    let mut storage = Storage {
        top: trie(top)?,
        ..Storage::default()
    };
    for (key_text, child) in children.map_or(Ok(vec![]), Cursor::members)? {
        let key = child.hex_result(hexadecimal::decode(child.field(), key_text))?;
        let key = unprefixed_child_key(&key).to_vec();
        storage
            .children_default
            .insert(key.clone(), storage_child(&key, trie(&child)?));
    }
    if !storage.top.contains_key(well_known_keys::CODE) {
        return Err(FixtureError::NoCode {
            path: top.path().to_owned(),
            field: top.field().to_owned(),
        });
    }
    Ok(storage)
}

fn storage_child(unprefixed_key: &[u8], data: Trie) -> StorageChild {
    StorageChild {
        data,
        child_info: ChildInfo::new_default(unprefixed_key),
    }
}

/// The key of a default child trie without `:child_storage:default:`, if it carries that.
pub(crate) fn unprefixed_child_key(key: &[u8]) -> &[u8] {
    key.strip_prefix(well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX)
        .unwrap_or(key)
}

/// One trie as a JSON object, in the order of its keys.
pub(crate) fn trie_to_json(trie: &Trie) -> Value {
    let members = trie
        .iter()
        .map(|(key, value)| (hexadecimal::encode(key), hex_value(value)));
    Value::Object(members.collect())
}

/// All child tries as a JSON object under their prefixed keys, in the order of the keys.
pub(crate) fn children_to_json(storage: &Storage) -> Value {
    let sorted: BTreeMap<_, _> = storage.children_default.iter().collect();
    let members = sorted.into_iter().map(|(key, child)| {
        let prefixed = [well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX, key].concat();
        (hexadecimal::encode(&prefixed), trie_to_json(&child.data))
    });
    Value::Object(members.collect::<Map<_, _>>())
}

/// Bytes as a JSON text.
pub(crate) fn hex_value(bytes: &[u8]) -> Value {
    Value::String(hexadecimal::encode(bytes))
}
