//! State files: the database that comes out is the one that went in, byte for byte, and what is not exactly such a
//! file becomes no database. The files are read and written here too, by what their description says alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use codec::{Decode, Encode};
use slackwater_executor::{
    ExecutionPath,
    state::{
        BlockLayers, BlockRecord, CheckError, Database, DatabaseConfig, Durability, ExportError,
        Extensions, Head, OpenError, STATE_FILE_MAGIC, StateFile, StateFileError, StateFileStat,
        StateImport, StateImportStep, UncommittedBlock, Verify,
    },
};
use slackwater_runtime_fixtures::{BlockFixture, guest::fixture_chain_path};
use slackwater_tests::{executor, load_blocks, records, replay_onto};
use sp_core::{H256, storage::StateVersion};
use sp_crypto_hashing::blake2_256;

/// The columns of a file, whose numbers begin with 1.
const COLUMNS: [&str; 4] = ["flat", "nodes", "blocks", "receipts"];

const VERIFY: [Verify; 2] = [Verify::Values, Verify::Checksum];

fn config() -> DatabaseConfig {
    DatabaseConfig::new(Durability::Buffered)
}

fn open(path: &Path) -> Database {
    Database::open_with(path, config()).expect("opens")
}

fn replay(database: &Database, chain: &BlockFixture) -> Head {
    replay_onto(&executor(), database, chain, ExecutionPath::Split).expect("replays");
    database.head().expect("readable").expect("a head")
}

/// The guest's chain without its last block, as a database.
fn all_but_the_last(path: &Path) -> Head {
    let mut chain = load_blocks(&fixture_chain_path());
    chain.blocks.pop();
    replay(&open(path), &chain)
}

fn export(database: &Database) -> (Vec<u8>, StateFileStat) {
    let mut file = Vec::new();
    let mut told = 0;
    let view = database.view().expect("a head");
    let stat = view.export(&mut file, |entries| told = entries);
    let stat = stat.expect("exported");
    assert_eq!(stat.bytes, file.len() as u64);
    let entries = stat.values + stat.nodes + stat.blocks + stat.receipts;
    assert_eq!(told, entries);
    (file, stat)
}

fn import(
    file: &[u8],
    path: &Path,
    verify: Verify,
) -> Result<(Database, StateFileStat), StateFileError> {
    StateFile::open(file)?.import(path, config(), verify, |_| {})
}

/// What a file says, by its description.
#[derive(Clone)]
struct Parsed {
    head: Head,
    entries: Vec<(u8, Vec<u8>, Vec<u8>)>,
}

fn parse(file: &[u8]) -> Parsed {
    let mut rest = file.strip_prefix(&STATE_FILE_MAGIC).expect("the magic");
    rest = rest.strip_prefix(&[1, 0, 0, 0]).expect("the version");
    let head = Head::decode(&mut rest).expect("a head");
    let mut take = |length: usize| {
        let (taken, behind) = rest.split_at(length);
        rest = behind;
        taken.to_vec()
    };
    let mut entries = Vec::new();
    loop {
        let number = take(1)[0];
        if number == 0 {
            break;
        }
        let mut length = || u32::decode(&mut take(4).as_slice()).expect("four") as usize;
        let (key, value) = (length(), length());
        entries.push((number, take(key), take(value)));
    }
    Parsed { head, entries }
}

impl Parsed {
    fn file(&self) -> Vec<u8> {
        let mut file = [STATE_FILE_MAGIC.as_slice(), &[1, 0, 0, 0]].concat();
        file.extend(self.head.encode());
        let mut counts = [0_u64; 4];
        for (number, key, value) in &self.entries {
            let lengths =
                [key.len(), value.len()].map(|length| u32::try_from(length).expect("short"));
            file.push(*number);
            file.extend(lengths.encode());
            file.extend([key.as_slice(), value].concat());
            if let Some(count) = counts.get_mut(usize::from(*number) - 1) {
                *count += 1;
            }
        }
        file.push(0);
        file.extend(counts.encode());
        file.extend(blake2_256(&file));
        file
    }

    /// The same with something done to it.
    fn with(&self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut changed = self.clone();
        change(&mut changed);
        changed.file()
    }

    /// Where the first entry of a column is.
    fn first(&self, column: u8) -> usize {
        let mut entries = self.entries.iter();
        entries
            .position(|(number, ..)| *number == column)
            .expect("one")
    }
}

/// Whatever stands in the folder, it is no database with a state.
fn nothing_came(path: &Path) {
    if path.exists() {
        assert!(path.join("SLACKWATER_CREATION").exists(), "{path:?}");
    }
}

#[test]
fn the_database_is_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let head = all_but_the_last(&from);
    let (file, stat) = export(&open(&from));
    // Of blocks and receipts, the head's.
    let number = head.number.to_be_bytes();
    let mut whole = records(&from);
    whole.retain(|(column, key), _| !["blocks", "receipts"].contains(column) || *key == number);
    let count = |name: &str| whole.keys().filter(|(column, _)| *column == name).count() as u64;
    let counts = [stat.values, stat.nodes, stat.blocks, stat.receipts];
    assert_eq!(counts, COLUMNS.map(count));
    assert_eq!(stat.blocks + stat.receipts, 2);
    // It is what its description says.
    let parsed = parse(&file);
    assert_eq!((parsed.head, parsed.file()), (head, file.clone()));
    let column = |number: &u8| COLUMNS[usize::from(*number) - 1];
    let entries = parsed.entries.iter();
    let entries: BTreeMap<_, _> = entries
        .map(|(number, key, value)| ((column(number), key.clone()), value.clone()))
        .collect();
    let stored = whole.iter().filter(|((column, _), _)| *column != "meta");
    assert!(stored.eq(entries.iter()));
    let mut last = None;
    for verify in VERIFY {
        std::fs::remove_dir_all(&to).ok();
        let opened = StateFile::open(file.as_slice()).expect("a state file");
        assert_eq!(*opened.head(), head);
        let (mut read, mut compared) = (0, 0);
        let imported = opened.import(&to, config(), verify, |step| match step {
            StateImportStep::Read { bytes } => read = bytes,
            StateImportStep::Compared { values, of } => {
                (compared, _) = (values, assert_eq!(of, stat.values));
            }
        });
        let (database, again) = imported.expect("imports");
        assert_eq!(
            (again, database.head().expect("readable")),
            (stat, Some(head))
        );
        assert!(read > 0 && read < stat.bytes);
        let expected = if verify == Verify::Values {
            stat.values
        } else {
            0
        };
        assert_eq!(compared, expected);
        assert_eq!(database.oldest_state().expect("readable"), head.number);
        drop(database);
        assert_eq!(records(&to), whole, "{verify:?}");
        assert_eq!(export(&open(&to)).0, file);
        // It is not written over, and goes on.
        let refused = import(&file, &to, verify).expect_err("it is one");
        let StateFileError::Open(OpenError::NotEmpty { .. }) = refused else {
            panic!("{refused}");
        };
        let database = open(&to);
        let next = replay(&database, &load_blocks(&fixture_chain_path()));
        assert_eq!(next.number, head.number + 1);
        assert_eq!(*last.get_or_insert(next), next);
        assert_eq!(database.revert_to(head.number).expect("kept"), head);
    }
}

/// Nodes of both versions stand in one trie where a runtime went from one to the other; a trie built anew would have
/// another root.
#[test]
fn tries_of_mixed_versions_stay_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let value = |number: u8| vec![number; 50];
    let begin = |path: &Path| {
        let mut import = StateImport::begin(path, config()).expect("begins");
        for key in 0..=255 {
            import.put(None, &[key, 1], &value(key)).expect("written");
            import
                .put(Some(b"c"), &[key, 1], &value(key))
                .expect("written");
        }
        import
    };
    let mut before = begin(&from);
    let genesis = Head {
        number: 0,
        hash: H256::zero(),
        state_root: before.build(StateVersion::V0).expect("built"),
    };
    let database = before.finish(genesis).expect("finishes");
    // A state of no block has none in its file.
    let stat = export(&database).1;
    assert_eq!((stat.values, stat.blocks, stat.receipts), (513, 0, 0));
    let view = database.view().expect("a head");
    let mut layers = BlockLayers::new(&view, Extensions::new());
    let write = layers.run(|ext| ext.place_storage(vec![7, 1], Some(value(8))));
    write.expect("run");
    let changes = layers.finish(StateVersion::V1).expect("a root");
    let block = BlockRecord {
        number: 1,
        hash: H256::repeat_byte(1),
        header: Vec::new(),
        extrinsics: Vec::new(),
        receipts: Vec::new(),
    };
    drop(view);
    let head = database.commit(&genesis, changes, &block).expect("commits");
    let built_anew = {
        let mut import = begin(&folder.path().join("anew"));
        import.put(None, &[7, 1], &value(8)).expect("written");
        [StateVersion::V0, StateVersion::V1].map(|version| import.build(version).expect("built"))
    };
    assert!(!built_anew.contains(&head.state_root));
    let (imported, _) = import(&export(&database).0, &to, Verify::Values).expect("imports");
    assert_eq!(imported.head().expect("readable"), Some(head));
    let block = imported.block(1).expect("readable").expect("there");
    assert_eq!(block.hash, head.hash);
}

#[test]
fn only_the_head_has_its_trie() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let head = all_but_the_last(path);
    let database = open(path);
    let refused = |error: ExportError, block: u64| match error {
        ExportError::NotHead { number } => assert_eq!(number, block),
        error => panic!("{error}"),
    };
    let earlier = database.view_at(head.number - 1).expect("kept");
    let error = earlier
        .export(Vec::new(), |_| {})
        .expect_err("not the head");
    refused(error, head.number - 1);
    let view = database.view().expect("a head");
    let mut layers = BlockLayers::new(&view, Extensions::new());
    let write = layers.run(|ext| ext.place_storage(b"key".to_vec(), Some(b"value".to_vec())));
    write.expect("run");
    let record = BlockRecord {
        number: head.number + 1,
        ..database
            .block(head.number)
            .expect("readable")
            .expect("there")
    };
    let changes = layers.finish(StateVersion::V1).expect("a root");
    let block = UncommittedBlock::new(&view, changes, record).expect("a block");
    let on = database.view_on(&block).expect("a view");
    let error = on.export(Vec::new(), |_| {}).expect_err("not the head");
    refused(error, head.number + 1);
    // By its number, the head is the head.
    let mut file = Vec::new();
    let view = database.view_at(head.number).expect("kept");
    view.export(&mut file, |_| {}).expect("exported");
    assert_eq!(file, export(&database).0);
}

/// A byte that flips anywhere, and an end anywhere, is found before there is a database, whoever checks the values.
#[test]
fn damage_makes_no_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    all_but_the_last(&from);
    let (file, stat) = export(&open(&from));
    // What is in front and the end, lengths of entries, and places all over.
    let length = file.len();
    let every = |step: usize| (0..length).step_by(step);
    let entries: Vec<_> = entry_places(&file).collect();
    let heads = entries.iter().step_by(entries.len() / 9);
    let heads = heads.flat_map(|at| *at..at + 9);
    let places = (0..92).step_by(3).chain(heads).chain(every(length / 67));
    let places: BTreeSet<_> = places.chain((length - 66..length).step_by(5)).collect();
    let mut kinds = BTreeMap::<_, usize>::new();
    let mut refused = |file: &[u8], what: &str| {
        let verify = VERIFY[kinds.values().sum::<usize>() % 2];
        let error = import(file, &to, verify).expect_err(what);
        let kind = match error {
            StateFileError::Foreign => "foreign",
            StateFileError::Version { found, expected: 1 } if found != 1 => "version",
            StateFileError::Truncated { bytes } if bytes <= stat.bytes => "truncated",
            StateFileError::Damaged { offset, .. } if offset <= stat.bytes => "damaged",
            StateFileError::Checksum { stated, computed } if stated != computed => "checksum",
            StateFileError::Trailing { bytes } if bytes == stat.bytes => "trailing",
            error => panic!("{what}: {error}"),
        };
        *kinds.entry(kind).or_default() += 1;
        nothing_came(&to);
        kind
    };
    for place in places {
        let mut flipped = file.clone();
        flipped[place] ^= 1 << (place % 8);
        let kind = refused(&flipped, &format!("a flip at {place}"));
        let expected = match place {
            0..16 => "foreign",
            16..20 => "version",
            // In hash and root of the head nothing is wrong but the bytes.
            28..92 => "checksum",
            _ => continue,
        };
        assert_eq!(kind, expected, "at {place}");
    }
    for place in every(length / 31).chain([16, 20, 92, length - 33, length - 32, length - 1]) {
        let kind = refused(&file[..place], &format!("an end at {place}"));
        let expected = if place < 16 { "foreign" } else { "truncated" };
        assert_eq!(kind, expected, "at {place}");
    }
    assert_eq!(
        refused(&[file.as_slice(), &[0]].concat(), "more"),
        "trailing"
    );
    assert_eq!(refused(b"{\"name\": \"a chain spec\"}", "JSON"), "foreign");
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    // What was begun is begun anew.
    drop(import(&file, &to, Verify::Values).expect("imports"));
    assert_eq!(export(&open(&to)).0, file);
}

/// Where the entries begin.
fn entry_places(file: &[u8]) -> impl Iterator<Item = usize> {
    let lengths = parse(file).entries.into_iter();
    lengths.scan(92, |place, (_, key, value)| {
        let begin = *place;
        *place += 9 + key.len() + value.len();
        Some(begin)
    })
}

/// Files whose checksum is right, and which no exporter has written.
#[test]
fn a_right_checksum_is_not_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    all_but_the_last(&from);
    let parsed = parse(&export(&open(&from)).0);
    let refused = |verify: Verify, what: &str, change: &dyn Fn(&mut Parsed)| {
        let error = import(&parsed.with(change), &to, verify).expect_err(what);
        nothing_came(&to);
        error
    };
    let damaged = |what: &str, change: &dyn Fn(&mut Parsed)| {
        for verify in VERIFY {
            let StateFileError::Damaged { reason, .. } = refused(verify, what, change) else {
                panic!("{what}");
            };
            assert!(reason.contains(what), "{reason}");
        }
    };
    damaged("order", &|file| file.entries.swap(3, 4));
    damaged("order", &|file| {
        file.entries.insert(4, file.entries[3].clone());
    });
    let nodes = parsed.first(2);
    damaged("order", &|file| file.entries.rotate_left(nodes));
    damaged("no such column", &|file| file.entries[0].0 = 9);
    let (block, receipts) = (parsed.first(3), parsed.first(4));
    damaged("not the head's", &|file| file.entries[block].1[7] ^= 1);
    damaged("not the head's", &|file| file.entries[receipts].1[7] ^= 1);
    let mut counted = parsed.file();
    let counts = counted.len() - 64;
    counted[counts] ^= 1;
    let checksum = blake2_256(&counted[..counts + 32]);
    counted[counts + 32..].copy_from_slice(&checksum);
    let error = import(&counted, &to, Verify::Checksum).expect_err("another count");
    let StateFileError::Damaged { reason, .. } = error else {
        panic!("{error}");
    };
    assert!(reason.contains("more or fewer"), "{reason}");
    // The head's root, its node, its block.
    let is_root = |(number, key, _): &(u8, Vec<u8>, Vec<u8>)| {
        *number == 2 && *key == parsed.head.state_root.as_bytes()
    };
    let root = parsed.entries.iter().position(is_root).expect("a root");
    for verify in VERIFY {
        let changes: [&dyn Fn(&mut Parsed); 4] = [
            &|file| file.head.state_root.0[0] ^= 1,
            &|file| drop(file.entries.remove(root)),
            &|file| file.entries[root].2[0] ^= 1,
            &|file| file.entries[block].2[0] ^= 1,
        ];
        for change in changes {
            let error = refused(verify, "another head", change);
            assert!(matches!(error, StateFileError::Head(_)), "{error}");
        }
    }
    // Values and nodes, which only a comparison finds.
    let other = nodes + 5;
    assert_ne!(other, root);
    let changes: [&dyn Fn(&mut Parsed); 5] = [
        &|file| file.entries[2].2.push(0),
        &|file| drop(file.entries.remove(2)),
        &|file| file.entries[nodes - 1].2.push(0),
        &|file| file.entries[other].2[0] ^= 1,
        &|file| drop(file.entries.remove(other)),
    ];
    for change in changes {
        let error = refused(Verify::Values, "another state", change);
        assert!(matches!(error, StateFileError::Values(_)), "{error}");
        let believed = import(&parsed.with(change), &to, Verify::Checksum);
        drop(believed.expect("the checksum is believed"));
        std::fs::remove_dir_all(&to).expect("removed");
    }
    // A child trie that the state does not have, and a value that is of no trie.
    let with_last = |key: &[u8]| {
        let last = (1, key.to_vec(), vec![1]);
        refused(Verify::Values, "one more", &|file| {
            file.entries.insert(nodes, last.clone());
        })
    };
    let error = with_last(&[[1, 0, 0, 0, 200].as_slice(), &[9; 200], &[7]].concat());
    let StateFileError::Values(CheckError::Differs { child, key, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((child, key), (Some(vec![9; 200]), vec![7]));
    let error = with_last(&[1, 0xff, 0xff, 0xff, 0xff, 7]);
    let StateFileError::Values(CheckError::State(_)) = error else {
        panic!("{error}");
    };
    let error = with_last(&[2, 7]);
    let StateFileError::Unreachable { values, reached } = error else {
        panic!("{error}");
    };
    assert_eq!((values, reached), (nodes as u64 + 1, nodes as u64));
}

/// A disk that cannot be read is not a broken file, and one that cannot be written no file.
#[test]
fn what_fails_is_said() {
    #[derive(Debug)]
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("a broken disk"))
        }
    }
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("a full disk"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    all_but_the_last(&from);
    let database = open(&from);
    let error = StateFile::open(Broken).expect_err("broken");
    assert!(matches!(error, StateFileError::Read(_)), "{error}");
    let file = export(&database).0;
    let half = std::io::Read::chain(&file[..file.len() / 2], Broken);
    let opened = StateFile::open(half).expect("so far it is one");
    let error = opened.import(&to, config(), Verify::Values, |_| {});
    let error = error.expect_err("broken");
    assert!(matches!(error, StateFileError::Read(_)), "{error}");
    nothing_came(&to);
    let view = database.view().expect("a head");
    let error = view.export(Broken, |_| {}).expect_err("full");
    assert!(matches!(error, ExportError::Write(_)), "{error}");
    drop(view);
    drop(database);
    // A value without end, by its length.
    let mut long = file[..92].to_vec();
    long.extend([1, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0]);
    let error = import(&long, &to, Verify::Values).expect_err("too long");
    let StateFileError::Damaged {
        offset: 101,
        reason,
    } = error
    else {
        panic!("{error}");
    };
    assert!(reason.contains("longer"), "{reason}");
}
