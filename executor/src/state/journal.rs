//! Blocks whose changes are in the database as one record each, and not yet in the columns of values and nodes. A commit
//! writes that record, which is cheap; once there are some, a thread writes what they change together, which is less
//! than what each of them changes. Until then their patches are in memory, and states are read through them. Nodes keep
//! blocks that are not final in a journal as well (`sc-state-db`); here it is for all, however soon a block is final.
//!
//! Invariants: the columns hold the state of the block that is under `stored`, and for every block from there to
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
    columns::column,
    db::decoded,
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
    /// Bytes of the patch, about.
    bytes: usize,
}

impl Recent {
    fn new(head: Head, patch: Arc<Patch>) -> Self {
        let bytes = patch.bytes();
        Self { head, patch, bytes }
    }
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
        let stored = shared.stored()?;
        let mut recent = Vec::new();
        for number in stored.number.saturating_add(1)..=head.number {
            let column = shared.column(CF_JOURNAL);
            let record = shared.rocksdb.get_cf(column, number_key(number))?;
            let record = record.ok_or_else(|| damaged(format!("block {number} is missing")))?;
            let Stored { head, patch } = Stored::decode_all(&mut record.as_slice())
                .map_err(|error| damaged(format!("block {number}: {error}")))?;
            if head.number != number {
                let reason = format!("under block {number} there is block {}", head.number);
                return Err(damaged(reason));
            }
            recent.push(Recent::new(head, Arc::new(patch)));
        }
        let last = recent.last().map_or(&stored, |last| &last.head);
        if last != head {
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
        let added = Recent::new(head, Arc::clone(patch));
        self.shared.change(|recent| {
            // One that was added, and never written because of a panic, is none.
            let below = recent.iter().filter(|it| it.head.number < head.number);
            below.cloned().chain([added]).collect()
        });
    }

    /// Has what is in memory settled on another thread, if it is enough. Nobody may commit meanwhile: what is in memory
    /// must have been written.
    pub(super) fn settle_if_full(&self) {
        let recent = self.recent();
        let bytes: usize = recent.iter().map(|block| block.bytes).sum();
        let has_room = |times: usize| {
            recent.len() < self.blocks_max.saturating_mul(times)
                && bytes < JOURNAL_BYTES.saturating_mul(times)
        };
        if has_room(1) {
            return;
        }
        let mut settling = self.lock_settling();
        let thread = settling.as_ref();
        if thread.is_some_and(|thread| !thread.is_finished()) && has_room(2) {
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
        column(&self.rocksdb, name)
    }

    /// The block whose state the columns hold.
    fn stored(&self) -> Result<Head, StateError> {
        decode_stored(self.rocksdb.get_cf(self.column(CF_META), META_STORED)?)
    }

    /// Writes these, the first ones in memory, to their columns. A write that fails is the last one of this database.
    fn settle(&self, blocks: &[Recent]) {
        let (Some(last), Ok(stored)) = (blocks.last(), self.stored()) else {
            // Where it cannot be read, reads say so.
            return;
        };
        if self.poison.get().is_some() {
            return;
        }
        // Some are settled, and still in memory, where settling has panicked.
        let settled = blocks.partition_point(|block| block.head.number <= stored.number);
        let unsettled = blocks.get(settled..).unwrap_or_default();
        let mut batch = WriteBatch::default();
        let patches = unsettled.iter().map(|block| block.patch.as_ref());
        put_patches(&self.rocksdb, &mut batch, patches);
        for block in unsettled {
            batch.delete_cf(self.column(CF_JOURNAL), number_key(block.head.number));
        }
        batch.put_cf(self.column(CF_META), META_STORED, last.head.encode());
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
pub(super) fn between(recent: &[Recent], stored: &Head, head: &Head) -> Option<Patches> {
    let count = usize::try_from(head.number.checked_sub(stored.number)?).ok()?;
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
pub(super) fn decode_stored(record: Option<Vec<u8>>) -> Result<Head, StateError> {
    let stored = decoded("stored", record)?;
    stored.ok_or_else(|| damaged("what is settled is missing".to_owned()))
}

fn damaged(reason: String) -> StateError {
    StateError::Damaged {
        record: CF_JOURNAL,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use sp_core::storage::{StateVersion, Storage};
    use sp_externalities::Externalities;

    use super::*;
    use crate::state::{
        BlockLayers, BlockRecord, CommitError, DatabaseConfig, Durability, Extensions, OpenError,
        schema::FlatSpace,
    };

    fn open(folder: &tempfile::TempDir, journal_blocks: u64) -> Result<Database, OpenError> {
        let config = DatabaseConfig {
            journal_blocks,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        Database::open_with(folder.path(), config)
    }

    fn begun(folder: &tempfile::TempDir, journal_blocks: u64) -> Database {
        let database = open(folder, journal_blocks).expect("opens");
        let storage = Storage {
            top: [(b"number".to_vec(), 0_u64.encode())].into(),
            ..Storage::default()
        };
        let prepared = database.prepare_state(&storage, StateVersion::V1);
        let imported = database.import_state(prepared.expect("a state"), 0, Default::default());
        imported.expect("imports");
        database
    }

    /// Commits a block of this number that says so in its state.
    fn commit(database: &Database, number: u64) -> Result<Head, CommitError> {
        let view = database.view().expect("a head");
        let mut layers = BlockLayers::new(&view, Extensions::new());
        let write = |ext: &mut dyn Externalities| {
            ext.place_storage(b"number".to_vec(), Some(number.encode()));
            ext.place_storage(
                vec![7; 40],
                (!number.is_multiple_of(3)).then(|| vec![7; 40]),
            );
        };
        layers.run(write).expect("readable");
        let changes = layers.finish(StateVersion::V1).expect("a root");
        let record = BlockRecord {
            number,
            hash: sp_core::H256::from_low_u64_be(number),
            header: Vec::new(),
            extrinsics: Vec::new(),
            receipts: Vec::new(),
        };
        database.commit(view.head(), changes, &record)
    }

    /// The number in a state, which is the head's.
    fn look(database: &Database) -> u64 {
        let view = database.view().expect("a head");
        let key = FlatSpace::top().key(b"number");
        let number = view.uncached(&key).expect("readable").expect("there");
        assert_eq!(number, view.head().number.encode());
        view.head().number
    }

    #[test]
    fn states_are_right_while_others_are_committed_and_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = begun(&folder, 1);
        const BLOCKS: u64 = 300;
        std::thread::scope(|scope| {
            let looks = || {
                let mut seen = 0;
                while seen < BLOCKS {
                    let number = look(&database);
                    assert!(number >= seen, "{number} behind {seen}");
                    seen = number;
                }
            };
            let readers = [(); 2].map(|()| scope.spawn(looks));
            for number in 1..=BLOCKS {
                commit(&database, number).expect("commits");
            }
            for reader in readers {
                reader.join().expect("all states are right");
            }
        });
        database.settle().expect("settles");
        assert!(database.journal().recent().is_empty());
        let mut records = database.entries(CF_JOURNAL);
        records.seek_to_first();
        assert!(!records.valid());
        let checked = database.view().expect("a head").check_values(|_| {});
        assert_eq!(checked.expect("the trie's").keys, 1);
    }

    #[test]
    fn a_block_has_the_number_behind_the_heads() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = begun(&folder, 16);
        commit(&database, 1).expect("commits");
        for number in [0, 1, 3, u64::MAX] {
            let error = commit(&database, number).expect_err("not the next");
            let refused =
                matches!(error, CommitError::NotNext { number: own, head: 1 } if own == number);
            assert!(refused, "{error}");
        }
        commit(&database, 2).expect("nothing was written");
        assert_eq!(look(&database), 2);
    }

    #[test]
    fn a_journal_that_lacks_something_is_refused() {
        type Damage = fn(&Database, &rocksdb::ColumnFamily);
        let damages: [(Damage, &str); 5] = [
            (
                |database, journal| {
                    let removed = database.rocksdb().delete_cf(journal, number_key(2));
                    removed.expect("written");
                },
                "block 2 is missing",
            ),
            (
                |database, journal| {
                    let put = database.rocksdb().put_cf(journal, number_key(3), b"?");
                    put.expect("written");
                },
                "block 3: ",
            ),
            (
                |database, journal| {
                    let third = database.rocksdb().get_cf(journal, number_key(3));
                    let third = third.expect("readable").expect("there");
                    let put = database.rocksdb().put_cf(journal, number_key(2), third);
                    put.expect("written");
                },
                "under block 2 there is block 3",
            ),
            (
                |database, _journal| {
                    let meta = database.column(CF_META);
                    let removed = database.rocksdb().delete_cf(meta, META_STORED);
                    removed.expect("written");
                },
                "what is settled is missing",
            ),
            (
                |database, _journal| {
                    let mut later = database.head().expect("readable").expect("a head");
                    later.number += 1;
                    let meta = database.column(CF_META);
                    let put = database.rocksdb().put_cf(meta, META_STORED, later.encode());
                    put.expect("written");
                },
                "it does not end with block 3",
            ),
        ];
        for (damage, said) in damages {
            let folder = tempfile::tempdir().expect("a folder");
            let database = begun(&folder, 16);
            for number in 1..=3 {
                commit(&database, number).expect("commits");
            }
            drop(database);
            let database = open(&folder, 16).expect("as it was left");
            assert_eq!(look(&database), 3);
            damage(&database, database.column(CF_JOURNAL));
            drop(database);
            let error = open(&folder, 16).expect_err("damaged").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
