//! Calibration on the command line: not how fast this machine is, but that the report makes sense.

mod common;

use common::{slackwater, text};
use serde_json::Value;
use slackwater_runtime_fixtures::guest::GUEST_WASM;

fn figure(of: &Value, name: &str) -> f64 {
    let figure = of[name].as_f64();
    let figure = figure.unwrap_or_else(|| panic!("no figure `{name}` in {of}"));
    assert!(figure.is_finite(), "{name} in {of}");
    figure
}

fn positive(of: &Value, name: &str) -> f64 {
    let figure = figure(of, name);
    assert!(figure > 0.0, "{name} in {of}");
    figure
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().expect("a list")
}

/// Checks a row, and returns its nanoseconds per fuel.
fn check_row(row: &Value, median: f64) -> f64 {
    let (ns, fuel) = (positive(row, "ns"), positive(row, "fuel"));
    let parts = ["wasm", "size", "host"].map(|part| figure(row, part));
    assert!(parts.iter().all(|part| *part >= 0.0), "{row}");
    assert!((parts.iter().sum::<f64>() / fuel - 1.0).abs() < 1e-6);
    let quartiles = ["ns_low", "ns_high"].map(|name| figure(row, name));
    assert!(quartiles[0] >= 0.0 && quartiles[0] <= ns && ns <= quartiles[1]);
    assert!(row["times"].as_u64() > Some(0), "{row}");
    let per_fuel = positive(row, "ns_per_fuel");
    let over = positive(row, "over_median");
    assert!((per_fuel / median / over - 1.0).abs() < 1e-6, "{row}");
    if let Some(price) = row.get("price") {
        assert_eq!(price["raise"], over > 4.0, "{row}");
        assert!(price["now"].is_u64() && price["matching"].is_u64());
        // To cost less, a row that is too dear must be priced higher.
        assert!(over < 4.0 || price["matching"].as_u64() > price["now"].as_u64());
    }
    per_fuel
}

#[test]
fn a_quick_calibration_makes_sense() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("guest.wasm");
    std::fs::write(&runtime, GUEST_WASM).expect("writes");
    let (code, report) = common::json(&["calibrate", "--quick", "--runtime", text(&runtime)]);
    assert_eq!(code, 0, "{report}");
    let median = positive(&report, "median_ns_per_fuel");
    let groups = list(&report, "groups");
    let names = groups.iter().map(|group| group["name"].as_str());
    let names: Vec<_> = names.map(|name| name.expect("text")).collect();
    assert_eq!(
        names,
        ["corpus", "operators", "patterns", "sizes", "host functions"]
    );
    let mut worst = 0.0_f64;
    for group in groups {
        let rows = list(group, "rows");
        assert!(rows.len() > 10, "{group}");
        let figures: Vec<_> = rows.iter().map(|row| check_row(row, median)).collect();
        assert!(figures.is_sorted_by(|one, other| one >= other));
        let over = positive(group, "worst_over_median");
        assert!((figures[0] / median / over - 1.0).abs() < 1e-6);
        worst = worst.max(over);
        if group["name"] == "corpus" {
            let is_median = |figure: &f64| (figure / median - 1.0).abs() < 1e-9;
            assert!(figures.iter().any(is_median), "{group}");
            let given = |row: &Value| row["name"] == "guest: Core_version";
            assert!(rows.iter().any(given), "{group}");
        }
    }
    assert!((worst - positive(&report, "worst_over_median")).abs() < 1e-6);
    assert!(worst >= 1.0, "the worst is below the median");
}

#[test]
fn a_method_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("guest.wasm");
    std::fs::write(&runtime, GUEST_WASM).expect("writes");
    let call = ["--call", "Core_no_such_method"];
    let run = [
        &["calibrate", "--quick", "--runtime", text(&runtime)],
        &call[..],
    ]
    .concat();
    let output = slackwater(&run);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("Core_no_such_method"), "{said}");
}
