//! The column families of a database, and how RocksDB keeps them.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options,
};

use super::{
    DatabaseConfig, OpenError,
    folder::{check_manifest, clean},
    schema::{
        CF_BLOCKS, CF_FLAT, CF_META, CF_NODES, CF_RECEIPTS, CF_UNDO, FORMAT_VERSION,
        FORMAT_WITHOUT_UNDO,
    },
};

/// All column families but RocksDB's own.
pub(super) const COLUMNS: [&str; 6] = [CF_FLAT, CF_NODES, CF_BLOCKS, CF_RECEIPTS, CF_META, CF_UNDO];
/// Those of [`FORMAT_WITHOUT_UNDO`], the first ones.
const COLUMNS_WITHOUT_UNDO: usize = 5;
/// The column family RocksDB insists on; unused.
const CF_DEFAULT: &str = "default";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 << 10;

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

pub(super) fn options(new: bool, mode: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(mode);
    // Of several files of the log, those that are not written to any more cannot be missed or shortened.
    options.set_track_and_verify_wals_in_manifest(true);
    options.create_if_missing(new);
    options.create_missing_column_families(new);
    options.set_keep_log_file_num(4);
    options
}

pub(super) fn columns(config: &DatabaseConfig) -> Vec<ColumnFamilyDescriptor> {
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
