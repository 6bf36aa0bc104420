//! What was measured, for people and for scripts.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use slackwater_benches::{median_interval, quantile};
use slackwater_executor::Meter;

use crate::{cores::Taken, ours::Way, peer};

/// The rounds of a question about one kind of block: ours in their order, then the peer on one core, and on two.
pub(crate) struct Table {
    id: String,
    transactions: usize,
    ways: Vec<Way>,
    rounds: Vec<Vec<Taken>>,
}

impl Table {
    pub(crate) fn new(id: &str, transactions: usize, ways: impl Iterator<Item = Way>) -> Self {
        Self {
            id: id.to_owned(),
            transactions,
            ways: ways.collect(),
            rounds: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, round: Vec<Taken>) {
        self.rounds.push(round);
    }

    /// One line for each way against the peer on as many cores, and for each that counts against the same without.
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (ours, way) in self.ways.iter().enumerate() {
            let peer = self.ways.len() + way.cores - 1;
            lines.push(self.line(&self.id, ours, peer, way.cores));
        }
        for (ours, way) in self.ways.iter().enumerate() {
            let without = Way {
                meter: Meter::Off,
                ..*way
            };
            let without = self.ways.iter().position(|other| *other == without);
            if let (true, Some(without)) = (way.meter != Meter::Off, without) {
                lines.push(self.line(&format!("fuel/{}", self.id), ours, without, way.cores));
            }
        }
        lines
    }

    fn name(&self, which: usize) -> String {
        match self.ways.get(which) {
            Some(way) => way.name(),
            None => peer::name(which - self.ways.len() + 1),
        }
    }

    fn line(&self, id: &str, ours: usize, peer: usize, cores: usize) -> Line {
        // The first round compiles runtimes and fills caches.
        let rounds = self.rounds.iter().skip(1);
        let times = |which: usize| -> Vec<f64> {
            rounds
                .clone()
                .map(|round| nanoseconds(round[which].time))
                .collect()
        };
        let processors = |which: usize| -> Vec<f64> {
            rounds
                .clone()
                .map(|round| round[which].processors.as_secs_f64())
                .collect()
        };
        let (own, others) = (times(ours), times(peer));
        let ratios: Vec<_> = own
            .iter()
            .zip(&others)
            .map(|(own, other)| other / own)
            .collect();
        let (_, low, high) = median_interval(&ratios);
        Line {
            id: id.to_owned(),
            ours: self.name(ours),
            peer: self.name(peer),
            cores,
            transactions: self.transactions,
            rounds: ratios.len(),
            ours_ns: quantile(&own, 0.5),
            peer_ns: quantile(&others, 0.5),
            interval: (low, high),
            ours_cpu: quantile(&processors(ours), 0.5),
            peer_cpu: quantile(&processors(peer), 0.5),
        }
    }
}

fn nanoseconds(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Two ways compared.
struct Line {
    id: String,
    ours: String,
    peer: String,
    cores: usize,
    transactions: usize,
    rounds: usize,
    ours_ns: f64,
    peer_ns: f64,
    /// Of the ratio, round by round.
    interval: (f64, f64),
    /// Seconds of processor time.
    ours_cpu: f64,
    peer_cpu: f64,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.peer_ns / self.ours_ns
    }

    fn json(&self, commit: &str) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "ours": self.ours,
            "peer": self.peer,
            "cores": self.cores,
            "transactions": self.transactions,
            "rounds": self.rounds,
            "ours_ns": self.ours_ns,
            "peer_ns": self.peer_ns,
            "ratio": self.ratio(),
            "ratio_low": self.interval.0,
            "ratio_high": self.interval.1,
            "ours_cpu_seconds": self.ours_cpu,
            "peer_cpu_seconds": self.peer_cpu,
            "commit": commit,
        })
    }

    fn row(&self) -> String {
        let each = |nanoseconds: f64| match self.transactions {
            0 => "".to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            count => format!("{:.1}", nanoseconds / 1e3 / count as f64),
        };
        format!(
            "| {} | {} | {} | {:.2} | {:.2} | {} | {} | {:.3} | {:.3} to {:.3} | {:.3} | {:.3} |",
            self.id,
            self.ours,
            self.peer,
            self.ours_ns / 1e6,
            self.peer_ns / 1e6,
            each(self.ours_ns),
            each(self.peer_ns),
            self.ratio(),
            self.interval.0,
            self.interval.1,
            self.ours_cpu,
            self.peer_cpu,
        )
    }
}

/// Everything.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

impl Report {
    pub(crate) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Prints the table, and writes it, and the list.
    #[expect(clippy::print_stdout, reason = "what a bench has to say")]
    pub(crate) fn finish(&self) {
        let commit = commit();
        let lines: Vec<_> = self.tables.iter().flat_map(Table::lines).collect();
        let mut text = format!("Commit {commit}, {}.\n\n", processor());
        text.push_str(
            "| what | ours | peer | ours, ms | peer, ms | us each | us each | peer / ours | 95 % | CPU s | CPU s |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for line in &lines {
            // Writing to a string does not fail.
            let _written = writeln!(text, "{}", line.row());
        }
        println!("{text}");
        let list: Vec<_> = lines.iter().map(|line| line.json(&commit)).collect();
        let list = serde_json::to_string_pretty(&list).expect("numbers and names");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        fs::create_dir_all(&folder).expect("a folder for results");
        fs::write(folder.join("summary.json"), list).expect("results can be written");
        fs::write(folder.join("summary.md"), text).expect("results can be written");
    }
}

/// The commit that is measured, with a mark when files differ from it.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=10"]);
    let told = git.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let told = told.ok().filter(|output| output.status.success());
    told.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or("unknown processor", |name| {
        name.trim_start_matches([' ', '\t', ':'])
    });
    name.to_owned()
}
