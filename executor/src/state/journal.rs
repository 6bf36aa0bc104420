//! Blocks whose changes are in the database as one record each, and not yet in the columns of values and nodes. A commit
//! writes that record, which is cheap; once there are some, a thread writes what they change together, which is less
//! than what each of them changes. Until then their patches are in memory, and states are read through them. Nodes keep
//! blocks that are not final in a journal as well (`sc-state-db`); here it is for all, however soon a block is final.
//!
//! Invariants: the columns hold the state of the block whose number is under `stored`, and for every block from there to
//! the head there is a record; both change in one batch. Settling changes no state, so it may happen at any time, but for
//! while blocks are reverted. The blocks in memory are at least those from what any snapshot taken later calls stored, to its
//! head. Cost: the patches of so many blocks in memory, or so many bytes; a look into each where neither a cache nor an
//! earlier one knows a key.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    thread::{Builder, JoinHandle},
};

use codec::{Decode, DecodeAll, Encode};
use rocksdb::{DB, WriteBatch, WriteOptions};

use super::{
    Database, Head, StateError,
    patch::{Patch, put_patches},
    schema::{CF_JOURNAL, CF_META, META_STORED, number_key},
};

/// Bytes of patches in memory from which on they are settled, however few blocks they are of.
const JOURNAL_BYTES: usize = 32 << 20;

/// A block of the journal.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) head: Head,
    pub(super) patch: Arc<Patch>,
}

/// What is stored of one.
#[derive(Decode)]
struct Stored {
    head: Head,
    patch: Patch,
}

/// The patches of blocks, the last one first.
pub(super) type Patches = Arc<[Arc<Patch>]>;

/// The journal of a database that is open.
pub(super) struct Journal {
    shared: Arc<Shared>,
    /// Blocks from which on they are settled.
    blocks_max: usize,
    settling: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread that settles shares with whoever commits and reads.
struct Shared {
    rocksdb: Arc<DB>,
    /// In their order.
    recent: RwLock<Arc<[Recent]>>,
    poison: Arc<OnceLock<Arc<rocksdb::Error>>>,
}

impl Journal {
    /// Of a database whose first failed write goes to `poison`. There may be records that are not loaded.
    pub(super) fn new(
        rocksdb: &Arc<DB>,
        blocks_max: u64,
        poison: &Arc<OnceLock<Arc<rocksdb::Error>>>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                rocksdb: Arc::clone(rocksdb),
                recent: RwLock::new(Arc::new([])),
                poison: Arc::clone(poison),
            }),
            blocks_max: usize::try_from(blocks_max).unwrap_or(usize::MAX).max(1),
            settling: Mutex::new(None),
        }
    }

    /// Reads the records there are. Of a state that was never committed to, there are none.
    pub(super) fn load(&self, head: &Head) -> Result<(), StateError> {
        let shared = &self.shared;
        let snapshot = shared.rocksdb.snapshot();
        let stored = shared.stored_number(&snapshot)?;
        let mut recent = Vec::new();
        for number in stored.saturating_add(1)..=head.number {
            let column = shared.column(CF_JOURNAL);
            let record = snapshot.get_cf(column, number_key(number))?;
            let record = record.ok_or_else(|| damaged(format!("block {number} is missing")))?;
            let Stored { head, patch } = Stored::decode_all(&mut record.as_slice())
                .map_err(|error| damaged(format!("block {number}: {error}")))?;
            let patch = Arc::new(patch);
            recent.push(Recent { head, patch });
        }
        if stored > head.number || recent.last().is_some_and(|last| last.head != *head) {
            return Err(damaged(format!(
                "it does not end with block {}",
                head.number
            )));
        }
        shared.change(|_none| recent.into());
        Ok(())
    }

    /// The blocks in memory.
    pub(super) fn recent(&self) -> Arc<[Recent]> {
        self.shared.recent()
    }

    /// Adds a block to what is in memory and to a batch, which is to be written next.
    pub(super) fn add(&self, batch: &mut WriteBatch, head: Head, patch: &Arc<Patch>) {
        let key = number_key(head.number);
        let record = (head, patch.as_ref()).encode();
        batch.put_cf(self.shared.column(CF_JOURNAL), key, record);
        let added = Recent {
            head,
            patch: Arc::clone(patch),
        };
        let add = |recent: &[Recent]| recent.iter().cloned().chain([added]).collect();
        self.shared.change(add);
    }

    /// Has what is in memory settled on another thread, if it is enough. Nobody may commit meanwhile: what is in memory
    /// must have been written.
    pub(super) fn settle_if_full(&self) {
        let recent = self.recent();
        let bytes: usize = recent.iter().map(|block| block.patch.bytes()).sum();
        if recent.len() < self.blocks_max && bytes < JOURNAL_BYTES {
            return;
        }
        let mut settling = self.lock_settling();
        if settling
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
            && recent.len() < self.blocks_max.saturating_mul(2)
        {
            // What it does not settle, the next one does.
            return;
        }
        wait_for(&mut settling);
        let (shared, blocks) = (Arc::clone(&self.shared), self.recent());
        let settle = move || shared.settle(&blocks);
        let thread = Builder::new().name("slackwater-settle".to_owned());
        match thread.spawn(settle) {
            Ok(thread) => *settling = Some(thread),
            Err(_) => self.shared.settle(&self.recent()),
        }
    }

    /// Settles everything, unless a write has failed. Nobody may commit meanwhile.
    pub(super) fn settle(&self) {
        wait_for(&mut self.lock_settling());
        self.shared.settle(&self.recent());
    }

    fn lock_settling(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // It is whole between any two of its operations.
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Writes what is in the journal to the columns of values and nodes now, which happens by itself from time to time.
    /// No state changes by that.
    ///
    /// # Errors
    /// [`StateError`] when writing failed; opened again, the database holds what it held.
    pub fn settle(&self) -> Result<(), StateError> {
        let _commits = self.lock_commits();
        self.journal().settle();
        self.check_poison()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        wait_for(&mut self.lock_settling());
    }
}

/// Waits for the thread that settles. One that panicked has ended, too, and left what it was to settle.
fn wait_for(settling: &mut Option<JoinHandle<()>>) {
    if let Some(Err(_)) = settling.take().map(JoinHandle::join) {
        log::error!(target: "slackwater::state", "settling the journal has panicked");
    }
}

impl Shared {
    fn recent(&self) -> Arc<[Recent]> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&recent)
    }

    fn change(&self, change: impl FnOnce(&[Recent]) -> Arc<[Recent]>) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        *recent = change(&recent);
    }

    fn column(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        let column = self.rocksdb.cf_handle(name);
        column.expect("every column family is opened with the database")
    }

    fn stored_number(&self, snapshot: &rocksdb::Snapshot<'_>) -> Result<u64, StateError> {
        let record = snapshot.get_cf(self.column(CF_META), META_STORED)?;
        decode_stored(record)
    }

    /// Writes these, the first ones in memory, to their columns. A write that fails is the last one of this database.
    fn settle(&self, blocks: &[Recent]) {
        let Some(last) = blocks.last() else {
            return;
        };
        if self.poison.get().is_some() {
            return;
        }
        let mut batch = WriteBatch::default();
        let patches = blocks.iter().map(|block| block.patch.as_ref());
        put_patches(&self.rocksdb, &mut batch, patches);
        for block in blocks {
            batch.delete_cf(self.column(CF_JOURNAL), number_key(block.head.number));
        }
        let stored = last.head.number.encode();
        batch.put_cf(self.column(CF_META), META_STORED, stored);
        fail::fail_point!("state::before_settling");
        // Until it is on the disk the journal is, in the same log.
        let written = self.rocksdb.write_opt(batch, &WriteOptions::default());
        fail::fail_point!("state::after_settling");
        if let Err(error) = written {
            self.poison.get_or_init(|| Arc::new(error));
            return;
        }
        // Others may have been added meanwhile, and none was removed.
        self.change(|recent| recent.get(blocks.len()..).unwrap_or_default().into());
    }
}

/// The blocks that stand between what a snapshot calls stored and its head, the last one first; `None` where they are
/// not all among `recent`, which was read too early.
pub(super) fn between(recent: &[Recent], stored: u64, head: &Head) -> Option<Patches> {
    let count = usize::try_from(head.number.checked_sub(stored)?).ok()?;
    if count == 0 {
        return Some(Arc::new([]));
    }
    let end = 1 + recent.iter().rposition(|block| block.head == *head)?;
    let blocks = recent.get(end.checked_sub(count)?..end)?;
    Some(
        blocks
            .iter()
            .rev()
            .map(|it| Arc::clone(&it.patch))
            .collect(),
    )
}

/// What is under `stored`.
pub(super) fn decode_stored(record: Option<Vec<u8>>) -> Result<u64, StateError> {
    let record = record.ok_or_else(|| damaged("what is settled is missing".to_owned()))?;
    u64::decode_all(&mut record.as_slice())
        .map_err(|error| damaged(format!("what is settled: {error}")))
}

fn damaged(reason: String) -> StateError {
    StateError::Damaged {
        record: CF_JOURNAL,
        reason,
    }
}
