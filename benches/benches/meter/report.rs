//! What was measured, for people and for scripts.

use std::{fmt::Write as _, io, path::PathBuf};

use slackwater_benches::{Timed, median_interval};
use slackwater_runtime_fixtures::dir::workspace;

use crate::counting::Done;

/// One variant of one program.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) variant: String,
    pub(crate) median_ns: f64,
    /// Time over that of the unmetered variant, turn by turn: the median, and its interval.
    pub(crate) ratio: (f64, f64, f64),
    pub(crate) fuel: u64,
    pub(crate) is_runtime: bool,
    /// What counting did, where that was counted.
    pub(crate) done: Option<Done>,
    pub(crate) compiled: Option<Compiled>,
}

/// What counting does to machine code.
#[derive(Clone, Copy)]
pub(crate) struct Compiled {
    /// Time to instrument and compile, over that to compile.
    pub(crate) time_ratio: f64,
    pub(crate) bytes_before: usize,
    pub(crate) bytes_after: usize,
    /// Operators of the module.
    pub(crate) operators: u64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
impl Compiled {
    fn bytes_ratio(&self) -> f64 {
        self.bytes_after as f64 / self.bytes_before as f64
    }

    fn bytes_for_operators(&self) -> f64 {
        (self.bytes_after as f64 - self.bytes_before as f64) / self.operators as f64 * 1e3
    }
}

impl Row {
    pub(crate) fn new(id: &str, timed: &Timed, unmetered: &Timed, fuel: u64) -> Self {
        let pairs = timed.turns.iter().zip(&unmetered.turns);
        let ratios: Vec<_> = pairs.map(|(timed, unmetered)| timed / unmetered).collect();
        Self {
            id: id.to_owned(),
            variant: timed.name.clone(),
            median_ns: timed.median(),
            ratio: median_interval(&ratios),
            fuel,
            is_runtime: false,
            done: None,
            compiled: None,
        }
    }

    /// Increments and flushes executed for every 1,000 fuel, which is next to 1,000 operators.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn density(&self) -> Option<[f64; 2]> {
        let done = self.done?;
        let of = |count: u64| count as f64 / self.fuel as f64 * 1e3;
        Some([of(done.increments), of(done.flushes)])
    }

    fn json(&self) -> serde_json::Value {
        let (ratio, low, high) = self.ratio;
        let mut row = serde_json::json!({
            "id": self.id,
            "variant": self.variant,
            "median_ns": self.median_ns,
            "ratio": ratio,
            "ratio_low": low,
            "ratio_high": high,
            "fuel": self.fuel,
        });
        if let Some([increments, flushes]) = self.density() {
            row["increments_per_1000_fuel"] = increments.into();
            row["flushes_per_1000_fuel"] = flushes.into();
        }
        if let Some(compiled) = self.compiled {
            row["compile_time_ratio"] = compiled.time_ratio.into();
            row["code_ratio"] = compiled.bytes_ratio().into();
            row["code_bytes_per_1000_operators"] = compiled.bytes_for_operators().into();
        }
        row
    }
}

/// Writes everything, and prints the table. Returns where it lies.
pub(crate) fn write(rows: &[Row]) -> io::Result<PathBuf> {
    let folder = workspace().join("target/bench");
    let list: Vec<_> = rows.iter().map(Row::json).collect();
    let (runtimes, kernels): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_runtime);
    let tables = [&kernels, &runtimes].map(|rows| table(rows));
    let table = format!("{}\n{}", tables.join("\n"), costs(rows));
    println!("{table}");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("meter.json"), serde_json::to_vec_pretty(&list)?)?;
    std::fs::write(folder.join("meter.md"), &table)?;
    Ok(folder)
}

/// One line for each program, and the geometric means below.
fn table(rows: &[&Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut variants: Vec<&str> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    for row in rows {
        if !variants.contains(&row.variant.as_str()) {
            variants.push(&row.variant);
        }
        if !ids.contains(&row.id.as_str()) {
            ids.push(&row.id);
        }
    }
    let find = |id: &str, variant: &str| {
        rows.iter()
            .find(|row| row.id == id && row.variant == variant)
    };
    let mut table = format!("| time over unmetered | {} |\n|---|", variants.join(" | "));
    table.push_str(&"---|".repeat(variants.len()));
    for id in &ids {
        let _infallible = write!(table, "\n| {id} |");
        for variant in &variants {
            let Some(row) = find(id, variant) else {
                continue;
            };
            let (ratio, low, high) = row.ratio;
            let _infallible = if *variant == "unmetered" {
                write!(table, " {:.2} ms |", row.median_ns / 1e6)
            } else {
                write!(table, " {ratio:.3} ({low:.3} to {high:.3}) |")
            };
        }
    }
    table.push_str("\n| geometric mean |");
    for variant in &variants {
        let of: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| row.variant == *variant)
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a few programs")]
        let mean = |part: fn(&Row) -> f64| {
            let logarithms: f64 = of.iter().map(|row| part(row).ln()).sum();
            (logarithms / of.len() as f64).exp()
        };
        let _infallible = write!(
            table,
            " {:.3} (at most {:.3}) |",
            mean(|row| row.ratio.0),
            mean(|row| row.ratio.2)
        );
    }
    table.push('\n');
    table
}

/// What does not depend on the machine's mood.
fn costs(rows: &[Row]) -> String {
    let mut table = "| slacked | increments for 1,000 fuel | flushes | machine code | bytes for 1,000 operators | \
        time to compile |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let Some([increments, flushes]) = row.density() else {
            continue;
        };
        let _infallible = write!(table, "| {} | {increments:.1} | {flushes:.1} |", row.id);
        let _infallible = match row.compiled {
            Some(compiled) => writeln!(
                table,
                " {:.3} | {:.0} | {:.3} |",
                compiled.bytes_ratio(),
                compiled.bytes_for_operators(),
                compiled.time_ratio
            ),
            None => writeln!(table, " | | |"),
        };
    }
    table
}
