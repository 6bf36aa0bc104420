//! Replays the fixtures of a folder and compares them with what is expected, as a test would by
//! `replay_fixture!("tests/fixtures")`; set `UPDATE_EXPECT=1` to accept a change.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use slackwater_runtime_fixtures::replay_fixture;

fn main() {
    let replayed = replay_fixture!("tests/fixtures");
    println!(
        "{} blocks of {} fixture do what is expected; {} expectations were written",
        replayed.blocks, replayed.fixtures, replayed.updated
    );
}
