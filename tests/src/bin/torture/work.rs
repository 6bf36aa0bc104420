//! What is done to a database while it is tortured: blocks committed one by one and as forks, reverted, the database
//! opened again and copied, all the while others read.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use slackwater_executor::state::{
    CheckError, CommitError, Database, DatabaseConfig, HistoryError, OpenError, StateError,
    StateView, UncommittedBlock,
};
use slackwater_tests::random::Random;
use sp_core::{
    H256,
    storage::{StateVersion, Storage},
};
use sp_state_machine::{Backend, IterArgs};
use thiserror::Error;

use super::chain::{Mark, changes, record};

/// Blocks reverted at once, at most.
const REVERTED_MAX: u64 = 6;
/// Blocks that are executed before the first of them is committed, at most.
const AHEAD_MAX: u64 = 3;

/// Why work ended before its last step.
#[derive(Debug, Error)]
pub(crate) enum WorkError {
    /// The database could not be opened.
    #[error("open: {0}")]
    Open(#[from] OpenError),
    /// Reading failed.
    #[error("read: {0}")]
    State(#[from] StateError),
    /// A commit failed.
    #[error("commit: {0}")]
    Commit(#[from] CommitError),
    /// Reverting failed.
    #[error("revert: {0}")]
    History(#[from] HistoryError),
    /// Something is not as promised.
    #[error("promise broken: {0}")]
    Broken(String),
}

/// Works on the database in `folder`.
pub(crate) struct Work<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) config: DatabaseConfig,
    pub(crate) random: Random,
    /// How much is done.
    pub(crate) steps: u64,
    /// Whether copies are made, beside the folder.
    pub(crate) copies: bool,
    /// Who is told what is about to happen.
    pub(crate) marks: &'a mut dyn FnMut(Mark),
}

/// Whether the database is opened again.
#[derive(PartialEq, Eq)]
enum Next {
    Step,
    Reopen,
}

impl Work<'_> {
    /// Does all steps.
    pub(crate) fn run(mut self) -> Result<(), WorkError> {
        while self.steps > 0 {
            let database = Database::open_with(self.folder, self.config)?;
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                let reader = scope.spawn(|| read_all_along(&database, &stop));
                let worked = self.session(&database);
                stop.store(true, Ordering::Relaxed);
                let read = reader.join();
                let read = read.unwrap_or_else(|_panic| Err(broken("a reader panicked")));
                worked.and(read)
            })?;
        }
        Ok(())
    }

    /// Works until the database is to be opened again.
    fn session(&mut self, database: &Database) -> Result<(), WorkError> {
        let head = database.head()?;
        (self.marks)(Mark::Opened(head));
        if head.is_none() {
            self.genesis(database).or_else(|error| {
                is_closed(database, &error)?;
                Err(error)
            })?;
        }
        while self.steps > 0 {
            self.steps -= 1;
            match self.step(database) {
                Ok(Next::Step) => {}
                Ok(Next::Reopen) => break,
                Err(error) => {
                    is_closed(database, &error)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, database: &Database) -> Result<Next, WorkError> {
        match self.random.below(20) {
            0 => return Ok(Next::Reopen),
            1 | 2 => self.revert(database)?,
            3 if self.copies => self.copy(database)?,
            4 | 5 => self.commit_fork(database)?,
            _ => self.commit(database)?,
        }
        Ok(Next::Step)
    }

    fn genesis(&mut self, database: &Database) -> Result<(), WorkError> {
        let prepared = database.prepare_state(&Storage::default(), StateVersion::V1)?;
        let head = slackwater_executor::state::Head {
            number: 0,
            hash: H256::zero(),
            state_root: prepared.state_root(),
        };
        (self.marks)(Mark::Genesis(head));
        database.import_state(prepared, 0, head.hash)?;
        (self.marks)(Mark::Done);
        Ok(())
    }

    fn commit(&mut self, database: &Database) -> Result<(), WorkError> {
        let view = database.view()?;
        let parent = *view.head();
        let seed = self.random.draw();
        let changes = changes(&view, seed)?;
        let record = record(parent.number + 1, seed, changes.state_root);
        let head = slackwater_executor::state::Head {
            number: record.number,
            hash: record.hash,
            state_root: changes.state_root,
        };
        drop(view);
        (self.marks)(Mark::Commit { head, seed });
        let committed = database.commit(&parent, changes, &record)?;
        (self.marks)(Mark::Done);
        if committed == head {
            return Ok(());
        }
        Err(broken("a block was committed as another"))
    }

    /// Blocks on blocks, all of them executed before the first is committed.
    fn commit_fork(&mut self, database: &Database) -> Result<(), WorkError> {
        let mut blocks: Vec<(Arc<UncommittedBlock>, u64)> = Vec::new();
        for _ in 0..=self.random.below(AHEAD_MAX) {
            let view = match blocks.last() {
                Some((block, _)) => database.view_on(block)?,
                None => database.view()?,
            };
            let seed = self.random.draw();
            let changes = changes(&view, seed)?;
            let record = record(view.head().number + 1, seed, changes.state_root);
            blocks.push((UncommittedBlock::new(&view, changes, record)?, seed));
        }
        for (block, seed) in &blocks {
            let (head, seed) = (*block.head(), *seed);
            (self.marks)(Mark::Commit { head, seed });
            database.commit_block(block)?;
            (self.marks)(Mark::Done);
        }
        Ok(())
    }

    fn revert(&mut self, database: &Database) -> Result<(), WorkError> {
        let head = database.head()?.ok_or(StateError::NoHead)?.number;
        let oldest = database.oldest_state()?;
        let blocks = self.random.below(REVERTED_MAX).min(head - oldest);
        (self.marks)(Mark::Revert(head - blocks));
        database.revert_to(head - blocks)?;
        (self.marks)(Mark::Done);
        Ok(())
    }

    /// A copy can be opened, and is what it is of.
    fn copy(&self, database: &Database) -> Result<(), WorkError> {
        let copy = self.folder.with_extension("copy");
        fs::remove_dir_all(&copy).ok();
        let head = database.head()?;
        database.checkpoint(&copy)?;
        let copied = Database::open_existing(&copy, self.config)?;
        if copied.head()? != head {
            return Err(broken("a copy has another head"));
        }
        copied.view()?.check_values(|_| {}).map_err(torn)?;
        Ok(())
    }
}

/// After a write that failed the handle refuses everything.
fn is_closed(database: &Database, error: &WorkError) -> Result<(), WorkError> {
    let failed_write = matches!(
        error,
        WorkError::Commit(CommitError::State(StateError::Database(_)))
            | WorkError::History(HistoryError::State(StateError::Database(_)))
    );
    let refused = matches!(database.view(), Err(StateError::Poisoned { .. }));
    if failed_write && !refused && !is_read(error) {
        return Err(broken("the handle goes on to work after a write failed"));
    }
    Ok(())
}

/// Whether it is reading that failed.
fn is_read(error: &WorkError) -> bool {
    error.to_string().contains("While pread")
}

/// Every view is consistent, whatever is done meanwhile.
fn read_all_along(database: &Database, stop: &AtomicBool) -> Result<(), WorkError> {
    while !stop.load(Ordering::Relaxed) {
        match database.view() {
            Ok(view) => match view.check_values(|_| {}) {
                Ok(_) => is_cached_right(&view)?,
                Err(CheckError::State(error @ StateError::Database(_))) => return Err(error.into()),
                Err(error) => return Err(torn(error)),
            },
            Err(StateError::NoHead) => thread::yield_now(),
            Err(StateError::Poisoned { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        thread::sleep(std::time::Duration::from_micros(200));
    }
    Ok(())
}

/// What reads are told is what stands in the database.
fn is_cached_right(view: &StateView<'_>) -> Result<(), WorkError> {
    for pair in view.pairs(IterArgs::default())? {
        let (key, value) = pair?;
        if view.storage(&key)? != Some(value) {
            return Err(broken("a value read is not that of the view"));
        }
    }
    Ok(())
}

fn torn(error: CheckError) -> WorkError {
    broken(&format!("a view is torn: {error}"))
}

fn broken(what: &str) -> WorkError {
    WorkError::Broken(what.to_owned())
}
