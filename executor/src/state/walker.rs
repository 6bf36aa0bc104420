//! Where in the column `flat` a view stood last: a guest that walks from key to key goes on from there, and does not look
//! for its place in the whole state at every step.
//!
//! Invariant: a walk sees what the snapshot shows, and begins at the first key at or after the one it is given, wherever
//! the last one ended. Cost: one iterator of RocksDB for each view, which lives as long as the view; tables and buffers that it
//! began with stay as long, whatever has replaced them.

use std::sync::{Mutex, PoisonError};

use rocksdb::DBRawIterator;

/// The iterator of a view, while nobody walks.
#[derive(Default)]
pub(super) struct Walker<'db>(Mutex<Option<DBRawIterator<'db>>>);

impl<'db> Walker<'db> {
    /// An iterator that stands at the first key at or after `start`. `begin` makes one.
    pub(super) fn walk(
        &self,
        start: &[u8],
        begin: impl FnOnce() -> DBRawIterator<'db>,
    ) -> DBRawIterator<'db> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut entries = last.unwrap_or_else(begin);
        match entries.key() {
            Some(key) if key == start => {}
            // Nothing lies between a key and the same with a zero behind it.
            Some(key) if start.strip_prefix(key) == Some(&[0]) => entries.next(),
            _ => entries.seek(start),
        }
        entries
    }

    /// Keeps an iterator where it stands.
    pub(super) fn rest(&self, entries: DBRawIterator<'db>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(entries);
    }
}
