//! A small database whose every state is known without it: contents by `sp-state-machine`'s plain map, roots by a trie
//! in memory. What can be asked of a copy of it is asked by [`Chain::examine`].
//!
//! Invariant: the first blocks are in table files of every column, in blocks of a few entries and as they are; then come
//! some that the manifest of this session has put into files, and the last ones are in the log only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use slackwater_executor::state::{
    BlockLayers, BlockRecord, Database, DatabaseConfig, Durability, Extensions, Head, MemoryState,
    Recovery, StateError, StateView,
};
use slackwater_tests::COLUMNS;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, well_known_keys},
};
use sp_externalities::Externalities;
use sp_state_machine::{Backend, BasicExternalities, IterArgs};

/// Blocks in table files that were made from all entries of a column.
const IN_TABLES: u8 = 4;
/// The last block in table files.
pub(crate) const IN_FILES: u8 = 5;
/// Blocks of the database.
const BLOCKS: u8 = 7;
pub(crate) const VERSION: StateVersion = StateVersion::V1;

/// What must be found after a block.
pub(crate) struct Known {
    pub(crate) head: Head,
    record: BlockRecord,
    values: Values,
}

/// Values by their keys, those of child tries behind the name of theirs; without the roots of child tries.
type Values = BTreeMap<(Option<Vec<u8>>, Vec<u8>), Vec<u8>>;

fn values(storage: &Storage) -> Values {
    let children = storage.children_default.iter();
    let children = children.flat_map(|(name, child)| {
        let entries = child.data.iter();
        entries.map(|(key, value)| ((Some(name.clone()), key.clone()), value.clone()))
    });
    let top = storage.top.iter();
    let top = top.map(|(key, value)| ((None, key.clone()), value.clone()));
    top.chain(children).collect()
}

/// The database, its states, and the one after one more block.
pub(crate) struct Chain {
    folder: tempfile::TempDir,
    pub(crate) known: Vec<Known>,
    /// Bytes of the log when each of the blocks in it, and before them the last one in files, was the head.
    pub(crate) log_ends: Vec<u64>,
    /// Bytes at the beginning of table files that are certainly entries, and not what leads to them.
    pub(crate) entries: BTreeMap<String, usize>,
}

/// What a block does.
fn change(number: u8, ext: &mut dyn Externalities) {
    let value = |salt: u8| vec![number.wrapping_mul(31) ^ salt; 20 + 9 * usize::from(salt)];
    for salt in 0..12 {
        ext.set_storage(vec![b'k', number, salt], value(salt));
    }
    ext.set_storage(b"same key".to_vec(), value(1));
    ext.clear_storage(&[b'k', number.wrapping_sub(1), 3]);
    for child in [b"one".as_slice(), b"two"] {
        let child = ChildInfo::new_default(child);
        ext.set_child_storage(&child, vec![number], value(2));
        ext.set_child_storage(&child, b"same".to_vec(), value(3));
    }
    ext.clear_child_storage(&ChildInfo::new_default(b"one"), &[number.wrapping_sub(2)]);
}

fn known(number: u8, storage: &Storage) -> Known {
    let record = BlockRecord {
        number: number.into(),
        hash: H256::repeat_byte(number),
        header: vec![number; 60],
        extrinsics: vec![vec![number; 30], vec![!number; 90]],
        receipts: vec![number; 25],
    };
    let head = Head {
        number: number.into(),
        hash: record.hash,
        state_root: MemoryState::new(storage.clone(), VERSION).state_root(),
    };
    Known {
        head,
        record,
        values: values(storage),
    }
}

/// Commits block `number` on the head; returns the root.
fn commit(database: &Database, known: &Known) -> Result<Head, String> {
    let view = database.view().map_err(text)?;
    let mut layers = BlockLayers::new(&view, Extensions::new());
    let number = u8::try_from(known.head.number).expect("few");
    layers.run(|ext| change(number, ext)).map_err(text)?;
    let changes = layers.finish(VERSION).map_err(text)?;
    assert_eq!(changes.state_root, known.head.state_root, "a wrong root");
    database
        .commit(view.head(), changes, &known.record)
        .map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// All values of a state, read one by one.
fn contents(view: &StateView<'_>) -> Result<Values, StateError> {
    let mut values = Values::new();
    for pair in view.pairs(IterArgs::default())? {
        let (key, value) = pair?;
        let prefix = well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX;
        let Some(name) = key.strip_prefix(prefix) else {
            values.insert((None, key), value);
            continue;
        };
        let mut of_child = IterArgs::default();
        of_child.child_info = Some(ChildInfo::new_default(name));
        for pair in view.pairs(of_child)? {
            let (key, value) = pair?;
            values.insert((Some(name.to_vec()), key), value);
        }
    }
    Ok(values)
}

fn open(path: &Path) -> Result<Database, String> {
    let config = DatabaseConfig::new(Durability::Buffered);
    Database::open_existing(path, config).map_err(text)
}

/// How long the log is, which is one file.
fn log_bytes(path: &Path) -> u64 {
    fs::metadata(path.join(log(path))).expect("there").len()
}

/// The log, which is one file.
pub(crate) fn log(path: &Path) -> String {
    let mut logs = files(path);
    logs.retain(|name| name.ends_with(".log"));
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}

/// The files of a folder.
pub(crate) fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("readable");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().into_string())
        .map(|name| name.expect("text"))
        .collect();
    names.sort();
    names
}

/// All that the database holds goes into one table file for each column, uncompressed, the entries first. Returns the bytes
/// of the values in each. But not in that of trie nodes: those that a later block removed are never read again.
fn into_tables(path: &Path) -> BTreeMap<String, usize> {
    let mut table = rocksdb::BlockBasedOptions::default();
    table.set_block_size(200);
    table.set_bloom_filter(10.0, false);
    let mut options = rocksdb::Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    let described = COLUMNS.map(|name| (name, options.clone()));
    let raw = rocksdb::DB::open_cf_with_opts(&options, path, described).expect("raw");
    let mut compaction = rocksdb::CompactOptions::default();
    compaction.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    for column in COLUMNS {
        let handle = raw.cf_handle(column).expect("there");
        raw.flush_cf(handle).expect("written");
        raw.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &compaction);
    }
    let files = raw.live_files().expect("listed").into_iter();
    let files = files.filter(|file| file.column_family_name != "nodes");
    let sizes = files.map(|file| {
        let column = raw.cf_handle(&file.column_family_name).expect("there");
        let entries = raw.iterator_cf(column, rocksdb::IteratorMode::Start);
        let bytes = entries.map(|entry| entry.expect("readable").1.len()).sum();
        (file.name.trim_start_matches('/').to_owned(), bytes)
    });
    sizes.collect()
}

impl Chain {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("whole");
        // Something that no block touches.
        let top = [(b"genesis".to_vec(), vec![7; 400])].into();
        let genesis = Storage {
            top,
            ..Storage::default()
        };
        let mut blocks = vec![known(0, &genesis)];
        let mut storage = genesis.clone();
        for number in 1..=BLOCKS + 1 {
            let mut ext = BasicExternalities::new(storage);
            change(number, &mut ext);
            storage = ext.into_storages();
            blocks.push(known(number, &storage));
        }
        let database = Database::open(&path, Durability::Buffered).expect("made");
        let prepared = database.prepare_state(&genesis, VERSION).expect("state");
        let head = database.import_state(prepared, 0, blocks[0].head.hash);
        assert_eq!(head.expect("imports"), blocks[0].head);
        let (tables, later) = blocks[1..=BLOCKS.into()].split_at(IN_TABLES.into());
        let (files, log) = later.split_at((IN_FILES - IN_TABLES).into());
        for block in tables {
            commit(&database, block).expect("commits");
        }
        // Tables of values and nodes hold what these have changed, and the journal the later ones.
        database.settle().expect("settles");
        drop(database);
        let entries = into_tables(&path);
        let database = open(&path).expect("opens");
        for block in files {
            commit(&database, block).expect("commits");
        }
        // A copy is made of files.
        let copy = folder.path().join("checkpoint");
        database.checkpoint(&copy).expect("copied");
        let mut log_ends = vec![log_bytes(&path)];
        for block in log {
            commit(&database, block).expect("commits");
            log_ends.push(log_bytes(&path));
        }
        drop(database);
        Self {
            folder,
            known: blocks,
            log_ends,
            entries,
        }
    }

    /// The number of the head.
    pub(crate) fn head(&self) -> u64 {
        BLOCKS.into()
    }

    /// The database as it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("whole")
    }

    /// A copy to be damaged; `name` tells it from others at the same time.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        fs::remove_dir_all(&copy).ok();
        fs::create_dir(&copy).expect("made");
        for file in files(&self.path()) {
            fs::copy(self.path().join(&file), copy.join(&file)).expect("copied");
        }
        copy
    }

    /// Everything a database can be asked: each answer is the right one of some whole block, or an error, which is
    /// returned. `Ok` is the number of the head, and what was said about the log.
    pub(crate) fn examine(&self, path: &Path) -> Result<(u64, Option<Recovery>), String> {
        let database = open(path)?;
        let recovery = database.recovery().cloned();
        let head = database.head().map_err(text)?.ok_or("no head")?;
        let number = usize::try_from(head.number).expect("few");
        let (known, next) = (&self.known[number], &self.known[number + 1]);
        assert_eq!(head, known.head);
        let view = database.view().map_err(text)?;
        assert!(
            contents(&view).map_err(text)? == known.values,
            "a wrong value"
        );
        view.check_values(|_| {}).map_err(text)?;
        drop(view);
        for earlier in &self.known[..=number] {
            let number = earlier.head.number;
            let view = database.view_at(number).map_err(text)?;
            assert_eq!(*view.head(), earlier.head);
            let found = contents(&view).map_err(text)?;
            assert!(found == earlier.values, "a wrong value before");
            let block = database.block(number).map_err(text)?;
            let stored = (number > 0).then_some(&earlier.record);
            assert_eq!(block.as_ref(), stored, "a wrong block");
        }
        assert_eq!(commit(&database, next)?, next.head);
        drop(database);
        let database = open(path)?;
        assert_eq!(database.recovery(), None, "it is said once");
        let view = database.view().map_err(text)?;
        assert_eq!(*view.head(), next.head);
        assert!(
            contents(&view).map_err(text)? == next.values,
            "a wrong value behind"
        );
        Ok((head.number, recovery))
    }
}
