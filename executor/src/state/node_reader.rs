//! Trie nodes of a view, for the trie library.
//!
//! Invariant: a node that cannot be read, or is not there, is a fault of the view. Cost: a look into the cache, else a
//! lookup in the database.

use sp_core::{Blake2Hasher, H256, Hasher};
use sp_trie::{DBValue, prefixed_key};

use super::{StateError, StateView};

/// Reads trie nodes of a view.
#[derive(Clone, Copy)]
pub struct NodeReader<'v, 'db> {
    view: &'v StateView<'db>,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// What is read is gathered: undoing a block needs some of it.
    Gathering,
    /// What is read is hashed, and comes from the database.
    Checking,
}

impl<'v, 'db> NodeReader<'v, 'db> {
    pub(super) fn new(view: &'v StateView<'db>) -> Self {
        let way = Way::Plain;
        Self { view, way }
    }

    /// One for the root of a block.
    pub(super) fn gathering(view: &'v StateView<'db>) -> Self {
        let way = Way::Gathering;
        Self { view, way }
    }

    /// One that refuses nodes that are not what their hash says.
    pub(super) fn checking(view: &'v StateView<'db>) -> Self {
        let way = Way::Checking;
        Self { view, way }
    }
}

/// Where a node stands in the trie: whole bytes of its path, and a padded last nibble.
pub(super) type Prefix<'a> = (&'a [u8], Option<u8>);

impl sp_state_machine::TrieBackendStorage<Blake2Hasher> for NodeReader<'_, '_> {
    fn get(&self, hash: &H256, prefix: Prefix<'_>) -> Result<Option<DBValue>, String> {
        let Self { view, way } = *self;
        let key = prefixed_key::<Blake2Hasher>(hash, prefix);
        let node = match way {
            Way::Plain => view.node(&key),
            Way::Gathering => view.node_gathered(key),
            Way::Checking => view.stored_node(&key),
        };
        let node = node.and_then(|node| match node {
            Some(node) if way == Way::Checking && Blake2Hasher::hash(&node) != *hash => {
                Err(StateError::Trie {
                    reason: format!("node {hash:?} is not what its hash says"),
                })
            }
            Some(node) => Ok(Some(node)),
            None => Err(StateError::Trie {
                reason: format!("node {hash:?} is not in the database"),
            }),
        });
        view.noted(node).map_err(|error| error.to_string())
    }
}
