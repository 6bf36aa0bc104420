//! Shared pieces of the cross-crate tests: executors, fixtures, temporary databases.
//!
//! Everything here panics on failure, with a message that says what was being done: it is for tests
//! only.

#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "all of it panics on failure, as said above"
)]

pub mod metered;
pub mod naive;
pub mod overruns;
pub mod random;
pub mod random_loops;
pub mod random_reset;
pub mod random_smith;
pub mod savepoints;
pub mod wast_suite;

pub use slackwater_runtime_fixtures::crate_file_or_skip;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use slackwater_executor::{
    Block, BlockBuilder, ConsensusFuel, Database, Durability, ExecutionPath, ExecutorConfig, Fuel,
    WasmExecutor,
    fuel::DEPTH_BYTES_DEFAULT,
    host_functions::SlackwaterHostFunctions,
    state::{DatabaseConfig, Extensions, Head, MemoryState},
};
use slackwater_runtime_fixtures::{
    BlockFixture, FixtureReplay, FixtureReplayError, ReplayedBlock, real_fixtures_or_skip,
};
use slackwater_substrate_path::signed::{SignedChain, store};

/// The executor most tests use.
pub type Executor = WasmExecutor<SlackwaterHostFunctions>;

/// Names of the real block fixtures.
pub const REAL_BLOCKS: [&str; 4] = [
    "westend-blocks-1-128",
    "kusama-block-1",
    "smoldot-child-trie-create-one",
    "smoldot-runtime-host-2023-06-12",
];

/// Both paths, with the names used in messages.
pub const PATHS: [(ExecutionPath, &str); 2] = [
    (ExecutionPath::Split, "split"),
    (ExecutionPath::Whole, "whole"),
];

/// An executor with the default settings.
pub fn executor() -> Executor {
    executor_with(ExecutorConfig::default())
}

/// An executor with these settings.
pub fn executor_with(config: ExecutorConfig) -> Executor {
    Executor::new(config).expect("the engine can be set up")
}

/// Fuel as a rule of a chain that limits nothing but each extrinsic.
pub fn rules_for_extrinsics(extrinsic: Fuel) -> ConsensusFuel {
    let plenty = Fuel(1 << 58);
    ConsensusFuel {
        extrinsic,
        block: plenty,
        initialize: plenty,
        finalize: Fuel(1 << 60),
        depth_bytes_max: DEPTH_BYTES_DEFAULT,
    }
}

/// How often something is done: what the environment says, or as often as a short run has time for.
pub fn runs(variable: &str, otherwise: usize) -> usize {
    let stated = std::env::var(variable).ok();
    stated.map_or(otherwise, |stated| stated.parse().expect("a number"))
}

/// The column families of a database.
pub const COLUMNS: [&str; 8] = [
    "default", "flat", "nodes", "blocks", "receipts", "meta", "undo", "journal",
];

/// A database as RocksDB has it.
pub fn raw_database(path: &Path) -> rocksdb::DB {
    rocksdb::DB::open_cf(&rocksdb::Options::default(), path, COLUMNS).expect("raw")
}

/// All records but those that undo blocks, once the database was opened and its journal settled.
pub fn records(path: &Path) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let config = DatabaseConfig {
        history_blocks: u64::MAX,
        ..DatabaseConfig::new(Durability::Buffered)
    };
    let database = Database::open_existing(path, config).expect("opens");
    database.settle().expect("written");
    drop(database);
    let raw = raw_database(path);
    let columns = COLUMNS.into_iter().filter(|name| *name != "undo");
    let records = columns.flat_map(|name| {
        let column = raw.cf_handle(name).expect("there");
        let entries = raw.iterator_cf(column, rocksdb::IteratorMode::Start);
        entries.map(move |entry| {
            let (key, value) = entry.expect("readable");
            ((name, key.into_vec()), value.into_vec())
        })
    });
    records.collect()
}

/// A database in a folder that is deleted with the second value.
pub fn temporary_database() -> (Database, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let database =
        Database::open(folder.path(), Durability::Buffered).expect("an empty folder opens");
    (database, folder)
}

/// The path of a real block fixture; `None` when the real fixtures are absent and may be.
pub fn real_block_file(name: &str) -> Option<PathBuf> {
    Some(
        real_fixtures_or_skip(name)?
            .join("blocks")
            .join(format!("{name}.json")),
    )
}

/// A real block fixture; `None` when the real fixtures are absent and may be.
pub fn real_blocks(name: &str) -> Option<BlockFixture> {
    real_block_file(name).map(|path| load_blocks(&path))
}

/// An authored chain of signed extrinsics; `None` when the real fixtures are absent and may be.
pub fn signed_chain(chain: SignedChain) -> Option<BlockFixture> {
    store::load(chain).unwrap_or_else(|error| panic!("{error}"))
}

/// A block fixture.
pub fn load_blocks(path: &Path) -> BlockFixture {
    BlockFixture::load(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A builder of the first block of `fixture` anew, on `state`, with what its consensus engine puts in
/// front.
pub fn first_block_builder<'s>(
    executor: &Executor,
    fixture: &BlockFixture,
    state: &'s MemoryState,
) -> BlockBuilder<'s, MemoryState, SlackwaterHostFunctions> {
    let first = &fixture.blocks[0];
    let parent = Head {
        number: first.number - 1,
        hash: first.parent_hash.into(),
        state_root: state.state_root(),
    };
    let block = Block::decode(&first.header_unsealed, vec![]).expect("the header decodes");
    let digest = block.header.digest.logs;
    BlockBuilder::new(executor, state, &parent, digest, Extensions::new()).expect("begins")
}

/// Replays a whole fixture onto an empty temporary database.
///
/// # Errors
/// The first error of the replay.
pub fn replay(
    executor: &Executor,
    fixture: &BlockFixture,
    path: ExecutionPath,
) -> Result<Vec<ReplayedBlock>, FixtureReplayError> {
    let (database, _folder) = temporary_database();
    replay_onto(executor, &database, fixture, path)
}

/// Replays what is left of a fixture onto `database`.
///
/// # Errors
/// The first error of the replay.
pub fn replay_onto(
    executor: &Executor,
    database: &Database,
    fixture: &BlockFixture,
    path: ExecutionPath,
) -> Result<Vec<ReplayedBlock>, FixtureReplayError> {
    FixtureReplay::new(executor, database, fixture, path)?.collect()
}
