//! How does cost grow with what is done?
//!
//! All on the repository's guest, by the defaults: instances that are put back, fuel counted by slacked meters, and a
//! database that leaves `fsync` to the operating system.
//!
//! | id | size | what is measured |
//! |---|---|---|
//! | `growth/extrinsics` | extrinsics in a block | producing a block of contract-like calls, its root included |
//! | `growth/keys-produce`, `growth/keys-commit` | keys of the state | a block of 1,000 writes to random keys that are there |
//! | `growth/compile` | bytes of the runtime | from code to a runtime that can be called, in a new executor |
//! | `growth/call` | bytes of the runtime | an empty call in an instance that was put back |
//! | `growth/pages` | pages of 4 KiB | a call that writes to them, with putting its instance back |
//!
//! All sizes are measured in every round, in turns. Behind them come a table, `target/bench/growth.json`, and a picture
//! for each question, `target/bench/growth-*.svg`. With `growth/extrinsics` goes `growth/memory`: what such a block adds to
//! the resident memory of a process at its peak, produced and committed.
//!
//! An extrinsic is to take, in a block of 10,000, no more than 1.2 times as long as in one of 1,000.
//!
//! `SLACKWATER_BENCH_KEYS_MAX` changes the largest state from 1,000,000 keys; `SLACKWATER_BENCH_ROUNDS` changes the number of
//! rounds, of which criterion wants ten.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

mod blocks;
mod chain;
mod memory;
mod plot;
mod report;
mod rounds;
mod runtimes;
mod states;

use criterion::{Criterion, criterion_group};

use report::Report;

fn growth(criterion: &mut Criterion) {
    let mut report = Report::default();
    blocks::extrinsics(criterion, &mut report);
    states::keys(criterion, &mut report);
    runtimes::compiling(criterion, &mut report);
    runtimes::calls(criterion, &mut report);
    runtimes::pages(criterion, &mut report);
    report.finish();
}

criterion_group!(benches, growth);

#[expect(
    clippy::print_stdout,
    reason = "a process that measures tells its parent"
)]
fn main() {
    match memory::child() {
        Some(count) => {
            if let Some(bytes) = blocks::memory_of(count) {
                println!("{bytes}");
            }
        }
        None => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
