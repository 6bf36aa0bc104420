//! Opening RocksDB when not all of its write-ahead log can be read, and what is said about it.
//!
//! A log that ends in the middle of a record is what a power cut leaves of a block nobody was told of, and bytes that
//! rot in one look much the same. Either way there is a state: that of the last block before. So it is opened there, and
//! says so.
//!
//! Where blocks are left to the operating system, a power cut may also take the end of one file of the log and leave the
//! next, which then is put aside: RocksDB would go on with it, to a state that never was. If it has taken all that the
//! first file held, or that held nothing, sequence numbers do not tell; then it is tried whether there is a state.
//!
//! Invariant: without a [`Recovery`] every record of the log was read. What is cut off where one record ends and the
//! next begins cannot be told. Cost: none; a second opening where the first one failed, and where it must be tried a read of
//! the whole state.

use std::{fmt, path::Path};

use rocksdb::{DBRecoveryMode, Error, ErrorKind};

use super::{
    Head, OpenError,
    folder::{cut_off, damaged, frame_of, let_be_checked, logs, put_aside, take_back},
    record_log::Fault,
};

/// Blocks may have been lost: the write-ahead log could not be read to its end when the database was opened, which is
/// at the last block before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The files of the log.
    pub logs: Vec<String>,
    /// What is wrong with one of them.
    pub reason: String,
    /// The head since then; `None` when not even a genesis was left.
    pub head: Option<Head>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logs = self.logs.join(", ");
        write!(
            formatter,
            "the write-ahead log ({logs}) ends early or is damaged: {}; ",
            self.reason
        )?;
        match &self.head {
            Some(head) => write!(
                formatter,
                "the head is block {}, and later ones are lost",
                head.number
            ),
            None => write!(formatter, "there is no block"),
        }
    }
}

/// What [`read_log`] opened.
pub(super) struct Opened<T> {
    pub(super) rocksdb: T,
    /// What is said about the log, without the head.
    pub(super) recovery: Option<Recovery>,
}

/// Opens with the whole log; where that is damaged, with what comes before the damage. `is_whole` looks, without opening
/// for good, whether all files together lead to a state.
pub(super) fn read_log<T>(
    path: &Path,
    open: impl Fn(DBRecoveryMode) -> Result<T, Error>,
    is_whole: impl Fn() -> Result<bool, OpenError>,
    error: impl Fn(Error) -> OpenError,
) -> Result<Opened<T>, OpenError> {
    // Opening writes what it has read to files, and removes the log.
    let mut logs = logs(path)?;
    let reason = match prepare(path, &mut logs, is_whole)? {
        Some(reason) => reason,
        None => match open(DBRecoveryMode::AbsoluteConsistency) {
            Ok(rocksdb) => {
                let recovery = None;
                return Ok(Opened { rocksdb, recovery });
            }
            Err(reason) if reason.kind() == ErrorKind::Corruption => reason.to_string(),
            Err(other) => return Err(error(other)),
        },
    };
    // Where something else is damaged, this fails as well.
    let rocksdb = open(DBRecoveryMode::PointInTime).map_err(error)?;
    let recovery = Recovery {
        logs,
        reason,
        head: None,
    };
    Ok(Opened {
        rocksdb,
        recovery: Some(recovery),
    })
}

/// What the frames of the log's files say, in the order of the files.
#[derive(Default)]
struct Found {
    /// What is wrong with the last file that is read.
    fault: Option<(String, Fault)>,
    /// The first file that begins behind writes that are lost.
    lost: Option<usize>,
    /// The first file behind one that has lost what it held, or held nothing.
    unsure: Option<usize>,
}

/// Looks at the frames of all files.
fn inspect(path: &Path, logs: &[String]) -> Result<Found, OpenError> {
    let mut found = Found::default();
    // The sequence number behind the last write.
    let mut end = None;
    let mut has_empty = false;
    for (index, log) in logs.iter().enumerate() {
        let frame = frame_of(path, log)?;
        if let Some((end, first)) = end.zip(frame.first) {
            if first > end {
                found.lost = Some(index);
                return Ok(found);
            }
            // What was wrong before was seen when this log was begun.
            found.fault = None;
        }
        has_empty |= !frame.has_records && end.is_none();
        if has_empty && frame.has_records {
            found.unsure.get_or_insert(index);
        }
        match frame.fault {
            Some(kind @ Fault::Kind { .. }) => return Err(damaged(path, log, &kind)),
            Some(other) => found.fault = Some((log.clone(), other)),
            None => {}
        }
        if frame.has_records {
            end = frame.end;
        }
    }
    Ok(found)
}

/// Makes sure that RocksDB does not read what is behind writes that are lost. Why some are, if they are.
fn prepare(
    path: &Path,
    logs: &mut Vec<String>,
    is_whole: impl Fn() -> Result<bool, OpenError>,
) -> Result<Option<String>, OpenError> {
    let Found {
        fault,
        lost,
        unsure,
    } = inspect(path, logs)?;
    let mut reason = None;
    if let Some(index) = lost {
        reason = Some(behind_lost(&logs[index]));
        put_all_aside(path, &logs.split_off(index))?;
    }
    end_hole(path, fault.as_ref())?;
    if let Some(index) = unsure
        && !is_whole()?
    {
        reason = Some(behind_lost(&logs[index]));
        // Whatever comes between: what is opened without them is compared.
        let_be_checked(path)?;
        let later = logs.split_off(index);
        let aside = put_all_aside(path, &later)?;
        if !is_whole()? {
            for (file, aside) in later.iter().zip(aside) {
                take_back(path, &aside, file)?;
            }
            return Err(OpenError::Damaged {
                file: path.join(&later[0]),
                reason: "neither with it nor without it is there a state".to_owned(),
            });
        }
    }
    Ok(reason.or(fault.map(|(log, fault)| format!("{log}: {fault}"))))
}

fn behind_lost(log: &str) -> String {
    format!("{log} begins behind writes that are lost")
}

/// Puts files aside; under which names.
fn put_all_aside(path: &Path, logs: &[String]) -> Result<Vec<String>, OpenError> {
    logs.iter().map(|log| put_aside(path, log)).collect()
}

/// RocksDB may go on behind what it takes for padding.
fn end_hole(path: &Path, fault: Option<&(String, Fault)>) -> Result<(), OpenError> {
    match fault {
        Some((log, Fault::Hole { at } | Fault::Length { at })) => cut_off(path, log, *at),
        _ => Ok(()),
    }
}
