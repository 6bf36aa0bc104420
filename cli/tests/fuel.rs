//! Fuel on the command line.

mod common;

use common::text;
use serde_json::json;
use slackwater_runtime_fixtures::guest::GUEST_WASM;

#[test]
fn a_call_is_counted_and_limited() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("guest.wasm");
    std::fs::write(&runtime, GUEST_WASM).expect("writes");
    let runtime = text(&runtime);
    let call = |more: &[&str]| {
        let args = ["call", "--runtime", runtime, "Core_version"];
        common::json(&[&args[..], more].concat())
    };
    let (code, plain) = call(&[]);
    assert_eq!((code, &plain["outcome"]), (0, &json!("ok")));
    let (_, off) = call(&["--fuel", "off"]);
    assert_eq!(off.get("fuel"), None);
    assert_eq!(off["output"], plain["output"]);
    let used = plain["fuel"]["total"].as_u64().expect("a number");
    assert!(used > 10, "{plain}");
    for meter in ["slacked", "checked"] {
        let limit = |fuel: u64| call(&["--meter", meter, "--fuel", &fuel.to_string()]);
        let (_, mut enough) = limit(used);
        assert_eq!(enough["fuel"]["limit"].take(), used);
        enough["fuel"]
            .as_object_mut()
            .expect("an object")
            .remove("limit");
        assert_eq!(enough, plain);
        let (code, short) = limit(used - 1);
        assert_eq!((code, &short["outcome"]), (0, &json!("out_of_fuel")));
        assert_eq!(short["fuel"]["total"], used - 1);
    }
    let (_, repeated) = call(&["--repeat", "20"]);
    let median = repeated["median_ns"].as_u64().expect("a number");
    assert!((1_000..1_000_000_000).contains(&median), "{median}");
    assert_eq!(plain.get("median_ns"), None);
}

#[test]
fn a_module_is_instrumented_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let [before, after] = ["before.wasm", "after.wasm"].map(|name| folder.path().join(name));
    std::fs::write(&before, GUEST_WASM).expect("writes");
    let [before, after] = [&before, &after].map(|path| text(path));
    let (code, report) = common::json(&["instrument", before, after, "--stats"]);
    assert_eq!(code, 0, "{report}");
    let stats = report["stats"].as_array().expect("a list");
    assert_eq!(report["functions"], stats.len());
    let sum: u64 = stats
        .iter()
        .map(|f| f["increments"].as_u64().expect("a number"))
        .sum();
    assert_eq!(report["increments"], sum);
    let written = std::fs::metadata(after).expect("it was written").len();
    assert_eq!(report["bytes_after"], written);
    assert!(report["bytes_before"].as_u64() < Some(written));
    // The meter is a second memory, which no guest may have.
    let (code, again) = common::json(&["instrument", after, before]);
    assert_eq!(code, 2, "{again}");
}
