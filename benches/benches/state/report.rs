//! The table behind the questions.

use std::{fs, path::Path, time::Duration};

use slackwater_benches::{median_interval, quantile};

/// The pairs of every question, in the order of asking.
#[derive(Default)]
pub(crate) struct Report {
    questions: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Report {
    pub(crate) fn add(&mut self, question: &'static str, ours: Duration, peer: Duration) {
        let pair = (ours.as_nanos() as f64, peer.as_nanos() as f64);
        match self.questions.last_mut() {
            Some((last, pairs)) if *last == question => pairs.push(pair),
            _ => self.questions.push((question, vec![pair])),
        }
    }

    #[expect(clippy::print_stdout, reason = "what a bench has to say")]
    pub(crate) fn finish(&self) {
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        let text = serde_json::to_string_pretty(&entries).expect("numbers and names");
        fs::create_dir_all(&folder).expect("a folder for results");
        fs::write(folder.join("state.json"), text).expect("results can be written");
    }
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
