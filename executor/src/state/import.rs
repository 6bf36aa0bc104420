//! Importing a whole state, however large: values come in any order, and are written as they come. The tries are
//! built over the sorted values, and their nodes written as they are made.
//!
//! Invariant: until it is finished the folder is marked as one in which a database is being made, so that opening it
//! begins anew. Cost: every value is written once and read once; memory is that of a batch and of RocksDB's buffers.

use std::path::Path;

use rocksdb::WriteBatch;
use sp_core::{
    Blake2Hasher, H256, Hasher,
    storage::{ChildInfo, StateVersion, well_known_keys::is_child_storage_key},
};
use sp_trie::{LayoutV0, LayoutV1, TrieConfiguration, empty_trie_root, prefixed_key};
use trie_db::{ChildReference, ProcessEncodedNode, trie_visit};

use super::{
    Database, DatabaseConfig, Head, OpenError, StateError,
    node_reader::Prefix,
    schema::{CF_FLAT, CF_NODES, FlatSpace},
};

/// Bytes gathered before they are written.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// A state that is being imported into a new database.
pub struct StateImport {
    database: Database,
    batch: WriteBatch,
    keys: u64,
    /// The last key of `flat`, in its order, that there is a value for.
    highest: Vec<u8>,
}

impl std::fmt::Debug for StateImport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StateImport")
            .field("database", &self.database)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl StateImport {
    /// Begins a database in an empty or absent folder, or where one was begun and not finished.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`] where there is one, or as [`Database::open`].
    pub fn begin(path: &Path, config: DatabaseConfig) -> Result<Self, OpenError> {
        Ok(Self {
            database: Database::begin(path, config)?,
            batch: WriteBatch::default(),
            keys: 0,
            highest: Vec::new(),
        })
    }

    /// Adds a value, of the top trie or of a child's by its storage key without prefix. Of several under one key the last
    /// counts. Roots of child tries follow from their values, and are left out if they are given.
    ///
    /// # Errors
    /// [`StateError`] when writing failed.
    pub fn put(
        &mut self,
        child: Option<&[u8]>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StateError> {
        if child.is_none() && is_child_storage_key(key) {
            return Ok(());
        }
        self.put_at(FlatSpace::of(child).key(key), value)
    }

    /// As [`Self::put`], unless there is a value under the key already: then nothing is done, and it is told. As long as
    /// keys come in order this costs nothing; otherwise, a read.
    ///
    /// # Errors
    /// [`StateError`] when reading or writing failed.
    pub fn put_new(
        &mut self,
        child: Option<&[u8]>,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, StateError> {
        if child.is_none() && is_child_storage_key(key) {
            return Ok(true);
        }
        let place = FlatSpace::of(child).key(key);
        if place <= self.highest && self.read(&place)?.is_some() {
            return Ok(false);
        }
        self.put_at(place, value)?;
        Ok(true)
    }

    fn put_at(&mut self, place: Vec<u8>, value: &[u8]) -> Result<(), StateError> {
        let column = self.database.column(CF_FLAT);
        self.batch.put_cf(column, &place, value);
        self.keys += 1;
        if place > self.highest {
            self.highest = place;
        }
        write(&self.database, &mut self.batch, BATCH_BYTES)
    }

    /// The value under a key of the top trie, of those added by now.
    ///
    /// # Errors
    /// [`StateError`] when reading or writing failed.
    pub fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.read(&FlatSpace::top().key(key))
    }

    fn read(&mut self, place: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if !self.batch.is_empty() {
            write(&self.database, &mut self.batch, 0)?;
        }
        self.database.bytes(CF_FLAT, place)
    }

    /// How many values were added.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Builds the tries over all values there are, and tells the root.
    ///
    /// # Errors
    /// [`StateError`] when reading or writing failed.
    pub fn build(&mut self, state_version: StateVersion) -> Result<H256, StateError> {
        self.build_telling(state_version, |_| {})
    }

    /// As [`Self::build`]; `progress` is told how many values have been built upon.
    ///
    /// # Errors
    /// [`StateError`] when reading or writing failed.
    pub fn build_telling(
        &mut self,
        state_version: StateVersion,
        mut progress: impl FnMut(u64),
    ) -> Result<H256, StateError> {
        let mut built = 0;
        let each = || {
            built += 1;
            progress(built);
        };
        match state_version {
            StateVersion::V0 => self.build_tries::<LayoutV0<Blake2Hasher>>(each),
            StateVersion::V1 => self.build_tries::<LayoutV1<Blake2Hasher>>(each),
        }
    }

    fn build_tries<L: TrieConfiguration<Hash = Blake2Hasher>>(
        &mut self,
        mut each: impl FnMut(),
    ) -> Result<H256, StateError> {
        write(&self.database, &mut self.batch, 0)?;
        let mut next = FlatSpace::children().key(&[]);
        while let Some(child) = self.child_from(&next)? {
            let space = FlatSpace::child(&child);
            let info = ChildInfo::new_default(&child);
            let root = self.build_trie::<L>(&space, info.keyspace(), &mut each)?;
            let key = FlatSpace::top().key(&info.prefixed_storage_key());
            let column = self.database.column(CF_FLAT);
            self.batch.put_cf(column, key, root);
            next = space.end();
        }
        write(&self.database, &mut self.batch, 0)?;
        self.build_trie::<L>(&FlatSpace::top(), &[], &mut each)
    }

    /// The first child trie at or behind a key of `flat`.
    fn child_from(&self, start: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let mut entries = self.database.entries(CF_FLAT);
        entries.seek(start);
        let child = entries.key().and_then(FlatSpace::child_of);
        entries.status()?;
        Ok(child.map(<[u8]>::to_vec))
    }

    fn build_trie<L: TrieConfiguration<Hash = Blake2Hasher>>(
        &mut self,
        space: &FlatSpace,
        keyspace: &[u8],
        each: &mut impl FnMut(),
    ) -> Result<H256, StateError> {
        let mut entries = self.database.entries(CF_FLAT);
        entries.seek(space.key(&[]));
        let mut nodes = Nodes {
            database: &self.database,
            batch: std::mem::take(&mut self.batch),
            keyspace,
            root: empty_trie_root::<L>(),
            fault: None,
        };
        let pairs = std::iter::from_fn(|| {
            let (key, value) = entries.item()?;
            let pair = (space.strip(key)?.to_vec(), value.to_vec());
            entries.next();
            each();
            Some(pair)
        });
        trie_visit::<L, _, _, _, _>(pairs, &mut nodes);
        let Nodes {
            batch, root, fault, ..
        } = nodes;
        fault.map_or(Ok(()), Err)?;
        entries.status()?;
        drop(entries);
        self.batch = batch;
        Ok(root)
    }

    /// Makes it the state after the block `head`, whose root [`Self::build`] has told.
    ///
    /// # Errors
    /// [`OpenError`] when writing failed; the folder counts as begun then.
    pub fn finish(mut self, head: Head) -> Result<Database, OpenError> {
        write(&self.database, &mut self.batch, 0)?;
        self.database.finish(&head)
    }
}

/// Writes what was gathered, if it is at least so many bytes.
pub(super) fn write(
    database: &Database,
    batch: &mut WriteBatch,
    least: usize,
) -> Result<(), StateError> {
    if batch.size_in_bytes() >= least {
        database.write_unlogged(std::mem::take(batch))?;
    }
    Ok(())
}

/// Where nodes go.
struct Nodes<'a> {
    database: &'a Database,
    batch: WriteBatch,
    /// What the paths of a child trie begin with.
    keyspace: &'a [u8],
    root: H256,
    fault: Option<StateError>,
}

impl Nodes<'_> {
    fn insert(&mut self, (path, nibble): Prefix<'_>, node: &[u8]) -> H256 {
        let hash = Blake2Hasher::hash(node);
        let path = [self.keyspace, path].concat();
        let key = prefixed_key::<Blake2Hasher>(&hash, (&path, nibble));
        self.batch.put_cf(self.database.column(CF_NODES), key, node);
        if let Err(fault) = write(self.database, &mut self.batch, BATCH_BYTES) {
            self.fault.get_or_insert(fault);
        }
        hash
    }
}

impl ProcessEncodedNode<H256> for Nodes<'_> {
    fn process(
        &mut self,
        prefix: Prefix<'_>,
        node: Vec<u8>,
        is_root: bool,
    ) -> ChildReference<H256> {
        if !is_root && node.len() < H256::len_bytes() {
            let mut inline = H256::zero();
            inline[..node.len()].copy_from_slice(&node);
            return ChildReference::Inline(inline, node.len());
        }
        // Of an empty trie nothing is stored.
        if is_root && Blake2Hasher::hash(&node) == self.root {
            return ChildReference::Hash(self.root);
        }
        let hash = self.insert(prefix, &node);
        if is_root {
            self.root = hash;
        }
        ChildReference::Hash(hash)
    }

    fn process_inner_hashed_value(&mut self, prefix: Prefix<'_>, value: &[u8]) -> H256 {
        self.insert(prefix, value)
    }
}
