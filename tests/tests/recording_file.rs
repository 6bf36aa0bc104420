//! Recordings that are damaged, cut, foreign or of another version are refused by name.

use slackwater_executor::recording::{
    RECORDING_MAGIC, Recording, RecordingError, RecordingFile, RecordingWriter,
};
use slackwater_runtime_fixtures::{FixtureChain, guest};
use slackwater_tests::{executor, load_blocks};

fn bytes() -> Vec<u8> {
    let executor = executor();
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(3);
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let recording = chain.record(&executor, "short").expect("records");
    let Recording::Memory(head, blocks) = recording else {
        panic!("it is in memory");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording");
    for _ in 0..2 {
        let mut writer = RecordingWriter::create(&path, &head).expect("begins");
        for block in &blocks {
            writer.add(block).expect("written");
        }
        writer.finish().expect("finished");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert_eq!(left.len(), 1, "nothing is left beside it");
    std::fs::read(path).expect("readable")
}

fn open(bytes: &[u8]) -> Result<RecordingFile, RecordingError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    RecordingFile::open(file.path())
}

#[test]
fn a_file_with_a_wrong_byte_is_not_opened() {
    let bytes = bytes();
    open(&bytes).expect("whole");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = open(&flipped).expect_err("refused");
        match (at, &error) {
            (0..16, RecordingError::Foreign) | (16..20, RecordingError::Version { .. }) => {}
            (20.., RecordingError::Damaged { .. })
            | (20.., RecordingError::Checksum { .. })
            | (20.., RecordingError::Truncated { .. }) => {}
            _ => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_file_that_is_cut_or_goes_on_is_not_opened() {
    let bytes = bytes();
    for length in 0..bytes.len() {
        let error = open(&bytes[..length]).expect_err("refused");
        match error {
            RecordingError::Foreign => assert!(length < RECORDING_MAGIC.len()),
            RecordingError::Truncated { bytes } => assert!(bytes <= length as u64),
            error => panic!("{length} bytes: {error}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        open(&longer),
        Err(RecordingError::Trailing { .. })
    ));
}

#[test]
fn a_recording_that_is_not_finished_leaves_nothing() {
    let bytes = bytes();
    let file = open(&bytes).expect("whole");
    let head = Recording::File(file).head().clone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording");
    drop(RecordingWriter::create(&path, &head).expect("begins"));
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("readable").count(),
        0
    );
}
