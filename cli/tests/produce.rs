//! `slackwater produce` as scripts see it: blocks that others execute, the same ones every time.

mod common;

use std::{fs, path::PathBuf};

use common::{json, slackwater, text};
use serde_json::Value;
use slackwater_runtime_fixtures::{
    BlockFixture,
    guest::{Account, GuestCall, GuestExtrinsic, Sender, genesis},
    keys::Key,
    real_fixtures_or_skip,
};

/// The real genesis state of a chain with Aura slots, on which Alice has funds.
fn node_template() -> Option<PathBuf> {
    let folder = real_fixtures_or_skip("node template")?;
    Some(folder.join("genesis/smoldot-substrate-node-template.json"))
}

/// A state of our guest on which Alice has funds, as a file.
fn guest_spec(folder: &tempfile::TempDir) -> PathBuf {
    let alice = Key::development("Alice").expect("a key").account();
    let fixture = BlockFixture {
        name: "guest".to_owned(),
        state: genesis(&[(alice, 1 << 100)], &alice),
        state_version: Some(1),
        parent_state_root: None,
        blocks: Vec::new(),
    };
    let path = folder.path().join("guest.json");
    fixture.save(&path).expect("saves");
    path
}

fn produced<'d>(document: &'d Value, field: &str) -> Vec<&'d Value> {
    let runs = document["runs"].as_array().expect("a list").iter();
    let blocks = runs.flat_map(|run| run["blocks"].as_array().expect("a list"));
    blocks.map(|block| &block[field]).collect()
}

#[test]
fn transfers_fill_blocks_that_the_whole_path_executes_and_both_modes_produce() {
    let Some(spec) = node_template() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("blocks.hex");
    let produce = [
        "produce",
        "--spec",
        text(&spec),
        "--transfers",
        "20",
        "--accounts",
        "3",
        "--blocks",
        "2",
        "--mode",
        "both",
        "--out",
        text(&out),
    ];
    let (code, document) = json(&produce);
    assert_eq!(code, 0, "{document}");
    assert_eq!(produced(&document, "transactions"), [20; 4]);
    // Behind one block that gives the three their funds.
    assert_eq!(document["runs"][0]["funding_blocks"], 1);
    assert_eq!(produced(&document, "number"), [2, 3, 2, 3]);
    let roots = produced(&document, "state_root");
    assert_eq!(roots[..2], roots[2..]);
    assert_eq!(document["runs"][0]["waiting"], 0);
    let (_, again) = json(&produce);
    assert_eq!(produced(&again, "hash"), produced(&document, "hash"));
}

#[test]
fn a_file_of_extrinsics_becomes_blocks_that_can_be_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = guest_spec(&folder);
    let who: Account = Key::development("Alice").expect("a key").account();
    let extrinsic = |nonce, call| {
        let sender = Sender { who, nonce, tip: 0 };
        let bytes = GuestExtrinsic::Trusted(sender, call).encoded();
        format!("0x{}\n", hex::encode(bytes))
    };
    let put = |nonce: u32| {
        let key = nonce.to_le_bytes().to_vec();
        extrinsic(
            nonce,
            GuestCall::Put {
                key,
                value: vec![7],
            },
        )
    };
    let file = folder.path().join("extrinsics.hex");
    let endless = extrinsic(2, GuestCall::EndlessLoop);
    let lines = [
        put(0),
        put(1),
        endless.clone(),
        put(0),
        "\n".to_owned(),
        put(2),
    ];
    fs::write(&file, lines.concat()).expect("written");
    let out = folder.path().join("blocks.hex");
    let db = folder.path().join("db");
    let (code, document) = json(&[
        "produce",
        "--spec",
        text(&spec),
        "--db",
        text(&db),
        "--extrinsics",
        text(&file),
        "--extrinsic-fuel",
        "50_000_000",
        "--blocks",
        "2",
        "--out",
        text(&out),
    ]);
    assert_eq!(code, 0, "{document}");
    assert_eq!(produced(&document, "transactions"), [3, 0]);
    let outcomes = produced(&document, "outcomes")[0];
    assert_eq!(outcomes["applied"], 3);
    assert_eq!(outcomes["local_limit"], 1);
    assert_eq!(outcomes["invalid: Stale"], 1);
    let overruns = produced(&document, "overruns")[0];
    assert_eq!(overruns[0]["extrinsic"], endless.trim());
    assert_eq!(overruns[0]["limit"], 50_000_000);
    // Others execute the blocks whole, and find the same.
    let genesis = folder.path().join("genesis.json");
    let export = ["db", "export", "--format", "spec", "--block", "0"];
    let export = [&export, [text(&db), text(&genesis)].as_slice()].concat();
    let (code, document) = json(&export);
    assert_eq!(code, 0, "{document}");
    let imported = folder.path().join("imported.json");
    let (code, document) = json(&[
        "fixture",
        "import",
        "--spec",
        text(&genesis),
        "--out",
        text(&imported),
        text(&out),
    ]);
    assert_eq!(code, 0, "{document}");
    let (code, document) = json(&["fixture", "check", text(&imported)]);
    assert_eq!(code, 0, "{document}");
}

#[test]
fn what_has_no_room_goes_into_the_next_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = guest_spec(&folder);
    let db = folder.path().join("db");
    let produce = |blocks: &str| {
        json(&[
            "produce",
            "--spec",
            text(&spec),
            "--transfers",
            "10",
            "--block-bytes",
            "1400",
            "--blocks",
            blocks,
            "--db",
            text(&db),
        ])
    };
    let (code, document) = produce("2");
    assert_eq!(code, 0, "{document}");
    let transactions = produced(&document, "transactions");
    // A transfer has some 170 bytes.
    assert!(
        transactions
            .iter()
            .all(|count| **count == transactions[0].clone())
    );
    assert!(transactions[0].as_u64() < Some(10) && transactions[0].as_u64() > Some(4));
    assert_eq!(produced(&document, "ended_by"), ["bytes"; 2]);
    let left = 10 - transactions[0].as_u64().expect("a number");
    assert_eq!(document["runs"][0]["waiting"], left);
    // It goes on where it stands.
    let (code, document) = produce("1");
    assert_eq!(code, 0, "{document}");
    assert_eq!(produced(&document, "number"), [3]);
    assert_eq!(produced(&document, "transactions"), [transactions[0]]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = guest_spec(&folder);
    let file = folder.path().join("extrinsics.hex");
    fs::write(&file, "0x00\n\nxyz\n").expect("written");
    for (args, expected) in [
        (vec!["--extrinsics", text(&file)], "extrinsics.hex: line 3"),
        (vec![], "--extrinsics"),
        (
            vec!["--transfers", "1", "--extrinsics", text(&file)],
            "cannot be used with",
        ),
        (
            vec!["--extrinsics", text(&file), "--accounts", "3"],
            "cannot be used with",
        ),
        (
            vec!["--transfers", "1", "--out", text(&spec)],
            "would be written over",
        ),
        (
            vec!["--transfers", "1", "--mode", "both", "--db", text(&file)],
            "leave --db out",
        ),
        (
            vec!["--transfers", "1", "--fuel", "off", "--block-fuel", "9"],
            "leave --fuel off out",
        ),
        (
            vec!["--transfers", "1", "--block-fuel", "much"],
            "not a number",
        ),
    ] {
        let args = [&["produce", "--spec", text(&spec)], args.as_slice()].concat();
        let output = slackwater(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(expected), "{args:?}: {errors}");
    }
}
