//! What was measured, for people and for scripts.

use std::{fmt::Write as _, io, path::PathBuf};

use slackwater_benches::{Timed, median_interval};
use slackwater_runtime_fixtures::dir::workspace;

/// One variant of one program.
pub(crate) struct Row {
    id: String,
    variant: String,
    median_ns: f64,
    /// Time over that of the unmetered variant, turn by turn: the median, and its interval.
    ratio: (f64, f64, f64),
    fuel: u64,
    code_bytes: usize,
}

impl Row {
    pub(crate) fn new(
        id: &str,
        timed: &Timed,
        unmetered: &Timed,
        fuel: u64,
        code_bytes: usize,
    ) -> Self {
        let pairs = timed.turns.iter().zip(&unmetered.turns);
        let ratios: Vec<_> = pairs.map(|(timed, unmetered)| timed / unmetered).collect();
        Self {
            id: id.to_owned(),
            variant: timed.name.clone(),
            median_ns: timed.median(),
            ratio: median_interval(&ratios),
            fuel,
            code_bytes,
        }
    }

    fn json(&self) -> serde_json::Value {
        let (ratio, low, high) = self.ratio;
        serde_json::json!({
            "id": self.id,
            "variant": self.variant,
            "median_ns": self.median_ns,
            "ratio": ratio,
            "ratio_low": low,
            "ratio_high": high,
            "fuel": self.fuel,
            "code_bytes": self.code_bytes,
        })
    }
}

/// Writes everything, and prints the table. Returns where it lies.
pub(crate) fn write(rows: &[Row]) -> io::Result<PathBuf> {
    let folder = workspace().join("target/bench");
    let list: Vec<_> = rows.iter().map(Row::json).collect();
    let table = table(rows);
    println!("{table}");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("meter.json"), serde_json::to_vec_pretty(&list)?)?;
    std::fs::write(folder.join("meter.md"), &table)?;
    Ok(folder)
}

/// One line for each program, and the geometric means below.
fn table(rows: &[Row]) -> String {
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
    let mut table = format!("| program | {} |\n|---|", variants.join(" | "));
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
        let of: Vec<_> = rows.iter().filter(|row| row.variant == *variant).collect();
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
