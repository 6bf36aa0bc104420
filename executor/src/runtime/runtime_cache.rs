//! Compiled code on disk, so that a process which starts again need not compile.
//!
//! A file holds one form of one runtime, under a name that everything it depends on goes into. Invariant: what is given out
//! is byte for byte what was stored under that name; a file of which that is not so is removed, and counts as absent. Files
//! appear whole, by a rename. The folder belongs to this user and nobody else may enter it, else it is refused, when it
//! is opened and whenever something is taken from it; it is opened once, so that another in its place is never met. Cost: a
//! hash of the file, at some GB/s.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use blake2b_simd::blake2bp::Params;
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps, UTIME_NOW, fstat, futimens, mkdir,
        open, openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::{geteuid, getpid},
};
use sp_core::H256;
use thiserror::Error;

use crate::metrics;

/// Bytes that all files may have together, by default: 1 GiB, some twenty large runtimes.
pub const CACHE_BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// What a file begins with.
const MAGIC: &[u8; 8] = b"slackwcc";
/// How a file is laid out. Raised with every change.
const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 32;
/// Magic, version, key, length of what follows, checksum over all but itself.
const HEAD_BYTES: usize = 8 + 4 + 32 + 8 + CHECKSUM_BYTES;
/// What names of files end with.
const SUFFIX: &str = ".code";
const TEMPORARY: &str = ".new";
/// Names of half written files that are tried before giving up.
const NAMES_TRIED: u32 = 1_000;
/// How old a file is that nobody finishes any more.
const STALE: Duration = Duration::from_secs(3_600);

/// Where compiled code is kept between processes.
///
/// Code is written before the first who asked for it has it, so a folder on a disk that hangs makes those wait who want this
/// runtime.
///
/// ```
/// use slackwater_executor::{ExecutorConfig, runtime::RuntimeCacheConfig};
/// let cache = RuntimeCacheConfig::new("/var/lib/node/runtimes").with_bytes_max(256 << 20);
/// let config = ExecutorConfig::default().with_runtime_cache(cache);
/// assert!(config.runtime_cache.is_some());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeCacheConfig {
    /// The folder, which is made if it is not there. It must belong to the user of the process, and give nobody else any
    /// right: what is in it is run.
    pub folder: PathBuf,
    /// Bytes that all files may have together. Default: [`CACHE_BYTES_MAX_DEFAULT`]. What was used longest ago goes first. One that
    /// is being written comes on top.
    pub bytes_max: u64,
    /// A secret that the checksum of every file is made with, so that only who knows it can write one that is taken.
    /// Default: none, and the checksum tells accidents only.
    pub key: Option<[u8; 32]>,
}

impl RuntimeCacheConfig {
    /// A cache in `folder` with the defaults.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: CACHE_BYTES_MAX_DEFAULT,
            key: None,
        }
    }

    /// Sets [`Self::bytes_max`].
    #[must_use]
    pub fn with_bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets [`Self::key`].
    #[must_use]
    pub fn with_key(mut self, key: [u8; 32]) -> Self {
        self.key = Some(key);
        self
    }
}

impl fmt::Debug for RuntimeCacheConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RuntimeCacheConfig")
            .field("folder", &self.folder)
            .field("bytes_max", &self.bytes_max)
            .field("keyed", &self.key.is_some())
            .finish()
    }
}

/// Why a folder cannot hold compiled code.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuntimeCacheError {
    /// It cannot be made, opened or looked at.
    #[error("the folder {} for compiled code cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is somebody else's.
    #[error(
        "the folder {} for compiled code belongs to user {owner}, not to {user}, who runs this: what is in it would be run",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this is.
        user: u32,
    },
    /// Others may enter it.
    #[error(
        "the folder {0} for compiled code has the mode {mode:o}, so others may enter it: what is in it is run; do `chmod 700 {0}`",
        path.display()
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// What has become of compiled code on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RuntimeCacheCounts {
    /// Asked for and found.
    pub hits: u64,
    /// Asked for and not there.
    pub misses: u64,
    /// Found, but damaged, foreign or made for something else: removed, and compiled anew.
    pub refused: u64,
    /// Written.
    pub stored: u64,
    /// Removed because there was too much.
    pub evicted: u64,
}

/// Why a file is not taken.
#[derive(Debug, PartialEq, Eq, Error)]
enum Refused {
    #[error("it is not a file of this user's that only they may write to")]
    NotOurs,
    #[error("it does not begin as such files do")]
    Foreign,
    #[error("it is of version {0}, not {VERSION}")]
    Version(u32),
    #[error("it holds something else than its name says")]
    Key,
    #[error("its length is not what it says")]
    Length,
    #[error("its checksum is not that of what it holds")]
    Checksum,
}

/// Why there is nothing to be had under a name.
enum NotTaken {
    /// There is no file.
    Absent,
    /// There is one that must not be used.
    Refused(Refused),
    /// There may be one, which cannot be read now.
    Unreadable(io::Error),
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Refused::Length.into(),
            // A folder has that name.
            io::ErrorKind::IsADirectory => Refused::NotOurs.into(),
            _ => Self::Unreadable(error),
        }
    }
}

impl From<Errno> for NotTaken {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Absent,
            // A link.
            Errno::LOOP => Refused::NotOurs.into(),
            errno => Self::Unreadable(errno.into()),
        }
    }
}

/// A folder of compiled code.
pub(crate) struct RuntimeCache {
    config: RuntimeCacheConfig,
    folder: OwnedFd,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
    stored: AtomicU64,
    evicted: AtomicU64,
}

impl RuntimeCache {
    /// Opens the folder, which is made if it is not there.
    pub(crate) fn open(config: &RuntimeCacheConfig) -> Result<Self, RuntimeCacheError> {
        let path = &config.folder;
        let failed = |errno: Errno| RuntimeCacheError::Folder {
            path: path.clone(),
            source: errno.into(),
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| RuntimeCacheError::Folder {
                path: path.clone(),
                source,
            })?;
        }
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(failed)?;
        let cache = Self {
            config: config.clone(),
            folder,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        };
        cache.check_private()?;
        cache.clear_up(None);
        Ok(cache)
    }

    /// Whether the folder is this user's alone, still.
    fn check_private(&self) -> Result<(), RuntimeCacheError> {
        let path = &self.config.folder;
        let stat = fstat(&self.folder).map_err(|errno| RuntimeCacheError::Folder {
            path: path.clone(),
            source: errno.into(),
        })?;
        let user = geteuid().as_raw();
        if stat.st_uid != user {
            return Err(RuntimeCacheError::Foreign {
                path: path.clone(),
                owner: stat.st_uid,
                user,
            });
        }
        let mode = stat.st_mode & 0o777;
        if mode & 0o077 != 0 {
            return Err(RuntimeCacheError::NotPrivate {
                path: path.clone(),
                mode,
            });
        }
        Ok(())
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> RuntimeCacheCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RuntimeCacheCounts {
            hits: read(&self.hits),
            misses: read(&self.misses),
            refused: read(&self.refused),
            stored: read(&self.stored),
            evicted: read(&self.evicted),
        }
    }

    /// What was stored under `key`, whole; `None` if nothing was, or it is not whole any more, or cannot be read now.
    pub(super) fn load(&self, key: H256) -> Option<Vec<u8>> {
        if let Err(error) = self.check_private() {
            log::warn!(target: "slackwater::runtime", "compiled code on disk is not used: {error}");
            self.missed();
            return None;
        }
        let name = name(key);
        match self.read(&name, key) {
            Ok(bytes) => return Some(bytes),
            Err(NotTaken::Absent) => self.missed(),
            Err(NotTaken::Refused(why)) => self.refuse(key, &why),
            Err(NotTaken::Unreadable(error)) => {
                log::warn!(
                    target: "slackwater::runtime",
                    "compiled code in {} cannot be read, and is made anew: {error}",
                    self.config.folder.join(&name).display()
                );
                self.missed();
            }
        }
        None
    }

    /// What was loaded last is in use.
    pub(super) fn used(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        metrics::cached("hit");
    }

    fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        metrics::cached("miss");
    }

    /// Removes what is stored under `key`, which cannot be used.
    pub(super) fn refuse(&self, key: H256, why: &dyn fmt::Display) {
        let name = name(key);
        log::warn!(
            target: "slackwater::runtime",
            "compiled code in {} is not used, and made anew: {why}",
            self.config.folder.join(&name).display()
        );
        self.refused.fetch_add(1, Ordering::Relaxed);
        metrics::cached("refused");
        let _absent_then = unlinkat(&self.folder, &name, AtFlags::empty());
    }

    fn read(&self, name: &str, key: H256) -> Result<Vec<u8>, NotTaken> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.folder, name, flags, Mode::empty())?);
        let stat = fstat(&file)?;
        if !is_ours(&stat) {
            return Err(Refused::NotOurs.into());
        }
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let bytes = self.checked(&file, length, key)?;
        // What is used last goes last. If that cannot be noted, it goes sooner.
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let _sooner_then = futimens(
            &file,
            &Timestamps {
                last_access: now,
                last_modification: now,
            },
        );
        Ok(bytes)
    }

    /// Reads a file of that length that is to hold what is named `key`.
    fn checked(&self, mut file: &File, length: u64, key: H256) -> Result<Vec<u8>, NotTaken> {
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head)?;
        let (magic, rest) = split::<8>(&head)?;
        let (version, rest) = split::<4>(rest)?;
        let (found_key, rest) = split::<32>(rest)?;
        let (found_length, checksum) = split::<8>(rest)?;
        if magic != MAGIC {
            return Err(Refused::Foreign.into());
        }
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(Refused::Version(version).into());
        }
        if *found_key != key.0 {
            return Err(Refused::Key.into());
        }
        let found_length = u64::from_le_bytes(*found_length);
        if found_length.checked_add(HEAD_BYTES as u64) != Some(length)
            || length > self.config.bytes_max
        {
            return Err(Refused::Length.into());
        }
        let capacity = usize::try_from(found_length).map_err(|_too_large| Refused::Length)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(capacity)
            .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
        let mut rest = file.take(found_length.saturating_add(1));
        rest.read_to_end(&mut bytes)?;
        if bytes.len() != capacity {
            return Err(Refused::Length.into());
        }
        // `blake2b_simd` compares in constant time.
        if self.checksum(key, &bytes) != *checksum {
            return Err(Refused::Checksum.into());
        }
        Ok(bytes)
    }

    fn checksum(&self, key: H256, bytes: &[u8]) -> blake2b_simd::Hash {
        let mut params = Params::new();
        params.hash_length(CHECKSUM_BYTES);
        if let Some(secret) = &self.config.key {
            params.key(secret);
        }
        let mut state = params.to_state();
        state.update(MAGIC);
        state.update(&VERSION.to_le_bytes());
        state.update(&key.0);
        state.update(&(bytes.len() as u64).to_le_bytes());
        state.update(bytes);
        state.finalize()
    }

    /// Keeps `bytes` under `key`. Where that fails, the next process compiles again.
    pub(super) fn store(&self, key: H256, bytes: &[u8]) {
        let size = (bytes.len() as u64).saturating_add(HEAD_BYTES as u64);
        if size > self.config.bytes_max {
            log::info!(
                target: "slackwater::runtime",
                "compiled code of {size} bytes is not kept: the cache may have {}",
                self.config.bytes_max
            );
            return;
        }
        let name = name(key);
        match self.write(&name, key, bytes) {
            Ok(()) => {
                self.stored.fetch_add(1, Ordering::Relaxed);
                metrics::cached("stored");
            }
            Err(error) => self.warn("not kept", &error),
        }
        self.clear_up(Some(&name));
    }

    /// Removes what is too much, but never `kept`.
    fn clear_up(&self, kept: Option<&str>) {
        if let Err(error) = self.evict(kept) {
            self.warn("not cleared up", &error);
        }
    }

    fn warn(&self, what: &str, error: &io::Error) {
        log::warn!(
            target: "slackwater::runtime",
            "compiled code is {what} in {}: {error}",
            self.config.folder.display()
        );
    }

    fn write(&self, name: &str, key: H256, bytes: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = self.create(name)?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&key.0);
        head.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        head.extend_from_slice(self.checksum(key, bytes).as_bytes());
        let written = file
            .write_all(&head)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| Ok(renameat(&self.folder, &temporary, &self.folder, name)?));
        if written.is_err() {
            let _left_over_then = unlinkat(&self.folder, &temporary, AtFlags::empty());
        }
        written
    }

    /// A file for what will be called `name`. Numbers begin anew with every process, and in a container all have the same
    /// identifier: what one that was killed left must not be in the way.
    fn create(&self, name: &str) -> io::Result<(String, File)> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let process = getpid().as_raw_nonzero();
        for _ in 0..NAMES_TRIED {
            let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
            let temporary = format!("{name}.{process}-{number}{TEMPORARY}");
            match openat(&self.folder, &temporary, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((temporary, file.into())),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Removes what was used longest ago until there is not too much, but never `kept`; and what was left half written.
    fn evict(&self, kept: Option<&str>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if !name.ends_with(SUFFIX) && !name.ends_with(TEMPORARY) {
                continue;
            }
            // It may be gone by now: another process clears up too.
            let Ok(stat) = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let used = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            if name.ends_with(TEMPORARY) {
                let age = SystemTime::UNIX_EPOCH
                    .checked_add(used)
                    .and_then(|used| used.elapsed().ok());
                if age.is_some_and(|age| age > STALE) {
                    let _gone_then = unlinkat(&self.folder, name, AtFlags::empty());
                }
                continue;
            }
            let nanoseconds = stat.st_mtime_nsec;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            files.push(((used, nanoseconds), size, name.to_owned()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        let others = files
            .iter()
            .filter(|(_, _, name)| Some(name.as_str()) != kept);
        for (_, size, name) in others {
            if total <= self.config.bytes_max {
                break;
            }
            total -= size;
            match unlinkat(&self.folder, name.as_str(), AtFlags::empty()) {
                Ok(()) => {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                    metrics::cached("evicted");
                }
                // Another process clears up too.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

fn name(key: H256) -> String {
    format!("{key:x}{SUFFIX}")
}

/// Whether a file is this user's, and nobody else may write to it.
fn is_ours(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == geteuid().as_raw()
        && stat.st_mode & 0o022 == 0
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Refused> {
    bytes.split_first_chunk().ok_or(Refused::Length)
}

#[cfg(test)]
mod tests;
