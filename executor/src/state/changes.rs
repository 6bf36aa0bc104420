//! What executing a block changed: every key it touched with its last value, the new root, and the
//! trie nodes that come and go with it.

use std::collections::BTreeMap;

use codec::Encode;
use sp_core::{Blake2Hasher, H256, Hasher};
use sp_state_machine::{BackendTransaction, IndexOperation, OffchainChangesCollection};

use super::Before;

/// Keys touched by a block, with their last values; `None` is a deletion. The outer key is `None`
/// for the top trie, else a child trie's storage key without prefix. Roots of changed child tries
/// stand in the top trie.
pub type WriteSet = BTreeMap<Option<Vec<u8>>, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// The effects of one block on state and beyond.
#[derive(Clone)]
pub struct BlockChanges {
    /// Every key touched, also where the value is the parent's.
    pub writes: WriteSet,
    /// Root of the state with the changes applied.
    pub state_root: H256,
    /// Trie nodes to insert (count above 0) and to delete (below 0).
    pub nodes: BackendTransaction<Blake2Hasher>,
    /// Writes to the offchain index, for the caller to apply.
    pub offchain_index: OffchainChangesCollection,
    /// Transaction-index operations of included extrinsics, for the caller to apply.
    pub transaction_index: Vec<IndexOperation>,
    /// What a commit need not read again to note what undoes the block; there may be nothing in it.
    pub before: Before,
}

impl std::fmt::Debug for BlockChanges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockChanges")
            .field("keys", &self.keys())
            .field("state_root", &self.state_root)
            .finish_non_exhaustive()
    }
}

impl BlockChanges {
    /// How many keys were touched, child roots included.
    pub fn keys(&self) -> usize {
        self.writes.values().map(BTreeMap::len).sum()
    }

    /// Digest of [`Self::writes`]: BLAKE2b-256 of their SCALE encoding. A block that is executed whole touches other
    /// keys than one that is executed by its extrinsics, to the same effect, so it has another digest.
    pub fn digest(&self) -> H256 {
        self.writes.using_encoded(Blake2Hasher::hash)
    }
}
