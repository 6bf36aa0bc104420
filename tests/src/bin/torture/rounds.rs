//! Rounds of torture: a process or the power is ended, and what is left is judged.
//!
//! Rounds come in series, each on a database of its own, so that a series that went wrong can be repeated by itself.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use slackwater_executor::state::Durability;
use slackwater_tests::random::Random;
use thiserror::Error;

use super::{
    chain::Knowledge,
    child::{Ending, FAILPOINTS, config, of_line},
    cut::{Disk, Entry, Journal},
    layer,
    verdict::{Expected, judge},
    work::{Work, WorkError},
};

/// Rounds on one database.
pub(crate) const SERIES: u64 = 25;
/// Most that a process does before something it may never come to, or that may do no harm.
const STEPS: u64 = 24;
/// More than any process does before it is killed.
const ENDLESS: u64 = 1 << 40;
/// The last line of a process begins so.
const END: &str = "end ";
/// Names of the log's files end so.
const LOG: &str = ".log";

/// A fault that is planted, to see it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plant {
    /// The log is never synced.
    MissingFsync,
    /// A value is removed behind some kills.
    LostValue,
}

/// What a round showed.
#[derive(Debug)]
pub(crate) enum Shown {
    /// All is whole.
    Whole,
    /// The same, but nothing befell the process, which came to its end.
    Nothing,
    /// Something is not, or a promise is broken.
    Torn(String),
}

/// The torture itself does not work.
#[derive(Debug, Error)]
pub(crate) enum RoundError {
    /// A file of its own, or a process.
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
    /// Nothing was to go wrong, and something did.
    #[error("undisturbed work failed: {0}")]
    Work(#[from] WorkError),
    /// The database cannot be changed to plant a fault.
    #[error("planting: {0}")]
    Plant(#[from] rocksdb::Error),
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> RoundError {
    move |source| RoundError::Io { what, source }
}

/// A folder for the databases of a series.
fn series_folder() -> Result<tempfile::TempDir, RoundError> {
    tempfile::Builder::new()
        .prefix("torture")
        .tempdir()
        .map_err(io_error("a temporary folder"))
}

/// One of the ends by which a process is killed.
fn killing(random: &mut Random) -> Ending {
    match random.below(8) {
        0 | 1 => Ending::None,
        2 => Ending::Failpoint(random.index(FAILPOINTS.len()), random.below(12)),
        _ => Ending::Operation(drawn(random)),
    }
}

/// One of the faults of a disk.
fn failing(random: &mut Random) -> Ending {
    match random.below(3) {
        0 => Ending::Once(drawn(random)),
        1 => Ending::From(drawn(random)),
        _ => Ending::Full(drawn(random) * 300),
    }
}

/// Small numbers as often as large ones.
fn drawn(random: &mut Random) -> u64 {
    let bits = random.below(10);
    random.below(2 << bits)
}

/// Rounds of kills, or of disks that fail, on one database; `shown` is told after each.
pub(crate) fn processes(
    random: &mut Random,
    rounds: u64,
    fails: bool,
    plant: Option<Plant>,
    shown: &mut dyn FnMut(Shown),
) -> Result<(), RoundError> {
    let parent = series_folder()?;
    let folder = parent.path().join("db");
    let buffered = random.below(4) == 0;
    let mut known = Knowledge::default();
    for _ in 0..rounds {
        let ending = if fails {
            failing(random)
        } else {
            killing(random)
        };
        let mut said = process(&folder, random, ending, buffered, &mut known)?;
        // What it leaves is opened by processes that are killed while they do so.
        for _ in 0..random.below(3) {
            if said == End::Befallen {
                let ending = Ending::Operation(random.below(40));
                said = process(&folder, random, ending, buffered, &mut known)?;
            }
        }
        plant_fault(plant, &folder, random)?;
        let judged = match &said {
            End::Broken(broken) => Err(broken.clone()),
            End::Befallen | End::Itself => {
                judge(&folder, config(buffered), &known, Expected::Latest, random)
            }
        };
        match judged {
            Ok(head) => {
                known.settle(head);
                shown(if said == End::Itself {
                    Shown::Nothing
                } else {
                    Shown::Whole
                });
            }
            Err(torn) => {
                shown(Shown::Torn(format!("{ending}: {torn}")));
                // What follows would only say it again.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was killed, or had an error to tell.
    Befallen,
    /// It did all it had to.
    Itself,
    /// It found something broken, or broke itself.
    Broken(String),
}

/// Runs a process until it ends or is killed.
fn process(
    folder: &Path,
    random: &mut Random,
    ending: Ending,
    buffered: bool,
    known: &mut Knowledge,
) -> Result<End, RoundError> {
    let program = std::env::current_exe().map_err(io_error("this program's own path"))?;
    let mut command = Command::new(program);
    command.arg("child").arg("--folder").arg(folder);
    command.arg("--seed").arg(random.draw().to_string());
    let steps = match ending {
        Ending::None | Ending::Operation(_) => ENDLESS,
        Ending::Failpoint(..) | Ending::Once(_) | Ending::From(_) | Ending::Full(_) => {
            1 + random.below(STEPS)
        }
    };
    command.arg("--steps").arg(steps.to_string());
    command.arg("--ending").arg(ending.to_string());
    if buffered {
        command.arg("--buffered");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .map_err(io_error("a process"))?;
    let lines = child.stdout.take();
    let until = Duration::from_micros(random.below(60_000));
    let killer = (ending == Ending::None).then_some(until);
    let mut last = None;
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for line in lines
                .into_iter()
                .flat_map(|lines| BufReader::new(lines).lines())
            {
                let Ok(line) = line else {
                    break;
                };
                match of_line(&line) {
                    Some(mark) => known.hear(mark),
                    None => last = Some(line),
                }
            }
        });
        if let Some(until) = killer {
            thread::sleep(until);
            // It may have ended by itself.
            child.kill().ok();
        }
        let status = child.wait().map_err(io_error("a process"));
        // The reader ends with the process's output, and does not panic.
        reader.join().ok();
        status
    })
    .map(|status| {
        let killed = status.signal() == Some(libc::SIGKILL);
        match last.as_deref().map(|last| last.split_at(END.len())) {
            Some((END, "done")) => End::Itself,
            Some((END, error)) if error.starts_with("error ") => End::Befallen,
            Some((_, broken)) => End::Broken(broken.to_owned()),
            None if killed => End::Befallen,
            None => End::Broken(format!("the process ended with {status}")),
        }
    })
}

/// Plants what is to be planted behind a kill.
fn plant_fault(plant: Option<Plant>, folder: &Path, random: &mut Random) -> Result<(), RoundError> {
    if plant != Some(Plant::LostValue) || random.below(4) > 0 || !folder.join("CURRENT").exists() {
        return Ok(());
    }
    let options = rocksdb::Options::default();
    let columns = rocksdb::DB::list_cf(&options, folder)?;
    let database = rocksdb::DB::open_cf(&options, folder, columns)?;
    let Some(flat) = database.cf_handle("flat") else {
        return Ok(());
    };
    let mut first = database.iterator_cf(flat, rocksdb::IteratorMode::Start);
    if let Some(first) = first.next() {
        database.delete_cf(flat, first?.0)?;
    }
    Ok(())
}

/// A run without disturbance, and so many cuts of the power somewhere in it.
pub(crate) fn power_cuts(
    random: &mut Random,
    cuts: u64,
    plant: Option<Plant>,
    keep: Option<&Path>,
    shown: &mut dyn FnMut(Shown),
) -> Result<(), RoundError> {
    let parent = series_folder()?;
    let folder = parent.path().join("db");
    fs::create_dir(&folder).map_err(io_error("a folder"))?;
    let buffered = random.below(3) == 0;
    let journal = Journal::default();
    layer::watch(&folder, Box::new(journal.clone()));
    let worked = Work {
        folder: &folder,
        config: config(buffered),
        random: Random(random.draw()),
        steps: 60,
        copies: false,
        marks: &mut |mark| journal.push(Entry::Mark(mark)),
    }
    .run();
    layer::unwatch();
    worked?;
    let entries = journal.take();
    let lies = (plant == Some(Plant::MissingFsync)).then_some(LOG);
    let expected = match config(buffered).durability {
        Durability::Sync => Expected::Latest,
        Durability::Buffered => Expected::Earlier,
    };
    for _ in 0..cuts {
        let at = random.index(entries.len() + 1);
        let (disk, known) = Disk::behind(&entries[..at], lies);
        let left = parent.path().join("left");
        fs::remove_dir_all(&left).ok();
        fs::create_dir(&left).map_err(io_error("a folder"))?;
        let kept = keep.map(|keep| keep.join(format!("{:x}-{at}", random.0)));
        disk.fail(&left, random).map_err(io_error("what is left"))?;
        if let Some(kept) = &kept {
            copy(&left, kept).map_err(io_error("what is kept"))?;
        }
        let judged = judge(&left, config(buffered), &known, expected, random);
        shown(match judged {
            Ok(_) => {
                kept.map(fs::remove_dir_all);
                Shown::Whole
            }
            Err(torn) => {
                let durability = config(buffered).durability;
                Shown::Torn(format!("behind operation {at}, {durability:?}: {torn}"))
            }
        });
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
