//! Power cuts: what may be on the disk when the power fails after any file operation of a run.
//!
//! A run is watched, operation by operation. What was written to a file and not synced since may be there, or not, or
//! up to some byte; of a write-ahead log also some sectors and others not, which is more than file systems with ordered
//! data do. Names given, changed and removed in the folder and not synced since are there up to some point, as file
//! systems with a journal have it. Syncing a file does not keep its name.
//!
//! Cost: the bytes of a run, in memory, once for each cut.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use slackwater_tests::random::Random;

use super::{
    chain::{Knowledge, Mark},
    layer::{Answer, Event, FileId, Kind, Watch},
};

/// A sector, which is written whole or not at all.
const SECTOR: usize = 512;

/// What happened, in order.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    File(Event),
    Mark(Mark),
}

/// Keeps what happens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    pub(crate) fn push(&self, entry: Entry) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watch for Journal {
    fn asked(&mut self, _kind: Kind, _bytes: usize) -> Answer {
        Answer::Do
    }

    fn told(&mut self, event: Event) {
        self.push(Entry::File(event));
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A file: what is on the disk for certain, and what was done since.
#[derive(Debug, Clone, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Set(PathBuf, FileId),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// A folder on a disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<FileId, File>,
    names: BTreeMap<PathBuf, FileId>,
    pending: Vec<Naming>,
    /// Names of files end so whose syncs are lost.
    lies: Option<&'static str>,
}

impl Disk {
    /// The disk when the power fails behind these entries, and what was known by then. Files whose names end with
    /// `lies` are not synced even when that is asked for.
    pub(crate) fn behind(entries: &[Entry], lies: Option<&'static str>) -> (Self, Knowledge) {
        let mut disk = Self {
            lies,
            ..Self::default()
        };
        let mut known = Knowledge::default();
        for entry in entries {
            match entry {
                Entry::Mark(mark) => known.hear(*mark),
                Entry::File(event) => disk.happen(event),
            }
        }
        (disk, known)
    }

    fn happen(&mut self, event: &Event) {
        match event.clone() {
            Event::Created { file, path } => {
                self.files.insert(file, File::default());
                self.pending.push(Naming::Set(path, file));
            }
            Event::Written { file, at, bytes } => self.change(file, Change::Write { at, bytes }),
            Event::Truncated { file, length } => self.change(file, Change::Length(length)),
            Event::Synced { file } => {
                if !self.lies_about(file)
                    && let Some(file) = self.files.get_mut(&file)
                {
                    for change in std::mem::take(&mut file.pending) {
                        apply(&mut file.synced, &change);
                    }
                }
            }
            Event::FolderSynced => {
                for naming in std::mem::take(&mut self.pending) {
                    name(&mut self.names, naming);
                }
            }
            Event::Renamed { from, to } => self.pending.push(Naming::Rename(from, to)),
            Event::Linked { from, to } => {
                if let Some(file) = self.newest_names().get(&from) {
                    self.pending.push(Naming::Set(to, *file));
                }
            }
            Event::Removed { path } => self.pending.push(Naming::Remove(path)),
        }
    }

    fn change(&mut self, file: FileId, change: Change) {
        self.files.entry(file).or_default().pending.push(change);
    }

    fn newest_names(&self) -> BTreeMap<PathBuf, FileId> {
        let mut names = self.names.clone();
        for naming in self.pending.clone() {
            name(&mut names, naming);
        }
        names
    }

    fn lies_about(&self, file: FileId) -> bool {
        let Some(end) = self.lies else {
            return false;
        };
        let names = self.newest_names();
        let mut names = names.iter().filter(|(_, named)| **named == file);
        names.any(|(path, _)| path.to_string_lossy().ends_with(end))
    }

    /// Writes what is left of it to a folder that is empty.
    pub(crate) fn fail(mut self, folder: &Path, random: &mut Random) -> io::Result<()> {
        let kept = random.index(self.pending.len() + 1);
        for naming in self.pending.drain(..kept) {
            name(&mut self.names, naming);
        }
        for (path, file) in &self.names {
            let Some(name) = path.file_name() else {
                continue;
            };
            let file = self.files.get(file).cloned().unwrap_or_default();
            let is_log = path.extension().is_some_and(|end| end == "log");
            fs::write(folder.join(name), file.left(is_log, random))?;
        }
        Ok(())
    }
}

impl File {
    /// What may be left of it.
    fn left(self, in_sectors: bool, random: &mut Random) -> Vec<u8> {
        let Self {
            mut synced,
            pending,
        } = self;
        match random.below(if in_sectors { 4 } else { 3 }) {
            0 => {}
            1 => pending.iter().for_each(|change| apply(&mut synced, change)),
            2 => {
                let whole = random.index(pending.len() + 1);
                pending[..whole]
                    .iter()
                    .for_each(|change| apply(&mut synced, change));
                if let Some(Change::Write { at, bytes }) = pending.get(whole) {
                    let bytes = bytes[..random.index(bytes.len() + 1)].to_vec();
                    apply(&mut synced, &Change::Write { at: *at, bytes });
                }
            }
            _ => pending
                .iter()
                .for_each(|change| apply_some(&mut synced, change, random)),
        }
        synced
    }
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            let end = at + bytes.len();
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[*at..end].copy_from_slice(bytes);
        }
        Change::Length(length) => contents.resize(*length, 0),
    }
}

/// Some sectors of a write are there, and zeros where others should be.
fn apply_some(contents: &mut Vec<u8>, change: &Change, random: &mut Random) {
    let Change::Write { at, bytes } = change else {
        return apply(contents, change);
    };
    let mut done = 0;
    while done < bytes.len() {
        let sector = SECTOR - (at + done) % SECTOR;
        let end = bytes.len().min(done + sector);
        if random.below(2) == 0 {
            let bytes = bytes[done..end].to_vec();
            apply(
                contents,
                &Change::Write {
                    at: at + done,
                    bytes,
                },
            );
        }
        done = end;
    }
}

fn name(names: &mut BTreeMap<PathBuf, FileId>, naming: Naming) {
    match naming {
        Naming::Set(path, file) => {
            names.insert(path, file);
        }
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
        Naming::Remove(path) => {
            names.remove(&path);
        }
    }
}
