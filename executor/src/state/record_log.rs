//! Whether a file in RocksDB's log format, a manifest or a write-ahead log, is whole as far as its frame says.
//!
//! RocksDB checks what is in a record, and is too trusting about the frame: it takes a file for ended, without a word,
//! where a record's length leads beyond the end or its kind is one of logs that are used again, and may look for the next
//! record for ever. One flipped bit does that. For a manifest it hides files, and what is left can be a state that
//! never was.
//!
//! Cost: a read of seven bytes for each record.

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
/// Kinds of logs whose files are used again, which ours are not.
const REUSED: std::ops::RangeInclusive<u8> = 5..=8;

/// What is wrong with the frame of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Fault {
    /// As a power cut may leave it.
    #[error("the record at byte {at} is not whole")]
    Cut { at: u64 },
    /// RocksDB must not read this.
    #[error("the record at byte {at} is of kind {kind}, which is never written")]
    Kind { at: u64, kind: u8 },
}

/// What is wrong with the frame of a file; `None` when it ends where a record does.
pub(super) fn fault(path: &Path) -> io::Result<Option<Fault>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let (mut at, mut is_within) = (0, false);
    while at < bytes {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let cut = Ok(Some(Fault::Cut { at }));
        if bytes - at < HEADER_BYTES {
            return cut;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 7];
        file.read_exact(&mut header)?;
        let [_, _, _, _, low, high, kind] = header;
        is_within = match kind {
            FULL | LAST => false,
            FIRST | MIDDLE => true,
            kind if REUSED.contains(&kind) => return Ok(Some(Fault::Kind { at, kind })),
            _ => return cut,
        };
        let record = HEADER_BYTES + u64::from(u16::from_le_bytes([low, high]));
        if record > left || record > bytes - at {
            return cut;
        }
        at += record;
    }
    Ok(is_within.then_some(Fault::Cut { at }))
}
