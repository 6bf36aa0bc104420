//! What was measured, set in relation: to the median of the corpus, and to the prices in force.
//!
//! Invariant: every ratio is of nanoseconds per fuel, so 1 is what fuel is meant to cost.

use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use slackwater_executor::fuel::Schedule;

use super::{
    groups::Group,
    measure::{Bench, Effort, Measured, Part},
};
use crate::{
    error::CliError,
    output::{hex, say, table},
};

/// A row dearer than this many times the median is said to be mispriced.
const DEAR: f64 = 4.0;

/// Everything, as JSON has it.
#[derive(Serialize)]
pub(super) struct Report {
    /// What the processor calls itself.
    cpu: String,
    /// Hash of the schedule whose prices were tested.
    schedule: String,
    repetitions: u32,
    /// Nanoseconds per fuel: the median of the corpus.
    median_ns_per_fuel: f64,
    /// The dearest row of all, over the median.
    worst_over_median: f64,
    groups: Vec<GroupReport>,
}

#[derive(Serialize)]
struct GroupReport {
    name: &'static str,
    worst_over_median: f64,
    /// The dearest first.
    rows: Vec<Row>,
}

/// One thing that was measured. Figures are for one unit of it.
#[derive(Serialize)]
struct Row {
    name: String,
    /// Nanoseconds, the median of all repetitions; and the quartiles.
    ns: f64,
    ns_low: f64,
    ns_high: f64,
    /// Fuel, and what it was for.
    fuel: f64,
    wasm: f64,
    size: f64,
    host: f64,
    /// Over all fuel; for calls of runtimes, over that of operators.
    ns_per_fuel: f64,
    over_median: f64,
    /// How often it was done in a call.
    times: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
}

/// The price that a row tests.
#[derive(Serialize)]
struct Price {
    name: String,
    now: u32,
    /// With this price instead, the row would cost what the median does.
    matching: u64,
    /// Whether the row is so dear that the price should be raised.
    raise: bool,
}

/// A row before the median is known.
pub(super) struct Taken {
    pub(super) group: Group,
    pub(super) bench: Bench,
    pub(super) measured: Measured,
}

impl Taken {
    fn ns_per_fuel(&self) -> f64 {
        let fuel = match self.bench.part {
            Part::Total => self.measured.fuel(),
            Part::Wasm => self.measured.wasm,
        };
        self.measured.ns / fuel
    }
}

impl Report {
    /// Sets everything in relation. `schedule` is the one it was measured under.
    pub(super) fn new(taken: &[Taken], schedule: &Schedule, effort: Effort) -> Self {
        let corpus = taken.iter().filter(|row| row.group == Group::Corpus);
        let mut corpus: Vec<_> = corpus.map(Taken::ns_per_fuel).collect();
        corpus.sort_by(f64::total_cmp);
        // There always is one: kernels are built in.
        let median = corpus.get(corpus.len() / 2).copied().unwrap_or(1.0);
        let groups = Group::ALL.map(|group| {
            let taken = taken.iter().filter(|row| row.group == group);
            let mut rows: Vec<_> = taken.map(|row| Row::new(row, median, schedule)).collect();
            rows.sort_by(|one, other| other.ns_per_fuel.total_cmp(&one.ns_per_fuel));
            GroupReport {
                name: group.name(),
                worst_over_median: rows.first().map_or(0.0, |row| row.over_median),
                rows,
            }
        });
        let worst = groups.iter().map(|group| group.worst_over_median);
        Self {
            cpu: cpu(),
            schedule: hex(schedule.hash()),
            repetitions: effort.repetitions,
            median_ns_per_fuel: median,
            worst_over_median: worst.fold(0.0, f64::max),
            groups: groups.into(),
        }
    }

    pub(super) fn print(&self) -> Result<(), CliError> {
        for group in &self.groups {
            say(format!("\n{}", group.name))?;
            say(group.table())?;
            if group.name == Group::Corpus.name() {
                say("calls of runtimes: all their time, over the fuel of their operators alone")?;
            }
        }
        let mut rows = table(["", "worst over median", "the worst"]);
        for group in &self.groups {
            let worst = group.rows.first().map_or("", |row| &row.name);
            rows.add_row([group.name, &figure(group.worst_over_median), worst]);
        }
        say(format!("\n{}: worst over median", self.cpu))?;
        say(rows)?;
        say(format!(
            "median of the corpus: {} ns per fuel; worst over median: {}",
            figure(self.median_ns_per_fuel),
            figure(self.worst_over_median)
        ))
    }
}

impl GroupReport {
    fn table(&self) -> Table {
        let mut rows = table([
            "",
            "ns",
            "fuel",
            "ns per fuel",
            "quartiles",
            "over median",
            "price",
            "would match",
        ]);
        for column in rows.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            let raised = row.price.as_ref().filter(|price| price.raise);
            let (now, matching) = match raised {
                Some(price) => (price.now.to_string(), price.matching.to_string()),
                None => Default::default(),
            };
            let per_fuel = row.ns_per_fuel / row.ns;
            let quartiles = [row.ns_low, row.ns_high].map(|ns| figure(ns * per_fuel));
            rows.add_row([
                row.name.clone(),
                figure(row.ns),
                figure(row.fuel),
                figure(row.ns_per_fuel),
                quartiles.join(" to "),
                figure(row.over_median),
                now,
                matching,
            ]);
        }
        rows
    }
}

impl Row {
    fn new(taken: &Taken, median: f64, schedule: &Schedule) -> Self {
        let (bench, measured) = (&taken.bench, &taken.measured);
        let ns_per_fuel = taken.ns_per_fuel();
        let over_median = ns_per_fuel / median;
        let price = bench.tested.as_ref().map(|tested| {
            let now = price_now(schedule, &tested.name);
            let others = measured.fuel() - f64::from(now) * tested.times;
            let matching = (measured.ns / median - others) / tested.times;
            Price {
                name: tested.name.clone(),
                now,
                matching: whole(matching),
                raise: over_median > DEAR,
            }
        });
        Self {
            name: bench.name.clone(),
            ns: measured.ns,
            ns_low: measured.ns_low,
            ns_high: measured.ns_high,
            fuel: measured.fuel(),
            wasm: measured.wasm,
            size: measured.size,
            host: measured.host,
            ns_per_fuel,
            over_median,
            times: u64::from(measured.rounds) * u64::from(bench.units),
            price,
        }
    }
}

/// The price of this name; 0 if there is none.
fn price_now(schedule: &Schedule, name: &str) -> u32 {
    if let ["host", function, part] = *name.split(' ').collect::<Vec<_>>() {
        let price = schedule.host(function);
        return match part {
            "call" => price.base,
            "passed" => price.passed.into(),
            _ => price.returned.into(),
        };
    }
    let rows = schedule.rows();
    let row = rows.into_iter().find(|(row, _)| row == name);
    row.map_or(0, |(_, price)| price)
}

/// The next whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and what is below zero is no price"
)]
fn whole(price: f64) -> u64 {
    price.ceil() as u64
}

/// A number with about three digits that matter.
fn figure(number: f64) -> String {
    if number >= 100.0 {
        format!("{number:.0}")
    } else if number >= 10.0 {
        format!("{number:.1}")
    } else if number >= 0.1 {
        format!("{number:.2}")
    } else {
        format!("{number:.3}")
    }
}

/// What the processor calls itself, where the system says.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = info.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    names
        .into_iter()
        .next()
        .unwrap_or_else(|| "a processor without a name".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(group: Group, ns: f64, wasm: f64, host: f64) -> Taken {
        let guest = super::super::guest::Guest::default();
        let bench = Bench::guest("f", &guest).tests("host ext_f call", 1.0);
        let measured = Measured {
            rounds: 7,
            ns,
            ns_low: ns,
            ns_high: ns,
            wasm,
            size: 0.0,
            host,
        };
        Taken {
            group,
            bench,
            measured,
        }
    }

    #[test]
    fn at_the_price_that_matches_a_row_costs_the_median() {
        let effort = Effort {
            target: Duration::ZERO,
            repetitions: 1,
        };
        let now = price_now(&Schedule::default(), "host ext_f call");
        let rows = [
            taken(Group::Corpus, 1.0, 10.0, 0.0),
            taken(Group::Corpus, 2.0, 10.0, 0.0),
            taken(Group::Corpus, 9.0, 10.0, 0.0),
            taken(Group::Host, 10_000.0, 6.0, f64::from(now)),
            taken(Group::Host, 10.0, 6.0, f64::from(now)),
        ];
        let report = Report::new(&rows, &Schedule::default(), effort);
        assert!((report.median_ns_per_fuel - 0.2).abs() < 1e-9);
        let host = report
            .groups
            .iter()
            .find(|group| group.name == Group::Host.name());
        let prices = host.map(|group| group.rows.iter().filter_map(|row| row.price.as_ref()));
        let prices = prices.into_iter().flatten();
        let prices: Vec<_> = prices.map(|price| (price.matching, price.raise)).collect();
        assert_eq!(prices, [(49_994, true), (44, false)]);
        let worst = 10_000.0 / (f64::from(now) + 6.0) / 0.2;
        assert!((report.worst_over_median - worst).abs() < 1e-9);
    }

    #[test]
    fn figures_are_short() {
        for (number, text) in [
            (1234.5, "1234"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.0123, "0.012"),
        ] {
            assert_eq!(figure(number), text);
        }
    }
}
