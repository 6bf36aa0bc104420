//! Whether a database that was left in the middle of something is whole.

use std::path::Path;

use slackwater_executor::state::{Database, DatabaseConfig, Head, StateView};
use slackwater_tests::random::Random;

use super::chain::{HISTORY_BLOCKS, Knowledge, changes};

/// Which heads are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The last acknowledged one, or what was being done.
    Latest,
    /// Any that ever was.
    Earlier,
}

/// Opens the database and looks at everything in it; the head, or what is wrong.
pub(crate) fn judge(
    folder: &Path,
    config: DatabaseConfig,
    known: &Knowledge,
    expected: Expected,
    random: &mut Random,
) -> Result<Option<Head>, String> {
    if let Some(wrong) = known.wrong() {
        return Err(wrong.to_owned());
    }
    let config = DatabaseConfig {
        cache_bytes: 0,
        ..config
    };
    let database = Database::open_with(folder, config).map_err(|error| format!("open: {error}"))?;
    let head = database.head().map_err(|error| format!("head: {error}"))?;
    let right = match expected {
        Expected::Latest => known.may_be(head),
        Expected::Earlier => known.was(head),
    };
    if !right {
        return Err(format!("the head is {head:?}, known is {:?}", known.head()));
    }
    let Some(head) = head else {
        return Ok(None);
    };
    let mut then = known.clone();
    then.settle(Some(head));
    let view = database.view().map_err(|error| format!("view: {error}"))?;
    check(&view)?;
    check_records(&database, &then, &head)?;
    let oldest = database
        .oldest_state()
        .map_err(|error| format!("history: {error}"))?;
    if expected == Expected::Latest && oldest != then.oldest() {
        return Err(format!(
            "goes back to block {oldest}, and should to {}",
            then.oldest()
        ));
    }
    check_made(&database, &then, &head)?;
    let number = oldest + random.below(head.number - oldest + 1);
    let earlier = database
        .view_at(number)
        .map_err(|error| format!("block {number}: {error}"))?;
    if then.ancestor(number) != Some(*earlier.head()) {
        return Err(format!("block {number} is {:?}", earlier.head()));
    }
    check(&earlier)?;
    Ok(Some(head))
}

fn check(view: &StateView<'_>) -> Result<(), String> {
    let checked = view.check_values(|_| {});
    checked.map_err(|error| format!("block {}: {error}", view.head().number))?;
    Ok(())
}

/// The state is what the head makes of its parent's, read without a cache.
fn check_made(database: &Database, known: &Knowledge, head: &Head) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("block {} again: {error}", head.number);
    let Some(seed) = known.seed_of(head) else {
        return Ok(());
    };
    if known.oldest() == head.number {
        return Ok(());
    }
    let parent = database
        .view_at(head.number - 1)
        .map_err(|error| text(&error))?;
    let made = changes(&parent, seed).map_err(|error| text(&error))?;
    if made.state_root == head.state_root {
        return Ok(());
    }
    Err(text(&format!(
        "its root is {:?}, and was {:?}",
        made.state_root, head.state_root
    )))
}

/// Blocks and receipts belong to the head, and there are none above it.
fn check_records(database: &Database, known: &Knowledge, head: &Head) -> Result<(), String> {
    let stored = |number| {
        database
            .block(number)
            .map_err(|error| format!("block: {error}"))
    };
    for number in head.number.saturating_sub(HISTORY_BLOCKS)..=head.number {
        let expected = known
            .ancestor(number)
            .and_then(|head| known.record_of(&head));
        if stored(number)? != expected {
            return Err(format!(
                "what is stored of block {number} is not what was committed"
            ));
        }
    }
    match stored(head.number + 1)? {
        None => Ok(()),
        Some(_) => Err(format!("there is a block above the head, {}", head.number)),
    }
}
