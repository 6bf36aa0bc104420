//! The program run by tests.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// Runs the program.
pub(crate) fn slackwater(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slackwater"))
        .args(args)
        .output()
        .expect("the program runs")
}

/// Runs it with `--json` and returns the exit code and the document.
pub(crate) fn json(args: &[&str]) -> (i32, Value) {
    let output = slackwater(&[args, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code().expect("it ended by itself"), document)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}
