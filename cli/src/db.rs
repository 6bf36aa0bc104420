//! `slackwater db`: a database looked at, checked, reverted, copied, brought to a new format. Files of states are in
//! `db_files`.

use std::path::Path;

use slackwater_executor::{
    Database,
    state::{CheckError, DatabaseConfig, Durability, Head, StateError},
};

use crate::{
    Verdict,
    args::{DbArgs, DbCommand},
    db_files,
    error::CliError,
    output::{hex, print_json, progress_bar, say, table, thousands_u64},
};

/// Of so many keys checked the bar is told.
pub(crate) const KEYS_SHOWN: u64 = 1_000;

pub(crate) fn run(args: &DbArgs) -> Result<Verdict, CliError> {
    let json = args.json;
    match &args.command {
        DbCommand::Stat { db } => stat(db, json),
        DbCommand::Check { db } => check(db, json),
        DbCommand::Revert { db, blocks } => revert(db, *blocks, json),
        DbCommand::Export(args) => db_files::export(args, json),
        DbCommand::Import(args) => db_files::import(args, json),
        DbCommand::Checkpoint { db, to } => checkpoint(db, to, json),
        DbCommand::Migrate { db } => migrate(db, json),
    }
}

/// A database there is, of which nothing is forgotten.
pub(crate) fn open(db: &Path) -> Result<Database, CliError> {
    let config = DatabaseConfig {
        history_blocks: u64::MAX,
        ..DatabaseConfig::new(Durability::Sync)
    };
    Ok(Database::open_existing(db, config)?)
}

pub(crate) fn state(db: &Path) -> impl Fn(StateError) -> CliError {
    let path = db.to_owned();
    move |source| CliError::State {
        path: path.clone(),
        source,
    }
}

pub(crate) fn head_json(head: &Head) -> serde_json::Value {
    serde_json::json!({
        "number": head.number,
        "hash": hex(head.hash),
        "state_root": hex(head.state_root),
    })
}

pub(crate) fn head_text(head: &Head) -> String {
    let (hash, root) = (hex(head.hash), hex(head.state_root));
    format!("head: block {}, {hash}, state root {root}", head.number)
}

fn stat(db: &Path, json: bool) -> Result<Verdict, CliError> {
    let database = open(db)?;
    let stat = database.stat().map_err(state(db))?;
    let recovery = database.recovery().map(ToString::to_string);
    if json {
        let columns: Vec<_> = stat
            .columns
            .iter()
            .map(|column| {
                serde_json::json!({
                    "name": column.name,
                    "keys_estimated": column.keys,
                    "bytes": column.bytes,
                    "buffered_bytes": column.buffered_bytes,
                })
            })
            .collect();
        print_json(&serde_json::json!({
            "format": stat.format,
            "head": stat.head.as_ref().map(head_json),
            "oldest_state": stat.oldest_state,
            "recovery": recovery,
            "columns": columns,
        }))?;
        return Ok(Verdict::Good);
    }
    say(format!("format {}", stat.format))?;
    if let Some(recovery) = recovery {
        say(recovery)?;
    }
    match (&stat.head, stat.oldest_state) {
        (Some(head), Some(oldest)) => {
            say(head_text(head))?;
            let blocks = thousands_u64(head.number - oldest);
            say(format!("can go back {blocks} blocks, to block {oldest}"))?;
        }
        _ => say("no state: a genesis has not been imported")?,
    }
    let mut rows = table(["column", "keys, about", "bytes in files", "in memory"]);
    for column in &stat.columns {
        rows.add_row([
            column.name,
            &thousands_u64(column.keys),
            &thousands_u64(column.bytes),
            &thousands_u64(column.buffered_bytes),
        ]);
    }
    say(rows)?;
    Ok(Verdict::Good)
}

fn check(db: &Path, json: bool) -> Result<Verdict, CliError> {
    let database = open(db)?;
    let view = database.view().map_err(state(db))?;
    let stat = database.stat().map_err(state(db))?;
    let keys = stat.columns.iter().find(|column| column.name == "flat");
    let about = keys.map_or(0, |column| column.keys);
    let about = usize::try_from(about).unwrap_or(usize::MAX);
    let bar = progress_bar(
        json,
        "checking",
        about,
        "{prefix} [{bar:32}] {pos} keys of about {len}",
    );
    let checked = view.check_values(|keys| {
        if keys.is_multiple_of(KEYS_SHOWN) {
            bar.set_position(keys);
        }
    });
    bar.finish_and_clear();
    let head = view.head();
    match checked {
        Ok(checked) => {
            if json {
                print_json(&serde_json::json!({
                    "head": head_json(head),
                    "ok": true,
                    "keys": checked.keys,
                    "child_tries": checked.children,
                }))?;
            } else {
                say(head_text(head))?;
                let (keys, children) = (checked.keys, checked.children);
                let (keys, children) = (thousands_u64(keys), thousands_u64(children));
                say(format!(
                    "{keys} keys, {children} child tries: every value is the trie's"
                ))?;
            }
            Ok(Verdict::Good)
        }
        Err(CheckError::State(source)) => Err(state(db)(source)),
        Err(error) => {
            if json {
                print_json(&serde_json::json!({
                    "head": head_json(head),
                    "ok": false,
                    "error": error.to_string(),
                }))?;
            } else {
                say(head_text(head))?;
                say(error)?;
            }
            Ok(Verdict::Diverged)
        }
    }
}

fn revert(db: &Path, blocks: u64, json: bool) -> Result<Verdict, CliError> {
    let database = open(db)?;
    let head = database.head().map_err(state(db))?;
    let from = head.ok_or(StateError::NoHead).map_err(state(db))?.number;
    let to = from.checked_sub(blocks).ok_or(CliError::TooFarBack {
        path: db.to_owned(),
        blocks,
        head: from,
    })?;
    let head = database.revert_to(to).map_err(|source| CliError::History {
        path: db.to_owned(),
        source,
    })?;
    if json {
        print_json(&serde_json::json!({ "head": head_json(&head) }))?;
    } else {
        say(head_text(&head))?;
    }
    Ok(Verdict::Good)
}

fn checkpoint(db: &Path, to: &Path, json: bool) -> Result<Verdict, CliError> {
    let database = open(db)?;
    database.checkpoint(to).map_err(state(db))?;
    if json {
        print_json(&serde_json::json!({ "checkpoint": to }))?;
    } else {
        say(format!("copied to {}", to.display()))?;
    }
    Ok(Verdict::Good)
}

fn migrate(db: &Path, json: bool) -> Result<Verdict, CliError> {
    Database::migrate(db)?;
    let stat = open(db)?.stat().map_err(state(db))?;
    if json {
        print_json(&serde_json::json!({ "format": stat.format }))?;
    } else {
        say(format!("{} has format {}", db.display(), stat.format))?;
    }
    Ok(Verdict::Good)
}
