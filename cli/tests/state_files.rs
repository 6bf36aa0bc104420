//! `slackwater db export` and `import` as scripts see them: real chain specs and the guest's chain go out and come back,
//! and what is broken or in the way is refused.

mod common;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use common::{json, slackwater, text};
use serde_json::{Value, json};
use slackwater_executor::{
    Database,
    state::{DatabaseConfig, Head, MemoryState},
};
use slackwater_runtime_fixtures::{
    BlockFixture, ChainSpec, crate_file_or_skip, guest::fixture_chain_path, real_fixtures_or_skip,
};
use sp_core::storage::{StateVersion, Storage};

/// Chains whose chain specs are in the crate `polkadot-service`, and the hashes of their genesis blocks, as the chains
/// themselves have them.
const GENESIS_HASHES: [(&str, &str); 5] = [
    (
        "polkadot",
        "91b171bb158e2d3848fa23a9f1c25182fb8e20313b2c1eb49219da7a70ce90c3",
    ),
    (
        "kusama",
        "b0a8d493285c2df73290dfb7e61f870f17b41801197a149ca93654499ea3dafe",
    ),
    (
        "westend",
        "e143f23803ac50e8f6f8e62695d1ce9e4e1d68aa36c1cd2cfd15340213f3423e",
    ),
    (
        "rococo",
        "6408de7737c59c238890533af25896a2c20608d8b380bb01029acb392781063e",
    ),
    (
        "paseo",
        "77afd6190f1554ad45fd0d31aee62aacc33c6db0ea801129acb813f913e0764f",
    ),
];

/// The other real chain specs.
const SPECS: [&str; 4] = [
    "bulletin-polkadot-raw",
    "chopsticks-asset-hub-kusama-local",
    "smoldot-substrate-node-template",
    "subtensor-raonet",
];

fn good(args: &[&str]) -> Value {
    let (code, document) = json(args);
    assert_eq!(code, 0, "{args:?}: {document}");
    document
}

/// Refused, with these words; what is in the folder afterwards is no state.
fn refused(args: &[&str], words: &str) {
    let (code, document) = json(args);
    assert_eq!(code, 2, "{args:?}: {document}");
    let error = document["error"].as_str().expect("an error");
    assert!(error.contains(words), "{args:?}: {error}");
}

/// All that a state consists of.
fn sorted(state: Storage) -> impl PartialEq + std::fmt::Debug {
    let children = state.children_default.into_iter();
    let children: BTreeSet<_> = children.map(|(key, child)| (key, child.data)).collect();
    (state.top, children)
}

/// The folders and files of one chain.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect()
    }
}

/// From a chain spec to a database, from there to both kinds of files, and from these to databases again.
fn there_and_back(spec: &Path, genesis_hash: Option<&str>) {
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let (first, second, third) = (path("first"), path("second"), path("third"));
    let (state_file, again) = (path("state"), path("again.json"));
    let imported = good(&["db", "import", text(&first), text(spec)]);
    let head = &imported["head"];
    assert_eq!(
        (&imported["format"], &head["number"]),
        (&json!("spec"), &json!(0))
    );
    if let Some(hash) = genesis_hash {
        assert_eq!(head["hash"], format!("0x{hash}"), "{}", spec.display());
    }
    let loaded = ChainSpec::load(spec).expect("loads");
    let version = match imported["state_version"].as_u64() {
        Some(0) => StateVersion::V0,
        Some(1) => StateVersion::V1,
        other => panic!("{other:?}"),
    };
    let state = MemoryState::new(loaded.genesis.clone(), version);
    let root = format!("0x{}", hex::encode(state.state_root()));
    assert_eq!(head["state_root"], root, "{}", spec.display());
    assert_eq!(good(&["db", "check", text(&first)])["ok"], true);

    let exported = good(&["db", "export", text(&first), text(&state_file)]);
    assert_eq!(
        (&exported["head"], &exported["format"]),
        (head, &json!("state-file"))
    );
    let length = std::fs::metadata(&state_file).expect("there").len();
    assert_eq!(exported["bytes"], length);
    let from_file = good(&["db", "import", text(&second), text(&state_file)]);
    assert_eq!(
        (&from_file["head"], &from_file["checked"]),
        (head, &json!(true))
    );
    assert_eq!(from_file["values"], exported["values"]);
    assert_eq!(good(&["db", "check", text(&second)])["head"], *head);

    let as_spec = [
        "--format",
        "spec",
        "--name",
        &loaded.name,
        "--id",
        &loaded.id,
    ];
    let to_spec = ["db", "export", text(&second), text(&again)];
    let exported = good(&[to_spec.as_slice(), &as_spec].concat());
    assert_eq!(exported["values"], imported["values"]);
    let reread = ChainSpec::load(&again).expect("loads");
    assert_eq!((&reread.name, &reread.id), (&loaded.name, &loaded.id));
    assert_eq!(sorted(reread.genesis), sorted(loaded.genesis));
    let from_spec = good(&["db", "import", text(&third), text(&again)]);
    assert_eq!(from_spec["head"], *head);
    let expected = ["again.json", "first", "second", "state", "third"].map(str::to_owned);
    assert_eq!(place.names(), expected.into(), "nothing else is left");
}

#[test]
fn specs_of_known_chains_give_their_genesis_blocks() {
    for (name, hash) in GENESIS_HASHES {
        let path = format!("chain-specs/{name}.json");
        let Some(spec) = crate_file_or_skip("polkadot-service", "31.0.0", &path) else {
            return;
        };
        there_and_back(&spec, Some(hash));
    }
}

#[test]
fn specs_beside_the_checkout_go_there_and_back() {
    let Some(dir) = real_fixtures_or_skip("chain specs of the real fixtures") else {
        return;
    };
    for name in SPECS {
        there_and_back(&dir.join(format!("genesis/{name}.json")), None);
    }
}

/// The guest's chain as a database.
fn guest(place: &Place) -> (PathBuf, u64) {
    let database = place.path("database");
    let chain = fixture_chain_path();
    good(&["replay", text(&chain), "--db", text(&database)]);
    let blocks = BlockFixture::load(&chain).expect("loads").blocks.len();
    (database, blocks as u64)
}

fn head(database: &Path) -> Head {
    let opened = Database::open_existing(database, DatabaseConfig::default()).expect("opens");
    opened.head().expect("readable").expect("a head")
}

/// States with child tries, of earlier blocks too.
#[test]
fn states_of_earlier_blocks_are_exported_as_specs() {
    let place = Place::new();
    let (database, last) = guest(&place);
    let mut roots = BTreeSet::new();
    for block in [0, 1, last / 2, last] {
        let (spec, copy) = (
            place.path("Some Chain-2.json"),
            place.path(&block.to_string()),
        );
        let block = block.to_string();
        let format = ["--format", "spec", "--block", &block, "--force"];
        let args = ["db", "export", text(&database), text(&spec)];
        let exported = good(&[args.as_slice(), &format].concat());
        assert_eq!(exported["head"]["number"].to_string(), block);
        let imported = good(&["db", "import", text(&copy), text(&spec)]);
        assert_eq!(
            imported["head"]["state_root"],
            exported["head"]["state_root"]
        );
        let loaded = ChainSpec::load(&spec).expect("loads");
        assert_eq!(
            (loaded.name.as_str(), loaded.id.as_str()),
            ("Some Chain-2", "some_chain_2")
        );
        let checked = good(&["db", "check", text(&copy)]);
        assert_eq!(
            checked["child_tries"],
            loaded.genesis.children_default.len()
        );
        roots.insert(exported["head"]["state_root"].to_string());
    }
    assert_eq!(roots.len(), 4);
    let spec = place.path("far.json");
    let far = (last + 1).to_string();
    let args = [
        "db",
        "export",
        text(&database),
        text(&spec),
        "--format",
        "spec",
        "--block",
        &far,
    ];
    refused(&args, "is not kept");
    assert!(!spec.exists());
}

/// A database that was carried in a state file goes on where the chain was.
#[test]
fn a_chain_goes_on_from_a_state_file() {
    let place = Place::new();
    let (database, last) = guest(&place);
    let whole = head(&database);
    good(&["db", "revert", text(&database), "2"]);
    let (file, copy) = (place.path("state"), place.path("copy"));
    let exported = good(&["db", "export", text(&database), text(&file)]);
    assert_eq!(exported["head"]["number"], last - 2);
    let imported = good(&["db", "import", text(&copy), text(&file), "--no-check"]);
    assert_eq!(
        (&imported["head"], &imported["checked"]),
        (&exported["head"], &json!(false))
    );
    good(&["replay", text(&fixture_chain_path()), "--db", text(&copy)]);
    assert_eq!(head(&copy), whole);
    let args = [
        "db",
        "export",
        text(&database),
        text(&file),
        "--force",
        "--block",
        "1",
    ];
    refused(&args, "only the state of the head");
    let again = place.path("again");
    good(&["db", "import", text(&again), text(&file)]);
    // People are told the same.
    let output = slackwater(&["db", "export", text(&again), text(&file), "--force"]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("values written to"), "{shown}");
    let human = place.path("human");
    let output = slackwater(&["db", "import", text(&human), text(&file)]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(
        shown.contains("values read from") && shown.contains("head: block"),
        "{shown}"
    );
}

#[test]
fn nothing_is_written_over() {
    let place = Place::new();
    let (database, _) = guest(&place);
    let (file, other) = (place.path("state"), place.path("other"));
    let export = ["db", "export", text(&database), text(&file)];
    good(&export);
    let written = std::fs::read(&file).expect("there");
    std::fs::write(&file, "mine").expect("written");
    refused(&export, "--force");
    assert_eq!(std::fs::read(&file).expect("there"), b"mine");
    good(&[export.as_slice(), &["--force"]].concat());
    assert_eq!(std::fs::read(&file).expect("there"), written);
    let inside = database.join("CURRENT");
    let args = ["db", "export", text(&database), text(&inside), "--force"];
    refused(&args, "in the folder of the database");
    let now = std::fs::read(&inside).expect("there");
    assert_eq!(&now[..8], b"MANIFEST");
    let nowhere = place.path("no/such/folder");
    refused(
        &["db", "export", text(&database), text(&nowhere)],
        "cannot be written",
    );
    refused(
        &["db", "export", text(&place.path("none")), text(&other)],
        "no database in",
    );
    refused(
        &["db", "export", text(&database), text(&other), "--name", "x"],
        "--format spec",
    );
    // Where there is a database, nothing is imported.
    let before = head(&database);
    for source in [&file, &fixture_chain_path()] {
        let (code, document) = json(&["db", "import", text(&database), text(source)]);
        assert_eq!(code, 2, "{document}");
    }
    refused(&["db", "import", text(&database), text(&file)], "already");
    assert_eq!(head(&database), before);
    let names = ["database", "state"].map(str::to_owned);
    assert_eq!(place.names(), names.into(), "no unfinished file is left");
}

#[test]
fn what_is_broken_becomes_no_database() {
    let place = Place::new();
    let (database, _) = guest(&place);
    let (file, spec, broken, copy) = (
        place.path("state"),
        place.path("spec.json"),
        place.path("broken"),
        place.path("copy"),
    );
    good(&["db", "export", text(&database), text(&file)]);
    good(&[
        "db",
        "export",
        text(&database),
        text(&spec),
        "--format",
        "spec",
    ]);
    let import = ["db", "import", text(&copy), text(&broken)];
    let refused = |bytes: &[u8], words: &str| {
        std::fs::write(&broken, bytes).expect("written");
        for words in [words, "broken"] {
            refused(&import, words);
        }
        assert!(!copy.exists() || copy.join("SLACKWATER_CREATION").exists());
    };
    // What is told apart before anything is made.
    refused(b"", "neither a state file nor");
    refused(b"hello", "neither a state file nor");
    assert!(!copy.exists());
    let bytes = std::fs::read(&file).expect("there");
    let mut other = bytes.clone();
    other[16] = 9;
    refused(&other, "version 9");
    assert!(!copy.exists());
    refused(&bytes[..bytes.len() / 2], "ends too early");
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 100] ^= 1;
    refused(&flipped, "checksum");
    let json = std::fs::read_to_string(&spec).expect("there");
    refused(&json.as_bytes()[..json.len() / 2], "not JSON");
    refused(json.replacen("\"0x", "\"0y", 9).as_bytes(), "0x prefix");
    refused(
        json.replacen("raw", "row", 1).as_bytes(),
        "not a raw chain spec",
    );
    refused(
        json.replacen("0x3a636f6465", "0x3a636f6466", 1).as_bytes(),
        "no `:code`",
    );
    let twice = json.replacen("\"top\": {", "\"top\": {\"0x3a636f6465\": \"0x\",", 1);
    refused(twice.as_bytes(), "twice");
    let no_code = json.replacen("\"0x3a636f6465\": \"0x", "\"0x3a636f6465\": \"0x00", 1);
    std::fs::write(&broken, no_code).expect("written");
    let (code, document) = common::json(&import);
    assert_eq!(code, 2, "{document}");
    std::fs::remove_file(&broken).expect("removed");
    let (code, document) = common::json(&import);
    let error = document["error"].as_str().expect("an error");
    assert!(code == 2 && error.contains("cannot be read"), "{error}");
    // And then a whole one.
    let imported = good(&["db", "import", text(&copy), text(&file)]);
    assert_eq!(
        imported["head"]["state_root"],
        format!("0x{}", hex::encode(head(&database).state_root))
    );
}
