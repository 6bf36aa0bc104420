//! What undoes a block, gathered while the block is executed: the values there were where it writes, and the nodes its
//! root was calculated over. A commit finds them here and reads what is missing.
//!
//! Invariant: what is here is of the state that the block is executed on; whose state that is stands beside it. Equal
//! roots are equal states, so a state is its head's. Cost: the memory of both, each once, from when they are read until
//! the view and the changes made on it are gone. Nodes go when the next root of the top trie is asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::RandomState;

use super::{Head, cache::Value};

/// What a block in the making has gathered of the state it is executed on, if that is in a database: see
/// [`super::BlockChanges::before`].
#[derive(Clone, Default)]
pub struct Before(Option<(Head, Arc<Gathered>)>);

impl std::fmt::Debug for Before {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Before").finish_non_exhaustive()
    }
}

impl Before {
    /// Of the state of `head`.
    pub(super) fn new(head: Head, gathered: &Arc<Gathered>) -> Self {
        Self(Some((head, Arc::clone(gathered))))
    }

    /// What was gathered, if it is of the state of `head`.
    pub(super) fn of(&self, head: &Head) -> Option<&Gathered> {
        let (own, gathered) = self.0.as_ref()?;
        (own == head).then_some(gathered)
    }
}

/// What is gathered, by the view and by whatever reads ahead for it.
#[derive(Default)]
pub(super) struct Gathered {
    /// Whether anybody will ask.
    keeps: bool,
    /// By their keys in the column `flat`.
    values: Mutex<HashMap<Vec<u8>, Value, RandomState>>,
    nodes: Mutex<Nodes>,
    /// Set from when a root is asked for until something is written.
    rooting: AtomicBool,
}

/// Nodes, by their keys in the column of that name.
#[derive(Default)]
pub(super) struct Nodes {
    read: HashMap<Vec<u8>, Arc<[u8]>, RandomState>,
    /// Whether the calculation they were read for has ended.
    is_over: bool,
}

impl Gathered {
    /// Nothing yet; nothing at all unless somebody `keeps` what undoes blocks.
    pub(super) fn new(keeps: bool) -> Self {
        Self {
            keeps,
            ..Self::default()
        }
    }

    /// A root of the top trie or of a child is asked for.
    pub(super) fn begin_root(&self) {
        self.rooting.store(true, Ordering::Relaxed);
        let mut nodes = lock(&self.nodes);
        if std::mem::take(&mut nodes.is_over) {
            nodes.read.clear();
        }
    }

    /// The root of the top trie is there, which those of its children come before.
    pub(super) fn end_root(&self) {
        lock(&self.nodes).is_over = true;
    }

    /// Something was written over the state.
    pub(super) fn write(&self) {
        self.rooting.store(false, Ordering::Relaxed);
    }

    /// Whether a root was asked for, and nothing written since.
    pub(super) fn is_rooting(&self) -> bool {
        self.rooting.load(Ordering::Relaxed)
    }

    /// A value, or that there is none, was read.
    pub(super) fn keep_value(&self, key: Vec<u8>, value: Value) {
        if self.keeps {
            lock(&self.values).insert(key, value);
        }
    }

    /// A node was read for a root.
    pub(super) fn keep_node(&self, key: Vec<u8>, node: Arc<[u8]>) {
        if self.keeps {
            lock(&self.nodes).read.insert(key, node);
        }
    }

    /// Whether somebody may ask for a value: for its own sake, or for a root on the way to it.
    pub(super) fn wants_values(&self) -> bool {
        self.keeps || !self.is_rooting()
    }

    /// The value under a key of the column `flat`, or that there is none, if it was read.
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let values = lock(&self.values);
        let value = values.get(key)?;
        Some(value.as_ref().map(|value| value.to_vec()))
    }

    /// The nodes that were read for the last root. None is added before they are given back.
    pub(super) fn nodes(&self) -> NodesRead<'_> {
        NodesRead(lock(&self.nodes))
    }
}

/// Nodes that were read.
pub(super) struct NodesRead<'g>(MutexGuard<'g, Nodes>);

impl NodesRead<'_> {
    /// The one of this key in the column `nodes`, if it was read.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.read.get(key).map(AsRef::as_ref)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the nodes 1 to 3 there are.
    fn nodes(gathered: &Gathered) -> Vec<u8> {
        let nodes = gathered.nodes();
        let is_there = |key: &u8| nodes.get(&[*key]) == Some([*key].as_slice());
        [1, 2, 3].into_iter().filter(is_there).collect()
    }

    #[test]
    fn nodes_of_the_last_calculation_are_kept_with_those_of_its_children() {
        let gathered = Gathered::new(true);
        let keep = |key: u8| gathered.keep_node(vec![key], Arc::from([key]));
        gathered.begin_root();
        keep(1);
        gathered.begin_root();
        keep(2);
        assert_eq!(nodes(&gathered), [1, 2]);
        gathered.end_root();
        assert_eq!(nodes(&gathered), [1, 2]);
        gathered.begin_root();
        assert!(nodes(&gathered).is_empty());
        // However often a child's root is asked for, a node is there once.
        for _ in 0..1_000 {
            gathered.begin_root();
            keep(3);
        }
        assert_eq!(lock(&gathered.nodes).read.len(), 1);
        assert_eq!(nodes(&gathered), [3]);
    }

    #[test]
    fn what_was_gathered_is_of_one_state_and_of_none_where_nothing_is_kept() {
        let head = |number| Head {
            number,
            hash: Default::default(),
            state_root: Default::default(),
        };
        for keeps in [true, false] {
            let gathered = Arc::new(Gathered::new(keeps));
            gathered.keep_value(vec![1], Some(Arc::from([1])));
            gathered.keep_value(vec![2], None);
            let before = Before::new(head(1), &gathered);
            assert!(before.of(&head(2)).is_none());
            let found = before.of(&head(1)).expect("its own");
            assert_eq!(found.value(&[1]), keeps.then_some(Some(vec![1])));
            assert_eq!(found.value(&[2]), keeps.then_some(None));
            assert_eq!(found.value(&[3]), None);
        }
        assert!(Before::default().of(&head(1)).is_none());
    }
}
