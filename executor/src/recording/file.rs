//! The file of a recording.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `slackwater-rec`, and `0d 0a`, which programs that mend ends of lines do not leave alone |
//! | 4 | version (u32 LE) |
//! | 1 + 4 + 4 + stored bytes, for each frame | kind (`01` the head, first; `02` a block), plain and stored length (u32 LE), zstd |
//! | 1 + 8 | `00`, and how many blocks there are (u64 LE) |
//! | 32 | blake2b-256 of all before |
//!
//! A frame is the SCALE encoding of [`RecordingHead`] or [`RecordedBlock`]. Invariants: a file with one wrong byte is not
//! opened; the same run gives the same bytes; a file is there whole or not at all. Cost: opening reads the
//! file once; a block is read and unpacked when it is asked for.

use std::{
    fs::File,
    io::{BufReader, BufWriter, ErrorKind, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use blake2b_simd::State;
use codec::{Decode, DecodeWithMemLimit, DecodeWithMemTracking, Encode};
use sp_core::H256;
use thiserror::Error;

use super::{RecordedBlock, Rules};
use crate::state::{Head, checksum, hasher};

/// What a recording begins with.
pub const RECORDING_MAGIC: [u8; 16] = *b"slackwater-rec\r\n";

/// The version of everything in a recording. A file of another one is refused.
pub const RECORDING_VERSION: u32 = 1;

/// A frame is up to so many bytes, unpacked.
const FRAME_BYTES_MAX: usize = 128 << 20;
/// What is decoded of a frame takes up to so many bytes of memory.
const DECODED_BYTES_MAX: usize = 1 << 30;
/// What packing may gain at most, so that no short file unpacks to much.
const FRAME_RATIO_MAX: usize = 1 << 15;
const BUFFER_BYTES: usize = 1 << 18;
const END: u8 = 0;
const HEAD: u8 = 1;
const BLOCK: u8 = 2;

/// What stands before the blocks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct RecordingHead {
    /// For people: what was executed.
    pub name: String,
    /// What decided the results.
    pub rules: Rules,
    /// The block whose state the first one was executed on.
    pub parent: Head,
    /// Whether writes are there as digests only.
    pub digest_only: bool,
}

/// A recording cannot be read, or is none.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It begins with something else.
    #[error("this is no recording")]
    Foreign,
    /// It was written in another format.
    #[error("the recording has version {found}, this build reads {expected}")]
    Version {
        /// The version found.
        found: u32,
        /// The version this build knows.
        expected: u32,
    },
    /// It ends too early.
    #[error("the recording ends too early: something is missing behind byte {bytes}")]
    Truncated {
        /// Up to where it was understood.
        bytes: u64,
    },
    /// It goes on behind its end.
    #[error("the recording goes on behind its end, which is after {bytes} bytes")]
    Trailing {
        /// Where it should end.
        bytes: u64,
    },
    /// What no recorder writes stands somewhere.
    #[error("the recording is damaged in the frame at byte {offset}: {reason}")]
    Damaged {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// What is recorded of a block is not what a recorder writes.
    #[error("block {index} of the recording: {reason}")]
    Block {
        /// Its position, from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The checksum is that of other bytes.
    #[error("the recording is damaged: its checksum is {stated:?}, that of its bytes {computed:?}")]
    Checksum {
        /// The one in the file.
        stated: H256,
        /// The one of what was read.
        computed: H256,
    },
    /// A block is longer than a file takes.
    #[error("block {number} has {bytes} bytes of records, {FRAME_BYTES_MAX} is the limit")]
    TooLarge {
        /// Its number.
        number: u64,
        /// Its size.
        bytes: usize,
    },
    /// Reading or writing failed.
    #[error("the recording cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
}

/// Writes a recording beside its place, and puts it there when it is whole.
#[derive(Debug)]
pub struct RecordingWriter {
    output: BufWriter<File>,
    hasher: State,
    blocks: u64,
    bytes: u64,
    partial: Partial,
    path: PathBuf,
}

/// A file that is removed unless it was finished.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Where it was finished it has another name.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl RecordingWriter {
    /// Begins a recording that is to be at `path`.
    ///
    /// # Errors
    /// [`RecordingError::Io`].
    pub fn create(path: &Path, head: &RecordingHead) -> Result<Self, RecordingError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!("{name}.partial-{}", std::process::id()));
        let mut writer = Self {
            output: BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial)?),
            partial: Partial(partial),
            hasher: hasher(),
            blocks: 0,
            bytes: 0,
            path: path.to_owned(),
        };
        writer.put(&RECORDING_MAGIC)?;
        writer.put(&RECORDING_VERSION.to_le_bytes())?;
        writer.frame(HEAD, &head.encode(), head.parent.number)?;
        Ok(writer)
    }

    /// Adds the next block.
    ///
    /// # Errors
    /// [`RecordingError::Io`] and [`RecordingError::TooLarge`].
    pub fn add(&mut self, block: &RecordedBlock) -> Result<(), RecordingError> {
        self.blocks += 1;
        self.frame(BLOCK, &block.encode(), block.number)
    }

    /// Ends the recording and gives its length in bytes. What was at its place is written over.
    ///
    /// # Errors
    /// [`RecordingError::Io`].
    pub fn finish(mut self) -> Result<u64, RecordingError> {
        self.put(&[END])?;
        let blocks = self.blocks;
        self.put(&blocks.to_le_bytes())?;
        let checksum = checksum(&self.hasher);
        self.put(checksum.as_bytes())?;
        self.output.flush()?;
        self.output.get_ref().sync_all()?;
        std::fs::rename(&self.partial.0, &self.path)?;
        Ok(self.bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, plain: &[u8], number: u64) -> Result<(), RecordingError> {
        let length = |bytes: usize| {
            let length = u32::try_from(bytes)
                .ok()
                .filter(|_| bytes <= FRAME_BYTES_MAX);
            length.ok_or(RecordingError::TooLarge { number, bytes })
        };
        let stored = zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        let lengths = [length(plain.len())?, length(stored.len())?];
        self.put(&[kind])?;
        for length in lengths {
            self.put(&length.to_le_bytes())?;
        }
        Ok(self.put(&stored)?)
    }
}

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u64,
    plain: usize,
    stored: usize,
}

const FRAME_HEAD_BYTES: u64 = 1 + 4 + 4;

/// A recording that was opened: blocks are read when they are asked for.
#[derive(Debug)]
pub struct RecordingFile {
    file: File,
    pub(super) head: RecordingHead,
    frames: Vec<Frame>,
}

impl RecordingFile {
    /// Opens a recording and compares its checksum.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path)?;
        let mut frames = Scanner::new(&file).frames()?.into_iter();
        let damaged = |reason: &str| RecordingError::Damaged {
            offset: 0,
            reason: reason.to_owned(),
        };
        let Some((HEAD, head)) = frames.next() else {
            return Err(damaged("it does not begin with its head"));
        };
        let head = decode(&file, &head)?;
        let blocks = frames.map(|(kind, frame)| match kind {
            BLOCK => Ok(frame),
            _ => Err(damaged("there are two heads")),
        });
        let frames = blocks.collect::<Result<_, _>>()?;
        Ok(Self { file, head, frames })
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Reads the block at this position.
    pub(super) fn block(&self, index: usize) -> Result<RecordedBlock, RecordingError> {
        match self.frames.get(index) {
            Some(frame) => decode(&self.file, frame),
            None => Err(RecordingError::Block {
                index,
                reason: "there is none",
            }),
        }
    }
}

fn decode<T: DecodeWithMemTracking>(file: &File, frame: &Frame) -> Result<T, RecordingError> {
    let damaged = |reason: String| RecordingError::Damaged {
        offset: frame.offset,
        reason,
    };
    let mut stored = vec![0; frame.stored];
    file.read_exact_at(&mut stored, frame.offset + FRAME_HEAD_BYTES)?;
    if frame.plain / FRAME_RATIO_MAX > frame.stored {
        return Err(damaged("nothing packs so well".to_owned()));
    }
    let plain = zstd::bulk::decompress(&stored, frame.plain);
    let plain = plain.map_err(|error| damaged(error.to_string()))?;
    if plain.len() != frame.plain {
        return Err(damaged("it unpacks to another length".to_owned()));
    }
    let mut rest = plain.as_slice();
    let decoded = T::decode_with_mem_limit(&mut rest, DECODED_BYTES_MAX);
    match decoded {
        Ok(decoded) if rest.is_empty() => Ok(decoded),
        Ok(_) => Err(damaged("it goes on behind its end".to_owned())),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Reads a file from its beginning to its end, hashing it.
struct Scanner<'f> {
    input: BufReader<&'f File>,
    hasher: State,
    read: u64,
}

impl<'f> Scanner<'f> {
    fn new(file: &'f File) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, file),
            hasher: hasher(),
            read: 0,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordingError> {
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| self.cut(error))?;
        self.hasher.update(&bytes);
        self.read += N as u64;
        Ok(bytes)
    }

    fn cut(&self, error: std::io::Error) -> RecordingError {
        match error.kind() {
            ErrorKind::UnexpectedEof => RecordingError::Truncated { bytes: self.read },
            _ => RecordingError::Io(error),
        }
    }

    fn pass(&mut self, bytes: usize) -> Result<(), RecordingError> {
        let mut left = bytes;
        let mut buffer = [0; 4096];
        while left > 0 {
            let piece = &mut buffer[..left.min(4096)];
            self.input
                .read_exact(piece)
                .map_err(|error| self.cut(error))?;
            self.hasher.update(piece);
            left -= piece.len();
            self.read += piece.len() as u64;
        }
        Ok(())
    }

    /// All frames, each with its kind, if the file is whole.
    fn frames(mut self) -> Result<Vec<(u8, Frame)>, RecordingError> {
        match self.array() {
            Ok(RECORDING_MAGIC) => {}
            Ok(_) | Err(RecordingError::Truncated { .. }) => return Err(RecordingError::Foreign),
            Err(error) => return Err(error),
        }
        let found = u32::from_le_bytes(self.array()?);
        if found != RECORDING_VERSION {
            return Err(RecordingError::Version {
                found,
                expected: RECORDING_VERSION,
            });
        }
        let mut frames = Vec::new();
        loop {
            let offset = self.read;
            let [kind] = self.array()?;
            if kind == END {
                break;
            }
            let [plain, stored] = [self.length(offset)?, self.length(offset)?];
            self.pass(stored)?;
            let frame = Frame {
                offset,
                plain,
                stored,
            };
            frames.push((kind, frame));
        }
        let counted = u64::from_le_bytes(self.array()?);
        let blocks = frames.len().saturating_sub(1);
        if blocks as u64 != counted {
            return Err(RecordingError::Damaged {
                offset: self.read,
                reason: format!("{counted} blocks are counted, there are {blocks}"),
            });
        }
        self.end()?;
        Ok(frames)
    }

    fn length(&mut self, offset: u64) -> Result<usize, RecordingError> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok();
        let length = length.filter(|length| *length <= FRAME_BYTES_MAX);
        length.ok_or_else(|| RecordingError::Damaged {
            offset,
            reason: "it is longer than any is".to_owned(),
        })
    }

    fn end(mut self) -> Result<(), RecordingError> {
        let computed = checksum(&self.hasher);
        let stated = H256(self.array()?);
        if stated != computed {
            return Err(RecordingError::Checksum { stated, computed });
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(RecordingError::Trailing { bytes: self.read }),
        }
    }
}
