//! Going back: how to undo each of the last blocks, states of earlier blocks, and reverting to one.
//!
//! Beside each block stands what undoes it: the values and nodes that were there before. Undone one after the
//! other, from the head on, they lead to the state of any block of the window; reading through them shows it without
//! changing anything.
//!
//! Invariants: a block and its undoing come and go in one batch; reverting is one batch for each block, so whatever
//! cuts it short, the head is some block, whole. Cost: an undoing is as large as the block's changes; an earlier state
//! takes the memory of all that follow it.

use codec::Encode;
use rocksdb::WriteBatch;
use thiserror::Error;

use super::{
    Database, Head, StateError, StateView,
    patch::{Patch, put_patch},
    schema::{CF_BLOCKS, CF_META, CF_RECEIPTS, CF_UNDO, META_HEAD, META_STORED, number_key},
    undo::Undo,
};

/// A state, or a number of blocks to go back, that the database does not reach.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The block is above the head, or below what is kept.
    #[error(
        "the state after block {number} is not kept: the database reaches from block {oldest} to {head}"
    )]
    OutOfReach {
        /// The block asked for.
        number: u64,
        /// The earliest block whose state can be shown.
        oldest: u64,
        /// The head.
        head: u64,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Database {
    /// The earliest block whose state can be shown, and reverted to: of the blocks in the database, as many as are
    /// kept by configuration can be undone.
    ///
    /// # Errors
    /// [`StateError`] when reading failed, or before a genesis is imported.
    pub fn oldest_state(&self) -> Result<u64, StateError> {
        let head = self.head()?.ok_or(StateError::NoHead)?;
        let first = self.first_number(CF_UNDO)?;
        Ok(first.map_or(head.number, |first| first.saturating_sub(1)))
    }

    /// A view of the state after block `number`, within the window.
    ///
    /// # Errors
    /// [`HistoryError::OutOfReach`] when it is not.
    pub fn view_at(&self, number: u64) -> Result<StateView<'_>, HistoryError> {
        Ok(self.view_and_head(number)?.0)
    }

    /// The same, and the head of the database that it is read from.
    pub(super) fn view_and_head(&self, number: u64) -> Result<(StateView<'_>, Head), HistoryError> {
        let mut view = self.view()?;
        let head = *view.head();
        let mut undone = Vec::new();
        while view.head().number > number {
            let Some(undo) = view.undo()? else {
                return Err(self.out_of_reach(number)?);
            };
            undone.push(undo.patch);
            view.set_head(undo.parent);
        }
        if view.head().number != number {
            return Err(self.out_of_reach(number)?);
        }
        if !undone.is_empty() {
            view.read_through(Patch::together(undone));
        }
        Ok((view, head))
    }

    /// Makes block `number` the head again: later blocks, with their receipts and their effects on the state, are
    /// removed.
    ///
    /// # Errors
    /// [`HistoryError::OutOfReach`] when the block is not within the window: nothing is changed then.
    /// [`HistoryError::State`] when reading or writing failed; the head is the block asked for, or a later one, and
    /// whole.
    pub fn revert_to(&self, number: u64) -> Result<Head, HistoryError> {
        let _commits = self.lock_commits();
        let mut head = self.head()?.ok_or(StateError::NoHead)?;
        if number > head.number || number < self.oldest_state()? {
            return Err(self.out_of_reach(number)?);
        }
        // What is taken back is taken from the columns.
        self.journal().settle();
        self.check_poison()?;
        while head.number > number {
            head = self.revert_one(&head)?;
            fail::fail_point!("state::between_reverts");
        }
        Ok(head)
    }

    fn revert_one(&self, head: &Head) -> Result<Head, StateError> {
        let key = number_key(head.number);
        let undo: Undo = self
            .record(CF_UNDO, &key)?
            .ok_or_else(|| StateError::Damaged {
                record: CF_UNDO,
                reason: format!("what undoes block {} is missing", head.number),
            })?;
        let mut batch = WriteBatch::default();
        put_patch(self.rocksdb(), &mut batch, &undo.patch);
        for column in [CF_BLOCKS, CF_RECEIPTS, CF_UNDO] {
            batch.delete_cf(self.column(column), key);
        }
        let meta = self.column(CF_META);
        batch.put_cf(meta, META_HEAD, undo.parent.encode());
        batch.put_cf(meta, META_STORED, undo.parent.encode());
        self.write_state(batch, &undo.patch)?;
        Ok(undo.parent)
    }

    fn out_of_reach(&self, number: u64) -> Result<HistoryError, StateError> {
        let head = self.head()?.ok_or(StateError::NoHead)?.number;
        let oldest = self.oldest_state()?;
        Ok(HistoryError::OutOfReach {
            number,
            oldest,
            head,
        })
    }
}
