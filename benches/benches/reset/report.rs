//! What was measured, for people and for scripts.

use std::{fmt::Write as _, io, path::PathBuf};

use slackwater_benches::{Timed, quantile};
use slackwater_runtime_fixtures::dir::workspace;

/// One way of ours against one strategy of the peer.
pub(crate) struct Row {
    id: String,
    threads: usize,
    ours: String,
    peer: String,
    ours_ns: f64,
    peer_ns: f64,
    /// Quartiles of the ratio, turn by turn.
    spread: (f64, f64),
    /// How much more is done on these threads than on one: by ours, the peer, pure arithmetic.
    pub(crate) gain: Option<(f64, f64, f64)>,
}

impl Row {
    pub(crate) fn new(id: &str, threads: usize, ours: &Timed, peer: &Timed) -> Self {
        let ratios = peer.turns.iter().zip(&ours.turns);
        let ratios: Vec<_> = ratios.map(|(peer, ours)| peer / ours).collect();
        Self {
            id: id.to_owned(),
            threads,
            ours: ours.name.clone(),
            peer: peer.name.clone(),
            ours_ns: ours.median(),
            peer_ns: peer.median(),
            spread: (quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
            gain: None,
        }
    }

    fn ratio(&self) -> f64 {
        self.peer_ns / self.ours_ns
    }

    fn json(&self) -> serde_json::Value {
        let mut row = serde_json::json!({
            "id": self.id,
            "threads": self.threads,
            "ours": self.ours,
            "peer": self.peer,
            "ours_ns": self.ours_ns,
            "peer_ns": self.peer_ns,
            "ratio": self.ratio(),
            "ratio_low": self.spread.0,
            "ratio_high": self.spread.1,
        });
        if let Some((ours, peer, arithmetic)) = self.gain {
            row["gain_ours"] = ours.into();
            row["gain_peer"] = peer.into();
            row["gain_arithmetic"] = arithmetic.into();
        }
        row
    }
}

/// Writes everything, and prints the table. Returns where it lies.
pub(crate) fn write(rows: &[Row]) -> io::Result<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folders = [
        workspace().join("target/bench"),
        workspace().join(target).join("bench"),
    ];
    let list: Vec<_> = rows.iter().map(Row::json).collect();
    let table = table(rows);
    println!("{table}");
    for folder in &folders {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("reset.json"), serde_json::to_vec_pretty(&list)?)?;
        std::fs::write(folder.join("reset.md"), &table)?;
        std::fs::write(folder.join("reset.svg"), plot(rows))?;
    }
    let [folder, _] = folders;
    Ok(folder)
}

fn time(nanoseconds: f64) -> String {
    if nanoseconds < 1_000.0 {
        format!("{nanoseconds:.0} ns")
    } else if nanoseconds < 1_000_000.0 {
        format!("{:.1} us", nanoseconds / 1_000.0)
    } else {
        format!("{:.2} ms", nanoseconds / 1_000_000.0)
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| call | threads | ours | | peer | | peer / ours | quartiles | gain by threads: ours, peer, arithmetic |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let gain = row
            .gain
            .map_or_else(String::new, |(ours, peer, arithmetic)| {
                format!("{ours:.2}, {peer:.2}, {arithmetic:.2}")
            });
        // Writing to a string does not fail.
        let _written = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.2} | {:.2} to {:.2} | {gain} |",
            row.id,
            row.threads,
            row.ours,
            time(row.ours_ns),
            row.peer,
            time(row.peer_ns),
            row.ratio(),
            row.spread.0,
            row.spread.1,
        );
    }
    text
}

/// Bars of time on a logarithmic scale, for the first strategy of the peer on one thread.
fn plot(rows: &[Row]) -> String {
    const BAR: usize = 18;
    let shown = rows
        .iter()
        .filter(|row| row.threads == 1 && row.peer == "PoolingCopyOnWrite");
    let width = |nanoseconds: f64| (nanoseconds.max(10.0) / 10.0).log10() * 90.0;
    let mut bars = String::new();
    let mut y = 10;
    for row in shown {
        for (name, nanoseconds, color) in [
            (&row.ours, row.ours_ns, "#2a6f97"),
            (&row.peer, row.peer_ns, "#c9772e"),
        ] {
            let _written = writeln!(
                bars,
                "<text x=\"0\" y=\"{}\">{} {name}</text>\
                 <rect x=\"360\" y=\"{y}\" width=\"{:.0}\" height=\"{}\" fill=\"{color}\"/>\
                 <text x=\"{:.0}\" y=\"{}\">{}</text>",
                y + 13,
                row.id,
                width(nanoseconds),
                BAR - 4,
                365.0 + width(nanoseconds),
                y + 13,
                time(nanoseconds),
            );
            y += BAR;
        }
        y += 6;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n{bars}</svg>\n",
        y + 10
    )
}
