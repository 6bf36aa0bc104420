//! States that stand on one of a database and are not in it: of blocks that are executed again, or rebuilt from what they
//! wrote.
//!
//! Invariants: no block and no value of the database changes; a stack is of the head that the database had when it was made, and shows
//! nothing once that has changed. Cost: what the blocks changed, in memory, once for each key after folding; a read
//! asks a few patches before the database.

use std::{collections::BTreeMap, sync::Arc};

use sp_core::storage::{
    ChildInfo, StateVersion, well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX,
};
use sp_externalities::Extensions;

use super::{
    BlockChanges, BlockLayers, Database, Head, HistoryError, StateError, StateView, WriteSet,
    patch::Patch,
};

/// So many patches are kept apart before they are put together.
const PATCHES_MAX: usize = 12;

/// A state over one of a database.
#[derive(Clone)]
pub struct StackedState<'db> {
    database: &'db Database,
    /// The head of the database.
    foot: Head,
    /// The block whose state this is.
    head: Head,
    /// What lies between, the topmost first.
    patches: Vec<Arc<Patch>>,
}

impl std::fmt::Debug for StackedState<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StackedState")
            .field("foot", &self.foot)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// The state after block `number`, to stand on.
    ///
    /// # Errors
    /// [`HistoryError::OutOfReach`] when it is not within the window.
    pub fn stack_at(&self, number: u64) -> Result<StackedState<'_>, HistoryError> {
        let (view, foot) = self.view_and_head(number)?;
        Ok(StackedState {
            database: self,
            foot,
            head: *view.head(),
            patches: view.patches().to_vec(),
        })
    }
}

impl<'db> StackedState<'db> {
    /// The block whose state this is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The state, to be read.
    ///
    /// # Errors
    /// [`StateError::NotOnHead`] when the head of the database is another one by now.
    pub fn view(&self) -> Result<StateView<'db>, StateError> {
        let mut view = self.database.view()?;
        if *view.head() != self.foot {
            return Err(StateError::NotOnHead {
                number: self.head.number,
                head: view.head().number,
            });
        }
        view.show(self.head, self.patches.clone());
        Ok(view)
    }

    /// Goes on to the block `number` with this hash, whose changes were made on this state.
    pub fn push(&mut self, number: u64, hash: sp_core::H256, changes: BlockChanges) {
        self.head = Head {
            number,
            hash,
            state_root: changes.state_root,
        };
        let patch = Patch::new(changes.writes, changes.nodes);
        self.patches.insert(0, Arc::new(patch));
        if self.patches.len() > PATCHES_MAX {
            self.fold();
        }
    }

    /// Puts small patches together until each is much larger than the one above it, so that there are few, and no entry is
    /// copied often.
    fn fold(&mut self) {
        let mut folded: Vec<Arc<Patch>> = Vec::new();
        for patch in self.patches.drain(..) {
            let entries = |patch: &Patch| patch.flat.len() + patch.nodes.len();
            let mut below = patch;
            while let Some(above) = folded.last() {
                if 2 * entries(above) < entries(&below) {
                    break;
                }
                below = Arc::new(Patch::together([
                    below.as_ref().clone(),
                    above.as_ref().clone(),
                ]));
                folded.pop();
            }
            folded.push(below);
        }
        self.patches = folded;
    }

    /// What `writes` change in this state, with tries of `state_version`: rebuilds the changes of one block or several from
    /// all that they wrote. Roots of child tries among `writes` are calculated anew.
    ///
    /// # Errors
    /// [`StateError`] when reading failed.
    pub fn changes_of(
        &self,
        writes: &WriteSet,
        state_version: StateVersion,
    ) -> Result<BlockChanges, StateError> {
        let view = self.view()?;
        let mut layers = BlockLayers::new(&view, Extensions::new());
        layers.run(|storage| {
            for (child, entries) in writes {
                place_all(storage, child.as_deref(), entries);
            }
        })?;
        layers.finish(state_version)
    }
}

fn place_all(
    storage: &mut dyn sp_externalities::Externalities,
    child: Option<&[u8]>,
    entries: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
) {
    for (key, value) in entries {
        match child {
            Some(child) => {
                let child = ChildInfo::new_default(child);
                storage.place_child_storage(&child, key.clone(), value.clone());
            }
            // They follow from the child tries.
            None if key.starts_with(DEFAULT_CHILD_STORAGE_KEY_PREFIX) => {}
            None => storage.place_storage(key.clone(), value.clone()),
        }
    }
}
