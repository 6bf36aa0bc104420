//! Recordings, block fixtures and blocks in files.
//!
//! The first byte of an input says what the others are: a recording as it is, one whose checksum is put right, frames of
//! which a recording is made, a block fixture, one with its file of writes behind the first zero byte, or blocks. What
//! must hold: what can be read is the same after it was written and read again; all else is an error.

use blake2b_simd::Params;
use slackwater_executor::{
    Block,
    recording::{
        RECORDING_MAGIC, RECORDING_VERSION, RecordedBlock, Recording, RecordingError,
        RecordingFile, RecordingWriter,
    },
};
use slackwater_runtime_fixtures::{
    BlockFixture, block_fixture::changes_path, hexadecimal, raw_blocks::read_blocks,
};

use crate::scratch;

const INPUT_BYTES_MAX: usize = 32 << 10;
const CHECKSUM_BYTES: usize = 32;
/// Frames that are made of an input, at most.
const FRAMES_MAX: usize = 64;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A recording.
    Recording,
    /// A recording, but for its checksum.
    Mended,
    /// Frames: each a kind and two bytes of length, little-endian, in front of its plain bytes.
    Frames,
    /// A block fixture.
    Fixture,
    /// A block fixture, a zero byte, and its file of writes.
    FixtureWithWrites,
    /// Blocks.
    Blocks,
}

impl Form {
    const ALL: [Self; 6] = [
        Self::Recording,
        Self::Mended,
        Self::Frames,
        Self::Fixture,
        Self::FixtureWithWrites,
        Self::Blocks,
    ];

    /// The input that is `bytes` in this form.
    pub(crate) fn input(self, bytes: &[u8]) -> Vec<u8> {
        let number = (0..).zip(Self::ALL).find(|(_, form)| *form == self);
        let number: u8 = number.map_or(0, |(number, _)| number);
        [&[number], bytes].concat()
    }
}

/// Reads bytes as one of the files.
pub fn record_file(data: &[u8]) {
    let Some((form, bytes)) = data.split_first() else {
        return;
    };
    if bytes.len() > INPUT_BYTES_MAX {
        return;
    }
    match Form::ALL[usize::from(*form) % Form::ALL.len()] {
        Form::Recording => recording(bytes),
        Form::Mended => recording(&mended(bytes)),
        Form::Frames => recording(&framed(bytes)),
        Form::Fixture => fixture(bytes, None),
        Form::FixtureWithWrites => {
            let mut parts = bytes.splitn(2, |byte| *byte == 0);
            let json = parts.next().unwrap_or_default();
            fixture(json, parts.next());
        }
        Form::Blocks => blocks(bytes),
    }
}

fn checksum(bytes: &[u8]) -> Vec<u8> {
    let hash = Params::new().hash_length(CHECKSUM_BYTES).hash(bytes);
    hash.as_bytes().to_vec()
}

/// The recording with the checksum of its bytes.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().saturating_sub(CHECKSUM_BYTES)];
    [bytes, &checksum(bytes)].concat()
}

/// A recording of these frames, packed and counted.
fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut file = RECORDING_MAGIC.to_vec();
    file.extend(RECORDING_VERSION.to_le_bytes());
    let mut frames: u64 = 0;
    while let [kind, low, high, rest @ ..] = bytes {
        if usize::try_from(frames).is_ok_and(|frames| frames == FRAMES_MAX) {
            break;
        }
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (plain, behind) = rest.split_at(length);
        let stored = zstd::bulk::compress(plain, 1).expect("it can be packed");
        // A frame is not the end.
        file.push((*kind).max(1));
        for length in [plain.len(), stored.len()] {
            let length = u32::try_from(length).expect("small");
            file.extend(length.to_le_bytes());
        }
        file.extend(stored);
        frames += 1;
        bytes = behind;
    }
    file.push(0);
    file.extend(frames.saturating_sub(1).to_le_bytes());
    let checksum = checksum(&file);
    file.extend(checksum);
    file
}

/// Opens a recording and reads it to its end; what is whole is written again.
fn recording(bytes: &[u8]) {
    let path = scratch::file("recording", bytes);
    let Some((recording, blocks)) = read(RecordingFile::open(&path)) else {
        return;
    };
    let copy = scratch::path("recording-again");
    let mut writer = RecordingWriter::create(&copy, recording.head()).expect("begins");
    for block in &blocks {
        writer.add(block).expect("written");
    }
    writer.finish().expect("finished");
    let again = read(RecordingFile::open(&copy)).expect("what was written is whole");
    assert_eq!(again.0.head(), recording.head());
    assert_eq!(again.1, blocks);
}

/// All of a recording; `None` where something is damaged.
fn read(opened: Result<RecordingFile, RecordingError>) -> Option<(Recording, Vec<RecordedBlock>)> {
    let recording = match opened {
        Ok(file) => Recording::File(file),
        Err(RecordingError::Io(error)) => panic!("the file can be read: {error}"),
        Err(_) => return None,
    };
    let read: Vec<_> = (0..recording.len())
        .map(|index| recording.block(index))
        .collect();
    let behind = recording.block(recording.len());
    assert!(matches!(behind, Err(RecordingError::Block { .. })));
    let mut blocks = Vec::new();
    for block in read {
        match block {
            Ok(block) => blocks.push(block),
            Err(RecordingError::Damaged { .. } | RecordingError::Block { .. }) => return None,
            Err(error) => panic!("no reason that a frame is not read: {error}"),
        }
    }
    Some((recording, blocks))
}

/// Loads a block fixture, with its file of writes if there is one.
fn fixture(json: &[u8], changes: Option<&[u8]>) {
    let path = scratch::file("fixture.json", json);
    match changes {
        Some(changes) => std::fs::write(changes_path(&path), changes).expect("written"),
        None => scratch::remove(&changes_path(&path)),
    }
    let Ok(loaded) = BlockFixture::load(&path) else {
        return;
    };
    let copy = scratch::path("fixture-again.json");
    loaded.save(&copy).expect("saved");
    let again = BlockFixture::load(&copy).expect("what was saved is whole");
    assert!(again == loaded, "it is the same");
}

/// Reads blocks, whatever form they have.
fn blocks(bytes: &[u8]) {
    let path = scratch::file("blocks", bytes);
    let Ok(read) = read_blocks(&path) else {
        return;
    };
    let lines = |block: &Block| hexadecimal::encode(&block.encoded()) + "\n";
    let text: String = read.iter().map(lines).collect();
    let path = scratch::file("blocks-again", text.as_bytes());
    let again = read_blocks(&path).expect("what was written is whole");
    assert_eq!(again, read);
}
