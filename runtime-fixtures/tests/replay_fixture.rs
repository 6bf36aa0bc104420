//! A replay test as a chain would write it, and what it says when something else comes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use slackwater_executor::{ExecutorConfig, Meter, host_functions::SlackwaterHostFunctions};
use slackwater_runtime_fixtures::{
    BlockFixture,
    guest::fixture_chain_path,
    replay_fixture,
    replay_test::{ReplayTestError, UPDATE_VARIABLE, replay_with},
};

/// The fixture is the beginning of the chain in this repository, and written anew with the expectation. The last line is all
/// that a chain's own test needs; the path may be that of one fixture, too.
#[test]
fn our_chain_does_what_it_did() {
    let mut chain = BlockFixture::load(&fixture_chain_path()).expect("a fixture");
    chain.blocks.truncate(BLOCKS);
    "short-chain".clone_into(&mut chain.name);
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        chain.save(&short_chain()).expect("written");
    }
    assert_eq!(
        BlockFixture::load(&short_chain()).expect("a fixture"),
        chain
    );
    let replayed = replay_fixture!("tests/fixtures");
    assert_eq!((replayed.fixtures, replayed.blocks), (1, BLOCKS));
}

const BLOCKS: usize = 8;

fn short_chain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/short-chain.json")
}

/// Copies the fixture, so that its expectation can be changed.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let from = short_chain();
    for extension in ["json", "expect.txt"] {
        let file = from.with_extension(extension);
        let name = file.file_name().expect("a name");
        fs::copy(&file, folder.path().join(name)).expect("copied");
    }
    folder
}

fn replay(folder: &Path, is_updating: bool) -> Result<usize, ReplayTestError> {
    let config = ExecutorConfig::default();
    let replayed = replay_with::<SlackwaterHostFunctions>(folder, config, is_updating)?;
    Ok(replayed.updated)
}

#[test]
fn what_changed_is_named_and_can_be_accepted() {
    let folder = copied();
    let file = folder.path().join("short-chain.expect.txt");
    let right = fs::read_to_string(&file).expect("readable");
    // Another value of one key.
    let write = right
        .lines()
        .skip_while(|line| !line.starts_with("block 7 "))
        .find(|line| line.starts_with("    0x") && line.contains(" = 0x"))
        .expect("block 7 writes");
    let planted = write.replace(" = 0x", " = 0x77");
    fs::write(&file, right.replacen(write, &planted, 1)).expect("written");
    let error = replay(folder.path(), false).expect_err("it differs");
    let message = error.to_string();
    assert!(
        matches!(error, ReplayTestError::Differs { differing: 1, .. }),
        "{message}"
    );
    let key = write.trim().split(' ').next().expect("a key");
    for part in [key, planted.trim(), write.trim(), "UPDATE_EXPECT=1"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    // Accepted, it is the right one again.
    assert_eq!(replay(folder.path(), true).expect("written"), 1);
    assert_eq!(fs::read_to_string(&file).expect("readable"), right);
    assert_eq!(replay(folder.path(), false).expect("as expected"), 0);
}

#[test]
fn a_line_more_or_less_is_named_with_block_and_call() {
    let folder = copied();
    let file = folder.path().join("short-chain.expect.txt");
    let right = fs::read_to_string(&file).expect("readable");
    let root = right
        .lines()
        .find(|line| line.starts_with("  root "))
        .expect("a root");
    fs::write(&file, right.replacen(&format!("{root}\n"), "", 1)).expect("written");
    match replay(folder.path(), false).expect_err("it differs") {
        ReplayTestError::Differs { context, found, .. } => {
            assert!(context.starts_with("block 1 "), "{context}");
            assert_eq!(found.as_deref(), Some(root));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_there_is_said() {
    let folder = copied();
    fs::remove_file(folder.path().join("short-chain.expect.txt")).expect("removed");
    let error = replay(folder.path(), false).expect_err("no expectation");
    assert!(
        matches!(error, ReplayTestError::NoExpectation(_)),
        "{error}"
    );
    fs::remove_file(folder.path().join("short-chain.json")).expect("removed");
    let error = replay(folder.path(), false).expect_err("no fixture");
    assert!(matches!(error, ReplayTestError::NoFixture(_)), "{error}");
}

#[test]
fn an_executor_that_counts_no_fuel_has_another_expectation() {
    let folder = copied();
    let config = ExecutorConfig::default().with_meter(Meter::Off);
    let error = replay_with::<SlackwaterHostFunctions>(folder.path(), config, false);
    assert!(
        matches!(error, Err(ReplayTestError::Differs { line: 2, .. })),
        "{error:?}"
    );
}
