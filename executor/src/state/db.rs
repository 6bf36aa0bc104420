//! RocksDB, and the only module that knows it: opening, snapshots, records.
//!
//! Invariant: the head record always belongs to the state in `flat` and `nodes`, because every
//! commit writes all of them in one atomic batch. One process at a time has a database open;
//! RocksDB's lock file sees to it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use codec::{Decode, DecodeAll, Encode};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};
use sp_core::Blake2Hasher;
use sp_trie::{LayoutV1, empty_trie_root};

use super::{
    DatabaseConfig, Durability, Head, OpenError, Recovery, StateError, StateView,
    cache::ReadCache,
    folder::{Folder, check_manifest, checked, inspect_folder, is_to_be_checked, mark, unmark},
    patch::Patch,
    recovery::{Opened, read_log},
    schema::{
        CF_BLOCKS, CF_FLAT, CF_META, CF_NODES, CF_RECEIPTS, CF_UNDO, FORMAT_VERSION,
        FORMAT_WITHOUT_UNDO, META_FORMAT, META_HEAD, format_record, number_key,
        parse_format_record, parse_number_key,
    },
};

const COLUMNS: [&str; 6] = [CF_FLAT, CF_NODES, CF_BLOCKS, CF_RECEIPTS, CF_META, CF_UNDO];
/// Those of [`FORMAT_WITHOUT_UNDO`], the first ones.
const COLUMNS_WITHOUT_UNDO: usize = 5;
/// The column family RocksDB insists on; unused.
const CF_DEFAULT: &str = "default";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 << 10;

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
    rocksdb: DB,
    path: PathBuf,
    config: DatabaseConfig,
    cache: ReadCache,
    recovery: Option<Recovery>,
    /// Held while a commit compares the head and writes.
    commit: Mutex<()>,
    /// The first write that failed; nothing is read or written behind it.
    poison: OnceLock<Arc<rocksdb::Error>>,
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
    /// [`OpenError`]; what is in the folder is left as it was.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        Self::open_with(path, DatabaseConfig::new(durability))
    }

    /// As [`Database::open`], kept as `config` says.
    ///
    /// # Errors
    /// [`OpenError`]; what is in the folder is left as it was.
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
        check_columns(path)?;
        let mut database = Self::open_rocksdb(path, config, false)?;
        database.check_format()?;
        let head = database.head()?;
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
        database.forget_history()?;
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
        match check_columns(path) {
            Ok(()) | Err(OpenError::Format { .. }) => {}
            Err(error) => return Err(error),
        }
        let database = Self::open_rocksdb(path, DatabaseConfig::default(), true)?;
        match database.check_format() {
            Err(OpenError::Format { found, .. }) if found == FORMAT_WITHOUT_UNDO => {
                database.write_format()
            }
            checked => checked,
        }
    }

    /// Removes what undoes blocks that are too old by now, if fewer are to be kept than were.
    fn forget_history(&self) -> Result<(), StateError> {
        let Some(head) = self.head()? else {
            return Ok(());
        };
        let kept = (head.number + 1).saturating_sub(self.history());
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
                if Self::open_whole(path, config)?.head()?.is_some() {
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
        let made = Self::open_rocksdb(path, config, true);
        fail::fail_point!("state::made");
        made
    }

    /// Writes what came without the log to files, then format and head, and the database is one.
    pub(super) fn finish(self, head: &Head) -> Result<Self, OpenError> {
        self.flush()?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.column(CF_META), META_FORMAT, format_record());
        batch.put_cf(self.column(CF_META), META_HEAD, head.encode());
        self.write(batch)?;
        // Whatever the durability of blocks is, what they stand on is on the disk.
        self.rocksdb.flush_wal(true).map_err(StateError::from)?;
        unmark(&self.path)?;
        Ok(self)
    }

    /// Writes all that is in memory to files, so that it does not depend on the log.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        for name in COLUMNS {
            self.rocksdb.flush_cf(self.column(name))?;
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

    fn open_rocksdb(path: &Path, config: DatabaseConfig, new: bool) -> Result<Self, OpenError> {
        let Opened { rocksdb, recovery } = read_log(
            path,
            |mode| DB::open_cf_descriptors(&options(new, mode), path, columns(&config)),
            |source| open_error(path, source),
        )?;
        Ok(Self {
            rocksdb,
            path: path.to_owned(),
            config,
            cache: ReadCache::new(config.cache_bytes),
            recovery,
            commit: Mutex::new(()),
            poison: OnceLock::new(),
        })
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

    /// A view of the state after the head block, unaffected by later commits.
    ///
    /// # Errors
    /// [`StateError::NoHead`] before a genesis is imported.
    pub fn view(&self) -> Result<StateView<'_>, StateError> {
        self.check_poison()?;
        let epoch = self.cache.epoch();
        let snapshot = self.rocksdb.snapshot();
        // If nothing was written meanwhile, cached values are of the state that the snapshot shows.
        let epoch = epoch.filter(|epoch| self.cache.epoch() == Some(*epoch));
        let record = snapshot.get_cf(self.column(CF_META), META_HEAD)?;
        let head = decoded("head", record)?.ok_or(StateError::NoHead)?;
        Ok(StateView::new(self, snapshot, head, epoch))
    }

    /// A view of the empty state, for importing a genesis.
    pub(super) fn empty_view(&self) -> StateView<'_> {
        let state_root = empty_trie_root::<LayoutV1<Blake2Hasher>>();
        let head = Head {
            number: 0,
            hash: Default::default(),
            state_root,
        };
        self.view_of(head)
    }

    /// A view of all that was written, as the state of `head`.
    pub(super) fn view_of(&self, head: Head) -> StateView<'_> {
        StateView::new(self, self.rocksdb.snapshot(), head, None)
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
        self.write(batch)?;
        change.done(patch);
        Ok(())
    }

    /// What is kept in memory of the state.
    pub(super) fn cache(&self) -> &ReadCache {
        &self.cache
    }

    /// Writes `batch` atomically, as durably as configured.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(self.config.durability == Durability::Sync);
        self.check_poison()?;
        fail::fail_point!("state::before_write");
        let written = self.rocksdb.write_opt(batch, &options);
        fail::fail_point!("state::after_write");
        written.map_err(|error| {
            let error = Arc::new(error);
            // Another failed at the same time; one reason is enough.
            self.poison.get_or_init(|| Arc::clone(&error));
            StateError::Database(error)
        })
    }

    fn check_poison(&self) -> Result<(), StateError> {
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

    /// A column family; all of them were opened with the database.
    pub(super) fn column(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        self.rocksdb
            .cf_handle(name)
            .expect("every column family is opened with the database")
    }

    fn write_format(&self) -> Result<(), OpenError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.column(CF_META), META_FORMAT, format_record());
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

/// Removes what there is of a database that was never finished.
fn destroy(path: &Path) -> Result<(), OpenError> {
    DB::destroy(&Options::default(), path).map_err(|source| open_error(path, source))
}

/// Which columns there are, by the manifest.
fn check_columns(path: &Path) -> Result<(), OpenError> {
    check_manifest(path)?;
    let found =
        DB::list_cf(&Options::default(), path).map_err(|source| open_error(path, source))?;
    let expected = |name: &String| name == CF_DEFAULT || COLUMNS.contains(&name.as_str());
    if found.iter().all(expected) && found.len() == COLUMNS.len() + 1 {
        return Ok(());
    }
    let before = &COLUMNS[..COLUMNS_WITHOUT_UNDO];
    let expected = |name: &String| name == CF_DEFAULT || before.contains(&name.as_str());
    if found.iter().all(expected) && found.len() == before.len() + 1 {
        return Err(OpenError::Format {
            path: path.to_owned(),
            found: FORMAT_WITHOUT_UNDO,
            expected: FORMAT_VERSION,
        });
    }
    Err(OpenError::Foreign {
        path: path.to_owned(),
        found: format!(
            "a RocksDB database with column families {}",
            found.join(", ")
        ),
    })
}

fn options(new: bool, mode: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(mode);
    // Of several files of the log, those that are not written to any more cannot be missed or shortened.
    options.set_track_and_verify_wals_in_manifest(true);
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_keep_log_file_num(4);
    options
}

fn columns(config: &DatabaseConfig) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(config.block_cache_bytes);
    COLUMNS
        .iter()
        .map(|name| {
            let mut table = BlockBasedOptions::default();
            table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            table.set_block_size(BLOCK_BYTES);
            table.set_block_cache(&cache);
            // So that what finds blocks counts as well.
            table.set_cache_index_and_filter_blocks(true);
            table.set_pin_l0_filter_and_index_blocks_in_cache(true);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_write_buffer_size(config.write_buffer_bytes);
            options.set_compression_type(DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(*name, options)
        })
        .collect()
}

/// RocksDB tells a held lock, a forbidden folder and a damaged file apart in text only.
fn open_error(path: &Path, source: rocksdb::Error) -> OpenError {
    let path = path.to_owned();
    if source.kind() == rocksdb::ErrorKind::IOError {
        let text = source.to_string();
        if text.contains("lock hold") || text.contains("While lock file") {
            return OpenError::InUse { path };
        }
        if text.contains("Permission denied") || text.contains("Read-only file system") {
            let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, text);
            return OpenError::Folder { path, source };
        }
    }
    OpenError::Database { path, source }
}
