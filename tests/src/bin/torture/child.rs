//! The process that works on a database until something ends it, and says beforehand what it does.

use std::{
    io::Write,
    path::PathBuf,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use clap::Args;
use slackwater_executor::state::{DatabaseConfig, Durability, Head};
use slackwater_tests::random::Random;
use sp_core::H256;

use super::{
    chain::{HISTORY_BLOCKS, Mark},
    layer::{self, Answer, Event, Kind, Watch},
    work::{Work, WorkError},
};

/// Where the executor can be stopped by name.
pub(crate) const FAILPOINTS: [&str; 8] = [
    "state::marked",
    "state::made",
    "state::formatted",
    "state::before_write",
    "state::after_write",
    "state::before_settling",
    "state::after_settling",
    "state::between_reverts",
];

/// What ends the process, or befalls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing, or the parent.
    None,
    /// Killed at this file operation.
    Operation(u64),
    /// Killed when it comes to a failpoint for this time.
    Failpoint(usize, u64),
    /// This operation fails.
    Once(u64),
    /// All from this operation on fail.
    From(u64),
    /// The disk is full after so many bytes.
    Full(u64),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => write!(formatter, "none"),
            Self::Operation(at) => write!(formatter, "operation:{at}"),
            Self::Failpoint(name, at) => write!(formatter, "failpoint:{at}:{name}"),
            Self::Once(at) => write!(formatter, "once:{at}"),
            Self::From(at) => write!(formatter, "from:{at}"),
            Self::Full(bytes) => write!(formatter, "full:{bytes}"),
        }
    }
}

impl FromStr for Ending {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        let mut number = || {
            let number = parts.next().ok_or("a number is missing")?;
            number.parse().map_err(|error| format!("{number}: {error}"))
        };
        Ok(match kind {
            "none" => Self::None,
            "operation" => Self::Operation(number()?),
            "failpoint" => {
                let at = number()?;
                let index = usize::try_from(number()?).unwrap_or(usize::MAX);
                Self::Failpoint(index, at)
            }
            "once" => Self::Once(number()?),
            "from" => Self::From(number()?),
            "full" => Self::Full(number()?),
            _ => return Err(format!("`{kind}` is no ending")),
        })
    }
}

impl Watch for Ending {
    fn asked(&mut self, kind: Kind, bytes: usize) -> Answer {
        let (left, refused) = match self {
            Self::None | Self::Failpoint(..) => return Answer::Do,
            Self::Operation(_) if kind == Kind::Read => return Answer::Do,
            Self::Operation(left) => (left, Answer::Die),
            Self::Once(left) | Self::From(left) => (left, Answer::Fail(libc::EIO)),
            Self::Full(left) => {
                let bytes = match kind {
                    Kind::Write => bytes as u64,
                    Kind::Create => 1,
                    Kind::Read | Kind::Sync | Kind::Other => return Answer::Do,
                };
                if *left < bytes {
                    *left = 0;
                    return Answer::Fail(libc::ENOSPC);
                }
                *left -= bytes;
                return Answer::Do;
            }
        };
        if *left > 0 {
            *left -= 1;
            return Answer::Do;
        }
        if matches!(self, Self::Once(_)) {
            *self = Self::None;
        }
        refused
    }

    fn told(&mut self, _event: Event) {}
}

/// What the process is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChildArgs {
    /// The folder of the database.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// What is done comes from it.
    #[arg(long)]
    pub(crate) seed: u64,
    /// How much is done.
    #[arg(long)]
    pub(crate) steps: u64,
    /// What ends it.
    #[arg(long)]
    pub(crate) ending: Ending,
    /// Whether blocks are left to the operating system.
    #[arg(long)]
    pub(crate) buffered: bool,
}

/// How the databases are kept.
pub(crate) fn config(buffered: bool) -> DatabaseConfig {
    let durability = if buffered {
        Durability::Buffered
    } else {
        Durability::Sync
    };
    DatabaseConfig {
        history_blocks: HISTORY_BLOCKS,
        journal_blocks: 2,
        prefetch: false,
        // So small that files are written, and written together, all the time.
        write_buffer_bytes: 64 << 10,
        ..DatabaseConfig::new(durability)
    }
}

/// Works, and says how it ended.
pub(crate) fn run(args: &ChildArgs) {
    if let Ending::Failpoint(index, at) = args.ending {
        let reached = AtomicU64::new(0);
        let killed = fail::cfg_callback(FAILPOINTS[index], move || {
            if reached.fetch_add(1, Ordering::Relaxed) == at {
                layer::die();
            }
        });
        if let Err(error) = killed {
            say(&format!("end broken {error}"));
        }
    } else {
        layer::watch(&args.folder, Box::new(args.ending));
    }
    // Its reads come at any time, and the reads that fail are counted.
    let prefetch = matches!(
        args.ending,
        Ending::None | Ending::Operation(_) | Ending::Failpoint(..)
    );
    let work = Work {
        folder: &args.folder,
        config: DatabaseConfig {
            prefetch,
            ..config(args.buffered)
        },
        random: Random(args.seed),
        steps: args.steps,
        copies: true,
        marks: &mut |mark| say(&to_line(mark)),
    };
    let worked = work.run();
    say(&match worked {
        Ok(()) => "end done".to_owned(),
        Err(error @ WorkError::Broken(_)) => format!("end broken {error}"),
        Err(error) => format!("end error {error}").replace('\n', " "),
    });
}

/// One write for each line, so that a process that is killed has said all of it or nothing.
fn say(line: &str) {
    let line = format!("{line}\n");
    // Nobody listens any more; there is nobody to tell.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

fn to_line(mark: Mark) -> String {
    match mark {
        Mark::Opened(None) => "opened".to_owned(),
        Mark::Opened(Some(head)) => {
            let (number, hash, root) = (head.number, head.hash, head.state_root);
            format!("opened {number} {hash:?} {root:?}")
        }
        Mark::Genesis(head) => format!("genesis {:?}", head.state_root),
        Mark::Commit { head, seed } => {
            let Head {
                number,
                hash,
                state_root,
            } = head;
            format!("commit {number} {hash:?} {state_root:?} {seed}")
        }
        Mark::Revert(number) => format!("revert {number}"),
        Mark::Done => "done".to_owned(),
    }
}

/// What a line says; `None` for one that ends.
pub(crate) fn of_line(line: &str) -> Option<Mark> {
    let words: Vec<_> = line.split(' ').collect();
    Some(match words.as_slice() {
        ["opened"] => Mark::Opened(None),
        ["opened", number, hash, root] => Mark::Opened(Some(Head {
            number: number.parse().ok()?,
            hash: hash.parse().ok()?,
            state_root: root.parse().ok()?,
        })),
        ["genesis", root] => Mark::Genesis(Head {
            number: 0,
            hash: H256::zero(),
            state_root: root.parse().ok()?,
        }),
        ["commit", number, hash, root, seed] => Mark::Commit {
            head: Head {
                number: number.parse().ok()?,
                hash: hash.parse().ok()?,
                state_root: root.parse().ok()?,
            },
            seed: seed.parse().ok()?,
        },
        ["revert", number] => Mark::Revert(number.parse().ok()?),
        ["done"] => Mark::Done,
        _ => return None,
    })
}
