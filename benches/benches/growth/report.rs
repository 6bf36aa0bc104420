//! What was measured, for people and for scripts.
//!
//! Reading: a point is the median of its rounds, with the 95 % interval of that.

use std::fs;

use slackwater_benches::{
    median_interval,
    report::{folder, write_json},
};

use crate::{
    plot,
    rounds::{Line, float},
};

/// A size, and what was measured there.
pub(crate) struct Point {
    pub(crate) size: u64,
    /// Where it stands on the axis.
    pub(crate) at: f64,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How many were measured.
    pub(crate) measured: usize,
}

/// One thing at all sizes.
pub(crate) struct Curve {
    /// Its points' ids begin with it.
    pub(crate) id: String,
    pub(crate) name: &'static str,
    /// Of its values.
    pub(crate) unit: &'static str,
    pub(crate) points: Vec<Point>,
}

impl Curve {
    /// Of what was measured: `value` makes one of nanoseconds and a size.
    pub(crate) fn of(
        line: &Line,
        suffix: &str,
        name: &'static str,
        unit: &'static str,
        value: impl Fn(f64, u64) -> f64,
    ) -> Self {
        let point = |(which, size): (usize, &u64)| {
            let values = line.times(which).iter().map(|time| value(*time, *size));
            let values: Vec<_> = values.collect();
            let (median, low, high) = median_interval(&values);
            Point {
                size: *size,
                at: float(*size),
                median,
                low,
                high,
                measured: values.len(),
            }
        };
        let points = line.sizes.iter().enumerate().map(point);
        Self {
            id: format!("growth/{}{suffix}", line.what),
            name,
            unit,
            points: points.filter(|point| point.measured > 0).collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        self.points.iter().map(|point| {
            format!(
                "| {}/{} | {} | {} to {} {} | {} |",
                self.id,
                point.size,
                number(point.median),
                number(point.low),
                number(point.high),
                self.unit,
                point.measured,
            )
        })
    }

    fn json(&self) -> impl Iterator<Item = serde_json::Value> {
        self.points.iter().map(|point| {
            serde_json::json!({
                "id": format!("{}/{}", self.id, point.size),
                "size": point.size,
                "median": point.median,
                "interval": [point.low, point.high],
                "unit": self.unit,
                "rounds": point.measured,
            })
        })
    }
}

/// Four digits of it, or all in front of the point.
fn number(value: f64) -> String {
    match value.abs() {
        1_000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What is drawn into one file.
pub(crate) struct Plot {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Titles of axes, with units.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
}

/// How much more one takes than another, and may.
struct Ratio {
    id: &'static str,
    /// With its interval.
    median: (f64, f64, f64),
    most: f64,
    measured: usize,
}

impl Ratio {
    fn verdict(&self) -> &'static str {
        let (median, low, high) = self.median;
        let most = self.most;
        if high <= most {
            "holds"
        } else if low > most {
            "does not hold"
        } else if median <= most {
            "holds for the median, the interval passes it"
        } else {
            "does not hold for the median, the interval begins below it"
        }
    }
}

/// Everything.
#[derive(Default)]
pub(crate) struct Report {
    plots: Vec<Plot>,
    ratios: Vec<Ratio>,
}

impl Report {
    /// If there is anything to draw.
    pub(crate) fn add(&mut self, mut plot: Plot) {
        plot.curves.retain(|curve| !curve.points.is_empty());
        if !plot.curves.is_empty() {
            self.plots.push(plot);
        }
    }

    /// What was measured of a ratio, if anything, and the most it may be.
    pub(crate) fn ratio(&mut self, id: &'static str, measured: &[f64], most: f64) {
        if !measured.is_empty() {
            self.ratios.push(Ratio {
                id,
                median: median_interval(measured),
                most,
                measured: measured.len(),
            });
        }
    }

    /// Prints the table, writes the list, and draws.
    #[expect(clippy::print_stdout, reason = "what a bench has to say")]
    pub(crate) fn finish(&self) {
        println!("| what | median | 95 % | rounds |\n|---|---|---|---|");
        let curves = || self.plots.iter().flat_map(|plot| &plot.curves);
        for row in curves().flat_map(Curve::rows) {
            println!("{row}");
        }
        let mut list: Vec<_> = curves().flat_map(Curve::json).collect();
        for ratio in &self.ratios {
            let (median, low, high) = ratio.median;
            let (id, most, verdict) = (ratio.id, ratio.most, ratio.verdict());
            println!("\n{id}: {median:.3} ({low:.3} to {high:.3}); at most {most}: {verdict}");
            list.push(serde_json::json!({
                "id": id, "ratio": median, "interval": [low, high], "most": most,
                "verdict": verdict, "rounds": ratio.measured,
            }));
        }
        write_json("growth", &list);
        for plot in &self.plots {
            let file = folder().join(format!("growth-{}.svg", plot.name));
            let drawn = plot::drawn(plot).expect("text can be drawn on");
            fs::write(file, drawn).expect("results can be written");
        }
    }
}
