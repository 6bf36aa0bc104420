//! The column families of a database, and how RocksDB keeps them.

use std::path::Path;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, DataBlockIndexType, Options,
};

use super::{
    DatabaseConfig, OpenError,
    folder::{check_manifest, clean},
    schema::{
        CF_BLOCKS, CF_FLAT, CF_JOURNAL, CF_META, CF_NODES, CF_RECEIPTS, CF_UNDO, FORMAT_VERSION,
        FORMAT_WITHOUT_JOURNAL, FORMAT_WITHOUT_UNDO,
    },
};

/// All column families but RocksDB's own.
pub(super) const COLUMNS: [&str; 7] = [
    CF_FLAT,
    CF_NODES,
    CF_BLOCKS,
    CF_RECEIPTS,
    CF_META,
    CF_UNDO,
    CF_JOURNAL,
];
/// How many of them, the first ones, earlier formats have.
const COLUMNS_BEFORE: [(usize, u32); 2] = [(6, FORMAT_WITHOUT_JOURNAL), (5, FORMAT_WITHOUT_UNDO)];
/// The column family RocksDB insists on; unused.
const CF_DEFAULT: &str = "default";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 << 10;
const OPENING_THREADS: i32 = 4;
/// Blocks of values are read one at a time, and for one value mostly.
const FLAT_BLOCK_BYTES: usize = 4 << 10;
/// How full the table is that finds a key in a block, as RocksDB has it by default.
const HASH_RATIO: f64 = 0.75;

/// Removes what there is of a database that was never finished.
pub(super) fn destroy(path: &Path) -> Result<(), OpenError> {
    DB::destroy(&Options::default(), path).map_err(|source| open_error(path, source))?;
    clean(path)
}

/// Which columns there are, by the manifest.
pub(super) fn check_columns(path: &Path) -> Result<(), OpenError> {
    check_manifest(path)?;
    let found =
        DB::list_cf(&Options::default(), path).map_err(|source| open_error(path, source))?;
    let expected = |name: &String| name == CF_DEFAULT || COLUMNS.contains(&name.as_str());
    if found.iter().all(expected) && found.len() == COLUMNS.len() + 1 {
        return Ok(());
    }
    for (columns, format) in COLUMNS_BEFORE {
        let before = &COLUMNS[..columns];
        let expected = |name: &String| name == CF_DEFAULT || before.contains(&name.as_str());
        if found.iter().all(expected) && found.len() == before.len() + 1 {
            return Err(OpenError::Format {
                path: path.to_owned(),
                found: format,
                expected: FORMAT_VERSION,
            });
        }
    }
    Err(OpenError::Foreign {
        path: path.to_owned(),
        found: format!(
            "a RocksDB database with column families {}",
            found.join(", ")
        ),
    })
}

pub(super) fn options(new: bool, mode: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(mode);
    // Of several files of the log, those that are not written to any more cannot be missed or shortened.
    options.set_track_and_verify_wals_in_manifest(true);
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_keep_log_file_num(4);
    // For every column as many are started, however few files it has.
    options.set_max_file_opening_threads(OPENING_THREADS);
    options
}

pub(super) fn columns(config: &DatabaseConfig) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(config.block_cache_bytes);
    let column = |name: &&'static str| {
        let mut options = Options::default();
        options.set_block_based_table_factory(&tables(name, &cache));
        options.set_write_buffer_size(config.write_buffer_bytes);
        options.set_compression_type(DBCompressionType::Lz4);
        ColumnFamilyDescriptor::new(*name, options)
    };
    COLUMNS.iter().map(column).collect()
}

/// A column family of a database that is open: all of them were opened with it.
pub(super) fn column<'d>(rocksdb: &'d DB, name: &'static str) -> &'d ColumnFamily {
    let column = rocksdb.cf_handle(name);
    column.expect("every column family is opened with the database")
}

/// What the files of a column are like.
fn tables(name: &'static str, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_block_size(BLOCK_BYTES);
    if name == CF_FLAT {
        table.set_block_size(FLAT_BLOCK_BYTES);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(HASH_RATIO);
    }
    // So that what finds blocks counts as well. It comes in pieces: a file's whole filter may be larger than the
    // share of the cache it belongs to, and would be read again every time.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    table
}

/// RocksDB tells a held lock, a forbidden folder and a damaged file apart in text only.
pub(super) fn open_error(path: &Path, source: rocksdb::Error) -> OpenError {
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
