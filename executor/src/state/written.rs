//! What a block has written so far, for whoever reads ahead: each key once, when the layer it was written in is kept.
//!
//! Cost: a key is copied when it is written for the first time.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use sp_core::storage::ChildInfo;

use super::Place;

/// Keys that are worth waking a thread.
const BATCH: usize = 64;

/// Keys that are written in a block, as they come.
#[derive(Default)]
pub(super) struct Written {
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// All but those of layers that were rolled back, unless a root was asked for in them.
    known: Known,
    /// Those of kept layers that were not taken.
    settled: Vec<Place>,
    /// Those of the layer that is open.
    waiting: Vec<Place>,
}

impl Keys {
    /// All that nobody has taken.
    fn settle(&mut self) -> &mut Vec<Place> {
        self.settled.append(&mut self.waiting);
        &mut self.settled
    }
}

/// Keys of the top trie, which are most, and of child tries.
#[derive(Default)]
struct Known {
    top: HashSet<Vec<u8>, RandomState>,
    children: HashSet<Place, RandomState>,
}

impl Known {
    /// Whether it was not known.
    fn insert(&mut self, child: Option<&ChildInfo>, key: &[u8]) -> bool {
        match child {
            // Most are written again and again.
            None => !self.top.contains(key) && self.top.insert(key.to_vec()),
            Some(_) => self.children.insert(place(child, key)),
        }
    }

    fn remove(&mut self, place: &Place) {
        match place {
            (None, key) => self.top.remove(key),
            _ => self.children.remove(place),
        };
    }
}

fn place(child: Option<&ChildInfo>, key: &[u8]) -> Place {
    let child = child.map(|child| child.storage_key().to_vec());
    (child, key.to_vec())
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key is written.
    pub(super) fn add(&self, child: Option<&ChildInfo>, key: &[u8]) {
        let mut keys = self.lock();
        if keys.known.insert(child, key) {
            keys.waiting.push(place(child, key));
        }
    }

    /// The new ones are to stay. Returns those that nobody has taken, if they are worth waking a thread.
    pub(super) fn settle(&self) -> Option<Vec<Place>> {
        let mut keys = self.lock();
        let settled = keys.settle();
        (settled.len() >= BATCH).then(|| mem::take(settled))
    }

    /// All that nobody has taken, those of layers that are open as well.
    pub(super) fn take(&self) -> Vec<Place> {
        mem::take(self.lock().settle())
    }

    /// The new ones were rolled back.
    pub(super) fn forget(&self) {
        let mut keys = self.lock();
        for place in mem::take(&mut keys.waiting) {
            keys.known.remove(&place);
        }
    }
}
