//! Damage on disk: a byte that is another, a file that is missing, a log or a manifest that is cut short. Whatever is
//! asked of such a database, the answer is right or a typed error that names the file; it never is a wrong value or root.
//! Values that are wrong under a right checksum are in `history`, damage during execution and foreign folders in
//! `bad_input`.
//!
//! `SLACKWATER_DAMAGE_FLIPS` says how many bits of each file are flipped, one at a time.

#![expect(
    clippy::print_stdout,
    reason = "what was damaged is told of a test that fails"
)]

mod chain;

use std::{collections::BTreeMap, fs, path::Path};

use slackwater_executor::state::{
    BlockLayers, Database, DatabaseConfig, Durability, Extensions, OpenError, Recovery, StateError,
};
use slackwater_tests::{COLUMNS, runs};
use sp_core::storage::{StateVersion, Storage};

use self::chain::{Chain, IN_FILES, VERSION, files, log};

/// Bits of each file that are flipped in a short run.
const FLIPS: usize = 20;

/// What a file is, by its name.
fn kind(file: &str) -> &'static str {
    let kinds = [
        (".sst", "table"),
        (".log", "log"),
        ("MANIFEST", "manifest"),
        ("CURRENT", "current"),
        ("OPTIONS", "options"),
        ("IDENTITY", "identity"),
        ("LOCK", "lock"),
        ("SLACKWATER_LOCK", "lock"),
        ("LOG", "messages"),
    ];
    let kind = kinds.into_iter().find(|(part, _)| file.contains(part));
    kind.unwrap_or_else(|| panic!("what is {file}?")).1
}

/// What became of flips in files of a kind.
#[derive(Debug, Default)]
struct Tally {
    /// An error.
    refused: usize,
    /// The head is an earlier block, and the database says so.
    told: usize,
    /// Nothing but what is right.
    harmless: usize,
}

fn assert_told(recovery: &Recovery, file: &str, head: u64) {
    assert_eq!(recovery.logs, [file]);
    assert_eq!(recovery.head.map(|head| head.number), Some(head));
    let text = recovery.to_string();
    assert!(
        text.contains(file) && text.contains(&format!("block {head}")),
        "{text}"
    );
}

/// Whether an error says where the damage is.
fn is_named(error: &str, file: &str) -> bool {
    // What the file named, or lacks, is named in these cases.
    let instead: &[_] = match kind(file) {
        "current" => &["CURRENT", "MANIFEST-"],
        // RocksDB reads tables for the manifest, and takes some of their faults for its own.
        "table" => &["MANIFEST-"],
        _ => &[],
    };
    error.contains(file) || instead.iter().any(|name| error.contains(name))
}

#[test]
fn a_flipped_bit_is_noticed_or_does_no_harm() {
    let chain = Chain::new();
    let flips = runs("SLACKWATER_DAMAGE_FLIPS", FLIPS);
    let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
    let mut random = 1_u64;
    let mut below = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % end
    };
    for file in files(&chain.path()) {
        let whole = fs::read(chain.path().join(&file)).expect("readable");
        let tally = tallies.entry(kind(&file)).or_default();
        for _ in 0..flips.min(8 * whole.len()) {
            let (at, bit) = (below(whole.len()), below(8));
            println!("{file}: bit {bit} of byte {at} of {}", whole.len());
            let copy = chain.copy("flipped");
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(copy.join(&file), bytes).expect("written");
            match chain.examine(&copy) {
                Err(error) => {
                    assert!(is_named(&error, &file), "{error}");
                    tally.refused += 1;
                }
                Ok((head, Some(recovery))) => {
                    assert_told(&recovery, &file, head);
                    tally.told += 1;
                }
                Ok((head, None)) => {
                    assert_eq!(head, chain.head(), "blocks are lost, and nothing is said");
                    let entries = chain.entries.get(&file);
                    assert!(
                        entries.is_none_or(|entries| at >= *entries),
                        "a block of a table"
                    );
                    tally.harmless += 1;
                }
            }
        }
    }
    println!("{tallies:#?}");
    for (kind, tally) in &tallies {
        let Tally {
            refused,
            told,
            harmless,
        } = *tally;
        let as_expected = match *kind {
            "table" => told == 0 && refused > 9 * harmless,
            "log" => harmless == 0 && told > 9 * refused,
            "manifest" | "current" => told == 0 && refused > 0 && harmless == 0,
            _ => refused + told == 0,
        };
        assert!(as_expected, "{kind}: {tally:?}");
    }
    assert_eq!(tallies.len(), 8, "{tallies:?}");
}

#[test]
fn a_missing_file_is_named_or_does_no_harm() {
    let chain = Chain::new();
    let mut harmless = Vec::new();
    for file in files(&chain.path()) {
        println!("without {file}");
        let copy = chain.copy("missing");
        fs::remove_file(copy.join(&file)).expect("removed");
        let left = files(&copy);
        let named = match kind(&file) {
            "table" | "manifest" | "current" => file.as_str(),
            "log" => "*.log",
            kind => {
                assert_eq!(chain.examine(&copy), Ok((chain.head(), None)));
                harmless.push(kind);
                continue;
            }
        };
        let error = Database::open(&copy, Durability::Sync).expect_err("incomplete");
        assert!(error.to_string().contains(named), "{error}");
        let ours = matches!(error, OpenError::Missing { .. });
        assert_eq!(ours, ["current", "log"].contains(&kind(&file)), "{error}");
        let tables = |names: &[String]| names.iter().filter(|name| kind(name) == "table").count();
        assert_eq!(tables(&files(&copy)), tables(&left), "nothing is made anew");
    }
    harmless.sort_unstable();
    harmless.dedup();
    assert_eq!(harmless, ["identity", "lock", "messages", "options"]);
}

/// Cut anywhere, the log leads to the last block that is whole in it.
#[test]
fn a_log_cut_short_leads_to_an_earlier_block_and_says_so() {
    let chain = Chain::new();
    let file = log(&chain.path());
    let ends = &chain.log_ends;
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    let near = ends
        .iter()
        .flat_map(|end| [end.saturating_sub(1), *end, end + 1, end + 7]);
    let lengths = near.chain((first..last).step_by(251));
    let (mut told, mut untold) = (0, 0);
    for length in lengths.filter(|length| *length <= last) {
        println!("{file}: {length} of {last} bytes");
        let copy = chain.copy("cut");
        let log = fs::OpenOptions::new().write(true).open(copy.join(&file));
        log.and_then(|log| log.set_len(length)).expect("cut");
        let whole = ends.iter().filter(|end| **end <= length).count();
        let expected = u64::from(IN_FILES) + (whole as u64).saturating_sub(1);
        let (head, recovery) = chain.examine(&copy).expect("opens");
        assert_eq!(head, expected);
        // Nothing is left of what was cut off between two records.
        let between = length == 0 || ends.contains(&length);
        assert_eq!(recovery.is_none(), between, "{recovery:?}");
        match recovery {
            Some(recovery) => {
                assert_told(&recovery, &file, head);
                told += 1;
            }
            None => untold += 1,
        }
    }
    assert!(told > 30 && untold >= ends.len(), "{told}, {untold}");
}

/// Where the records of a file in RocksDB's log format begin that is smaller than a block of it, and the end.
fn record_bounds(bytes: &[u8]) -> Vec<usize> {
    let mut bounds = vec![0];
    let mut at = 0;
    while let Some(length) = bytes.get(at + 4..at + 6) {
        at += 7 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        bounds.push(at);
    }
    assert_eq!(at, bytes.len());
    bounds
}

/// A manifest that ends early hides files, or was left so by a kill, as `torture` has it. What opens is right.
#[test]
fn a_manifest_that_ends_early_shows_no_state_that_never_was() {
    let chain = Chain::new();
    let (file, whole) = manifest(&chain);
    let (mut right, mut refused) = (0, 0);
    let bounds = record_bounds(&whole);
    for length in (1..whole.len()).step_by(7) {
        if bounds.contains(&length) {
            // Nothing tells that there was more.
            continue;
        }
        println!("{file}: {length} bytes");
        let copy = chain.copy("cut");
        fs::write(copy.join(&file), &whole[..length]).expect("written");
        match chain.examine(&copy) {
            Ok(_) => right += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{right} right, {refused} refused");
    assert!(refused > right, "{right}, {refused}");
}

/// One bit has RocksDB take what is whole for the end: a length, or a kind that is of another file.
#[test]
fn a_manifest_whose_records_hide_others_is_refused() {
    let chain = Chain::new();
    let (file, whole) = manifest(&chain);
    let bounds = record_bounds(&whole);
    assert!(bounds.len() > 20, "{bounds:?}");
    for start in &bounds[..bounds.len() - 1] {
        for (byte, bit) in [(start + 5, 7), (start + 6, 2)] {
            println!("{file}: bit {bit} of byte {byte}");
            let copy = chain.copy("cut");
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(copy.join(&file), bytes).expect("written");
            let error = chain.examine(&copy).expect_err("not whole");
            assert!(is_named(&error, &file), "{error}");
        }
    }
}

/// The name and the bytes of the manifest.
fn manifest(chain: &Chain) -> (String, Vec<u8>) {
    let names = files(&chain.path());
    let file = names.into_iter().find(|name| kind(name) == "manifest");
    let file = file.expect("there");
    let whole = fs::read(chain.path().join(&file)).expect("readable");
    (file, whole)
}

/// A power cut may leave zeros within a log, and of two logs the later one only, where blocks are left to the operating
/// system. What is behind a hole is not read.
#[test]
fn what_is_behind_a_hole_in_the_log_is_not_read() {
    let chain = Chain::new();
    let file = log(&chain.path());
    let whole = fs::read(chain.path().join(&file)).expect("readable");
    let starts = record_bounds(&whole);
    for (block, bounds) in (0_u64..).zip(starts.windows(2)) {
        println!("{file}: block {block}");
        let copy = chain.copy("hole");
        let mut bytes = whole.clone();
        bytes[bounds[0]..bounds[1]].fill(0);
        fs::write(copy.join(&file), bytes).expect("written");
        let (head, recovery) = chain.examine(&copy).expect("opens");
        assert_eq!(head, u64::from(IN_FILES) + block);
        assert_told(&recovery.expect("said"), &file, head);

        // The blocks behind it in a log of their own, without those before.
        let copy = chain.copy("two");
        let number: u64 = file
            .strip_suffix(".log")
            .expect("a log")
            .parse()
            .expect("a number");
        let later = copy.join(format!("{:06}.log", number + 1));
        fs::write(copy.join(&file), &whole[..bounds[0]]).expect("written");
        fs::write(later, &whole[bounds[1]..]).expect("written");
        // Nothing says where a log began that is empty, so it is tried whether there is a state.
        let (head, recovery) = chain.examine(&copy).expect("opens");
        assert_eq!(head, u64::from(IN_FILES) + block);
        let is_last = bounds[1] == whole.len();
        assert_eq!(recovery.is_none(), is_last, "{recovery:?}");
    }
}

/// What a guest is told of by a panic only.
#[test]
fn a_guest_whose_read_fails_ends_as_an_error() {
    let chain = Chain::new();
    let copy = chain.copy("append");
    let options = rocksdb::Options::default();
    let raw = rocksdb::DB::open_cf_for_read_only(&options, &copy, COLUMNS, false).expect("raw");
    let mut tables = raw.live_files().expect("listed");
    tables.retain(|file| file.column_family_name == "flat");
    drop(raw);
    assert!(!tables.is_empty());
    for table in tables {
        let table = copy.join(table.name.trim_start_matches('/'));
        let mut bytes = fs::read(&table).expect("readable");
        bytes[..100].fill(0x55);
        fs::write(table, bytes).expect("written");
    }
    let config = DatabaseConfig::new(Durability::Buffered);
    let database = Database::open_existing(&copy, config).expect("opens");
    let view = database.view().expect("a head");
    let mut layers = BlockLayers::new(&view, Extensions::new());
    for _ in 0..2 {
        let appended = layers.layered(
            |layers| layers.run(|ext| ext.storage_append(b"genesis".to_vec(), vec![1])),
            Result::is_ok,
        );
        let error = appended.expect_err("a damaged table");
        assert!(matches!(error, StateError::Database(_)), "{error}");
    }
    layers.finish(VERSION).expect_err("nothing is left of it");
}

/// The same bits of the log: the first looks like its end. At the second RocksDB looks for another record for ever.
#[test]
fn a_log_whose_records_hide_others_says_so_or_is_refused() {
    let chain = Chain::new();
    let file = log(&chain.path());
    let whole = fs::read(chain.path().join(&file)).expect("readable");
    let starts = record_bounds(&whole);
    assert_eq!(starts.len(), chain.log_ends.len());
    for (block, start) in (0_u64..).zip(&starts[..starts.len() - 1]) {
        let flipped = |byte: usize, bit: u8| {
            println!("{file}: bit {bit} of byte {byte}");
            let copy = chain.copy("hidden");
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(copy.join(&file), bytes).expect("written");
            chain.examine(&copy)
        };
        let (head, recovery) = flipped(start + 5, 7).expect("opens");
        assert_eq!(head, u64::from(IN_FILES) + block);
        assert_told(&recovery.expect("said"), &file, head);
        let error = flipped(start + 6, 2).expect_err("no such kind");
        assert!(
            is_named(&error, &file) && error.contains("of kind 5"),
            "{error}"
        );
    }
}

/// Where table files hold what comes after a file of the log, that file cannot be missed: without it the state would be
/// one that never was.
#[test]
fn a_log_that_table_files_go_beyond_is_needed_whole() {
    let chain = Chain::new();
    let two_logs = || {
        let copy = chain.copy("logs");
        let mut options = rocksdb::Options::default();
        options.set_track_and_verify_wals_in_manifest(true);
        let raw = rocksdb::DB::open_cf(&options, &copy, COLUMNS).expect("raw");
        let column = |name| raw.cf_handle(name).expect("there");
        // Of one batch, one column goes into a table file. No block has that number.
        for value in [b"1", b"2"] {
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(column("default"), b"key", value);
            batch.put_cf(column("receipts"), u64::MAX.to_be_bytes(), value);
            raw.write(batch).expect("written");
            if value == b"1" {
                raw.flush_cf(column("default")).expect("written");
            }
        }
        drop(raw);
        let mut logs = files(&copy);
        logs.retain(|name| kind(name) == "log");
        assert_eq!(logs.len(), 2, "{logs:?}");
        let [first, last] = [0, 1].map(|log| copy.join(&logs[log]));
        (copy, first, last)
    };
    let (copy, ..) = two_logs();
    assert_eq!(chain.examine(&copy), Ok((chain.head(), None)));
    let refused = |damage: &dyn Fn(&Path), said: &str| {
        let (copy, first, last) = two_logs();
        let whole = fs::read(&first).expect("readable");
        damage(&first);
        let error = chain.examine(&copy).expect_err(said);
        assert!(error.contains(said), "{error}");
        // Nothing was moved away: with the first one whole again all is there.
        assert!(last.exists());
        fs::write(first, whole).expect("written");
        assert_eq!(chain.examine(&copy), Ok((chain.head(), None)));
    };
    let flip = |log: &Path| {
        let mut bytes = fs::read(log).expect("readable");
        bytes[20] ^= 1;
        fs::write(log, bytes).expect("written");
    };
    refused(&flip, "SST file is ahead of WALs in CF default");
    refused(&|log| fs::write(log, "").expect("cut"), "Size mismatch");
    refused(&|log| fs::remove_file(log).expect("removed"), "Missing WAL");
    // The last one ends where others begin: without it the head is an earlier batch, and nobody can tell.
    let (copy, _, last) = two_logs();
    fs::remove_file(last).expect("removed");
    assert_eq!(chain.examine(&copy), Ok((chain.head(), None)));
}

/// However much of the log is lost, a database is one, and what its chain began with is there.
#[test]
fn a_genesis_does_not_depend_on_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |path: &Path| Database::open(path, Durability::Buffered).expect("opens");
    let cut = || fs::write(folder.path().join(log(folder.path())), "").expect("cut");
    drop(open(folder.path()));
    cut();
    let database = open(folder.path());
    assert_eq!(database.head().expect("readable"), None);
    let top = [(b"key".to_vec(), b"value".to_vec())].into();
    let genesis = Storage {
        top,
        ..Storage::default()
    };
    let prepared = database.prepare_state(&genesis, StateVersion::V1);
    let prepared = prepared.expect("state");
    let head = database.import_state(prepared, 0, [7; 32].into());
    let head = head.expect("imports");
    drop(database);
    cut();
    let database = open(folder.path());
    assert_eq!(database.head().expect("readable"), Some(head));
    let view = database.view().expect("a head");
    assert_eq!(view.check_values(|_| {}).expect("the trie's").keys, 1);
}
