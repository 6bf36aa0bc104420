//! Writing a state file: the entries of the columns, one after the other, and what they hash to.
//!
//! Invariant: all of it is read from one database snapshot. Cost: every entry is read once.

use std::io::{BufWriter, Write};

use blake2b_simd::State;
use codec::Encode;
use thiserror::Error;

use super::{
    BUFFER_BYTES, BYTES_MAX, COLUMNS, END, STATE_FILE_MAGIC, STATE_FILE_VERSION, StateFileStat,
    checksum, hasher,
};
use crate::state::{
    BlockState, StateError, StateView,
    patch::Entries,
    schema::{CF_FLAT, CF_NODES, number_key},
};

/// Why a state was not exported. What was written by then is no state file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The state is not the one in the database.
    #[error("only the state of the head can be exported with its trie, not that of block {number}")]
    NotHead {
        /// The block whose state was to be exported.
        number: u64,
    },
    /// A key or value is larger than a file takes.
    #[error("an entry of the column `{column}` has {bytes} bytes, {BYTES_MAX} is the limit")]
    TooLarge {
        /// The column.
        column: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The file cannot be written.
    #[error("the state file cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// Reading the database failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StateView<'_> {
    /// Writes the state, with its trie and the head's block, as a state file; `progress` is told how many entries have
    /// been written. Nothing is synced.
    ///
    /// # Errors
    /// [`ExportError`]; [`ExportError::NotHead`] for the state of another block than the head.
    pub fn export(
        &self,
        output: impl Write,
        mut progress: impl FnMut(u64),
    ) -> Result<StateFileStat, ExportError> {
        let head = *self.head();
        if !self.is_heads() {
            return Err(ExportError::NotHead {
                number: head.number,
            });
        }
        let mut writer = Writer::new(output);
        writer.put(&STATE_FILE_MAGIC)?;
        writer.put(&STATE_FILE_VERSION.to_le_bytes())?;
        writer.put(&head.encode())?;
        let journaled = self.journaled();
        let mut counts = [0_u64; COLUMNS.len()];
        let mut written = 0;
        for ((number, column), count) in (1..).zip(COLUMNS).zip(&mut counts) {
            let mut entry = |key: &[u8], value: &[u8]| {
                writer.entry(number, column, key, value)?;
                *count += 1;
                written += 1;
                progress(written);
                Ok(())
            };
            match column {
                CF_FLAT => self.each_entry(column, &journaled.flat, entry)?,
                CF_NODES => self.each_entry(column, &journaled.nodes, entry)?,
                _ => {
                    let of_head = number_key(head.number);
                    if let Some(record) = self.bytes(column, &of_head)? {
                        entry(&of_head, &record)?;
                    }
                }
            }
        }
        self.check()?;
        writer.put(&[END])?;
        for count in counts {
            writer.put(&count.to_le_bytes())?;
        }
        let bytes = writer.finish()?;
        Ok(StateFileStat::of(counts, bytes))
    }

    /// The entries of a column, in order, as they are with those `above` it.
    fn each_entry(
        &self,
        column: &'static str,
        above: &Entries,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut stored = self.entries(column);
        stored.seek_to_first();
        let mut above = above.iter().peekable();
        loop {
            let (key, value) = match (stored.item(), above.peek().copied()) {
                (None, None) => break,
                (Some((key, value)), Some((new, _))) if key < new.as_slice() => (key, Some(value)),
                (Some((key, value)), None) => (key, Some(value)),
                (_, Some((key, value))) => (key.as_slice(), value.as_deref()),
            };
            if let Some(value) = value {
                each(key, value)?;
            }
            let is_stored = stored.key() == Some(key);
            let is_above = above.peek().is_some_and(|(new, _)| new.as_slice() == key);
            if is_above {
                above.next();
            }
            if is_stored {
                stored.next();
            }
        }
        Ok(stored.status().map_err(StateError::from)?)
    }
}

/// A file whose bytes are hashed.
struct Writer<W: Write> {
    output: BufWriter<W>,
    hasher: State,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    fn new(output: W) -> Self {
        Self {
            output: BufWriter::with_capacity(BUFFER_BYTES, output),
            hasher: hasher(),
            bytes: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    fn entry(
        &mut self,
        number: u8,
        column: &'static str,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), ExportError> {
        let length = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).ok();
            let length = length.filter(|_| bytes.len() <= BYTES_MAX);
            length.ok_or(ExportError::TooLarge {
                column,
                bytes: bytes.len(),
            })
        };
        let lengths = [length(key)?, length(value)?];
        self.put(&[number])?;
        for length in lengths {
            self.put(&length.to_le_bytes())?;
        }
        self.put(key)?;
        Ok(self.put(value)?)
    }

    /// Adds the checksum, and tells the length of the file.
    fn finish(mut self) -> std::io::Result<u64> {
        let checksum = checksum(&self.hasher);
        self.put(checksum.as_bytes())?;
        self.output.flush()?;
        Ok(self.bytes)
    }
}
