//! `slackwater fixture` as scripts see it.

mod common;

use std::path::{Path, PathBuf};

use codec::{Compact, Encode};
use common::text;
use serde_json::{Map, Value, json};
use slackwater_executor::Block;
use slackwater_runtime_fixtures::{
    BlockFixture, FixtureBlock, block_fixture::changes_path, guest::fixture_chain_path,
    hexadecimal::encode, real_fixtures_or_skip,
};

/// A raw chain spec with the state before a fixture's blocks.
fn write_spec(folder: &Path, fixture: &BlockFixture) -> PathBuf {
    let trie = |entries: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>| -> Value {
        let entries = entries.iter();
        let hex: Map<_, _> = entries
            .map(|(key, value)| (encode(key), encode(value).into()))
            .collect();
        hex.into()
    };
    let children = fixture.state.children_default.iter();
    let children: Map<_, _> = children
        .map(|(key, child)| (encode(key), trie(&child.data)))
        .collect();
    let raw = json!({"top": trie(&fixture.state.top), "childrenDefault": children});
    let spec = json!({"name": "Spec", "id": "spec", "genesis": {"raw": raw}});
    let path = folder.join("spec.json");
    std::fs::write(&path, spec.to_string()).expect("writes");
    path
}

fn line(block: &FixtureBlock) -> String {
    let count = Compact(u32::try_from(block.body.len()).expect("few")).encode();
    encode(&[block.header.clone(), count, block.body.concat()].concat())
}

/// What a node answers when asked for a block.
fn answer(block: &FixtureBlock) -> Value {
    let header = Block::decode(&block.header, Vec::new())
        .expect("decodes")
        .header;
    let logs = header.digest.logs.iter();
    json!({"jsonrpc": "2.0", "id": block.number, "result": {"justifications": null, "block": {
        "header": {
            "parentHash": encode(&block.parent_hash),
            "number": format!("{:#x}", block.number),
            "stateRoot": encode(&block.state_root),
            "extrinsicsRoot": encode(&block.extrinsics_root),
            "digest": {"logs": logs.map(|log| encode(&log.encode())).collect::<Vec<_>>()},
        },
        "extrinsics": block.body.iter().map(|extrinsic| encode(extrinsic)).collect::<Vec<_>>(),
    }}})
}

/// A real chain's writes, computed by another executor, come out again byte for byte.
#[test]
fn imported_real_blocks_write_what_another_executor_says() {
    let Some(real) = real_fixtures_or_skip("importing Westend's blocks") else {
        return;
    };
    let original = real.join("blocks/westend-blocks-1-128.json");
    let fixture = BlockFixture::load(&original).expect("loads");
    let folder = tempfile::tempdir().expect("a folder");
    let spec = write_spec(folder.path(), &fixture);
    // In two files, the later blocks first; the earlier ones as a node answers.
    let (early, late) = fixture.blocks.split_at(100);
    let write = |name: &str, blocks: &[FixtureBlock]| {
        let path = folder.path().join(name);
        let lines: Vec<_> = blocks.iter().map(line).collect();
        std::fs::write(&path, lines.join("\n")).expect("writes");
        path
    };
    let answers: Vec<_> = early
        .iter()
        .map(|block| answer(block).to_string())
        .collect();
    let early = folder.path().join("early.json");
    std::fs::write(&early, answers.join("\n")).expect("writes");
    let files = [write("late.hex", late), early];
    let out = folder.path().join("made.json");
    let (code, report) = common::json(&[
        "fixture",
        "import",
        "--spec",
        text(&spec),
        "--out",
        text(&out),
        "--name",
        &fixture.name,
        text(&files[0]),
        text(&files[1]),
    ]);
    assert_eq!((code, &report["ok"]), (0, &json!(true)), "{report}");
    assert_eq!(report["blocks"], 128);
    let made = BlockFixture::load(&out).expect("loads");
    assert_eq!(made.state_version, Some(0));
    assert_eq!(made.blocks, fixture.blocks);
    let bytes = |path: &Path| std::fs::read(changes_path(path)).expect("reads");
    assert!(bytes(&out) == bytes(&original));
    let (code, report) = common::json(&["fixture", "check", text(&out)]);
    assert_eq!(code, 0, "{report}");
    let runs = report["fixtures"][0]["runs"].as_array().expect("a list");
    assert!(runs.len() >= 4);
    assert!(runs.iter().all(|run| run["extrinsics"] == 347));
}

/// The first blocks of the guest's chain, as spec and lines.
fn guest_chain(folder: &Path) -> (BlockFixture, PathBuf, Vec<String>) {
    let mut fixture = BlockFixture::load(&fixture_chain_path()).expect("loads");
    fixture.blocks.truncate(6);
    let spec = write_spec(folder, &fixture);
    let lines = fixture.blocks.iter().map(line).collect();
    (fixture, spec, lines)
}

fn import(folder: &Path, spec: &Path, lines: &[String]) -> (i32, Value, PathBuf) {
    let blocks = folder.join("blocks.hex");
    std::fs::write(&blocks, lines.join("\n")).expect("writes");
    let out = folder.join("out.json");
    let (spec, out_text) = (text(spec), text(&out));
    let args = ["fixture", "import", "--spec", spec, "--out", out_text];
    let (code, report) = common::json(&[&args[..], &[text(&blocks)]].concat());
    (code, report, out)
}

#[test]
fn blocks_of_another_state_are_a_divergence_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (fixture, spec, lines) = guest_chain(folder.path());
    let (code, report, out) = import(folder.path(), &spec, &lines);
    assert_eq!(code, 0, "{report}");
    let made = BlockFixture::load(&out).expect("loads");
    assert_eq!(made.parent_state_root, fixture.parent_state_root);
    std::fs::remove_file(&out).expect("it is there");
    let (code, report, out) = import(folder.path(), &spec, &lines[2..]);
    assert_eq!((code, &report["ok"]), (1, &json!(false)), "{report}");
    assert_eq!(report["divergence"]["block"], 3);
    assert!(!out.exists());
}

#[test]
fn what_is_no_chain_of_blocks_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, spec, lines) = guest_chain(folder.path());
    let gap = [&lines[..2], &lines[3..]].concat();
    let broken = [&lines[..2], &[lines[2][..lines[2].len() - 2].to_owned()]].concat();
    // Whoever fetches blocks may begin with 0: a header without parent and number.
    let genesis = [&[format!("0x{}0000", "00".repeat(32 + 1 + 64))], &lines[..]].concat();
    for (lines, words) in [
        (gap, "does not follow block 2"),
        (broken, "blocks.hex: line 3: "),
        (vec![], "no blocks"),
        (genesis, "the first block is number 0"),
    ] {
        let (code, report, out) = import(folder.path(), &spec, &lines);
        let error = report["error"].as_str().expect("an error");
        assert!(code == 2 && error.contains(words), "{code} {error}");
        assert!(!out.exists());
    }
}

#[test]
fn no_input_is_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, spec, lines) = guest_chain(folder.path());
    let blocks = folder.path().join("a.changes.jsonl");
    std::fs::write(&blocks, lines.join("\n")).expect("writes");
    let (before, fixture) = (
        std::fs::read(&spec).expect("reads"),
        folder.path().join("a.json"),
    );
    for out in [&spec, &blocks, &fixture] {
        let (spec, out) = (text(&spec), text(out));
        let args = [
            "fixture",
            "import",
            "--spec",
            spec,
            "--out",
            out,
            text(&blocks),
        ];
        let (code, report) = common::json(&args);
        let error = report["error"].as_str().expect("an error");
        assert!(
            code == 2 && error.contains("would be written over"),
            "{error}"
        );
    }
    assert!(std::fs::read(&spec).expect("reads") == before);
}

#[test]
fn check_finds_what_a_fixture_states_wrongly() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut fixture, ..) = guest_chain(folder.path());
    let path = folder.path().join("wrong.json");
    let blocks = fixture
        .blocks
        .iter_mut()
        .flat_map(|block| &mut block.offered);
    let error = blocks.flatten().find_map(|offer| offer.error.as_mut());
    error.expect("an error").push(1);
    fixture.save(&path).expect("saves");
    let (code, report) = common::json(&["fixture", "check", text(&path)]);
    assert_eq!(code, 1, "{report}");
    let difference = report["fixtures"][0]["difference"].as_str().expect("text");
    assert!(
        difference.starts_with("guest-chain, default, "),
        "{difference}"
    );
    std::fs::write(&path, "{").expect("writes");
    // What is broken hides nothing of the others.
    let good = fixture_chain_path();
    let (code, report) = common::json(&["fixture", "check", text(&path), text(&good)]);
    assert_eq!(code, 2, "{report}");
    assert!(report["fixtures"][0]["error"].is_string(), "{report}");
    assert_eq!(report["fixtures"][1]["ok"], true, "{report}");
}
