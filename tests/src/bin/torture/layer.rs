//! The file operations of this process: RocksDB's and our own go through the functions of the C library that are
//! defined here, which a program's own definitions come before. They ask a [`Watch`] whether an operation is done,
//! fails, or is the last one of the process, and tell it what was done.
//!
//! Invariants: without a watch, and outside of the folder that is watched, they are the system calls and nothing else.
//! With one, operations are done one at a time, so that the order told is the order in which they happened.

use std::{
    collections::HashMap,
    ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use libc::{off_t, size_t, ssize_t};

/// A file, whatever its name is by now.
pub(crate) type FileId = usize;

/// An operation that was done.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Created {
        file: FileId,
        path: PathBuf,
    },
    Written {
        file: FileId,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        file: FileId,
        length: usize,
    },
    Synced {
        file: FileId,
    },
    FolderSynced,
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Linked {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
}

/// What kind of operation is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Create,
    Write,
    Sync,
    Other,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Do,
    /// It fails with this error number.
    Fail(c_int),
    /// The process is killed before it, or in the middle of it if it writes.
    Die,
}

/// Who is asked and told.
pub(crate) trait Watch: Send {
    /// What becomes of an operation on `bytes` bytes.
    fn asked(&mut self, kind: Kind, bytes: usize) -> Answer;
    /// It was done.
    fn told(&mut self, event: Event);
}

struct Layer {
    folder: PathBuf,
    watch: Box<dyn Watch>,
    /// Files by name; folders are not among them.
    names: HashMap<PathBuf, FileId>,
    files: FileId,
    open: HashMap<c_int, Open>,
}

#[derive(Clone, Copy)]
enum Open {
    Folder,
    File { file: FileId, position: usize },
}

static ARMED: AtomicBool = AtomicBool::new(false);
static LAYER: Mutex<Option<Layer>> = Mutex::new(None);

/// Watches the files of a folder that is empty, or whose files have not been opened.
pub(crate) fn watch(folder: &Path, watch: Box<dyn Watch>) {
    *lock() = Some(Layer {
        folder: folder.to_owned(),
        watch,
        names: HashMap::new(),
        files: 0,
        open: HashMap::new(),
    });
    ARMED.store(true, Ordering::SeqCst);
}

/// Ends it.
pub(crate) fn unwatch() {
    ARMED.store(false, Ordering::SeqCst);
    *lock() = None;
}

fn lock() -> MutexGuard<'static, Option<Layer>> {
    LAYER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills this process as `kill -9` does.
pub(crate) fn die() -> ! {
    // SAFETY: sends a signal to this process; no memory is involved.
    unsafe { libc::raise(libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

fn fail(error: c_int) -> c_int {
    // SAFETY: the location of this thread's error number is always valid.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else writes it.
    unsafe { *place = error };
    -1
}

impl Layer {
    fn is_within(&self, path: &Path) -> bool {
        path.starts_with(&self.folder)
    }

    fn file(&mut self, path: &Path) -> FileId {
        let (files, names) = (&mut self.files, &mut self.names);
        *names.entry(path.to_owned()).or_insert_with(|| {
            *files += 1;
            *files
        })
    }

    /// Asks; `Some` if the operation is not to be done.
    fn refused(&mut self, kind: Kind, bytes: usize) -> Option<c_int> {
        match self.watch.asked(kind, bytes) {
            Answer::Do => None,
            Answer::Fail(error) => Some(fail(error)),
            Answer::Die => die(),
        }
    }

    fn opened(&mut self, path: PathBuf, flags: c_int, existed: bool, fd: c_int) {
        if flags & libc::O_DIRECTORY != 0 || path.is_dir() {
            self.open.insert(fd, Open::Folder);
            return;
        }
        let file = self.file(&path);
        let length = std::fs::metadata(&path).map_or(0, |it| it.len());
        let at_end = flags & libc::O_APPEND != 0;
        let position = if at_end { length } else { 0 };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        self.open.insert(fd, Open::File { file, position });
        if !existed {
            self.watch.told(Event::Created { file, path });
        } else if flags & libc::O_TRUNC != 0 {
            self.watch.told(Event::Truncated { file, length: 0 });
        }
    }

    fn written(&mut self, fd: c_int, at: Option<usize>, bytes: &[u8]) {
        let Some(Open::File { file, position }) = self.open.get_mut(&fd) else {
            return;
        };
        let (file, start) = (*file, at.unwrap_or(*position));
        if at.is_none() {
            *position += bytes.len();
        }
        let bytes = bytes.to_vec();
        let event = Event::Written {
            file,
            at: start,
            bytes,
        };
        self.watch.told(event);
    }

    fn removed(&mut self, path: PathBuf) {
        if self.names.remove(&path).is_some() {
            self.watch.told(Event::Removed { path });
        }
    }

    fn renamed(&mut self, from: PathBuf, to: PathBuf) {
        if let Some(file) = self.names.remove(&from) {
            self.names.insert(to.clone(), file);
            self.watch.told(Event::Renamed { from, to });
        }
    }

    fn linked(&mut self, from: PathBuf, to: PathBuf) {
        if self.is_within(&to)
            && let Some(file) = self.names.get(&from).copied()
        {
            self.names.insert(to.clone(), file);
            self.watch.told(Event::Linked { from, to });
        }
    }
}

/// The layer, if there is one, and the path is within its folder.
fn watched(path: &Path) -> Option<MutexGuard<'static, Option<Layer>>> {
    if !ARMED.load(Ordering::SeqCst) {
        return None;
    }
    let guard = lock();
    let within = guard.as_ref().is_some_and(|layer| layer.is_within(path));
    within.then_some(guard)
}

/// The layer, if there is one, and the descriptor is one of its folder.
fn watched_open(fd: c_int) -> Option<(MutexGuard<'static, Option<Layer>>, Open)> {
    if !ARMED.load(Ordering::SeqCst) {
        return None;
    }
    let guard = lock();
    let open = guard.as_ref()?.open.get(&fd).copied()?;
    Some((guard, open))
}

/// The path a caller of the C library gives.
///
/// # Safety
/// It must be a string that ends with a zero byte.
unsafe fn path_of(path: *const c_char) -> PathBuf {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// Does what the system does, if it is not refused, and tells the layer.
fn asked(
    mut guard: MutexGuard<'static, Option<Layer>>,
    system: impl FnOnce() -> c_int,
    done: impl FnOnce(&mut Layer),
) -> c_int {
    let Some(layer) = guard.as_mut() else {
        return system();
    };
    if let Some(refusal) = layer.refused(Kind::Other, 0) {
        return refusal;
    }
    let answer = system();
    if answer == 0 {
        done(layer);
    }
    answer
}

/// What a system call that answers with a small number answered.
fn small(answer: i64) -> c_int {
    c_int::try_from(answer).unwrap_or(-1)
}

/// # Safety
/// As the C library's `open`.
unsafe fn open_file(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let system = || {
        // SAFETY: the caller's arguments, as they came.
        small(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) })
    };
    // SAFETY: the caller gives a string.
    let name = unsafe { path_of(path) };
    let Some(mut guard) = watched(&name) else {
        return system();
    };
    let Some(layer) = guard.as_mut() else {
        return system();
    };
    let existed = name.exists();
    let creates = flags & libc::O_CREAT != 0 && !existed;
    let kind = if creates { Kind::Create } else { Kind::Other };
    if let Some(refusal) = layer.refused(kind, 0) {
        return refusal;
    }
    let fd = system();
    if fd >= 0 {
        layer.opened(name, flags, existed, fd);
    }
    fd
}

/// # Safety
/// As the C library's `open`, whose third argument comes in the same register whether it is declared or not.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_file(path, flags, mode) }
}

/// # Safety
/// As [`open`].
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_file(path, flags, mode) }
}

/// # Safety
/// As the C library's `close`.
#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut watched = watched_open(fd);
    if let Some((Some(layer), _)) = watched.as_mut().map(|(guard, open)| (guard.as_mut(), open)) {
        layer.open.remove(&fd);
    }
    // SAFETY: the caller's argument.
    small(unsafe { libc::syscall(libc::SYS_close, fd) })
}

/// # Safety
/// As the C library's `write` and `pwrite`.
unsafe fn write_file(fd: c_int, bytes: *const c_void, count: size_t, at: Option<off_t>) -> ssize_t {
    let system = |count: size_t| {
        let answer = match at {
            // SAFETY: the caller's arguments; no more bytes than it gives.
            None => unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) },
            // SAFETY: as above.
            Some(at) => unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at) },
        };
        ssize_t::try_from(answer).unwrap_or(-1)
    };
    let Some((mut guard, _open)) = watched_open(fd) else {
        return system(count);
    };
    let Some(layer) = guard.as_mut() else {
        return system(count);
    };
    match layer.watch.asked(Kind::Write, count) {
        Answer::Do => {}
        Answer::Fail(error) => return ssize_t::try_from(fail(error)).unwrap_or(-1),
        Answer::Die => {
            system(count / 2);
            die();
        }
    }
    let written = system(count);
    if let Ok(written) = usize::try_from(written) {
        // SAFETY: the caller gives `count` bytes, and no more than that were written.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), written) };
        let at = at.and_then(|at| usize::try_from(at).ok());
        layer.written(fd, at, bytes);
    }
    written
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { write_file(fd, bytes, count, None) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { write_file(fd, bytes, count, Some(at)) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread(fd: c_int, bytes: *mut c_void, count: size_t, at: off_t) -> ssize_t {
    if let Some((mut guard, _open)) = watched_open(fd)
        && let Some(layer) = guard.as_mut()
        && let Some(refusal) = layer.refused(Kind::Read, count)
    {
        return ssize_t::try_from(refusal).unwrap_or(-1);
    }
    // SAFETY: the caller's arguments, as they came.
    let answer = unsafe { libc::syscall(libc::SYS_pread64, fd, bytes, count, at) };
    ssize_t::try_from(answer).unwrap_or(-1)
}

fn sync_file(fd: c_int, call: libc::c_long) -> c_int {
    let system = || {
        // SAFETY: takes a descriptor only.
        small(unsafe { libc::syscall(call, fd) })
    };
    let Some((mut guard, open)) = watched_open(fd) else {
        return system();
    };
    let Some(layer) = guard.as_mut() else {
        return system();
    };
    if let Some(refusal) = layer.refused(Kind::Sync, 0) {
        return refusal;
    }
    // Whoever watches simulates what reaches the disk, so nothing has to.
    layer.watch.told(match open {
        Open::Folder => Event::FolderSynced,
        Open::File { file, .. } => Event::Synced { file },
    });
    0
}

/// Takes a descriptor only.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync_file(fd, libc::SYS_fsync)
}

/// Takes a descriptor only.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync_file(fd, libc::SYS_fdatasync)
}

fn truncate_file(fd: c_int, length: off_t) -> c_int {
    let system = || {
        // SAFETY: takes a descriptor and a number.
        small(unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) })
    };
    let Some((guard, open)) = watched_open(fd) else {
        return system();
    };
    asked(guard, system, |layer| {
        if let (Open::File { file, .. }, Ok(length)) = (open, usize::try_from(length)) {
            layer.watch.told(Event::Truncated { file, length });
        }
    })
}

/// Takes a descriptor and a number.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    truncate_file(fd, length)
}

/// Takes a descriptor and a number.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    truncate_file(fd, length)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let system = || {
        // SAFETY: the caller's argument.
        small(unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) })
    };
    // SAFETY: the caller gives a string.
    let name = unsafe { path_of(path) };
    let Some(guard) = watched(&name) else {
        return system();
    };
    asked(guard, system, |layer| layer.removed(name))
}

/// A system call that gives a file another name.
///
/// # Safety
/// Both must be strings that end with a zero byte.
unsafe fn name_file(
    from: *const c_char,
    to: *const c_char,
    system: impl Fn() -> c_int,
    done: fn(&mut Layer, PathBuf, PathBuf),
) -> c_int {
    // SAFETY: the caller's promise.
    let (old, new) = (unsafe { path_of(from) }, unsafe { path_of(to) });
    let Some(guard) = watched(&old) else {
        return system();
    };
    asked(guard, system, |layer| done(layer, old, new))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let folder = libc::AT_FDCWD;
    let system = || {
        // SAFETY: the caller's arguments.
        small(unsafe { libc::syscall(libc::SYS_renameat2, folder, from, folder, to, 0) })
    };
    // SAFETY: the caller gives strings.
    unsafe { name_file(from, to, system, Layer::renamed) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    let folder = libc::AT_FDCWD;
    let system = || {
        // SAFETY: the caller's arguments.
        small(unsafe { libc::syscall(libc::SYS_linkat, folder, from, folder, to, 0) })
    };
    // SAFETY: the caller gives strings.
    unsafe { name_file(from, to, system, Layer::linked) }
}
