//! The folder a database lives in: whether it is one, somebody else's, or one in the making.
//!
//! Invariant: while a database is being made a marker stands in its folder, so that what was cut short can be told
//! from somebody else's files.

use std::{
    fs::{self, File},
    path::Path,
};

use super::OpenError;

/// The file that marks a folder as a RocksDB database.
pub(super) const ROCKSDB_MARKER: &str = "CURRENT";
/// The file that stands in the folder while a database is being made.
pub(super) const CREATION_MARKER: &str = "SLACKWATER_CREATION";
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
    let folder = |source| folder_error(path, source);
    fs::create_dir_all(path).map_err(folder)?;
    if path.join(CREATION_MARKER).exists() {
        return Ok(Folder::Interrupted);
    }
    if path.join(ROCKSDB_MARKER).exists() {
        return Ok(Folder::Database);
    }
    for entry in fs::read_dir(path).map_err(folder)? {
        let name = entry.map_err(folder)?.file_name();
        if name != MOUNT_FOLDER {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
                found: format!("other files, such as {}", name.display()),
            });
        }
    }
    Ok(Folder::Empty)
}

/// Marks a folder as one in which a database is being made.
pub(super) fn mark(path: &Path) -> Result<(), OpenError> {
    // The name of the marker, and that of the folder, are kept like what is in them.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::create(path.join(CREATION_MARKER))
        .and_then(|file| file.sync_all())
        .and_then(|()| File::open(path)?.sync_all())
        .and_then(|()| File::open(above.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|source| folder_error(path, source))
}

/// Takes the mark away, durably.
pub(super) fn unmark(path: &Path) -> Result<(), OpenError> {
    fs::remove_file(path.join(CREATION_MARKER))
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|source| folder_error(path, source))
}

fn folder_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        source,
    }
}
