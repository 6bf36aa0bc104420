//! Recordings that are damaged, cut, foreign or of another version are refused by name.

use codec::Encode;
use slackwater_executor::recording::{
    RECORDING_MAGIC, RECORDING_VERSION, Recording, RecordingError, RecordingFile, RecordingWriter,
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

/// Kind, stated length unpacked, and what is stored.
type Frame<'b> = (u8, usize, &'b [u8]);

/// A file with these frames, and the right checksum.
fn framed(frames: &[Frame<'_>], counted: u64) -> Vec<u8> {
    let mut bytes = RECORDING_MAGIC.to_vec();
    bytes.extend(RECORDING_VERSION.to_le_bytes());
    for (kind, plain, stored) in frames {
        bytes.push(*kind);
        bytes.extend(u32::try_from(*plain).expect("small").to_le_bytes());
        bytes.extend(u32::try_from(stored.len()).expect("small").to_le_bytes());
        bytes.extend_from_slice(stored);
    }
    bytes.push(0);
    bytes.extend(counted.to_le_bytes());
    bytes.extend(sp_crypto_hashing::blake2_256(&bytes));
    bytes
}

#[test]
fn a_file_that_is_whole_and_was_written_by_nobody_is_refused() {
    let whole = bytes();
    let recording = Recording::File(open(&whole).expect("whole"));
    let plain = recording.head().encode();
    let packed = |plain: &[u8]| zstd::bulk::compress(plain, 3).expect("packed");
    let head = packed(&plain);
    let opened = open(&framed(&[(1, plain.len(), &head)], 0)).expect("a head alone");
    assert!(Recording::File(opened).is_empty());
    let no_head: &[Frame<'_>] = &[(2, plain.len(), &head)];
    let two_heads = [(1, plain.len(), head.as_slice()); 2];
    let longer = [(1, plain.len() + 1, head.as_slice())];
    let shorter = [(1, plain.len() - 1, head.as_slice())];
    let more = [&plain[..], &[0]].concat();
    let trailing = packed(&more);
    let trailing = [(1, more.len(), trailing.as_slice())];
    let unknown = [
        (1, plain.len(), head.as_slice()),
        (9, plain.len(), head.as_slice()),
    ];
    type Case<'c> = (&'c str, &'c [Frame<'c>], u64);
    let cases: [Case<'_>; 8] = [
        ("no head", no_head, 0),
        ("two heads", &two_heads, 1),
        ("longer than stated", &shorter, 0),
        ("shorter than stated", &longer, 0),
        ("behind its end", &trailing, 0),
        ("an unknown kind", &unknown, 1),
        ("too many counted", &[(1, plain.len(), &head)], 7),
        (
            "as many counted as there are numbers",
            &[(1, plain.len(), &head)],
            u64::MAX,
        ),
    ];
    for (name, frames, counted) in cases {
        let refused = open(&framed(frames, counted));
        assert!(
            matches!(refused, Err(RecordingError::Damaged { .. })),
            "{name}: {refused:?}"
        );
    }
}

/// A short file must not become much memory.
#[test]
fn a_file_that_unpacks_to_much_is_refused() {
    let whole = bytes();
    let recording = Recording::File(open(&whole).expect("whole"));
    let plain = recording.head().encode();
    let head = zstd::bulk::compress(&plain, 3).expect("packed");
    let block = recording.block(0).expect("readable");
    let mut bomb = block.encode();
    // Behind number, hash, code and version, an outcome and fuel, there are the writes.
    let writes = block.initialize.writes.encode();
    let at = bomb
        .windows(writes.len())
        .position(|window| window == writes)
        .expect("there");
    bomb.truncate(at);
    bomb.push(0);
    bomb.extend(codec::Compact(20_000_000_u32).encode());
    bomb.resize(bomb.len() + 60_000_000, 0);
    let packed = zstd::bulk::compress(&bomb, 3).expect("packed");
    let file = framed(&[(1, plain.len(), &head), (2, bomb.len(), &packed)], 1);
    assert!(file.len() < 100_000);
    let opened = Recording::File(open(&file).expect("a checksum is right"));
    let error = opened.block(0).expect_err("refused");
    assert!(matches!(error, RecordingError::Damaged { .. }), "{error}");
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
