//! That no test of the reference is forgotten: their names are read from its source and looked for here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use slackwater_tests::crate_file_or_skip;

/// The crates whose tests these are, with the versions that `Cargo.lock` has.
const CRATES: [(&str, &str); 2] = [
    ("sc-executor", "0.51.0"),
    ("sc-executor-wasmtime", "0.47.0"),
];

/// Tests of the reference that no case of a table stands for, but a test here of its own.
const BESIDE_THE_TABLES: [(&str, &str); 11] = [
    ("offchain_index", "offchain::the_offchain_index_is_written"),
    (
        "offchain_local_storage_should_work",
        "offchain::offchain_storage_is_read_written_and_exchanged",
    ),
    (
        "offchain_http_should_work",
        "offchain::a_request_is_made_and_its_answer_read",
    ),
    ("parallel_execution", "threads::threads_share_an_executor"),
    (
        "wasm_tracing_should_work",
        "spans::a_guests_spans_are_opened_and_closed_where_the_host_shows_itself",
    ),
    (
        "wasm_executor_registers_custom_interface",
        "functions::functions_beside_the_set_are_listed_and_called",
    ),
    (
        "host_functions_are_equal",
        "functions::a_set_of_host_functions_is_itself",
    ),
    (
        "old_runtime_version_decodes",
        "versions::an_old_version_is_read_with_what_it_lacks",
    ),
    (
        "old_runtime_version_decodes_fails_with_version_3",
        "versions::an_old_version_that_claims_to_be_newer_is_none",
    ),
    (
        "new_runtime_version_decodes",
        "versions::a_new_version_is_read_as_far_as_its_core_api_says",
    ),
    (
        "embed_runtime_version_works",
        "versions::an_embedded_version_is_read_without_a_call",
    ),
];

/// Tests of the reference that nothing here stands for, and why.
const LEFT_OUT: [(&str, &str); 3] = [
    (
        "test_virtualization",
        "runs PolkaVM programs by host functions that are not in `sp-io`'s set",
    ),
    (
        "test_rustix_version_matches_with_wasmtime",
        "compares two dependencies in the reference's manifest",
    ),
    (
        "test_is_madvise_working_check_does_not_fail",
        "asks a private function of the reference; ours tries out what it needs of the kernel whenever an executor is made",
    ),
];

/// Names of tests in a source: functions behind `#[test]`, and those that are made into tests for each way to instances.
fn tests_in(source: &str) -> Vec<String> {
    let name = |text: &str| {
        let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let end = text.find(|it| !is_name(it)).unwrap_or(text.len());
        (end > 0).then(|| text[..end].to_owned())
    };
    let (mut found, mut marked) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("test_wasm_execution!(") {
            found.extend(name(rest));
        }
        marked |= line == "#[test]";
        if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            // In a macro there is no name yet.
            found.extend(name(rest));
            marked = false;
        }
    }
    found
}

/// Names of tests in all sources of a folder.
fn tests_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                tests_below(&path)
            } else if path.extension().is_some_and(|it| it == "rs") {
                tests_in(&fs::read_to_string(&path).expect("text"))
            } else {
                Vec::new()
            }
        })
        .collect()
}

/// What is said of each test of the reference; more than once only by cases of the tables.
fn stood_for() -> BTreeMap<&'static str, &'static str> {
    let mut stood_for = BTreeMap::new();
    for case in super::tables() {
        for test in case.stands_for {
            stood_for.insert(*test, case.name);
        }
    }
    for (test, what) in BESIDE_THE_TABLES.into_iter().chain(LEFT_OUT) {
        let twice = stood_for.insert(test, what);
        assert_eq!(twice, None, "{test}");
    }
    stood_for
}

#[test]
fn every_test_of_the_reference_is_stood_for_or_left_out() {
    let stood_for: BTreeSet<_> = stood_for().into_keys().map(str::to_owned).collect();
    let mut tests = BTreeSet::new();
    for (name, version) in CRATES {
        let Some(file) = crate_file_or_skip(name, version, "src/lib.rs") else {
            return;
        };
        for test in tests_below(file.parent().expect("a folder")) {
            assert!(tests.insert(test.clone()), "{test}: in two places");
        }
    }
    let forgotten: Vec<_> = tests.difference(&stood_for).collect();
    let unknown: Vec<_> = stood_for.difference(&tests).collect();
    assert!(
        forgotten.is_empty() && unknown.is_empty(),
        "forgotten: {forgotten:?}; not in the reference: {unknown:?}"
    );
}

#[test]
fn names_of_tests_are_found() {
    let source = "#[test]\n#[ignore]\nfn one() {}\nfn no() {}\ntest_wasm_execution!(two);\n\
                  macro_rules! all { () => {\n\t#[test]\n\tfn [<$name _form>]() {}\n} }\n";
    assert_eq!(tests_in(source), ["one", "two"]);
}
