//! Walks over one trie of a view, by its flat keys.
//!
//! Invariant: an iterator borrows nothing; it remembers where it stands. Cost: entries are fetched in growing batches,
//! so a walk that ends early has read little, and a long one seeks seldom.

use std::collections::VecDeque;

use sp_core::{Blake2Hasher, storage::ChildInfo};
use sp_state_machine::{IterArgs, StorageIterator, StorageKey, StorageValue};

use super::{StateError, StateView, schema::FlatSpace};

/// Entries fetched by the first seek of an iterator; doubled by each further one.
const SCAN_FIRST: usize = 4;
/// Entries fetched by one seek at most.
const SCAN_MAX: usize = 256;

/// An iterator over one trie of a view.
pub struct FlatIter<'db> {
    space: FlatSpace,
    prefix: Vec<u8>,
    next: Option<Vec<u8>>,
    batch: VecDeque<Vec<u8>>,
    scan: usize,
    view: std::marker::PhantomData<&'db ()>,
}

impl FlatIter<'_> {
    pub(super) fn new(args: &IterArgs<'_>) -> Self {
        let prefix = args.prefix.unwrap_or_default().to_vec();
        let mut start = args.start_at.unwrap_or_default().to_vec();
        if args.start_at_exclusive && args.start_at.is_some() {
            start.push(0);
        }
        let start = start.max(prefix.clone());
        Self {
            space: FlatSpace::of(args.child_info.as_ref().map(ChildInfo::storage_key)),
            prefix,
            next: Some(start),
            batch: VecDeque::new(),
            scan: SCAN_FIRST,
            view: std::marker::PhantomData,
        }
    }

    fn advance(&mut self, view: &StateView<'_>) -> Option<Result<Vec<u8>, StateError>> {
        if self.batch.is_empty() {
            let start = self.next.take()?;
            match view.scan(&self.space, &start, self.scan) {
                Ok(batch) => self.batch = batch,
                Err(error) => return Some(Err(error)),
            }
            // A short batch was the last one.
            if self.batch.len() == self.scan {
                self.next = self.batch.back().map(|key| [key, [0].as_slice()].concat());
            }
            self.scan = (self.scan * 2).min(SCAN_MAX);
        }
        let key = self.batch.pop_front()?;
        if key.starts_with(&self.prefix) {
            return Some(Ok(key));
        }
        self.batch.clear();
        self.next = None;
        None
    }
}

impl<'db> StorageIterator<Blake2Hasher> for FlatIter<'db> {
    type Backend = StateView<'db>;
    type Error = StateError;

    fn next_key(&mut self, backend: &StateView<'db>) -> Option<Result<StorageKey, StateError>> {
        self.advance(backend)
    }

    fn next_pair(
        &mut self,
        backend: &StateView<'db>,
    ) -> Option<Result<(StorageKey, StorageValue), StateError>> {
        let key = match self.advance(backend)? {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        // One snapshot holds both. A walk would leave in the cache what nobody asks for again.
        match backend.uncached(&self.space.key(&key)) {
            Ok(value) => Some(Ok((key, value.unwrap_or_default()))),
            Err(error) => Some(Err(error)),
        }
    }

    fn was_complete(&self) -> bool {
        self.batch.is_empty() && self.next.is_none()
    }
}
