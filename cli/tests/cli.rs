//! The program as scripts see it: exit codes and JSON.

mod common;

use std::{path::PathBuf, process::Command};

use common::{json, slackwater, text};
use serde_json::{Value, json};
use slackwater_runtime_fixtures::{
    BlockFixture,
    guest::{GUEST_WASM, fixture_chain_path},
};

/// The first blocks of the guest's chain, changed by `change`, as a file.
fn fixture(change: impl FnOnce(&mut BlockFixture)) -> (PathBuf, tempfile::TempDir) {
    let mut chain = BlockFixture::load(&fixture_chain_path()).expect("the chain loads");
    chain.blocks.truncate(6);
    change(&mut chain);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("chain.json");
    chain.save(&path).expect("saves");
    (path, folder)
}

#[test]
fn replay_says_what_became_of_every_extrinsic() {
    let (path, _folder) = fixture(|_| ());
    let chain = BlockFixture::load(&path).expect("loads");
    let (code, document) = json(&["replay", text(&path), "--mode", "fresh"]);
    assert_eq!(code, 0, "{document}");
    let entries = document["fixtures"].as_array().expect("a list");
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(
        (&entry["mode"], &entry["ok"]),
        (&json!("fresh"), &json!(true))
    );
    assert_eq!(entry["file"], text(&path));
    let blocks = entry["blocks"].as_array().expect("a list");
    assert_eq!(blocks.len(), 6);
    for (block, expected) in blocks.iter().zip(&chain.blocks) {
        assert_eq!(block["number"], expected.number);
        assert_eq!(block["ok"], true);
        assert_eq!(
            block["state_root"],
            format!("0x{}", hex::encode(expected.state_root))
        );
        let included: Vec<_> = expected
            .offered
            .iter()
            .flatten()
            .filter(|offer| offer.outcome.is_included())
            .enumerate()
            .map(|(index, offer)| json!({"index": index, "outcome": offer.outcome.name()}))
            .collect();
        assert_eq!(block["extrinsics"], Value::Array(included));
    }
    let (code, whole) = json(&["replay", text(&path), "--path", "whole"]);
    assert_eq!((code, &whole["fixtures"][0]["ok"]), (0, &json!(true)));
    let (code, both) = json(&["replay", text(&path), "--mode", "both"]);
    assert_eq!(code, 0, "{both}");
    let modes = both["fixtures"].as_array().expect("a list").iter();
    let modes: Vec<_> = modes
        .map(|entry| (&entry["mode"], &entry["blocks"]))
        .collect();
    let expected = &entry["blocks"];
    assert_eq!(
        modes,
        [(&json!("snapshot"), expected), (&json!("fresh"), expected)]
    );
}

#[test]
fn a_planted_write_exits_1_naming_block_and_key() {
    let mut key = String::new();
    let (path, _folder) = fixture(|chain| {
        let writes = chain.blocks[2].expected_writes.as_mut().expect("present");
        let write = writes
            .iter_mut()
            .find(|write| write.key.starts_with(b"events"))
            .expect("every block has events");
        write.value.as_mut().expect("written")[1] ^= 1;
        key = format!("0x{}", hex::encode(&write.key));
    });
    for how in ["split", "whole"] {
        let (code, document) = json(&["replay", text(&path), "--path", how]);
        assert_eq!(code, 1, "{document}");
        let entry = &document["fixtures"][0];
        assert_eq!(entry["ok"], false);
        assert_eq!(entry["divergence"]["block"], 3);
        assert_eq!(entry["divergence"]["key"]["key"], key);
        let blocks = entry["blocks"].as_array().expect("a list");
        assert_eq!(blocks.len(), 3);
        assert_eq!(
            (&blocks[1]["ok"], &blocks[2]["ok"]),
            (&json!(true), &json!(false))
        );
    }
    let output = slackwater(&["replay", text(&path)]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("block 3") && shown.contains(&key), "{shown}");
}

#[test]
fn a_planted_parent_value_exits_1_naming_the_first_block() {
    let (path, _folder) = fixture(|chain| {
        chain.state.top.values_mut().last().expect("a value")[0] ^= 1;
        chain.parent_state_root = None;
    });
    let (code, document) = json(&["replay", text(&path)]);
    assert_eq!(code, 1, "{document}");
    let divergence = &document["fixtures"][0]["divergence"];
    assert_eq!(
        (&divergence["block"], &divergence["step"]),
        (&json!(1), &json!("parent state"))
    );
}

#[test]
fn bad_input_exits_2_and_names_it() {
    let (path, folder) = fixture(|_| ());
    let whole = std::fs::read_to_string(&path).expect("readable");
    let broken = folder.path().join("broken.json");
    let check = |args: &[&str], part: &str| {
        let output = slackwater(args);
        let shown = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {shown}");
        assert!(shown.contains(part), "{args:?}: {shown}");
    };
    std::fs::write(&broken, &whole[..whole.len() / 2]).expect("written");
    check(&["replay", text(&broken)], "broken.json");
    std::fs::write(
        &broken,
        whole.replacen("\"header\": \"0x", "\"header\": \"0x0", 1),
    )
    .expect("written");
    check(&["replay", text(&broken)], "odd number");
    check(&["replay", "absent.json"], "absent.json");
    let kept = folder.path().join("kept");
    check(
        &["replay", text(&path), "--mode", "both", "--db", text(&kept)],
        "--mode both",
    );
    check(&["db", "stat", text(&kept)], "no database in");
    assert!(!kept.exists(), "looking makes nothing");
    check(
        &["replay", text(&path), "--db", "/proc/slackwater"],
        "/proc/slackwater",
    );
    check(
        &["replay", text(&path), "--db", text(folder.path())],
        "not a Slackwater database",
    );
    check(
        &["call", "--spec", "absent.json", "Core_version"],
        "absent.json",
    );
    check(
        &["call", "--spec", text(&path), "Core_version", "0x123"],
        "odd number",
    );
    check(&["call", "Core_version"], "--runtime");
    check(
        &[
            "inspect",
            text(&fixture_chain_path().with_extension("changes.jsonl")),
        ],
        "chain",
    );
    check(&["no-such-command"], "no-such-command");
}

#[test]
fn a_kept_database_is_continued_and_belongs_to_one_process() {
    let (path, folder) = fixture(|_| ());
    let database = folder.path().join("database");
    let run = || json(&["replay", text(&path), "--db", text(&database)]);
    let blocks = |document: &Value| document["fixtures"][0]["blocks"].as_array().map(Vec::len);
    let (code, document) = run();
    assert_eq!((code, blocks(&document)), (0, Some(6)));
    let (code, document) = run();
    assert_eq!(
        (code, blocks(&document)),
        (0, Some(0)),
        "there is nothing left to do"
    );
    assert_eq!(document["fixtures"][0]["blocks_present"], 6);
    let held =
        slackwater_executor::Database::open(&database, slackwater_executor::Durability::Sync)
            .expect("opens");
    let head = held.head().expect("readable");
    let (code, document) = run();
    assert_eq!(code, 2, "{document}");
    assert!(
        document["fixtures"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("in use"))
    );
    assert_eq!(held.head().expect("still readable"), head);
}

#[test]
fn several_fixtures_share_a_folder_of_databases() {
    let (first, _one) = fixture(|_| ());
    let second = first.with_file_name("other.json");
    BlockFixture::load(&first)
        .and_then(|chain| chain.save(&second))
        .expect("saved");
    let folder = tempfile::tempdir().expect("a folder");
    let (code, document) = json(&[
        "replay",
        text(&first),
        text(&second),
        "--db",
        text(folder.path()),
    ]);
    assert_eq!(
        (code, document["fixtures"].as_array().map(Vec::len)),
        (0, Some(2))
    );
    assert!(folder.path().join("chain/CURRENT").exists());
    assert!(folder.path().join("other/CURRENT").exists());
}

#[test]
fn call_returns_traps_and_counts_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("guest.wasm");
    std::fs::write(&runtime, GUEST_WASM).expect("written");
    let runtime = text(&runtime);
    let (code, document) = json(&["call", "--runtime", runtime, "test_echo", "0x1234"]);
    assert_eq!(code, 0);
    assert_eq!(
        (&document["outcome"], &document["output"]),
        (&json!("ok"), &json!("0x1234"))
    );
    assert_eq!(document["changes"], 0);
    let (code, document) = json(&["call", "--runtime", runtime, "test_child_storage"]);
    assert_eq!(
        (code, &document["changes"]),
        (0, &json!(4)),
        "three keys and the root"
    );
    let (code, document) = json(&["call", "--runtime", runtime, "BlockBuilder_finalize_block"]);
    assert_eq!(
        (code, &document["outcome"]),
        (0, &json!("trap")),
        "{document}"
    );
    assert_eq!(
        (&document["output"], &document["changes"]),
        (&Value::Null, &json!(0))
    );
    let (code, document) = json(&["call", "--runtime", runtime, "no_such_method"]);
    assert_eq!(
        (code, &document["outcome"]),
        (0, &json!("trap")),
        "{document}"
    );
    assert_eq!(document["trap"]["kind"], "MissingMethod");
    let (code, document) = json(&[
        "call",
        "--spec",
        text(&fixture_chain_path()),
        "Core_version",
    ]);
    assert_eq!((code, &document["outcome"]), (0, &json!("ok")));
}

#[test]
fn inspect_shows_version_imports_and_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = sp_maybe_compressed_blob::compress_strongly(GUEST_WASM, 50 << 20).expect("packs");
    let runtime = folder.path().join("guest.wasm.zst");
    std::fs::write(&runtime, packed).expect("written");
    for (file, compressed) in [(runtime, true), (fixture_chain_path(), false)] {
        let (code, document) = json(&["inspect", text(&file)]);
        assert_eq!(code, 0, "{document}");
        assert_eq!(document["version"]["spec_name"], "slackwater-guest");
        assert_eq!(document["compressed"], compressed);
        assert_eq!(document["missing_host_functions"], json!([]));
        assert_eq!(
            document["memory"],
            json!({"initial_pages": 17, "imported": false})
        );
        let imports = document["imports"].as_array().expect("a list");
        assert!(
            imports.contains(&json!("ext_storage_append_version_1")),
            "{imports:?}"
        );
        assert_eq!(document["unpacked_bytes"], GUEST_WASM.len());
    }
}

/// A body that the runtime refuses in part: what became of each extrinsic up to there is told.
#[test]
fn outcomes_up_to_the_refused_extrinsic_are_told() {
    let (path, _folder) = fixture(|chain| {
        // The same extrinsic twice: the second one's nonce is stale.
        let again = chain.blocks[0].body[1].clone();
        chain.blocks[0].body.insert(2, again);
    });
    let (code, document) = json(&["replay", text(&path)]);
    assert_eq!(code, 1, "{document}");
    let entry = &document["fixtures"][0];
    assert_eq!(entry["divergence"]["step"], "extrinsic 2");
    let extrinsics = entry["blocks"][0]["extrinsics"].as_array().expect("a list");
    assert_eq!(extrinsics.len(), 3, "{document}");
    assert_eq!(extrinsics[0], json!({"index": 0, "outcome": "applied"}));
    assert_eq!(extrinsics[2], json!({"index": 2, "outcome": "invalid"}));
}

#[test]
fn one_bad_fixture_hides_no_other() {
    let (good, folder) = fixture(|_| ());
    let bad = folder.path().join("bad.json");
    std::fs::write(&bad, "{").expect("written");
    let (code, document) = json(&["replay", text(&bad), text(&good)]);
    assert_eq!(code, 2, "{document}");
    let entries = document["fixtures"].as_array().expect("a list");
    assert!(
        entries[0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("bad.json"))
    );
    assert_eq!(
        (&entries[0]["ok"], &entries[1]["ok"]),
        (&json!(false), &json!(true))
    );
}

#[test]
fn fixtures_of_one_name_cannot_share_a_database_folder() {
    let ((one, _one), (two, _two)) = (fixture(|_| ()), fixture(|_| ()));
    let folder = tempfile::tempdir().expect("a folder");
    let database = text(folder.path());
    let (code, document) = json(&["replay", text(&one), text(&two), "--db", database]);
    assert_eq!(code, 2, "{document}");
    assert!(
        document["error"]
            .as_str()
            .is_some_and(|error| error.contains("named like"))
    );
}

/// A reader that stops early, as `head` does, is no error.
#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_slackwater"))
        .args(["inspect", text(&fixture_chain_path())])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).expect("text"), "");
}

#[test]
fn a_database_is_looked_after() {
    let (path, folder) = fixture(|_| ());
    let (database, copy) = (folder.path().join("database"), folder.path().join("copy"));
    let (database, copy) = (text(&database), text(&copy));
    let (code, _) = json(&["replay", text(&path), "--db", database]);
    assert_eq!(code, 0);
    let stat = |database: &str| {
        let (code, stat) = json(&["db", "stat", database]);
        assert_eq!(code, 0, "{stat}");
        (stat["head"]["number"].clone(), stat["oldest_state"].clone())
    };
    assert_eq!(stat(database), (json!(6), json!(0)));
    let (code, copied) = json(&["db", "checkpoint", database, copy]);
    assert_eq!(code, 0, "{copied}");
    let (code, reverted) = json(&["db", "revert", database, "2"]);
    assert_eq!((code, &reverted["head"]["number"]), (0, &json!(4)));
    assert_eq!(stat(database), (json!(4), json!(0)));
    assert_eq!(stat(copy), (json!(6), json!(0)));
    for database in [database, copy] {
        let (code, checked) = json(&["db", "check", database]);
        assert_eq!((code, &checked["ok"]), (0, &json!(true)), "{checked}");
        assert!(checked["keys"].as_u64().is_some_and(|keys| keys > 10));
    }
    let (code, refused) = json(&["db", "revert", database, "5"]);
    assert_eq!(code, 2, "{refused}");
    assert_eq!(stat(database), (json!(4), json!(0)));
    let (code, again) = json(&["replay", text(&path), "--db", database]);
    assert_eq!(code, 0, "{again}");
    let blocks = again["fixtures"][0]["blocks"].as_array().map(Vec::len);
    assert_eq!((blocks, stat(database)), (Some(2), (json!(6), json!(0))));
    let (code, _) = json(&["db", "migrate", database]);
    assert_eq!(code, 0, "it has this format already");
}
