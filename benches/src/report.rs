//! The table behind questions that two ways are asked in turns.
//!
//! Reading: times are medians of all turns; the ratio is that of each turn, with the 95 % interval of its median.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{median_interval, quantile};

/// The pairs of every question, in the order of asking.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    questions: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Report {
    /// Nothing yet, of the bench with this name.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            questions: Vec::new(),
        }
    }

    /// What a turn took.
    pub fn add(&mut self, question: &'static str, ours: Duration, peer: Duration) {
        let pair = (nanoseconds(ours), nanoseconds(peer));
        match self.questions.last_mut() {
            Some((last, pairs)) if *last == question => pairs.push(pair),
            _ => self.questions.push((question, vec![pair])),
        }
    }

    /// Prints the table, and writes it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[expect(clippy::print_stdout, reason = "what a bench has to say")]
    pub fn finish(&self) {
        let mut entries = Vec::new();
        println!("| question | ours, us | peer, us | ours / peer | 95 % |");
        println!("|---|---|---|---|---|");
        for (question, pairs) in &self.questions {
            let column = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).collect::<Vec<_>>();
            let (ours, peer) = (median(&column(|it| it.0)), median(&column(|it| it.1)));
            let (ratio, low, high) = median_interval(&column(|it| it.0 / it.1));
            let (shown_ours, shown_peer) = (ours / 1e3, peer / 1e3);
            println!(
                "| {question} | {shown_ours:.1} | {shown_peer:.1} | {ratio:.3} | {low:.3} to {high:.3} |"
            );
            entries.push(serde_json::json!({
                "id": question, "ours_ns": ours, "peer_ns": peer, "ratio": ratio,
                "interval": [low, high], "pairs": pairs.len(),
            }));
        }
        write_json(self.name, &entries);
    }
}

/// Where results lie.
///
/// # Panics
/// If the folder cannot be made.
#[must_use]
pub fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&folder).expect("a folder for results");
    folder
}

/// Writes the results of a bench.
///
/// # Panics
/// If they cannot be written.
pub fn write_json(name: &str, entries: &[serde_json::Value]) {
    let text = serde_json::to_string_pretty(entries).expect("numbers and names");
    fs::write(folder().join(name).with_extension("json"), text).expect("results can be written");
}

/// A time as a number.
#[must_use]
pub fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
