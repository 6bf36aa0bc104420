//! Imports a state of any size, and says how long that took and how much memory. Fails if it took more than allowed.
//!
//! `big_import [--keys N] [--limit-mib N] [--sorted] [--through-spec] [--state-file]`: keys and values are made from their numbers, so
//! that every run imports the same. `--sorted` gives them in the order of keys, as exported files have them;
//! `--through-spec` writes a raw chain spec first, and reads that; `--state-file` makes a state file of the database
//! in the end, and another database of that. All of it is in a folder in `TMPDIR`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use slackwater_executor::{
    block::genesis_hash,
    state::{DatabaseConfig, Durability, Head, StateFile, StateImport, Verify},
};
use slackwater_runtime_fixtures::{chain_spec_stream::import_spec, hexadecimal};
use sp_core::storage::{StateVersion, well_known_keys::CODE};
use sp_crypto_hashing::{blake2_256, blake2_512};

/// Values have from 32 to 100 bytes.
const VALUE_BYTES_LEAST: usize = 32;
const VALUE_LENGTHS: u64 = 69;

struct Args {
    keys: u64,
    limit_mib: u64,
    sorted: bool,
    through_spec: bool,
    state_file: bool,
}

fn args() -> Args {
    let mut args = Args {
        keys: 10_000_000,
        limit_mib: 2048,
        sorted: false,
        through_spec: false,
        state_file: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut number = || {
            let number = given.next().and_then(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("{argument} takes a number"))
        };
        match argument.as_str() {
            "--keys" => args.keys = number(),
            "--limit-mib" => args.limit_mib = number(),
            "--sorted" => args.sorted = true,
            "--through-spec" => args.through_spec = true,
            "--state-file" => args.state_file = true,
            other => panic!("what is {other}?"),
        }
    }
    args
}

/// The key and the value of a number.
fn pair(number: u64, args: &Args) -> (Vec<u8>, Vec<u8>) {
    let mut key = blake2_256(&number.to_le_bytes());
    if args.sorted {
        let place = number * (u64::MAX / args.keys);
        key[..8].copy_from_slice(&place.to_be_bytes());
    }
    let value = [blake2_512(&key), blake2_512(&[1])].concat();
    let more = u64::from_le_bytes(*value.first_chunk().expect("long")) % VALUE_LENGTHS;
    let length = VALUE_BYTES_LEAST + usize::try_from(more).expect("small");
    (key.to_vec(), value[..length].to_vec())
}

fn write_spec(path: &Path, args: &Args) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let code = hexadecimal::encode(CODE);
    let begin = r#"{"name":"Big","id":"big","genesis":{"raw":{"top":{"#;
    write!(file, "{begin}\n\"{code}\":\"0x00\"")?;
    for number in 0..args.keys {
        let (key, value) = pair(number, args);
        let (key, value) = (hexadecimal::encode(&key), hexadecimal::encode(&value));
        write!(file, ",\n\"{key}\":\"{value}\"")?;
    }
    file.write_all(b"},\"childrenDefault\":{}}}}")?;
    file.flush()
}

/// The most memory this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = number.and_then(|kib| kib.parse().ok()).expect("a number");
    kib / 1024
}

fn main() {
    let args = args();
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("db");
    let config = DatabaseConfig::new(Durability::Sync);
    let mut import = StateImport::begin(&database, config).expect("begins");
    let mut started = Instant::now();
    let mut lap = |what: &str, keys: u64| {
        let seconds = started.elapsed().as_secs_f64().max(1e-3);
        let peak = peak_mib();
        println!("{what}: {keys} keys in {seconds:.1} s, peak {peak} MiB");
        started = Instant::now();
    };
    if args.through_spec {
        let spec = folder.path().join("spec.json");
        write_spec(&spec, &args).expect("written");
        lap("chain spec written", args.keys);
        let file = File::open(&spec).expect("there");
        import_spec(&spec, file, &mut import).expect("a chain spec");
    } else {
        for number in 0..args.keys {
            let (key, value) = pair(number, &args);
            import.put(None, &key, &value).expect("written");
        }
    }
    lap("values written", import.keys());
    let state_root = import.build(StateVersion::V1).expect("built");
    lap("tries built", import.keys());
    let head = Head {
        number: 0,
        hash: genesis_hash(state_root),
        state_root,
    };
    let keys = import.keys();
    let database = import.finish(head).expect("finishes");
    lap("finished", keys);
    let view = database.view().expect("a head");
    let checked = view.check_values(|_| {}).expect("the trie's");
    assert_eq!(checked.keys, keys, "every key is there");
    lap("checked", keys);
    if args.state_file {
        let path = folder.path().join("state");
        let file = File::create(&path).expect("made");
        let exported = view.export(file, |_| {}).expect("exported");
        lap("exported", keys);
        let file = StateFile::open(File::open(&path).expect("there")).expect("a state file");
        let copy = folder.path().join("copy");
        let imported = file.import(&copy, config, Verify::Values, |_| {});
        assert_eq!(imported.expect("imports").1, exported);
        lap("imported and checked", keys);
    }
    let columns = database.stat().expect("readable").columns;
    let bytes: u64 = columns.iter().map(|column| column.bytes).sum();
    println!("state root {state_root:?}, {} MiB of files", bytes >> 20);
    let (peak, limit) = (peak_mib(), args.limit_mib);
    assert!(peak <= limit, "{peak} MiB were needed, {limit} are allowed");
}
