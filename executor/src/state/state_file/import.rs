//! Reading a state file into a new database.
//!
//! Invariant: the folder counts as begun until the checksum, the head and, if asked for, every value were compared.
//! Cost: every entry is read and written once; comparing reads the state twice more.

use std::{
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use blake2b_simd::State;
use codec::DecodeAll;
use rocksdb::WriteBatch;
use sp_core::H256;

use super::{
    BUFFER_BYTES, BYTES_MAX, COLUMNS, END, HEAD_BYTES, STATE_FILE_MAGIC, STATE_FILE_VERSION,
    StateFileError, StateFileStat, checksum, hasher,
};
use crate::state::{
    CheckError, Database, DatabaseConfig, Head, StateError,
    import::{BATCH_BYTES, write},
    schema::{CF_BLOCKS, CF_RECEIPTS, number_key},
};

/// Whether every value is compared with the trie before an imported state becomes a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// It is, and every node with its hash.
    Values,
    /// The checksum is believed; of the trie only the root is looked at.
    Checksum,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateImportStep {
    /// So many bytes of the file have been read.
    Read {
        /// That many.
        bytes: u64,
    },
    /// So many values have been compared with the trie.
    Compared {
        /// That many.
        values: u64,
        /// All there are.
        of: u64,
    },
}

/// A state file of which the beginning was read.
#[derive(Debug)]
pub struct StateFile<R> {
    input: Reader<R>,
    head: Head,
}

impl<R: Read> StateFile<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// [`StateFileError::Foreign`] and [`StateFileError::Version`] when it is something else, and when it cannot be read.
    pub fn open(input: R) -> Result<Self, StateFileError> {
        let mut input = Reader::new(input);
        match input.array() {
            Ok(STATE_FILE_MAGIC) => {}
            Ok(_) | Err(StateFileError::Truncated { .. }) => return Err(StateFileError::Foreign),
            Err(error) => return Err(error),
        }
        let found = u32::from_le_bytes(input.array()?);
        if found != STATE_FILE_VERSION {
            return Err(StateFileError::Version {
                found,
                expected: STATE_FILE_VERSION,
            });
        }
        let head = Head::decode_all(&mut input.array::<HEAD_BYTES>()?.as_slice());
        let head = head.map_err(|_bytes| input.damaged("the head does not decode"))?;
        Ok(Self { input, head })
    }

    /// The block whose state it is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Makes it a database in an empty or absent folder, or where one was begun and not finished.
    ///
    /// # Errors
    /// [`StateFileError`]; where there is a database already it is left as it was.
    pub fn import(
        mut self,
        folder: &Path,
        config: DatabaseConfig,
        verify: Verify,
        mut progress: impl FnMut(StateImportStep),
    ) -> Result<(Database, StateFileStat), StateFileError> {
        let database = Database::begin(folder, config)?;
        let counts = self.entries(&database, &mut progress)?;
        let bytes = self.input.end()?;
        let stat = StateFileStat::of(counts, bytes);
        database
            .check_head(&self.head)
            .map_err(StateFileError::Head)?;
        if verify == Verify::Values {
            compare(&database, self.head, stat.values, progress)?;
        }
        Ok((database.finish(&self.head)?, stat))
    }

    /// Writes all entries, and tells how many of each column there were.
    fn entries(
        &mut self,
        database: &Database,
        mut progress: impl FnMut(StateImportStep),
    ) -> Result<[u64; COLUMNS.len()], StateFileError> {
        let input = &mut self.input;
        let mut counts = [0; COLUMNS.len()];
        let mut batch = WriteBatch::default();
        let (mut last_number, mut last_key) = (END, Vec::new());
        let (mut key, mut value) = (Vec::new(), Vec::new());
        loop {
            let [number] = input.array()?;
            if number == END {
                break;
            }
            let index = usize::from(number) - 1;
            let Some(column) = COLUMNS.get(index) else {
                return Err(input.damaged("there is no such column"));
            };
            let key_length = input.length()?;
            let value_length = input.length()?;
            input.bytes(key_length, &mut key)?;
            input.bytes(value_length, &mut value)?;
            if (number, &key) <= (last_number, &last_key) {
                return Err(input.damaged("the entries are not in order"));
            }
            let of_block = [CF_BLOCKS, CF_RECEIPTS].contains(column);
            if of_block && key != number_key(self.head.number) {
                return Err(input.damaged("a block or receipts are not the head's"));
            }
            batch.put_cf(database.column(column), &key, &value);
            counts[index] += 1;
            write(database, &mut batch, BATCH_BYTES)?;
            progress(StateImportStep::Read { bytes: input.read });
            last_number = number;
            std::mem::swap(&mut key, &mut last_key);
        }
        write(database, &mut batch, 0)?;
        for count in counts {
            if u64::from_le_bytes(input.array()?) != count {
                return Err(input.damaged("there were more or fewer entries"));
            }
        }
        Ok(counts)
    }
}

/// Compares every value with the trie.
fn compare(
    database: &Database,
    head: Head,
    values: u64,
    mut progress: impl FnMut(StateImportStep),
) -> Result<(), StateFileError> {
    let checked = database.view_of(head).check_values(|compared| {
        progress(StateImportStep::Compared {
            values: compared,
            of: values,
        });
    });
    let reached = match checked {
        Ok(checked) => checked.keys,
        Err(CheckError::State(error @ StateError::Database(_))) => return Err(error.into()),
        Err(error) => return Err(StateFileError::Values(error)),
    };
    // What is of no trie was not compared.
    if reached != values {
        return Err(StateFileError::Unreachable { values, reached });
    }
    Ok(())
}

/// A file whose bytes are hashed.
#[derive(Debug)]
struct Reader<R> {
    input: BufReader<R>,
    hasher: State,
    read: u64,
}

impl<R: Read> Reader<R> {
    fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            hasher: hasher(),
            read: 0,
        }
    }

    fn damaged(&self, reason: &'static str) -> StateFileError {
        StateFileError::Damaged {
            offset: self.read,
            reason,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StateFileError> {
        self.input
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => StateFileError::Truncated { bytes: self.read },
                _ => StateFileError::Read(error),
            })?;
        self.hasher.update(bytes);
        self.read += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateFileError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&mut self) -> Result<usize, StateFileError> {
        let length = u32::from_le_bytes(self.array()?);
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| *length <= BYTES_MAX);
        length.ok_or_else(|| self.damaged("a key or value is longer than any is"))
    }

    fn bytes(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), StateFileError> {
        into.resize(length, 0);
        self.fill(into)
    }

    /// Compares the checksum, which is the last of it; tells the length of the file.
    fn end(mut self) -> Result<u64, StateFileError> {
        let computed = checksum(&self.hasher);
        let stated = H256(self.array()?);
        if stated != computed {
            return Err(StateFileError::Checksum { stated, computed });
        }
        let behind = self.input.read(&mut [0]).map_err(StateFileError::Read)?;
        match behind {
            0 => Ok(self.read),
            _ => Err(StateFileError::Trailing { bytes: self.read }),
        }
    }
}
