//! `record`, `verify`, reports and profiles, as a user runs them.

mod common;

use std::{fs, path::PathBuf, process::Command};

use common::{json, slackwater, text};
use slackwater_executor::{
    Database, Durability, ExecutorConfig, WasmExecutor,
    block::ProducerConfig,
    host_functions::SlackwaterHostFunctions,
    recording::{RecordedBlock, Recording, RecordingFile, RecordingWriter, Spliced, Writes},
    state::DatabaseConfig,
};
use slackwater_runtime_fixtures::{
    BlockFixture,
    guest::fixture_chain_path,
    production::{ChainProducer, Queue, begin_chain},
    real_fixtures_or_skip,
};

/// A folder with a recording of the guest's chain.
struct Recorded {
    folder: tempfile::TempDir,
    fixture: PathBuf,
}

impl Recorded {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let recorded = Self {
            folder: tempfile::tempdir().expect("a folder"),
            fixture: fixture_chain_path(),
        };
        let (file, fixture) = (recorded.file(), recorded.fixture());
        let args = ["record", text(&file), "--fixture", &fixture];
        let (code, document) = json(&[&args[..], options].concat());
        assert_eq!((code, &document["blocks"]), (0, &serde_json::json!(128)));
        recorded
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("chain.recording")
    }

    fn fixture(&self) -> String {
        self.fixture.display().to_string()
    }

    /// Changes one block of the recording.
    fn plant(&self, at: usize, fault: impl FnOnce(&mut RecordedBlock)) {
        let file = RecordingFile::open(&self.file()).expect("opens");
        let recording = Recording::File(file);
        let blocks = (0..recording.len()).map(|index| recording.block(index).expect("readable"));
        let mut blocks: Vec<_> = blocks.collect();
        fault(&mut blocks[at]);
        let mut writer = RecordingWriter::create(&self.file(), recording.head()).expect("begins");
        for block in &blocks {
            writer.add(block).expect("written");
        }
        writer.finish().expect("finished");
    }

    fn verify(&self, options: &[&str]) -> (i32, serde_json::Value) {
        let (file, fixture) = (self.file(), self.fixture());
        let args = ["verify", text(&file), "--fixture", &fixture];
        json(&[&args[..], options].concat())
    }
}

#[test]
fn a_recording_is_verified_in_both_modes_on_two_threads() {
    let recorded = Recorded::new();
    let (code, document) = recorded.verify(&["--mode", "both", "--threads", "2"]);
    assert_eq!(code, 0, "{document}");
    let runs = document["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!((&run["ok"], &run["threads"]), (&true.into(), &2.into()));
        let blocks = run["blocks"].as_array().expect("a list");
        assert_eq!(blocks.len(), 128);
        for (number, block) in (1..).zip(blocks) {
            assert_eq!(block["number"], number);
            assert!(block["phases"]["wasm"].as_f64() > Some(0.0), "{block}");
            assert!(block["fuel"].as_u64() > Some(0), "{block}");
        }
    }
}

#[test]
fn what_is_there_is_not_written_over() {
    let recorded = Recorded::new();
    let before = fs::read(recorded.file()).expect("readable");
    let (file, fixture) = (recorded.file(), recorded.fixture());
    let args = ["record", text(&file), "--fixture", &fixture];
    let (code, document) = json(&args);
    assert_eq!(code, 2, "{document}");
    let (code, _) = json(&[&args[..], &["--force"]].concat());
    assert_eq!(code, 0);
    assert_eq!(
        fs::read(&file).expect("readable"),
        before,
        "the same run, the same bytes"
    );
}

#[test]
fn a_difference_is_named_and_both_sides_are_written() {
    let recorded = Recorded::new();
    let mut planted = None;
    recorded.plant(20, |block| {
        let (index, extrinsic) = block
            .extrinsics
            .iter_mut()
            .enumerate()
            .next_back()
            .expect("some");
        let Writes::Listed(writes) = &mut extrinsic.call.writes else {
            panic!("listed");
        };
        let (place, value) = writes.last_mut().expect("it writes");
        *value = Spliced::Whole(b"planted".to_vec());
        planted = Some((index, hex::encode(&place.1)));
    });
    let (index, key) = planted.expect("planted");
    let sides = recorded.folder.path().join("sides");
    for threads in ["1", "2"] {
        let options = ["--threads", threads, "--differences", text(&sides)];
        let (code, document) = recorded.verify(&options);
        assert_eq!(code, 1, "{document}");
        let divergence = &document["runs"][0]["divergence"];
        assert_eq!(divergence["block"], 21);
        assert_eq!(divergence["step"], format!("extrinsic {index}"));
        assert_eq!(divergence["key"]["key"], format!("0x{key}"));
        let expected = format!("0x{}", hex::encode("planted"));
        assert_eq!(divergence["key"]["expected"]["value"], expected);
        let files = divergence["files"].as_array().expect("a list");
        let read = |at: usize| -> serde_json::Value {
            let file = fs::read(files[at].as_str().expect("text")).expect("written");
            serde_json::from_slice(&file).expect("a document")
        };
        let (one, other) = (read(0), read(1));
        assert_ne!(one, other);
        assert_eq!(one["number"], 21);
        assert_eq!(one["state_root"], other["state_root"]);
    }
    // For people.
    let (file, fixture) = (recorded.file(), recorded.fixture());
    let args = [
        "verify",
        text(&file),
        "--fixture",
        &fixture,
        "--differences",
        text(&sides),
    ];
    let output = slackwater(&args);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).expect("text");
    for part in [
        "block 21",
        "first differing key",
        &key,
        "value recorded",
        ".recorded.json",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

#[test]
fn what_is_no_recording_is_bad_input() {
    let recorded = Recorded::new();
    let whole = fs::read(recorded.file()).expect("readable");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, reason) in [
        (&b"something else, and longer than that"[..], "no recording"),
        (&whole[..whole.len() / 2], "too early"),
        (&flipped, "damaged"),
    ] {
        fs::write(recorded.file(), bytes).expect("written");
        let (code, document) = recorded.verify(&[]);
        let error = document["error"].as_str().expect("text");
        assert!(code == 2 && error.contains(reason), "{error}");
        assert!(error.contains("chain.recording"), "{error}");
    }
}

#[test]
fn rules_that_differ_are_bad_input() {
    let recorded = Recorded::new();
    let (code, document) = recorded.verify(&["--compat"]);
    let error = document["error"].as_str().expect("text");
    assert!(code == 2 && error.contains("NaN"), "{error}");
    let (code, _) = recorded.verify(&["--fuel", "off"]);
    assert_eq!(code, 0, "fuel is left out");
}

#[test]
fn digests_take_less_room_and_name_no_key() {
    let whole = Recorded::new();
    let digests = Recorded::with(&["--digest-only"]);
    let bytes = |recorded: &Recorded| recorded.file().metadata().expect("there").len();
    assert!(bytes(&digests) < bytes(&whole));
    let (code, document) = digests.verify(&["--threads", "4"]);
    assert_eq!((code, &document["runs"][0]["threads"]), (0, &1.into()));
}

#[test]
fn blocks_of_a_database_are_recorded_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("database");
    let (code, _) = json(&[
        "replay",
        "--db",
        text(&database),
        text(&fixture_chain_path()),
    ]);
    assert_eq!(code, 0);
    let file = folder.path().join("part.recording");
    let of_database = ["--db", text(&database)];
    let range = ["--from", "100", "--to", "120"];
    let record = [&["record", text(&file)][..], &of_database, &range].concat();
    let (code, document) = json(&record);
    assert_eq!((code, &document["blocks"]), (0, &21.into()), "{document}");
    let verify = [&["verify", text(&file), "--threads", "2"][..], &of_database].concat();
    let (code, document) = json(&verify);
    assert_eq!(code, 0, "{document}");
    // The fixture begins elsewhere.
    let (code, document) = json(&[
        "verify",
        text(&file),
        "--fixture",
        text(&fixture_chain_path()),
    ]);
    let error = document["error"].as_str().expect("text");
    assert!(code == 2 && error.contains("after block 99"), "{error}");
    let wrong = ["--from", "120", "--to", "200", "--force"];
    let (code, document) = json(&[&["record", text(&file)][..], &of_database, &wrong].concat());
    assert_eq!(code, 2, "{document}");
}

#[test]
fn what_is_read_is_not_written_over() {
    let recorded = Recorded::new();
    let copy = recorded.folder.path().join("fixture.json");
    fs::copy(fixture_chain_path(), &copy).expect("copied");
    let before = fs::read(&copy).expect("readable");
    let (file, fixture) = (recorded.file(), text(&copy).to_owned());
    let record = ["record", &fixture, "--force", "--fixture", &fixture];
    let verify = [
        "verify",
        text(&file),
        "--fixture",
        &fixture,
        "--report",
        text(&file),
    ];
    let replay = ["replay", &fixture, "--fuel-profile", &fixture];
    let whole = fs::read(&file).expect("readable");
    for args in [&record[..], &verify, &replay] {
        let (code, document) = json(args);
        let error = document["error"].as_str().expect("text");
        assert!(code == 2 && error.contains("written over"), "{error}");
    }
    assert_eq!(fs::read(&copy).expect("readable"), before);
    assert_eq!(fs::read(&file).expect("readable"), whole);
}

/// A database that keeps more than it would by default keeps it.
#[test]
fn nothing_of_a_database_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("database");
    let config = DatabaseConfig {
        history_blocks: 10_000,
        ..DatabaseConfig::new(Durability::Buffered)
    };
    let database = Database::open_with(&path, config).expect("opens");
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default());
    let executor = executor.expect("an engine");
    let genesis = BlockFixture::load(&fixture_chain_path())
        .expect("a fixture")
        .state;
    begin_chain(&executor, &database, &genesis).expect("a genesis");
    let producer = ChainProducer::new(&executor, &database, ProducerConfig::default());
    let mut queue = Queue::default();
    for _ in 0..300 {
        queue.begin_block();
        producer.produce(&mut queue).expect("a block");
    }
    assert_eq!(database.oldest_state().expect("readable"), 0);
    drop(database);
    let reach = || {
        let config = DatabaseConfig {
            history_blocks: u64::MAX,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        let database = Database::open_existing(&path, config).expect("opens");
        database.oldest_state().expect("readable")
    };
    let before = reach();
    let file = folder.path().join("recording");
    let chain = ["--db", text(&path)];
    let record = [&["record", text(&file), "--from", "290"][..], &chain].concat();
    assert_eq!(json(&record).0, 0);
    assert_eq!(json(&[&["verify", text(&file)][..], &chain].concat()).0, 0);
    assert_eq!((before, reach()), (0, 0));
}

#[test]
fn a_profile_is_all_the_fuel_and_the_same_every_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let mut profiles = Vec::new();
    for mode in ["snapshot", "fresh"] {
        let folded = folder.path().join(mode);
        let fixture = fixture_chain_path();
        let args = ["replay", "--mode", mode, "--fuel-profile", text(&folded)];
        let (code, document) =
            json(&[&args[..], &["--report", text(&page), text(&fixture)]].concat());
        assert_eq!(code, 0, "{document}");
        let blocks = document["report"]["runs"][0]["blocks"]
            .as_array()
            .expect("a list");
        let fuel = blocks
            .iter()
            .map(|block| block["fuel"].as_u64().expect("counted"));
        let fuel: u64 = fuel.sum();
        let folded = fs::read_to_string(&folded).expect("written");
        let lines = folded
            .lines()
            .map(|line| line.rsplit(' ').next().expect("a number"));
        let profiled: u64 = lines
            .map(|fuel| fuel.parse::<u64>().expect("a number"))
            .sum();
        assert_eq!(profiled, fuel);
        assert_eq!(document["report"]["profile"]["total"], fuel);
        profiles.push(folded);
    }
    assert_eq!(profiles[0], profiles[1]);
    assert!(
        profiles[0].contains("BlockBuilder_apply_extrinsic;"),
        "by method"
    );
    assert!(
        profiles[0].contains("host ext_storage_"),
        "by host function"
    );
    // Counting it changes nothing.
    let (_, plain) = json(&["replay", text(&fixture_chain_path())]);
    let fuel = |block: &serde_json::Value| block["fuel"].as_u64().expect("counted");
    let blocks = plain["report"]["runs"][0]["blocks"]
        .as_array()
        .expect("a list");
    let total: u64 = profiles[0]
        .lines()
        .map(|line| {
            let fuel = line.rsplit(' ').next().expect("a number");
            fuel.parse::<u64>().expect("a number")
        })
        .sum();
    assert_eq!(blocks.iter().map(fuel).sum::<u64>(), total);
    let page = fs::read_to_string(&page).expect("written");
    for outside in ["http://", "https://", "src=", "<link rel=\"stylesheet"] {
        let found = page.replace("http://www.w3.org/", "");
        assert!(
            !found.contains(outside),
            "the page asks for something: {outside}"
        );
    }
}

#[test]
fn produced_blocks_have_a_report() {
    let Some(folder) = real_fixtures_or_skip("node template") else {
        return;
    };
    let spec = folder.join("genesis/smoldot-substrate-node-template.json");
    let page = tempfile::NamedTempFile::new().expect("a file");
    let args = [
        "produce",
        "--spec",
        text(&spec),
        "--transfers",
        "20",
        "--blocks",
        "3",
    ];
    let (code, document) = json(&[&args[..], &["--report", text(page.path())]].concat());
    assert_eq!(code, 0, "{document}");
    let blocks = document["report"]["runs"][0]["blocks"]
        .as_array()
        .expect("a list");
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let extrinsics = block["extrinsics"].as_array().expect("a list");
        assert_eq!(extrinsics.len(), 21, "an inherent and the transfers");
        for extrinsic in extrinsics {
            assert_eq!(extrinsic["outcome"], "applied");
            assert!(extrinsic["ms"].as_f64() > Some(0.0), "{extrinsic}");
        }
        assert!(block["phases"]["commit"].as_f64() > Some(0.0), "{block}");
    }
    let page = fs::read_to_string(page.path()).expect("written");
    assert!(page.contains("\"kind\":\"produce\""));
}

#[test]
fn perf_is_told_the_names_of_functions() {
    let child = Command::new(env!("CARGO_BIN_EXE_slackwater"))
        .args(["replay", "--perf-map", text(&fixture_chain_path())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program runs");
    let map = PathBuf::from(format!("/tmp/perf-{}.map", child.id()));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let names = fs::read_to_string(&map).expect("a map");
    fs::remove_file(&map).expect("removed");
    assert!(names.lines().count() > 100, "{names}");
}
