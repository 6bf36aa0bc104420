//! RocksDB, and the only module that knows it: opening, snapshots, records.
//!
//! Invariant: the head record always belongs to the state in `flat` and `nodes`, because every
//! commit writes all of them in one atomic batch. One process at a time has a database open;
//! RocksDB's lock file sees to it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use codec::{Decode, DecodeAll};
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DB, DBCompressionType, Options, WriteBatch,
    WriteOptions,
};

use super::{
    Head, OpenError, StateError, StateView,
    schema::{
        CF_BLOCKS, CF_FLAT, CF_META, CF_NODES, CF_RECEIPTS, FORMAT_VERSION, META_FORMAT, META_HEAD,
        format_record, parse_format_record,
    },
};

const COLUMNS: [&str; 5] = [CF_FLAT, CF_NODES, CF_BLOCKS, CF_RECEIPTS, CF_META];
/// The column family RocksDB insists on; unused.
const CF_DEFAULT: &str = "default";
/// The file that marks a folder as a RocksDB database.
const ROCKSDB_MARKER: &str = "CURRENT";
/// The file that stands in the folder while a database is being made.
const CREATION_MARKER: &str = "SLACKWATER_CREATION";
/// What a freshly made file system holds.
const MOUNT_FOLDER: &str = "lost+found";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 << 10;

/// How a commit reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// `fsync` for every block: an acknowledged block survives a power cut.
    #[default]
    Sync,
    /// Left to the operating system: survives the death of the process; after a power cut the
    /// database may be at some earlier block, still whole.
    Buffered,
}

/// A database of one chain: the state after its head block, and the blocks.
pub struct Database {
    rocksdb: DB,
    path: PathBuf,
    durability: Durability,
    /// Held while a commit compares the head and writes.
    commit: Mutex<()>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in folder `path`, or makes an empty one when the folder is absent or
    /// empty.
    ///
    /// # Errors
    /// [`OpenError`]; what is in the folder is left as it was.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        match inspect_folder(path)? {
            Folder::Empty => Self::create(path, durability),
            Folder::Database => Self::open_existing(path, durability),
            Folder::Interrupted => Self::finish_creation(path, durability),
        }
    }

    fn open_existing(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        check_columns(path)?;
        let database = Self::open_rocksdb(path, durability, false)?;
        database.check_format()?;
        database.head()?;
        Ok(database)
    }

    /// Makes a database in an empty folder. A marker stands in the folder meanwhile, so that a
    /// creation cut short can be told from somebody else's files; it is gone, durably, before
    /// anything can be committed.
    fn create(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        let folder = |source| folder_error(path, source);
        let marker = path.join(CREATION_MARKER);
        File::create(&marker)
            .and_then(|file| file.sync_all())
            .map_err(folder)?;
        let database = Self::open_rocksdb(path, durability, true)?;
        database.write_format()?;
        fs::remove_file(&marker).map_err(folder)?;
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(folder)?;
        Ok(database)
    }

    /// Goes on where a creation was cut short. Nothing was committed by then, so what there is can
    /// be made anew, unless all that was missing is the removal of the marker.
    fn finish_creation(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        match Self::open_existing(path, durability) {
            Ok(database) => {
                let marker = path.join(CREATION_MARKER);
                fs::remove_file(marker).map_err(|source| folder_error(path, source))?;
                Ok(database)
            }
            // Another process is at it, and may be done by now.
            Err(error @ OpenError::InUse { .. }) => Err(error),
            Err(_incomplete) => {
                DB::destroy(&Options::default(), path)
                    .map_err(|source| open_error(path, source))?;
                Self::create(path, durability)
            }
        }
    }

    fn open_rocksdb(path: &Path, durability: Durability, new: bool) -> Result<Self, OpenError> {
        let rocksdb = DB::open_cf_descriptors(&options(new), path, columns())
            .map_err(|source| open_error(path, source))?;
        Ok(Self {
            rocksdb,
            path: path.to_owned(),
            durability,
            commit: Mutex::new(()),
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
        let record = self.rocksdb.get_cf(self.column(CF_META), META_HEAD)?;
        decode_head(record)
    }

    /// A view of the state after the head block, unaffected by later commits.
    ///
    /// # Errors
    /// [`StateError::NoHead`] before a genesis is imported.
    pub fn view(&self) -> Result<StateView<'_>, StateError> {
        let snapshot = self.rocksdb.snapshot();
        let head = decode_head(snapshot.get_cf(self.column(CF_META), META_HEAD)?)?;
        Ok(StateView::new(
            self,
            snapshot,
            head.ok_or(StateError::NoHead)?,
        ))
    }

    /// A view of the empty state, for importing a genesis.
    pub(super) fn empty_view(&self) -> StateView<'_> {
        let state_root = sp_trie::empty_trie_root::<sp_trie::LayoutV1<sp_core::Blake2Hasher>>();
        let head = Head {
            number: 0,
            hash: Default::default(),
            state_root,
        };
        StateView::new(self, self.rocksdb.snapshot(), head)
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
        match self.bytes(column, key)? {
            Some(bytes) => T::decode_all(&mut bytes.as_slice())
                .map(Some)
                .map_err(|error| StateError::Damaged {
                    record: column,
                    reason: error.to_string(),
                }),
            None => Ok(None),
        }
    }

    pub(super) fn lock_commits(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own; a panic in another commit wrote nothing.
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `batch` atomically, as durably as configured.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::Sync);
        Ok(self.rocksdb.write_opt(batch, &options)?)
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

fn decode_head(record: Option<Vec<u8>>) -> Result<Option<Head>, StateError> {
    record
        .map(|bytes| {
            Head::decode_all(&mut bytes.as_slice()).map_err(|error| StateError::Damaged {
                record: "head",
                reason: error.to_string(),
            })
        })
        .transpose()
}

/// What a folder holds.
enum Folder {
    Empty,
    Database,
    /// A database of ours whose creation was cut short.
    Interrupted,
}

/// Makes sure the folder exists and says what it holds.
fn inspect_folder(path: &Path) -> Result<Folder, OpenError> {
    let folder = |source| folder_error(path, source);
    fs::create_dir_all(path).map_err(folder)?;
    if path.join(CREATION_MARKER).exists() {
        return Ok(Folder::Interrupted);
    }
    if path.join(ROCKSDB_MARKER).exists() {
        return Ok(Folder::Database);
    }
    for entry in fs::read_dir(path).map_err(folder)? {
        let name = entry.map_err(folder)?.file_name();
        if name != MOUNT_FOLDER {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
                found: format!("other files, such as {}", name.display()),
            });
        }
    }
    Ok(Folder::Empty)
}

fn folder_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        source,
    }
}

fn check_columns(path: &Path) -> Result<(), OpenError> {
    let found =
        DB::list_cf(&Options::default(), path).map_err(|source| open_error(path, source))?;
    let expected = |name: &String| name == CF_DEFAULT || COLUMNS.contains(&name.as_str());
    if found.iter().all(expected) && found.len() == COLUMNS.len() + 1 {
        return Ok(());
    }
    Err(OpenError::Foreign {
        path: path.to_owned(),
        found: format!(
            "a RocksDB database with column families {}",
            found.join(", ")
        ),
    })
}

fn options(new: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_keep_log_file_num(4);
    options
}

fn columns() -> Vec<ColumnFamilyDescriptor> {
    COLUMNS
        .iter()
        .map(|name| {
            let mut table = BlockBasedOptions::default();
            table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            table.set_block_size(BLOCK_BYTES);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
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
