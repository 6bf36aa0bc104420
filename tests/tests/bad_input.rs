//! Bad input gets a typed error that names the thing, and the database stays usable.

use std::{fs, path::Path};

use slackwater_executor::{
    Block, CallContext, CallError, CallOutcome, Durability, ExecutionError, ExecutionPath,
    ExecutorConfig, HeapPages, RuntimeError, TrapKind,
    block::{ImportError, ReplayError, import_block},
    call_on_state,
    state::{
        CommitError, Database, Extensions, FORMAT_VERSION, MemoryState, OpenError, StateError,
    },
};
use slackwater_runtime_fixtures::{FixtureReplayError, guest, guest::GUEST_WASM};
use slackwater_tests::{
    COLUMNS, executor, executor_with, load_blocks, replay, replay_onto, temporary_database,
};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

fn load_error(code: &[u8]) -> RuntimeError {
    executor()
        .runtime(code)
        .expect_err("this code must not load")
}

#[test]
fn truncated_wasm_is_refused_at_every_length() {
    let executor = executor();
    for length in (0..GUEST_WASM.len())
        .step_by(97)
        .chain([GUEST_WASM.len() - 1])
    {
        match executor.runtime(&GUEST_WASM[..length]) {
            Err(RuntimeError::NotWasm { .. }) => assert!(length < 4),
            Err(RuntimeError::Invalid { .. } | RuntimeError::MissingExport { .. }) => {}
            other => panic!("{length} bytes: {other:?}"),
        }
    }
}

#[test]
fn bit_flipped_wasm_never_panics() {
    let executor = executor();
    let (mut refused, mut loaded) = (0, 0);
    for at in (0..GUEST_WASM.len()).step_by(211) {
        let mut code = GUEST_WASM.to_vec();
        code[at] ^= 1 << (at % 8);
        match executor.runtime(&code) {
            Ok(_) => loaded += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused} refused");
    assert!(
        loaded > 5,
        "{loaded} loaded: flips in data and constants do no harm"
    );
}

#[test]
fn a_zip_bomb_is_stopped_at_the_limit() {
    let config = ExecutorConfig {
        code_bytes_max: 1 << 20,
        ..ExecutorConfig::default()
    };
    let executor = executor_with(config);
    let bomb = sp_maybe_compressed_blob::compress_strongly(&vec![0; 8 << 20], 16 << 20);
    let bomb = bomb.expect("compresses");
    assert!(bomb.len() < 10_000);
    let error = executor.runtime(&bomb).expect_err("too large");
    assert!(
        matches!(
            error,
            RuntimeError::TooLarge {
                limit_bytes: 1_048_576
            }
        ),
        "{error}"
    );
    let plain = vec![0; (1 << 20) + 1];
    assert!(matches!(
        executor.runtime(&plain),
        Err(RuntimeError::TooLarge { .. })
    ));
}

#[test]
fn compressed_code_loads_and_damaged_one_is_named() {
    let packed = sp_maybe_compressed_blob::compress_strongly(GUEST_WASM, 50 << 20).expect("packs");
    let runtime = executor().runtime(&packed).expect("loads");
    assert_eq!(runtime.version().spec_name, "slackwater-guest");
    let error = load_error(&packed[..packed.len() / 2]);
    assert!(matches!(error, RuntimeError::Compression), "{error}");
}

#[test]
fn code_that_is_no_runtime_is_named() {
    assert!(matches!(
        load_error(b"PVM\0whatever"),
        RuntimeError::PolkaVm
    ));
    let module = |text: &str| load_error(&wat::parse_str(text).expect("wat"));
    let error = module("(module)");
    assert!(
        matches!(error, RuntimeError::MissingExport { name: "memory", .. }),
        "{error}"
    );
    let error = module(r#"(module (memory (export "memory") 1))"#);
    assert!(
        matches!(
            error,
            RuntimeError::MissingExport {
                name: "__heap_base",
                ..
            }
        ),
        "{error}"
    );
    let import = |what: &str| {
        module(&format!(
            r#"(module {what} (memory (export "memory") 1)
                (global (export "__heap_base") i32 (i32.const 8)))"#
        ))
    };
    for (text, part) in [
        (r#"(import "wasi" "f" (func))"#, "wasi"),
        (r#"(import "env" "t" (table 1 funcref))"#, "env.t"),
        (
            r#"(import "env" "ext_storage_get_version_1" (func (param i32)))"#,
            "ext_storage_get",
        ),
    ] {
        let error = import(text).to_string();
        assert!(error.contains(part), "{error}");
    }
    // Outside the profile, although the engine could run it.
    let error = module(r#"(module (func (param i32) (result i32) local.get 0 i32.extend8_s))"#);
    assert!(matches!(error, RuntimeError::Invalid { .. }), "{error}");
}

const STUBS: &str = r#"(module
    (import "env" "ext_made_up_version_1" (func $f))
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 65536))
    (func (export "harmless") (param i32 i32) (result i64) (i64.const 0))
    (func (export "harmful") (param i32 i32) (result i64) (call $f) (i64.const 0))
    (func (export "mistyped") (param i32) (result i64) (i64.const 0))
    (func (export "outside") (param i32 i32) (result i64) (i64.const 0x7fffffffffffffff)))"#;

#[test]
fn missing_host_functions_are_listed_and_trap_when_called() {
    let code = wat::parse_str(STUBS).expect("wat");
    let runtime = executor().runtime(&code).expect("loads");
    assert_eq!(runtime.missing_host_functions(), ["ext_made_up_version_1"]);
    let refusing = ExecutorConfig::default().with_missing_host_functions_refused(true);
    let error = executor_with(refusing).runtime(&code).expect_err("refused");
    assert!(
        error.to_string().contains("ext_made_up_version_1"),
        "{error}"
    );

    let top = [(CODE.to_vec(), code)].into();
    let state = MemoryState::new(
        Storage {
            top,
            ..Storage::default()
        },
        StateVersion::V1,
    );
    let call = |config, method: &str| {
        let executor = executor_with(config);
        call_on_state(
            &executor,
            &state,
            CallContext::Build,
            method,
            &[],
            Extensions::new(),
        )
    };
    let outcome = |method: &str| {
        call(ExecutorConfig::default(), method)
            .expect(method)
            .outcome
    };
    assert_eq!(outcome("harmless"), CallOutcome::Returned(vec![]));
    for (method, kind) in [
        ("harmful", TrapKind::MissingHostFunction),
        ("outside", TrapKind::OutputOutOfBounds),
        ("absent", TrapKind::MissingMethod),
        ("mistyped", TrapKind::MistypedMethod),
    ] {
        let CallOutcome::Trapped(trap) = outcome(method) else {
            panic!("{method} must trap")
        };
        assert_eq!(trap.kind, kind, "{trap}");
        let names_it = trap.message.contains(method) || trap.kind != TrapKind::MissingMethod;
        assert!(names_it, "{trap}");
    }
    let huge = ExecutorConfig::default().with_offchain_heap(HeapPages::Static { extra: 65_536 });
    let huge = huge.with_onchain_heap(HeapPages::Static { extra: 65_536 });
    let Err(ExecutionError::Call {
        source: CallError::HeapTooLarge { initial, .. },
        ..
    }) = call(huge, "harmless")
    else {
        panic!("no memory is that large")
    };
    assert_eq!(initial, 17);
}

#[test]
fn a_state_without_code_is_named() {
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.state.top.remove(CODE);
    let error = replay(&executor(), &fixture, ExecutionPath::Split).expect_err("no code");
    // Block 1 shows that the state is not the chain's even before the code is missed.
    assert!(
        error
            .divergence()
            .is_some_and(|divergence| divergence.block == 1),
        "{error}"
    );
    let state = MemoryState::new(Storage::default(), StateVersion::V1);
    let call = call_on_state(
        &executor(),
        &state,
        CallContext::Build,
        "Core_version",
        &[],
        Extensions::new(),
    );
    let error = call.expect_err("no code");
    assert!(
        matches!(error, ExecutionError::Runtime(RuntimeError::NoCode)),
        "{error}"
    );
}

#[test]
fn a_block_with_another_parent_is_refused_and_the_database_goes_on() {
    let executor = executor();
    let chain = load_blocks(&guest::fixture_chain_path());
    let (database, _folder) = temporary_database();
    let first = slackwater_runtime_fixtures::BlockFixture {
        blocks: chain.blocks[..3].to_vec(),
        ..chain.clone()
    };
    replay_onto(&executor, &database, &first, ExecutionPath::Split).expect("replays");
    let head = database.head().expect("readable");
    for wrong in [0, 2, 4] {
        let block = &chain.blocks[wrong];
        let block = Block::decode(&block.header, block.body.clone()).expect("decodes");
        let result = import_block(
            &executor,
            &database,
            &block,
            ExecutionPath::Split,
            None,
            &Extensions::new,
        );
        assert!(
            matches!(result, Err(ImportError::WrongParent { .. })),
            "{result:?}"
        );
        assert_eq!(database.head().expect("readable"), head);
    }
    let rest = replay_onto(&executor, &database, &chain, ExecutionPath::Split);
    assert_eq!(rest.expect("goes on").len(), chain.blocks.len() - 3);
}

#[test]
fn a_truncated_block_is_named() {
    let mut chain = load_blocks(&guest::fixture_chain_path());
    chain.blocks[1].header.pop();
    let error = replay(&executor(), &chain, ExecutionPath::Split).expect_err("truncated");
    assert!(
        matches!(error, FixtureReplayError::Decode { index: 1, .. }),
        "{error}"
    );
    let mut chain = load_blocks(&guest::fixture_chain_path());
    chain.blocks[2].body[0].pop();
    let error = replay(&executor(), &chain, ExecutionPath::Split).expect_err("truncated");
    assert!(
        error.to_string().contains("blocks[2]: extrinsic 0"),
        "{error}"
    );
}

#[test]
fn a_commit_on_a_moved_head_is_refused_whole() {
    let executor = executor();
    let chain = load_blocks(&guest::fixture_chain_path());
    let (database, _folder) = temporary_database();
    let first = slackwater_runtime_fixtures::BlockFixture {
        blocks: chain.blocks[..1].to_vec(),
        ..chain.clone()
    };
    replay_onto(&executor, &database, &first, ExecutionPath::Split).expect("replays");
    let second = &chain.blocks[1];
    let second = Block::decode(&second.header, second.body.clone()).expect("decodes");
    let view = database.view().expect("a head");
    let parent = *view.head();
    let run = || {
        slackwater_executor::block::execute(
            &executor,
            &view,
            &second,
            ExecutionPath::Split,
            &Extensions::new,
        )
        .expect("executes")
    };
    let record = slackwater_executor::state::BlockRecord {
        number: 2,
        hash: second.hash(),
        header: codec::Encode::encode(&second.header),
        extrinsics: second.extrinsics.clone(),
        receipts: codec::Encode::encode(&run().receipts),
    };
    let head = database
        .commit(&parent, run().changes, &record)
        .expect("the first one wins");
    let late = database
        .commit(&parent, run().changes, &record)
        .expect_err("the second is late");
    assert!(
        matches!(late, CommitError::StaleParent { expected, found }
            if expected == parent.hash && found == head.hash),
        "{late}",
    );
    assert_eq!(database.head().expect("readable"), Some(head));
}

fn open(path: &Path) -> Result<Database, OpenError> {
    Database::open(path, Durability::Buffered)
}

#[test]
fn folders_that_are_not_our_database_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    // Other files.
    let other = folder.path().join("other");
    fs::create_dir(&other).expect("made");
    fs::write(other.join("notes.txt"), "mine").expect("written");
    let error = open(&other).expect_err("not ours");
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found.contains("notes.txt")));
    assert_eq!(
        fs::read_dir(&other).expect("readable").count(),
        1,
        "nothing was added"
    );
    // Another program's RocksDB.
    let foreign = folder.path().join("foreign");
    {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        rocksdb::DB::open_cf(&options, &foreign, ["col0", "col1"]).expect("made");
    }
    let error = open(&foreign).expect_err("not ours");
    assert!(
        matches!(&error, OpenError::Foreign { found, .. } if found.contains("col1")),
        "{error}"
    );
    // A file instead of a folder, and a folder that cannot be made.
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    for path in [file.clone(), file.join("below"), "/proc/slackwater".into()] {
        let error = open(&path).expect_err("no folder");
        assert!(matches!(error, OpenError::Folder { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().expect("text")),
            "{error}"
        );
    }
}

#[test]
fn a_database_of_another_format_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    drop(open(&path).expect("made"));
    let set_format = |record: &[u8]| {
        let raw = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, COLUMNS).expect("raw");
        let meta = raw.cf_handle("meta").expect("there");
        let before = raw
            .get_cf(meta, b"format")
            .expect("readable")
            .expect("there");
        raw.put_cf(meta, b"format", record).expect("written");
        before
    };
    let original = set_format(b"slackwater\0\0\x63\0\0\0");
    let error = open(&path).expect_err("another format");
    assert!(
        matches!(
            error,
            OpenError::Format {
                found: 99,
                expected: FORMAT_VERSION,
                ..
            }
        ),
        "{error}",
    );
    set_format(b"something else");
    assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
    set_format(&original);
    drop(open(&path).expect("it is as it was"));
}

#[test]
fn a_database_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path()).expect("opens");
    let error = open(folder.path()).expect_err("in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert_eq!(first.head().expect("the first one still works"), None);
    drop(first);
    drop(open(folder.path()).expect("free again"));
}

/// Damages the entries of `column` whose keys `chosen` names, and nothing else. How many.
fn damage_entries(folder: &Path, column: &str, chosen: impl Fn(&[u8]) -> bool) -> usize {
    // One entry per block of the table files, as it is: so it is found and does not harm others.
    let mut table = rocksdb::BlockBasedOptions::default();
    table.set_block_size(1);
    let mut options = rocksdb::Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    let described = COLUMNS.map(|name| (name, options.clone()));
    let raw = rocksdb::DB::open_cf_with_opts(&options, folder, described).expect("raw");
    let handle = raw.cf_handle(column).expect("there");
    raw.flush_cf(handle).expect("moved into table files");
    let mut compaction = rocksdb::CompactOptions::default();
    compaction.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    raw.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &compaction);
    let mut keys: Vec<_> = raw
        .iterator_cf(handle, rocksdb::IteratorMode::Start)
        .map(|entry| entry.expect("readable").0)
        .collect();
    let mut files = raw.live_files().expect("listed");
    drop(raw);
    keys.retain(|key| chosen(key));
    files.retain(|file| file.column_family_name == column);
    let mut damaged = 0;
    for file in files {
        let path = folder.join(file.name.trim_start_matches('/'));
        let mut bytes = fs::read(&path).expect("readable");
        for key in &keys {
            // Data comes first in the file, so this is the entry and not the index.
            let mut windows = bytes.windows(key.len());
            if let Some(at) = windows.position(|window| window == &**key) {
                bytes[at] ^= 0xff;
                damaged += 1;
            }
        }
        fs::write(&path, bytes).expect("written");
    }
    damaged
}

/// Which keys to damage.
type Chosen = fn(&[u8]) -> bool;

/// Bytes that rot on disk end in an operational error, never in a fault of a guest or a divergence.
#[test]
fn damage_on_disk_is_no_verdict_on_a_block() {
    let executor = executor();
    let chain = load_blocks(&guest::fixture_chain_path());
    let half = slackwater_runtime_fixtures::BlockFixture {
        blocks: chain.blocks[..chain.blocks.len() / 2].to_vec(),
        ..chain.clone()
    };
    // The executor itself reads what has a well-known key, such as the code; the guest reads the rest.
    let by_guest: Chosen = |key| !key.contains(&b':');
    let any: Chosen = |_| true;
    // The root is read when the database is opened: its key has no path.
    let root: Chosen = |key| key.len() == 32;
    let below_root: Chosen = |key| key.len() > 32;
    let rounds = [
        ("flat", by_guest),
        ("flat", any),
        ("nodes", below_root),
        ("nodes", root),
    ];
    for (round, (column, chosen)) in rounds.into_iter().enumerate() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).expect("opens");
        replay_onto(&executor, &database, &half, ExecutionPath::Split).expect("replays");
        let head = database.head().expect("readable");
        drop(database);
        let damaged = damage_entries(folder.path(), column, chosen);
        if round == 3 {
            assert_eq!(damaged, 1, "there is one root");
            let error = open(folder.path()).expect_err("the root cannot be read");
            assert!(
                matches!(error, OpenError::State(StateError::Database(_))),
                "{error}"
            );
            continue;
        }
        assert!(damaged > 1, "{column}: {damaged} entries");
        let database = open(folder.path()).expect("opens: no record of its own is damaged");
        let error = replay_onto(&executor, &database, &chain, ExecutionPath::Split)
            .expect_err("the state cannot be read");
        assert!(
            matches!(
                error,
                FixtureReplayError::Import(ImportError::Replay(ReplayError::Execution(
                    ExecutionError::State(StateError::Database(_))
                )))
            ),
            "{column}: {error:?}"
        );
        assert_eq!(database.head().expect("readable"), head, "{column}");
    }
}
