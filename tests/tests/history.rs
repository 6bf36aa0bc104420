//! Going back: what a database keeps of earlier blocks, what reverting leaves, copies, formats, and a state that is
//! checked against its trie. Random programs that go back are in `state_differential`.

use std::path::Path;

use slackwater_executor::{
    ExecutionPath,
    state::{
        CheckError, Database, DatabaseConfig, Durability, FORMAT_VERSION, Head, HistoryError,
        OpenError, StateError, StateImport,
    },
};
use slackwater_runtime_fixtures::{BlockFixture, guest::fixture_chain_path};
use slackwater_tests::{executor, load_blocks, raw_database as raw, records, replay_onto};
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, Storage, StorageChild},
};

fn open(path: &Path, history_blocks: u64) -> Database {
    let config = DatabaseConfig {
        history_blocks,
        ..DatabaseConfig::new(Durability::Buffered)
    };
    Database::open_with(path, config).expect("opens")
}

/// The first blocks of our guest's chain.
fn chain(blocks: usize) -> BlockFixture {
    let mut chain = load_blocks(&fixture_chain_path());
    chain.blocks.truncate(blocks);
    chain
}

fn length() -> usize {
    load_blocks(&fixture_chain_path()).blocks.len()
}

/// Brings a database to this block.
fn go_to(database: &Database, blocks: usize) -> Head {
    replay_onto(&executor(), database, &chain(blocks), ExecutionPath::Split).expect("replays");
    database.head().expect("readable").expect("a head")
}

/// Sets a record, or removes it.
fn set(path: &Path, column: &str, key: &[u8], value: Option<&[u8]>) {
    let raw = raw(path);
    let column = raw.cf_handle(column).expect("there");
    let set = match value {
        Some(value) => raw.put_cf(column, key, value),
        None => raw.delete_cf(column, key),
    };
    set.expect("written");
}

/// Byte for byte, a database that was reverted is one that never went further, and goes on from there.
#[test]
fn reverting_leaves_nothing() {
    let last = length();
    let folder = tempfile::tempdir().expect("a folder");
    let (far, near) = (folder.path().join("far"), folder.path().join("near"));
    let head = go_to(&open(&far, u64::MAX), last);
    let whole = records(&far);
    for blocks in (1..last).rev() {
        let database = open(&far, u64::MAX);
        let number = u64::try_from(blocks).expect("few");
        let reverted = database.revert_to(number).expect("kept");
        drop(database);
        std::fs::remove_dir_all(&near).ok();
        assert_eq!(go_to(&open(&near, 0), blocks), reverted);
        assert_eq!(records(&far), records(&near), "at block {blocks}");
    }
    assert_eq!(go_to(&open(&far, u64::MAX), last), head);
    assert_eq!(records(&far), whole);
}

/// Whoever wants to begin a database where there is one leaves that as it is.
#[test]
fn an_import_that_is_refused_forgets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    go_to(&open(folder.path(), u64::MAX), length());
    let config = DatabaseConfig::new(Durability::Sync);
    let few = DatabaseConfig {
        history_blocks: 2,
        ..config
    };
    let refused = StateImport::begin(folder.path(), few).expect_err("there is one");
    assert!(matches!(refused, OpenError::NotEmpty { .. }), "{refused}");
    let database = open(folder.path(), u64::MAX);
    assert_eq!(database.oldest_state().expect("readable"), 0);
}

/// As many blocks can be undone as were to be kept, and their parents' states shown.
#[test]
fn the_window_is_what_was_asked_for() {
    let last = length();
    let number = u64::try_from(last).expect("few");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let database = open(&path, 3);
    let head = go_to(&database, last);
    assert_eq!(database.oldest_state().expect("readable"), number - 3);
    for shown in number - 3..=number {
        let view = database.view_at(shown).expect("kept");
        assert_eq!(view.head().number, shown);
        let checked = view.check_values(|_| {}).expect("the trie's");
        assert!(checked.keys > 0 && checked.children > 0, "{checked:?}");
    }
    for hidden in [number - 4, number + 1] {
        let error = database.view_at(hidden).expect_err("not kept");
        let HistoryError::OutOfReach {
            number: named,
            oldest,
            head,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((named, oldest, head), (hidden, number - 3, number));
        let refused = database.revert_to(hidden).expect_err("not kept");
        assert!(
            matches!(refused, HistoryError::OutOfReach { .. }),
            "{refused}"
        );
    }
    assert_eq!(database.head().expect("readable"), Some(head));
    drop(database);
    // What is to be kept no longer goes when it is opened; nothing comes back.
    for (kept, reached) in [(5, 3), (2, 2), (u64::MAX, 2), (0, 0)] {
        let database = open(&path, kept);
        let oldest = database.oldest_state().expect("readable");
        assert_eq!(oldest, number - reached, "of {kept}");
    }
}

/// A database without history becomes one that keeps it from then on.
#[test]
fn an_earlier_format_is_migrated() {
    let last = length();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let database = open(path, 0);
    let head = go_to(&database, last - 1);
    // There was no journal.
    database.settle().expect("written");
    drop(database);
    let format = |lacks: &[&str], version: u8| {
        let mut raw = raw(path);
        let meta = raw.cf_handle("meta").expect("there");
        let record = [b"slackwater\0\0".as_slice(), &[version, 0, 0, 0]].concat();
        raw.put_cf(meta, b"format", record).expect("written");
        raw.delete_cf(meta, b"stored").expect("written");
        for column in lacks {
            raw.drop_cf(column).expect("dropped");
        }
    };
    // As they were, and cut short where columns had been made and the version was not written.
    let formats: [(&[&str], u8, u32); 5] = [
        (&["undo", "journal"], 1, 1),
        // By the columns it is of the second.
        (&["journal"], 1, 2),
        (&[], 1, 1),
        (&["journal"], 2, 2),
        (&[], 2, 2),
    ];
    for (lacks, version, said) in formats {
        format(lacks, version);
        let error = Database::open(path, Durability::Sync).expect_err("an earlier format");
        let OpenError::Format {
            found,
            expected: FORMAT_VERSION,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(found, said);
        assert!(error.to_string().contains("db migrate"), "{error}");
        Database::migrate(path).expect("migrates");
        let database = open(path, 10);
        assert_eq!(database.head().expect("readable"), Some(head));
        assert_eq!(database.oldest_state().expect("readable"), head.number);
    }
    // It is one of this format: nothing is left to do.
    Database::migrate(path).expect("nothing to do");
    let database = open(path, 10);
    go_to(&database, last);
    assert_eq!(database.revert_to(head.number).expect("kept"), head);
    drop(database);
    format(&[], 9);
    let error = Database::migrate(path).expect_err("a later format");
    assert!(
        matches!(error, OpenError::Format { found: 9, .. }),
        "{error}"
    );
    let nothing = Database::migrate(&path.join("nothing"));
    assert!(nothing.is_err() && !path.join("nothing").exists());
}

/// A copy is a database of its own; where there is something already, nothing is copied.
#[test]
fn a_copy_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("db"), folder.path().join("copy"));
    let database = open(&path, 10);
    let head = go_to(&database, length());
    database.checkpoint(&copy).expect("copied");
    let reverted = database.revert_to(head.number - 2).expect("kept");
    let copied = open(&copy, 10);
    assert_eq!(copied.head().expect("readable"), Some(head));
    let view = copied.view().expect("a head");
    view.check_values(|_| {}).expect("the trie's");
    assert!(database.checkpoint(&copy).is_err(), "it is there already");
    assert_eq!(database.head().expect("readable"), Some(reverted));
}

/// A database whose head cannot be is refused when it is opened.
#[test]
fn a_head_without_its_root_or_block_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let head = go_to(&open(path, 10), length());
    let number = head.number.to_be_bytes();
    let whole = records(path);
    let block = &whole[&("blocks", number.to_vec())];
    let root = &whole[&("nodes", head.state_root.as_bytes().to_vec())];
    let mut other_root = root.clone();
    other_root.push(0);
    let mut other_block = block.clone();
    other_block[0] ^= 1;
    let root_key = head.state_root.as_bytes();
    for (column, key, wrong, right, said) in [
        ("nodes", root_key, None, root, "not in the database"),
        (
            "nodes",
            root_key,
            Some(&other_root),
            root,
            "what its hash says",
        ),
        (
            "blocks",
            &number,
            Some(&other_block),
            block,
            "whose record is of",
        ),
        (
            "blocks",
            &number,
            Some(&block[..40].to_vec()),
            block,
            "blocks",
        ),
        (
            "meta",
            b"head",
            Some(&vec![1; 71]),
            &whole[&("meta", b"head".to_vec())],
            "head",
        ),
    ] {
        set(path, column, key, wrong.map(Vec::as_slice));
        let error = Database::open(path, Durability::Sync).expect_err("refused");
        assert!(matches!(error, OpenError::State(_)), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        set(path, column, key, Some(right));
        assert_eq!(open(path, 10).head().expect("readable"), Some(head));
    }
}

/// What rots without a wrong checksum is found by comparing with the trie.
#[test]
fn a_wrong_value_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let root = go_to(&open(path, 10), length()).state_root;
    let root = root.as_bytes().to_vec();
    let good = open(path, 10).view().expect("a head").check_values(|_| {});
    let keys = good.expect("the trie's").keys;
    let whole = records(path);
    let flat = whole.keys().filter(|(name, _)| *name == "flat");
    let flat: Vec<_> = flat.map(|(_, key)| key.clone()).collect();
    assert_eq!(flat.len() as u64, keys);
    let check = || {
        let database = open(path, 10);
        let view = database.view().expect("a head");
        view.check_values(|_| {}).expect_err("something is wrong")
    };
    // Another value, none, and one too many; of the top trie and of a child's.
    for key in flat.iter().step_by(flat.len() / 7).chain(flat.last()) {
        let before = &whole[&("flat", key.clone())];
        let mut wrong = before.clone();
        wrong.push(0);
        let more = [key.as_slice(), &[0]].concat();
        for (place, value) in [
            (key, Some(wrong.as_slice())),
            (key, None),
            (&more, Some(&[1])),
        ] {
            set(path, "flat", place, value);
            let CheckError::Differs {
                child, key: named, ..
            } = check()
            else {
                panic!("another error");
            };
            let shown = child.map_or_else(
                || [&[0], named.as_slice()].concat(),
                |child| {
                    let length = u32::try_from(child.len()).expect("short").to_be_bytes();
                    [&[1], length.as_slice(), &child, &named].concat()
                },
            );
            // A missing root of a child trie hides that trie.
            assert_eq!(&shown, place);
            set(path, "flat", &more, None);
            set(path, "flat", key, Some(before));
        }
    }
    // Of a child trie without a root, between others and behind them all.
    for name in [b"\0".as_slice(), b"\xff\xff"] {
        let length = u32::try_from(name.len()).expect("short").to_be_bytes();
        let stray = [&[1], length.as_slice(), name, &[7]].concat();
        set(path, "flat", &stray, Some(&[8]));
        let CheckError::Differs { child, key, .. } = check() else {
            panic!("another error");
        };
        assert_eq!((child.as_deref(), key), (Some(name), vec![7]));
        set(path, "flat", &stray, None);
    }
    // A node that is another's, and none.
    let nodes = whole.iter().filter(|((name, _), _)| *name == "nodes");
    for ((_, key), node) in nodes.step_by(40) {
        let mut wrong = node.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        for value in [Some(wrong.as_slice()), None] {
            set(path, "nodes", key, value);
            if *key == root {
                continue;
            }
            let error = check();
            assert!(
                matches!(error, CheckError::State(StateError::Trie { .. })),
                "{error}"
            );
        }
        set(path, "nodes", key, Some(node));
    }
    let database = open(path, 10);
    let view = database.view().expect("a head");
    assert_eq!(view.check_values(|_| {}).expect("whole again").keys, keys);
}

/// A large state comes in value by value, in any order, and is the one that is imported at once.
#[test]
fn a_state_comes_in_any_order() {
    let mut states = vec![chain(0).state, Storage::default()];
    // Child tries, one of which begins like another, and values on both sides of what nodes hold.
    let value = |number: u8| vec![number; usize::from(number) % 50];
    let mut many = Storage::default();
    many.top
        .extend((0..=255).map(|key| (vec![key / 16, key], value(key))));
    for name in [b"a".as_slice(), b"ab", b"\xff"] {
        let child_info = ChildInfo::new_default(name);
        let data = (0..40).map(|key| (vec![key; 3], value(key))).collect();
        let child = StorageChild { data, child_info };
        many.children_default.insert(name.to_vec(), child);
    }
    states.push(many);
    for (state, version) in states
        .iter()
        .flat_map(|state| [StateVersion::V0, StateVersion::V1].map(|version| (state, version)))
    {
        let folder = tempfile::tempdir().expect("a folder");
        let (at_once, one_by_one) = (folder.path().join("all"), folder.path().join("each"));
        let database = open(&at_once, 10);
        let prepared = database.prepare_state(state, version).expect("state");
        let head = database.import_state(prepared, 7, H256::repeat_byte(7));
        let head = head.expect("imports");
        drop(database);
        // Cut short, and begun again.
        let config = DatabaseConfig::new(Durability::Sync);
        let mut import = StateImport::begin(&one_by_one, config).expect("begins");
        import.put(None, b"lost", b"lost").expect("written");
        drop(import);
        let mut import = StateImport::begin(&one_by_one, config).expect("begins anew");
        let children = state.children_default.iter();
        let children = children.flat_map(|(name, child)| {
            let entries = child.data.iter().rev();
            entries.map(move |(key, value)| (Some(name.as_slice()), key, value))
        });
        let top = state
            .top
            .iter()
            .rev()
            .map(|(key, value)| (None, key, value));
        for (child, key, value) in children.chain(top) {
            import.put(child, key, b"before").expect("written");
            import.put(child, key, value).expect("written");
        }
        assert_eq!(import.build(version).expect("built"), head.state_root);
        let database = import.finish(head).expect("finishes");
        let view = database.view().expect("a head");
        assert_eq!(*view.head(), head);
        view.check_values(|_| {}).expect("the trie's");
        drop(view);
        drop(database);
        assert_eq!(records(&one_by_one), records(&at_once), "{version:?}");
        let refused = StateImport::begin(&one_by_one, config).expect_err("it is one");
        assert!(matches!(refused, OpenError::NotEmpty { .. }), "{refused}");
        let reopened = open(&one_by_one, 10);
        assert_eq!(reopened.head().expect("readable"), Some(head));
    }
}
