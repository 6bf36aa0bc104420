//! What was compared, and how long it took: a table for people, JSON for scripts.

use std::{io::Write, time::Duration};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::error::Error;

/// One client and the chain that it imported.
#[derive(Serialize)]
pub(crate) struct Run {
    /// Its executor.
    pub(crate) executor: String,
    /// Whose client built the blocks.
    pub(crate) built_by: String,
    /// How many.
    pub(crate) blocks: u32,
    /// Milliseconds all builds took, if it built them itself.
    pub(crate) building_ms: Option<f64>,
    /// Milliseconds all imports took.
    pub(crate) importing_ms: f64,
    /// Hash of the best block.
    pub(crate) head: String,
}

/// All runs, of which none differs from another: else there is no report.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The chain.
    pub(crate) chain: String,
    /// Name and version of its runtime.
    pub(crate) runtime: String,
    /// How many extrinsics all blocks have together, inherents included.
    pub(crate) extrinsics: usize,
    /// How many bytes the longest answer has, by what was asked; they are equal in all runs.
    pub(crate) answers: Vec<(&'static str, Option<usize>)>,
    /// The runs.
    pub(crate) runs: Vec<Run>,
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Report {
    /// Writes the table.
    pub(crate) fn print(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header([
            "executor",
            "blocks of",
            "blocks",
            "building, ms",
            "importing, ms",
            "head",
        ]);
        for run in &self.runs {
            let building = run.building_ms;
            let building = building.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
            table.add_row([
                run.executor.clone(),
                run.built_by.clone(),
                run.blocks.to_string(),
                building,
                format!("{:.0}", run.importing_ms),
                run.head.clone(),
            ]);
        }
        let Self { chain, runtime, .. } = self;
        writeln!(out, "{chain}, {runtime}")?;
        writeln!(out, "{table}")?;
        let extrinsics = self.extrinsics;
        writeln!(
            out,
            "Equal in all: hash and state root of every block, with {extrinsics} extrinsics in all."
        )?;
        let answers = self.answers.iter().map(|(what, bytes)| match bytes {
            Some(bytes) => format!("{what} ({bytes} bytes)"),
            None => format!("{what} (refused)"),
        });
        let answers = answers.collect::<Vec<_>>().join(", ");
        writeln!(out, "Equal at the head: {answers}.")?;
        writeln!(
            out,
            "Refused by every client: block 1 with another state root."
        )?;
        Ok(())
    }

    /// Writes JSON.
    pub(crate) fn print_json(&self, out: &mut dyn Write) -> Result<(), Error> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        Ok(writeln!(out)?)
    }
}
