//! Files for loaders that take a path: one folder for each thread, removed when the thread ends. A process that is killed
//! leaves its folder behind; `scripts/fuzz.sh` gives each a place that it removes.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder can be made");
}

/// The path of a file of this thread.
pub(crate) fn path(name: &str) -> PathBuf {
    FOLDER.with(|folder| folder.path().join(name))
}

/// Writes a file of this thread, and gives its path.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    path
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) {
    // Where there is none, it is gone already.
    let _gone = std::fs::remove_file(path);
}
