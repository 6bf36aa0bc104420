//! A slice of the torture of the database, and that it finds what is planted. The long runs are made by hand: see
//! `src/bin/torture`.

use std::process::{Command, Output};

fn torture(arguments: &[&str]) -> Output {
    let mut torture = Command::new(env!("CARGO_BIN_EXE_torture"));
    torture.args(arguments).output().expect("runs")
}

/// The last line, and all lines about what was torn.
fn lines(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default().to_owned();
    (last, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn nothing_is_torn() {
    let output = torture(&[
        "--kills",
        "250",
        "--power-cuts",
        "250",
        "--faults",
        "60",
        "--seed",
        "7",
    ]);
    let (last, torn) = lines(&output);
    assert_eq!(
        last, "250 power cuts, 60 faults, 250 kills, 0 torn",
        "{torn}"
    );
    assert!(output.status.success());
}

/// A log that is not synced loses blocks, and a value that goes missing is missed.
#[test]
fn planted_faults_are_found() {
    for (way, plant, sign) in [
        (
            "--power-cuts",
            "missing-fsync",
            "torn: --seed 7 --from 0: behind operation ",
        ),
        (
            "--kills",
            "lost-value",
            "the flat value is nothing, the trie's 0x",
        ),
    ] {
        let output = torture(&[way, "60", "--seed", "7", "--plant", plant]);
        let (last, torn) = lines(&output);
        assert!(!output.status.success(), "{plant}: {last}");
        assert!(
            !last.ends_with(", 0 torn") && torn.contains(sign),
            "{plant}: {last}\n{torn}"
        );
    }
}

/// A line that says how a series is repeated repeats it.
#[test]
fn series_are_repeated() {
    let run = |from: &str, count: &str| {
        let plant = ["--plant", "missing-fsync", "--seed", "7"];
        let output =
            torture(&[["--power-cuts", count, "--from", from].as_slice(), &plant].concat());
        let (_, torn) = lines(&output);
        let of_series = |line: &&str| line.starts_with("torn: --seed 7 --from 1: ");
        torn.lines().filter(of_series).count()
    };
    let all = run("0", "50");
    assert!(all > 0);
    assert!(run("1", "25") > 0);
}
