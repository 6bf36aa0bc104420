//! The folder a database lives in: whether it is one, somebody else's, one in the making, or one that lacks files.
//!
//! Invariants: while a database is being made a marker stands in its folder, so that what was cut short can be told
//! from somebody else's files; a folder that holds any files is never taken for an empty one.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Seek, SeekFrom},
    path::Path,
};

use super::{
    OpenError,
    record_log::{Fault, Frame, frame},
};

/// The file that marks a folder as a RocksDB database, and names its manifest.
const ROCKSDB_MARKER: &str = "CURRENT";
/// What the names of manifests begin with; there is one in every RocksDB database.
const MANIFEST: &str = "MANIFEST-";
/// The file that stands in the folder while a database is being made.
const CREATION_MARKER: &str = "SLACKWATER_CREATION";
/// The file that stands in the folder until all of the state is checked.
const CHECK_MARKER: &str = "SLACKWATER_CHECK";
/// Names of files that RocksDB must not read end so.
const ASIDE: &str = ".unread";
/// The file that is locked while a database is open: before RocksDB's own lock is taken its files are looked at.
const LOCK: &str = "SLACKWATER_LOCK";
/// What a freshly made file system holds.
const MOUNT_FOLDER: &str = "lost+found";

/// What a folder holds.
pub(super) enum Folder {
    Empty,
    Database,
    /// A database of ours whose creation was cut short.
    Interrupted,
}

/// Makes sure the folder exists and says what it holds.
pub(super) fn inspect_folder(path: &Path) -> Result<Folder, OpenError> {
    fs::create_dir_all(path).map_err(|source| folder_error(path, source))?;
    let names = names(path)?;
    let holds = |wanted: &str| names.iter().any(|name| name == wanted);
    let missing = |file| OpenError::Missing {
        path: path.to_owned(),
        file,
    };
    if holds(CREATION_MARKER) {
        return Ok(Folder::Interrupted);
    }
    if holds(ROCKSDB_MARKER) {
        // An open database always has one, and closing it leaves it there.
        if !names.iter().any(|name| is_log(name)) {
            return Err(missing("the write-ahead log, a file *.log,"));
        }
        return Ok(Folder::Database);
    }
    if names.iter().any(|name| name.starts_with(MANIFEST)) {
        return Err(missing(ROCKSDB_MARKER));
    }
    let is_foreign = |name: &&String| *name != MOUNT_FOLDER && *name != LOCK;
    match names.iter().find(is_foreign) {
        Some(name) => Err(OpenError::Foreign {
            path: path.to_owned(),
            found: format!("other files, such as {name}"),
        }),
        None => Ok(Folder::Empty),
    }
}

/// The files of RocksDB's write-ahead log, the oldest first.
pub(super) fn logs(path: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = names(path)?;
    names.retain(|name| is_log(name));
    // Numbers of more than six digits are longer.
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// Makes this handle the only one that has the database open, until the file is closed.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut options = File::options();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK));
    let file = file.map_err(|source| folder_error(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(folder_error(path, source)),
    }
}

/// Removes what RocksDB does not know of a database that is given up.
pub(super) fn clean(path: &Path) -> Result<(), OpenError> {
    for name in names(path)? {
        if name == CHECK_MARKER || name.ends_with(ASIDE) {
            fs::remove_file(path.join(name)).map_err(|source| folder_error(path, source))?;
        }
    }
    Ok(())
}

/// The frame of one of the folder's files.
pub(super) fn frame_of(path: &Path, file: &str) -> Result<Frame, OpenError> {
    let file = path.join(file);
    frame(&file).map_err(|source| folder_error(&file, source))
}

/// Cuts a file off where RocksDB must not read on; what it held behind is put aside.
pub(super) fn cut_off(path: &Path, file: &str, at: u64) -> Result<(), OpenError> {
    let cut = || {
        let (whole, aside) = (path.join(file), path.join(aside_of(path, file)));
        let mut file = File::options().read(true).write(true).open(whole)?;
        file.seek(SeekFrom::Start(at))?;
        let mut rest = File::create(aside)?;
        io::copy(&mut file, &mut rest)?;
        rest.sync_all()?;
        file.set_len(at)?;
        file.sync_all()
    };
    cut().map_err(|source| folder_error(path, source))
}

/// Puts a file aside that RocksDB must not read; under which name.
pub(super) fn put_aside(path: &Path, file: &str) -> Result<String, OpenError> {
    let aside = aside_of(path, file);
    rename(path, file, &aside)?;
    Ok(aside)
}

/// Gives a file that was put aside its name again.
pub(super) fn take_back(path: &Path, aside: &str, file: &str) -> Result<(), OpenError> {
    rename(path, aside, file)
}

/// A name for what is put aside of a file, which nothing has: RocksDB may give a number again.
fn aside_of(path: &Path, file: &str) -> String {
    let names = (1..).map(|number| format!("{file}.{number}{ASIDE}"));
    let mut names = std::iter::once(format!("{file}{ASIDE}")).chain(names);
    let free = names.find(|name| !path.join(name).exists());
    free.unwrap_or_default()
}

/// Gives a file of the folder another name, durably.
fn rename(path: &Path, from: &str, to: &str) -> Result<(), OpenError> {
    fs::rename(path.join(from), path.join(to))
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|source| folder_error(path, source))
}

/// Makes sure that the manifest is whole. Where it ends within a record, all of the state is to be checked: a marker in
/// the folder says so, for RocksDB writes another manifest when it is opened.
pub(super) fn check_manifest(path: &Path) -> Result<(), OpenError> {
    // What else is wrong with the file that names it, or with there being none, RocksDB says.
    let current = fs::read_to_string(path.join(ROCKSDB_MARKER)).unwrap_or_default();
    let manifest = current.trim_end();
    if !names(path)?.iter().any(|name| name == manifest) {
        return Ok(());
    }
    match frame_of(path, manifest)?.fault {
        Some(fault @ (Fault::Kind { .. } | Fault::Length { .. })) => {
            Err(damaged(path, manifest, &fault))
        }
        Some(Fault::Cut { .. } | Fault::Hole { .. }) => let_be_checked(path),
        None => Ok(()),
    }
}

/// All of the state is to be checked when the database is opened.
pub(super) fn let_be_checked(path: &Path) -> Result<(), OpenError> {
    put_marker(path, CHECK_MARKER).map_err(|source| folder_error(path, source))
}

/// Makes an empty file, durably.
fn put_marker(path: &Path, name: &str) -> io::Result<()> {
    File::create(path.join(name))?.sync_all()?;
    File::open(path)?.sync_all()
}

/// Whether all of the state is to be checked.
pub(super) fn is_to_be_checked(path: &Path) -> bool {
    path.join(CHECK_MARKER).exists()
}

/// It was.
pub(super) fn checked(path: &Path) -> Result<(), OpenError> {
    fs::remove_file(path.join(CHECK_MARKER)).map_err(|source| folder_error(path, source))
}

/// The error of a file with that fault.
pub(super) fn damaged(path: &Path, file: &str, fault: &Fault) -> OpenError {
    OpenError::Damaged {
        file: path.join(file),
        reason: fault.to_string(),
    }
}

/// Whether a file is one of RocksDB's write-ahead log.
fn is_log(name: &str) -> bool {
    let number = name.strip_suffix(".log");
    number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn names(path: &Path) -> Result<Vec<String>, OpenError> {
    let entries = fs::read_dir(path).map_err(|source| folder_error(path, source))?;
    let names = entries.map(|entry| Ok(entry?.file_name().display().to_string()));
    let names = names.collect::<Result<_, _>>();
    names.map_err(|source| folder_error(path, source))
}

/// Marks a folder as one in which a database is being made.
pub(super) fn mark(path: &Path) -> Result<(), OpenError> {
    // The name of the marker, and that of the folder, are kept like what is in them.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    put_marker(path, CREATION_MARKER)
        .and_then(|()| File::open(above.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|source| folder_error(path, source))
}

/// Takes the mark away, durably.
pub(super) fn unmark(path: &Path) -> Result<(), OpenError> {
    fs::remove_file(path.join(CREATION_MARKER))
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|source| folder_error(path, source))
}

fn folder_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        source,
    }
}
