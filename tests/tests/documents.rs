//! What documents say of tests.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Tracked files.
fn tracked(root: &Path) -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output();
    let listed = listed.expect("git is installed: run `make setup`").stdout;
    let listed = String::from_utf8(listed).expect("file names are UTF-8");
    listed.split('\0').map(str::to_owned).collect()
}

/// The table of what a guest can see names tests and where they are.
#[test]
fn every_row_of_the_table_of_determinism_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let files = tracked(root);
    let sources = files.iter().filter(|file| file.ends_with(".rs"));
    let texts = sources.filter_map(|file| fs::read_to_string(root.join(file)).ok());
    let functions: BTreeSet<String> = texts
        .flat_map(|text| {
            let functions = text.split("fn ").skip(1);
            functions
                .filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect();
    let is_file = |name: &str| {
        let below = format!("/{name}");
        files.iter().any(|file| {
            file == name || file.ends_with(&below) || file.starts_with(&format!("{name}/"))
        })
    };
    let table = fs::read_to_string(root.join("docs/determinism.md")).expect("it is there");
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| line.trim_end_matches([' ', '|']));
    let mut named = 0;
    for row in rows {
        let tests = row.rsplit(" | ").next().expect("a column");
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        let is_test = |name: &&&str| functions.contains(**name);
        assert!(names.iter().any(|name| is_test(&name)), "no test: {row}");
        for name in &names {
            assert!(
                is_test(&name) || is_file(name),
                "`{name}` is nowhere: {row}"
            );
        }
        named += names.len();
    }
    assert!(named > 50, "the table is read: {named}");
}
