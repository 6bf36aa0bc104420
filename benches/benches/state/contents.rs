//! A state of many keys, as a chain has them: two hashes of sixteen bytes in front, then a hash of the key.

use codec::Encode;
use slackwater_executor::state::{Database, DatabaseConfig, Durability, Head, StateImport};
use sp_core::{H256, storage::StateVersion};

/// How many, unless the environment says otherwise.
const KEYS: u64 = 1_000_000;
/// Maps that keys are spread over.
const MAPS: u64 = 64;

/// As many as walks through one map need.
pub(crate) const LEAST: u64 = 10_000;

/// How many keys the state has.
pub(crate) fn keys() -> u64 {
    let stated = std::env::var("SLACKWATER_BENCH_KEYS").ok();
    stated.map_or(KEYS, |stated| stated.parse().expect("a number of keys"))
}

/// The key of this number.
pub(crate) fn key(number: u64) -> Vec<u8> {
    let map = prefix(number % MAPS);
    [map, sp_crypto_hashing::twox_128(&number.encode()).to_vec()].concat()
}

/// What the keys of a map begin with.
pub(crate) fn prefix(map: u64) -> Vec<u8> {
    let pallet = sp_crypto_hashing::twox_128(b"pallet");
    [pallet, sp_crypto_hashing::twox_128(&map.encode())].concat()
}

/// A value: of 16 to 95 bytes.
pub(crate) fn value(number: u64, version: u64) -> Vec<u8> {
    let hash = sp_crypto_hashing::blake2_256(&(number, version).encode());
    let length = 16 + usize::from(hash[0] % 80);
    hash.iter().copied().cycle().take(length).collect()
}

/// A database with so many keys.
pub(crate) struct Chain {
    pub(crate) keys: u64,
    pub(crate) folder: tempfile::TempDir,
}

impl Chain {
    pub(crate) fn new(keys: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let mut import = StateImport::begin(&path, config(0, false)).expect("begins");
        for number in 0..keys {
            let put = import.put(None, &key(number), &value(number, 0));
            put.expect("written");
        }
        let state_root = import.build(StateVersion::V1).expect("builds");
        let head = Head {
            number: 0,
            hash: H256::zero(),
            state_root,
        };
        import.finish(head).expect("finishes");
        Self { keys, folder }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("db")
    }

    pub(crate) fn open(&self, cache_bytes: usize) -> Database {
        self.open_with(config(cache_bytes, true))
    }

    pub(crate) fn open_with(&self, config: DatabaseConfig) -> Database {
        Database::open_existing(&self.path(), config).expect("opens")
    }
}

/// The defaults, but for this.
pub(crate) fn config(cache_bytes: usize, prefetch: bool) -> DatabaseConfig {
    DatabaseConfig {
        cache_bytes,
        prefetch,
        ..DatabaseConfig::new(Durability::Sync)
    }
}
