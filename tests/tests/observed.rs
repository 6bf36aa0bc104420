//! What a dashboard sees: the numbers are those of what was executed, and the dashboard asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use slackwater_executor::{
    Database, Durability, ExecutionPath, ExecutorConfig, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
    metrics::{METRICS, MetricKind, SECONDS_BUCKETS, describe},
    runtime::RuntimeCacheConfig,
};
use slackwater_runtime_fixtures::{FixtureReplay, dir::workspace, guest};
use slackwater_tests::load_blocks;

/// The values on a page, by name and labels.
fn values(page: &str) -> BTreeMap<String, f64> {
    let lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    parsed.collect()
}

#[test]
fn numbers_are_those_of_the_blocks() {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .expect("there are buckets");
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the only recorder");
    describe();

    let chain = load_blocks(&guest::fixture_chain_path());
    let folder = tempfile::tempdir().expect("a folder");
    let config = ExecutorConfig::default()
        .with_metrics(true)
        .with_memory_budget(1 << 30)
        .with_runtime_cache(RuntimeCacheConfig::new(folder.path().join("code")));
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config).expect("an engine");
    let database = Database::open(&folder.path().join("db"), Durability::Buffered);
    let database = database.expect("a database");
    let (mut blocks, mut extrinsics, mut fuel) = (0, 0, 0);
    let replay = FixtureReplay::new(&executor, &database, &chain, ExecutionPath::Split);
    for replayed in replay.expect("a chain") {
        let replayed = replayed.expect("it is the chain's");
        blocks += 1;
        extrinsics += replayed.extrinsics;
        fuel += replayed.imported.fuel.expect("it is counted").total().0;
    }

    let page = handle.render();
    let values = values(&page);
    let value = |name: &str| {
        values
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("{name}\n{page}"))
    };
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let number = |number: usize| number as f64;
    let of = |name: &str, label: &str| value(&format!("{name}{{{label}}}"));
    let found: f64 = ["applied", "dispatch_error"]
        .iter()
        .filter_map(|outcome| {
            values.get(&format!(
                "slackwater_extrinsics_total{{outcome=\"{outcome}\"}}"
            ))
        })
        .sum();
    assert!((found - number(extrinsics)).abs() < 0.5);
    assert!((of("slackwater_blocks_total", "result=\"executed\"") - number(blocks)).abs() < 0.5);
    assert!((value("slackwater_commit_seconds_count") - number(blocks)).abs() < 0.5);
    assert!((value("slackwater_root_seconds_count") - number(blocks)).abs() < 0.5);
    assert!((value("slackwater_block_seconds_count") - number(blocks)).abs() < 0.5);
    // Each block is begun and ended by a call.
    let calls = number(extrinsics + 2 * blocks);
    assert!((value("slackwater_call_seconds_count") - calls).abs() < 0.5);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let fuel = fuel as f64;
    assert!(
        (value("slackwater_fuel_total") - fuel).abs() < 0.5,
        "{fuel}\n{page}"
    );
    assert!((value("slackwater_resets_total") - calls).abs() < 0.5);
    // The chain has an upgrade.
    assert!((of("slackwater_runtime_cache_total", "result=\"stored\"") - 2.0).abs() < 0.5);
    assert!((value("slackwater_instances_waiting") - 2.0).abs() < 0.5);
    assert!(value("slackwater_calls_running").abs() < 0.5);
    assert!(value("slackwater_memory_used_bytes").abs() < 0.5);
    assert!(of("slackwater_reset_pages_total", "kind=\"hot\"") > 0.0);

    // Every series on the page is one that is told of.
    for name in values.keys() {
        let name = name.split('{').next().expect("a name");
        assert!(is_known(name), "{name}");
    }
}

/// Whether a series belongs to a metric there is.
fn is_known(series: &str) -> bool {
    METRICS.iter().any(|metric| match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| series.strip_suffix(suffix) == Some(metric.name)),
        MetricKind::Counter | MetricKind::Gauge => series == metric.name,
    })
}

/// The series that a query asks for, with what it says of their labels.
fn asked(query: &str) -> Vec<(String, Vec<(String, String)>)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut asked = Vec::new();
    for (at, _) in query.match_indices("slackwater_") {
        let rest = &query[at..];
        let end = rest
            .find(|character| !is_name(character))
            .unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let labels = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        let pairs = labels
            .unwrap_or_default()
            .split(',')
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (label, value) = pair.split_once('=').expect("a label and a value");
            (
                label.trim_end_matches(['!', '=']).to_owned(),
                value.trim_matches(['"', '~']).to_owned(),
            )
        });
        asked.push((name.to_owned(), pairs.collect()));
    }
    asked
}

#[test]
fn the_dashboard_asks_for_series_that_exist_and_for_all_of_them() {
    let path = workspace().join("docs/dashboard.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = targets
        .map(|target| target["expr"].as_str().expect("a query"))
        .collect();
    assert!(queries.len() > 10, "{queries:?}");
    let mut seen = BTreeSet::new();
    for query in &queries {
        let series = asked(query);
        assert!(!series.is_empty(), "{query}");
        for (name, labels) in series {
            assert!(is_known(&name), "{name} in {query}");
            let metric = METRICS.iter().find(|metric| {
                name == metric.name
                    || name
                        .rsplit_once('_')
                        .is_some_and(|(stem, _)| stem == metric.name)
            });
            let metric = metric.expect("it is known");
            seen.insert(metric.name);
            for (label, value) in labels {
                assert_eq!(label, metric.label, "{query}");
                for value in value.split('|') {
                    assert!(metric.values.contains(&value), "{value} in {query}");
                }
            }
        }
    }
    for metric in METRICS {
        assert!(seen.contains(metric.name), "no panel shows {}", metric.name);
    }
}
