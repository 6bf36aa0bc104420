//! Blocks that were executed and are not in the database: children of the head, and of one another, so that forks can
//! be executed before one of them is committed.
//!
//! Invariant: such a block names the block it was executed on, and is read over that and committed after it only. Cost:
//! what the block changed, in memory; a read asks each block between it and the head.

use std::sync::Arc;

use super::{
    BlockChanges, BlockRecord, CommitError, Database, Head, StateError, StateView,
    patch::Patch,
    undo::{UndoRecord, undo_of},
};

/// An executed block, to be executed on, or committed.
#[derive(Debug)]
pub struct UncommittedBlock {
    head: Head,
    record: BlockRecord,
    pub(super) patch: Arc<Patch>,
    undo: UndoRecord,
    /// The block it was executed on, unless that was in the database.
    below: Option<Arc<Self>>,
}

impl UncommittedBlock {
    /// A block with these changes, executed on `view`.
    ///
    /// # Errors
    /// [`StateError`] when reading what it changed failed.
    pub fn new(
        view: &StateView<'_>,
        changes: BlockChanges,
        record: BlockRecord,
    ) -> Result<Arc<Self>, StateError> {
        let head = record.head(changes.state_root);
        let patch = Patch::new(changes.writes, changes.nodes);
        let undo = undo_of(view, &patch, &changes.before)?;
        Ok(Arc::new(Self {
            head,
            record,
            patch: Arc::new(patch),
            undo,
            below: view.on().cloned(),
        }))
    }

    /// The block.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The block it was executed on.
    pub fn parent(&self) -> &Head {
        &self.undo.parent
    }

    /// What is stored of it.
    pub fn record(&self) -> &BlockRecord {
        &self.record
    }
}

impl Database {
    /// A view of the state after a block that is not committed. Of the blocks it stands on, some may have been
    /// committed since.
    ///
    /// # Errors
    /// [`StateError::NotOnHead`] when it does not stand on the head: another fork was committed, or a block reverted.
    pub fn view_on(&self, block: &Arc<UncommittedBlock>) -> Result<StateView<'_>, StateError> {
        let mut view = self.view()?;
        let mut patches = Vec::new();
        let mut next = Some(block);
        while let Some(below) = next {
            if below.head == *view.head() {
                // Committed meanwhile.
                break;
            }
            patches.push(Arc::clone(&below.patch));
            if below.parent() == view.head() {
                view.stand_on(block, patches);
                return Ok(view);
            }
            next = below.below.as_ref();
        }
        if block.head == *view.head() {
            return Ok(view);
        }
        Err(StateError::NotOnHead {
            number: block.head.number,
            head: view.head().number,
        })
    }

    /// Commits a block that was executed on the head.
    ///
    /// # Errors
    /// As [`Database::commit`]: [`CommitError::StaleParent`] when it was executed on another block.
    pub fn commit_block(&self, block: &UncommittedBlock) -> Result<Head, CommitError> {
        self.write_block(block.head, &block.patch, &block.undo, &block.record)
    }
}
