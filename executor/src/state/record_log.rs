//! Whether a file in RocksDB's log format, a manifest or a write-ahead log, is whole as far as its frame says.
//!
//! RocksDB checks what is in a record, and is too trusting about the frame: it takes a file for ended, without a word,
//! where a record's length leads beyond the end or its kind is one of logs that are used again, and may look for the next
//! record for ever. One flipped bit does that. For a manifest it hides files, and what is left can be a state that
//! never was.
//!
//! What a process that was killed, or a power cut, leaves at the end is told from that by the record's checksum, which
//! does not count the length: bytes that end where they should not are those of a record that was not written whole, or
//! hold a whole record, whose length is another.
//!
//! Cost: a read of seven bytes for each record, and of the last one's bytes if it is not whole.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use thiserror::Error;

/// Records do not cross blocks of this size; a rest too small for a header is left out.
const BLOCK_BYTES: u64 = 32 << 10;
/// Checksum (4 bytes), length (2), kind (1).
const HEADER_BYTES: u64 = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// What a write begins with in a write-ahead log: its sequence number (8 bytes), how many it takes (4).
const BATCH_BYTES: u64 = 12;
/// Kinds of logs whose files are used again, which ours are not.
const REUSED: std::ops::RangeInclusive<u8> = 5..=8;

/// What is wrong with the frame of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Fault {
    /// As a power cut may leave it.
    #[error("the record at byte {at} is not whole")]
    Cut { at: u64 },
    /// Zeros, or bytes that are no record, where one should be; there may be records behind them.
    #[error("there is no record at byte {at}")]
    Hole { at: u64 },
    /// A record that is whole says that it goes on beyond the end.
    #[error("the length of the record at byte {at} is wrong")]
    Length { at: u64 },
    /// RocksDB must not read this.
    #[error("the record at byte {at} is of kind {kind}, which is never written")]
    Kind { at: u64, kind: u8 },
}

/// The frame of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// What is wrong with it.
    pub(super) fault: Option<Fault>,
    /// Of a write-ahead log: the sequence number of its first write, if it has one that can be told.
    pub(super) first: Option<u64>,
    /// Of a write-ahead log: the sequence number behind its last write, likewise.
    pub(super) end: Option<u64>,
    /// Whether there is any record.
    pub(super) has_records: bool,
}

/// The frame of a file.
pub(super) fn frame(path: &Path) -> io::Result<Frame> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut frame = Frame::default();
    let (mut at, mut is_within) = (0, false);
    while at < bytes {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let cut = Some(Fault::Cut { at });
        if bytes - at < HEADER_BYTES {
            frame.fault = cut;
            return Ok(frame);
        }
        let Header { sum, length, kind } = Header::read(&mut file, at)?;
        is_within = match kind {
            FULL | LAST => false,
            FIRST | MIDDLE => true,
            kind => {
                let fault = Some(if REUSED.contains(&kind) {
                    Fault::Kind { at, kind }
                } else {
                    Fault::Hole { at }
                });
                // One that is broken before may have led here.
                let before = first_broken(&mut file, at)?;
                frame.fault = before.map_or(fault, |at| Some(Fault::Hole { at }));
                return Ok(frame);
            }
        };
        let end = at + HEADER_BYTES + length;
        if end - at > left || end > bytes {
            let rest = read(&mut file, left)?;
            let is_whole = holds_record(sum, kind, &rest);
            frame.fault = if is_whole {
                Some(Fault::Length { at })
            } else {
                cut
            };
            return Ok(frame);
        }
        if kind == FULL || kind == FIRST {
            file.seek(SeekFrom::Start(at + HEADER_BYTES))?;
            frame.add(&read(&mut file, length.min(BATCH_BYTES))?);
        }
        at = end;
    }
    frame.fault = is_within.then_some(Fault::Cut { at });
    Ok(frame)
}

impl Frame {
    /// Takes note of a record that begins so.
    fn add(&mut self, bytes: &[u8]) {
        let batch = bytes.split_first_chunk::<8>().and_then(|(first, rest)| {
            let (count, _) = rest.split_first_chunk::<4>()?;
            let first = u64::from_le_bytes(*first);
            Some((
                first,
                first.checked_add(u64::from(u32::from_le_bytes(*count)))?,
            ))
        });
        if !self.has_records {
            self.first = batch.map(|(first, _)| first);
        }
        self.has_records = true;
        self.end = batch.map(|(_, end)| end);
    }
}

/// What a record begins with.
struct Header {
    /// The checksum of kind and contents.
    sum: u32,
    /// Bytes of the contents, as it says.
    length: u64,
    kind: u8,
}

impl Header {
    /// The one at byte `at`; contents come next.
    fn read(file: &mut File, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 7];
        file.read_exact(&mut header)?;
        let [c0, c1, c2, c3, low, high, kind] = header;
        Ok(Self {
            sum: u32::from_le_bytes([c0, c1, c2, c3]),
            length: u16::from_le_bytes([low, high]).into(),
            kind,
        })
    }
}

/// The first record before `end` that is not what its checksum says. Lengths lead to `end`.
fn first_broken(file: &mut File, end: u64) -> io::Result<Option<u64>> {
    let mut at = 0;
    while at < end {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let Header { sum, length, kind } = Header::read(file, at)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &read(file, length)?);
        if masked(crc) != sum {
            return Ok(Some(at));
        }
        at += HEADER_BYTES + length;
    }
    Ok(None)
}

fn read(file: &mut File, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether bytes begin with the contents of a record of this kind that has this checksum.
fn holds_record(sum: u32, kind: u8, bytes: &[u8]) -> bool {
    let mut crc = crc32c::crc32c(&[kind]);
    let mut at_end = masked(crc) == sum;
    for byte in bytes {
        crc = crc32c::crc32c_append(crc, std::slice::from_ref(byte));
        at_end |= masked(crc) == sum;
    }
    at_end
}

/// Checksums are stored so, for they may be of bytes that hold checksums.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
