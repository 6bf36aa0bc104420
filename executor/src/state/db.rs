//! The database: opening, snapshots, records. Only the modules of `state` know that it is RocksDB.
//!
//! Invariant: the head record always belongs to the state in `flat`, `nodes` and the journal, because every
//! commit writes all of them in one atomic batch. One process at a time has a database open;
//! lock files see to it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use codec::{Decode, DecodeAll, Encode};
use rocksdb::{DB, DBRecoveryMode, WriteBatch, WriteOptions, checkpoint::Checkpoint};

use super::{
    DatabaseConfig, Durability, Head, OpenError, Recovery, StateError,
    cache::ReadCache,
    columns::{COLUMNS, check_columns, column, columns, destroy, open_error, options},
    folder::{
        Folder, checked, inspect_folder, is_to_be_checked, let_be_checked, lock, mark, unmark,
    },
    journal::Journal,
    patch::Patch,
    prefetch::Prefetch,
    recovery::{Opened, read_log},
    schema::{
        CF_META, CF_UNDO, FORMAT_VERSION, FORMAT_WITHOUT_JOURNAL, FORMAT_WITHOUT_UNDO, META_FORMAT,
        META_HEAD, META_STORED, format_record, number_key, parse_format_record, parse_number_key,
    },
};

/// So many nodes are put into the cache by another thread while they are written.
const MANY_NODES: usize = 1_000;

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseStat {
    /// Version of its format.
    pub format: u32,
    /// The block whose state it holds; `None` before a genesis is imported.
    pub head: Option<Head>,
    /// The earliest block it can be reverted to.
    pub oldest_state: Option<u64>,
    /// Its columns.
    pub columns: Vec<ColumnStat>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnStat {
    /// Its name.
    pub name: &'static str,
    /// Number of keys, estimated.
    pub keys: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// Bytes in memory, which are in the log only.
    pub buffered_bytes: u64,
}

/// A database of one chain: the state after its head block, and the blocks.
pub struct Database {
    /// The first to go, for it has the database open as well.
    prefetch: OnceLock<Prefetch>,
    rocksdb: Arc<DB>,
    path: PathBuf,
    config: DatabaseConfig,
    cache: Arc<ReadCache>,
    recovery: Option<Recovery>,
    /// What is not in the columns of values and nodes yet.
    journal: Journal,
    /// Held while a commit compares the head and writes.
    commit: Mutex<()>,
    /// The first write that failed; nothing is read or written behind it.
    poison: Arc<OnceLock<Arc<rocksdb::Error>>>,
    /// Given up when RocksDB is closed.
    _lock: File,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in folder `path`, or makes an empty one when the folder is absent or
    /// empty; kept by default but for `durability`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        Self::open_with(path, DatabaseConfig::new(durability))
    }

    /// As [`Database::open`], kept as `config` says.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        match inspect_folder(path)? {
            Folder::Empty => Self::create(path, config),
            Folder::Database => Self::open_whole(path, config),
            Folder::Interrupted => Self::finish_creation(path, config),
        }
    }

    /// Opens a database there is, and makes none.
    ///
    /// # Errors
    /// [`OpenError::Absent`] when there is none, or as [`Database::open`].
    pub fn open_existing(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        // Looking into a folder makes it.
        if !path.exists() || matches!(inspect_folder(path)?, Folder::Empty) {
            return Err(OpenError::Absent {
                path: path.to_owned(),
            });
        }
        Self::open_with(path, config)
    }

    fn open_whole(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        let database = Self::open_checked(path, config)?;
        database.forget_history()?;
        Ok(database)
    }

    fn open_checked(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        check_columns(path)?;
        let mut database = Self::open_rocksdb(path, config, false, lock)?;
        database.check_format()?;
        let head = database.load()?;
        if let Some(recovery) = &mut database.recovery {
            recovery.head = head;
            log::warn!(target: "slackwater::state", "database {}: {recovery}", path.display());
        }
        if let Some(head) = head {
            database.check_head(&head)?;
        }
        if is_to_be_checked(path) {
            log::warn!(target: "slackwater::state", "database {}: its manifest was not whole; checking all of it", path.display());
            if let Some(head) = head {
                database.check_all(&head)?;
            }
            checked(path)?;
        }
        Ok(database)
    }

    /// Whether blocks may have been lost when this handle opened the database: not all of its write-ahead log could be
    /// read. Opening it again does not say so again.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Makes a database of an earlier format one of this; whatever cuts that short, it can be begun anew.
    ///
    /// # Errors
    /// [`OpenError`]; it is still of its format then.
    pub fn migrate(path: &Path) -> Result<(), OpenError> {
        let lock = lock(path)?;
        match check_columns(path) {
            Ok(()) | Err(OpenError::Format { .. }) => {}
            Err(error) => return Err(error),
        }
        let database = Self::open_rocksdb(path, DatabaseConfig::default(), true, lock)?;
        match database.check_format() {
            Err(OpenError::Format {
                found: FORMAT_WITHOUT_UNDO | FORMAT_WITHOUT_JOURNAL,
                ..
            }) => database.write_format(),
            checked => checked,
        }
    }

    /// Removes what undoes blocks that are too old by now, if fewer are to be kept than were.
    fn forget_history(&self) -> Result<(), StateError> {
        let Some(head) = self.head()? else {
            return Ok(());
        };
        let kept = head.number.saturating_add(1).saturating_sub(self.history());
        if self
            .first_number(CF_UNDO)?
            .is_some_and(|first| first < kept)
        {
            let mut batch = WriteBatch::default();
            let (begin, end) = (number_key(0), number_key(kept));
            batch.delete_range_cf(self.column(CF_UNDO), begin, end);
            self.write(batch)?;
        }
        Ok(())
    }

    /// Makes a database in an empty folder. A marker stands in the folder meanwhile, so that a
    /// creation cut short can be told from somebody else's files; it is gone, durably, before
    /// anything can be committed.
    fn create(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        let database = Self::make(path, config)?;
        database.write_format()?;
        fail::fail_point!("state::formatted");
        database.flush()?;
        unmark(path)?;
        Ok(database)
    }

    /// Begins a database in an empty or absent folder, which counts as begun until it is finished.
    pub(super) fn begin(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        match inspect_folder(path)? {
            Folder::Empty => {}
            Folder::Interrupted => destroy(path)?,
            Folder::Database => {
                if Self::open_checked(path, config)?.head()?.is_some() {
                    return Err(OpenError::NotEmpty {
                        path: path.to_owned(),
                    });
                }
                // Somebody has looked into a folder in which one was begun.
                destroy(path)?;
            }
        }
        Self::make(path, config)
    }

    /// Marks an empty folder, and makes the columns in it.
    fn make(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        mark(path)?;
        fail::fail_point!("state::marked");
        let made = Self::open_rocksdb(path, config, true, lock(path)?);
        fail::fail_point!("state::made");
        made
    }

    /// Writes what came without the log to files, then format and head, and the database is one.
    pub(super) fn finish(self, head: &Head) -> Result<Self, OpenError> {
        self.flush()?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.column(CF_META), META_FORMAT, format_record());
        batch.put_cf(self.column(CF_META), META_HEAD, head.encode());
        batch.put_cf(self.column(CF_META), META_STORED, head.encode());
        self.write(batch)?;
        // Whatever the durability of blocks is, what they stand on is on the disk.
        self.rocksdb.flush_wal(true).map_err(StateError::from)?;
        unmark(&self.path)?;
        Ok(self)
    }

    /// Writes all that is in memory to files, so that it does not depend on the log.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        for name in COLUMNS {
            let flushed = self.rocksdb.flush_cf(self.column(name));
            flushed.map_err(|error| self.poisoned_by(error))?;
        }
        Ok(())
    }

    /// Writes a batch of a database that is not finished, without the log.
    pub(super) fn write_unlogged(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.rocksdb.write_opt(batch, &options)?)
    }

    /// All entries of `column`.
    pub(super) fn entries(&self, column: &'static str) -> rocksdb::DBRawIterator<'_> {
        self.rocksdb.raw_iterator_cf(self.column(column))
    }

    /// Goes on where a creation was cut short. Nothing was committed by then, so what there is can
    /// be made anew, unless all that was missing is the removal of the marker.
    fn finish_creation(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        match Self::open_whole(path, config) {
            Ok(database) => {
                unmark(path)?;
                Ok(database)
            }
            // Another process is at it, and may be done by now.
            Err(error @ OpenError::InUse { .. }) => Err(error),
            Err(_incomplete) => {
                destroy(path)?;
                Self::create(path, config)
            }
        }
    }

    fn open_rocksdb(
        path: &Path,
        config: DatabaseConfig,
        new: bool,
        lock: File,
    ) -> Result<Self, OpenError> {
        let Opened { rocksdb, recovery } = read_log(
            path,
            |mode| DB::open_cf_descriptors(&options(new, mode), path, columns(&config)),
            || Self::is_whole(path, config, new, &lock),
            |source| open_error(path, source),
        )?;
        let database = Self::of(rocksdb, path, config, lock);
        Ok(Self {
            recovery,
            ..database
        })
    }

    fn of(rocksdb: DB, path: &Path, config: DatabaseConfig, lock: File) -> Self {
        let (rocksdb, poison) = (Arc::new(rocksdb), Arc::default());
        Self {
            prefetch: OnceLock::new(),
            journal: Journal::new(&rocksdb, config.journal_blocks, &poison),
            rocksdb,
            path: path.to_owned(),
            config,
            cache: Arc::new(ReadCache::new(config.cache_bytes)),
            recovery: None,
            commit: Mutex::new(()),
            poison,
            _lock: lock,
        }
    }

    /// Whether files and log together hold a state. Nothing is written but a mark on one that may lack columns, `new`,
    /// and is checked when it is opened with them.
    fn is_whole(
        path: &Path,
        config: DatabaseConfig,
        new: bool,
        lock: &File,
    ) -> Result<bool, OpenError> {
        if new {
            let_be_checked(path)?;
            return Ok(true);
        }
        let options = options(false, DBRecoveryMode::PointInTime);
        let opened = DB::open_cf_descriptors_read_only(&options, path, columns(&config), false);
        // What RocksDB itself finds wrong is not for us to mend.
        let rocksdb = opened.map_err(|error| open_error(path, error))?;
        let lock = lock.try_clone().map_err(|source| OpenError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let tried = Self::of(rocksdb, path, config, lock);
        let Some(head) = tried.head()? else {
            return Ok(true);
        };
        let checked = tried.load();
        let checked = checked.and_then(|_head| tried.check_head(&head));
        match checked.and_then(|()| tried.check_all(&head)) {
            Ok(()) => Ok(true),
            Err(error @ StateError::Database(_)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// All entries of `column` that `snapshot` shows, which is to live longer.
    pub(super) fn entries_as_of(
        &self,
        column: &'static str,
        snapshot: &rocksdb::Snapshot<'_>,
    ) -> rocksdb::DBRawIterator<'_> {
        let mut options = rocksdb::ReadOptions::default();
        options.set_snapshot(snapshot);
        let column = self.column(column);
        self.rocksdb.raw_iterator_cf_opt(column, options)
    }

    /// The folder the database lives in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The block whose state the database holds; `None` before a genesis is imported.
    ///
    /// # Errors
    /// [`StateError`] when the record cannot be read.
    pub fn head(&self) -> Result<Option<Head>, StateError> {
        self.check_poison()?;
        let record = self.rocksdb.get_cf(self.column(CF_META), META_HEAD)?;
        decoded("head", record)
    }

    /// What is in the database.
    ///
    /// # Errors
    /// [`StateError`] when reading failed.
    pub fn stat(&self) -> Result<DatabaseStat, StateError> {
        let columns = COLUMNS.iter().map(|name| {
            let number = |property: &str| {
                let value = self
                    .rocksdb
                    .property_int_value_cf(self.column(name), property)?;
                Ok::<u64, StateError>(value.unwrap_or_default())
            };
            Ok(ColumnStat {
                name,
                keys: number("rocksdb.estimate-num-keys")?,
                bytes: number("rocksdb.total-sst-files-size")?,
                buffered_bytes: number("rocksdb.cur-size-all-mem-tables")?,
            })
        });
        let columns = columns.collect::<Result<_, StateError>>()?;
        let head = self.head()?;
        Ok(DatabaseStat {
            format: FORMAT_VERSION,
            oldest_state: head.map(|_| self.oldest_state()).transpose()?,
            head,
            columns,
        })
    }

    /// Copies the database, as it is at this moment, to a folder that must not exist: a backup that can be opened
    /// by itself. On the same file system files are linked, so that it takes no time and little room.
    ///
    /// # Errors
    /// [`StateError`] when the folder exists or cannot be written.
    pub fn checkpoint(&self, path: &Path) -> Result<(), StateError> {
        self.check_poison()?;
        // What is in memory only is written first, so that a copy is whole even of buffered blocks.
        let checkpoint = Checkpoint::new(&self.rocksdb)?;
        Ok(checkpoint.create_checkpoint(path)?)
    }

    /// The bytes stored under `key` in `column`.
    pub(super) fn bytes(
        &self,
        column: &'static str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.rocksdb.get_cf(self.column(column), key)?)
    }

    /// The record stored under `key` in `column`, decoded.
    pub(super) fn record<T: Decode>(
        &self,
        column: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, StateError> {
        decoded(column, self.bytes(column, key)?)
    }

    pub(super) fn lock_commits(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own; a panic in another commit wrote nothing.
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `batch`, which changes the state as `patch` says, atomically and as durably as configured.
    pub(super) fn write_state(&self, batch: WriteBatch, patch: &Patch) -> Result<(), StateError> {
        let change = self.cache.begin();
        std::thread::scope(|scope| {
            let keep = || self.cache.keep_nodes(patch);
            // Many are kept while they are written. The thread is waited for.
            if patch.nodes.len() < MANY_NODES
                || std::thread::Builder::new()
                    .spawn_scoped(scope, keep)
                    .is_err()
            {
                keep();
            }
            self.write(batch)
        })?;
        change.done(patch);
        Ok(())
    }

    /// What is not in the columns of values and nodes yet.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn rocksdb(&self) -> &DB {
        &self.rocksdb
    }

    /// What is kept in memory of the state.
    pub(super) fn cache(&self) -> &ReadCache {
        &self.cache
    }

    /// Whether what undoes a block is gathered while it is executed.
    pub(super) fn gathers(&self) -> bool {
        self.history() > 0 && self.config.cache_bytes > 0
    }

    /// Whether something reads ahead for roots.
    pub(super) fn reads_ahead(&self) -> bool {
        self.config.prefetch && self.config.cache_bytes > 0
    }

    /// What reads ahead for roots, if something does.
    pub(super) fn prefetch(&self) -> Option<&Prefetch> {
        let begin = || Prefetch::new(&self.rocksdb, &self.cache);
        self.reads_ahead().then(|| self.prefetch.get_or_init(begin))
    }

    /// Writes `batch` atomically, as durably as configured.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(self.config.durability == Durability::Sync);
        self.check_poison()?;
        fail::fail_point!("state::before_write");
        let written = self.rocksdb.write_opt(batch, &options);
        fail::fail_point!("state::after_write");
        written.map_err(|error| self.poisoned_by(error))
    }

    /// A write has failed, and nothing is read or written any more.
    fn poisoned_by(&self, error: rocksdb::Error) -> StateError {
        let error = Arc::new(error);
        // Of several, one is enough.
        self.poison.get_or_init(|| Arc::clone(&error));
        StateError::Database(error)
    }

    pub(super) fn check_poison(&self) -> Result<(), StateError> {
        match self.poison.get() {
            Some(first) => Err(StateError::Poisoned {
                first: Arc::clone(first),
            }),
            None => Ok(()),
        }
    }

    /// How many blocks can be undone.
    pub(super) fn history(&self) -> u64 {
        self.config.history_blocks
    }

    /// The first number that `column` has a record for.
    pub(super) fn first_number(&self, column: &'static str) -> Result<Option<u64>, StateError> {
        let mut records = self.rocksdb.raw_iterator_cf(self.column(column));
        records.seek_to_first();
        let first = records.key().and_then(parse_number_key);
        records.status()?;
        Ok(first)
    }

    /// A column family.
    pub(super) fn column(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        column(&self.rocksdb, name)
    }

    fn write_format(&self) -> Result<(), OpenError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.column(CF_META), META_FORMAT, format_record());
        if let Some(head) = self.head()? {
            // There was no journal.
            batch.put_cf(self.column(CF_META), META_STORED, head.encode());
        }
        Ok(self.write(batch)?)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let record = self
            .rocksdb
            .get_cf(self.column(CF_META), META_FORMAT)
            .map_err(StateError::from)?;
        match record.as_deref().and_then(parse_format_record) {
            Some(FORMAT_VERSION) => Ok(()),
            Some(found) => Err(OpenError::Format {
                path: self.path.clone(),
                found,
                expected: FORMAT_VERSION,
            }),
            None => Err(OpenError::Foreign {
                path: self.path.clone(),
                found: "a RocksDB database without our format record".to_owned(),
            }),
        }
    }
}

/// What a record holds that is called `record` in errors.
pub(super) fn decoded<T: Decode>(
    record: &'static str,
    bytes: Option<Vec<u8>>,
) -> Result<Option<T>, StateError> {
    let decoded = bytes.map(|bytes| T::decode_all(&mut bytes.as_slice()));
    decoded.transpose().map_err(|error| StateError::Damaged {
        record,
        reason: error.to_string(),
    })
}
