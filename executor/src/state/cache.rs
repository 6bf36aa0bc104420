//! Values of the head's state and trie nodes in memory, so many bytes of each.
//!
//! Invariants: a value is of one state, the head's, and is shown to views of that state only. A write begins by
//! saying that values are of no state, and ends by changing those it has changed, so that a view of either state sees
//! its own or asks the database. Nodes are named by their hash and place, so they are right in every state. Cost:
//! the bytes given, some more for keeping track; a read takes one lock of a part of the cache.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::{Weighter, sync::Cache};

use super::patch::Patch;

/// What an entry takes beside its bytes, about.
const ENTRY_BYTES: u64 = 96;
/// The size of an entry that is taken for common.
const COMMON_BYTES: usize = 256;

/// A state that values are of: its number among those since the database was opened, doubled. Odd numbers are of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// What may be there under a key.
pub(super) type Value = Option<Arc<[u8]>>;

/// Weighs entries by their bytes.
#[derive(Debug, Clone, Copy)]
struct Bytes;

impl Weighter<Vec<u8>, Value> for Bytes {
    fn weight(&self, key: &Vec<u8>, value: &Value) -> u64 {
        let bytes = key.len() + value.as_ref().map_or(0, |value| value.len());
        ENTRY_BYTES + bytes as u64
    }
}

/// The cache of a database.
pub(super) struct ReadCache {
    values: Cache<Vec<u8>, Value, Bytes>,
    nodes: Cache<Vec<u8>, Value, Bytes>,
    epoch: AtomicU64,
    /// Held, shared, by who keeps a value, and alone by who changes the state that values are of.
    change: RwLock<()>,
}

impl ReadCache {
    /// One of so many bytes, half of them for nodes.
    pub(super) fn new(bytes: usize) -> Self {
        let half = bytes / 2;
        let cache = || Cache::with_weighter(half / COMMON_BYTES, half as u64, Bytes);
        Self {
            values: cache(),
            nodes: cache(),
            epoch: AtomicU64::new(0),
            change: RwLock::new(()),
        }
    }

    /// The state that values are of; `None` while that changes.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        epoch.is_multiple_of(2).then_some(Epoch(epoch))
    }

    /// The value under a key of the column `flat`, in that state. `None` if it is not known.
    pub(super) fn value(&self, epoch: Epoch, key: &[u8]) -> Option<Value> {
        if self.epoch() != Some(epoch) {
            return None;
        }
        let value = self.values.get(key)?;
        // A write that changed it had said so before.
        (self.epoch() == Some(epoch)).then_some(value)
    }

    /// Keeps a value that was read in that state, and says whether it is of it.
    pub(super) fn keep_value(&self, epoch: Epoch, key: &[u8], value: Value) -> bool {
        let _stays = self.change.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_it = self.epoch() == Some(epoch);
        if is_of_it {
            self.values.insert(key.to_vec(), value);
        }
        is_of_it
    }

    /// The node under a key of the column `nodes`.
    pub(super) fn node(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.nodes.get(key).flatten()
    }

    /// Keeps a node.
    pub(super) fn keep_node(&self, key: &[u8], node: Arc<[u8]>) {
        self.nodes.insert(key.to_vec(), Some(node));
    }

    /// Keeps the nodes of a patch. Those that it removes are left to grow old.
    pub(super) fn keep_nodes(&self, patch: &Patch) {
        for (key, node) in patch.nodes.iter() {
            if let Some(node) = node {
                self.keep_node(key, Arc::from(node.as_slice()));
            }
        }
    }

    /// To be called before the state in the database changes.
    pub(super) fn begin(&self) -> Change<'_> {
        let _alone = self.change.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.epoch.store(epoch | 1, Ordering::SeqCst);
        Change(self)
    }
}

/// A change of the state, under way. One that is not done leaves values that are of no state.
pub(super) struct Change<'c>(&'c ReadCache);

impl Change<'_> {
    /// The state has changed so.
    pub(super) fn done(self, patch: &Patch) {
        let cache = self.0;
        let _alone = cache.change.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in patch.flat.iter() {
            cache
                .values
                .insert(key.clone(), value.as_deref().map(Arc::from));
        }
        let epoch = cache.epoch.load(Ordering::SeqCst);
        cache.epoch.store(epoch.wrapping_add(1), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(key: &[u8], value: Option<&[u8]>) -> Patch {
        let writes = [(key.to_vec(), value.map(<[u8]>::to_vec))].into();
        Patch::new([(None, writes)].into(), Default::default())
    }

    #[test]
    fn a_value_is_shown_to_its_state_only() {
        let cache = ReadCache::new(1 << 20);
        let first = cache.epoch().expect("a state");
        assert!(cache.keep_value(first, b"\0key", Some(Arc::from(*b"1"))));
        assert_eq!(cache.value(first, b"\0key"), Some(Some(Arc::from(*b"1"))));
        let change = cache.begin();
        assert_eq!(cache.epoch(), None);
        assert_eq!(cache.value(first, b"\0key"), None);
        // Read before the write, kept too late.
        assert!(!cache.keep_value(first, b"\0late", Some(Arc::from(*b"1"))));
        change.done(&patch(b"key", None));
        let second = cache.epoch().expect("a state");
        assert_eq!(cache.value(first, b"\0key"), None);
        assert_eq!(cache.value(second, b"\0key"), Some(None));
        assert_eq!(cache.value(second, b"\0late"), None);
        assert!(!cache.keep_value(first, b"\0late", Some(Arc::from(*b"1"))));
        assert_eq!(cache.value(second, b"\0late"), None);
    }

    #[test]
    fn a_write_that_failed_leaves_nothing_to_show() {
        let cache = ReadCache::new(1 << 20);
        let first = cache.epoch().expect("a state");
        assert!(cache.keep_value(first, b"\0key", Some(Arc::from(*b"1"))));
        let _failed = cache.begin();
        assert_eq!(cache.epoch(), None);
        assert_eq!(cache.value(first, b"\0key"), None);
        // Also after another.
        let _another = cache.begin();
        assert_eq!(cache.epoch(), None);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        for bytes in [0, 10_000] {
            let cache = ReadCache::new(bytes);
            let epoch = cache.epoch().expect("a state");
            for number in 0..1_000_u32 {
                let key = number.to_be_bytes();
                assert!(cache.keep_value(epoch, &key, Some(Arc::from([7; 100]))));
                cache.keep_node(&key, Arc::from([7; 100]));
            }
            let weight = cache.values.weight() + cache.nodes.weight();
            assert!(weight <= bytes as u64, "{weight} of {bytes}");
            assert_eq!(weight > 0, bytes > 0);
        }
    }
}
