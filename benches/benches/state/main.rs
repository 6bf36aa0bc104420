//! What do reads, roots and commits of the state cost, next to `sp-state-machine`'s `TrieBackend` over the same
//! RocksDB, and next to a bare batch of the same records?
//!
//! Each question is answered by two criterion ids, `QUESTION/ours` and `QUESTION/peer`. Both are run in turns in every
//! sample, whichever of them is being timed, so that what disturbs one disturbs the other. Behind them a table shows
//! medians and the ratio with its 95 % interval, which is also written to `target/bench/state.json`.
//!
//! | question | ours | peer |
//! |---|---|---|
//! | `read` | 1,000 values of random keys, without our cache | a walk through the trie over the same database |
//! | `read_in_memory` | the same where RocksDB has everything in its own cache | the same |
//! | `read_cached` | the same values again, with the cache | the same peer |
//! | `root` | root of 10,000 changes | the same by `TrieBackend` |
//! | `root_ahead` | the same half a second after the writes, from empty caches | without the thread that reads ahead |
//! | `commit` | a block of 10,000 changes, durable | one bare batch of the same records, durable |
//! | `commit_undo` | the same, with what undoes it being read | the same |
//! | `layers` | a block of 200 extrinsics that write and append, every tenth rolled back | the same in a RocksDB transaction with savepoints |
//! | `next_key`, `clear_prefix` | in the whole state | in a hundredth of it |
//!
//! `SLACKWATER_BENCH_KEYS` changes the number of keys from 1,000,000.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

mod contents;
mod questions;

use criterion::{Criterion, criterion_group, criterion_main};
use slackwater_benches::report::Report;

fn state(criterion: &mut Criterion) {
    let mut report = Report::new("state");
    let whole = contents::Chain::new(contents::keys());
    let part = contents::Chain::new((contents::keys() / 100).max(contents::LEAST));
    questions::reads(criterion, &whole, &mut report);
    questions::root(criterion, &whole, &mut report);
    questions::roots_ahead(criterion, &whole, &mut report);
    for undo in [false, true] {
        questions::commit(criterion, &whole, undo, &mut report);
    }
    questions::walks(criterion, &whole, &part, &mut report);
    questions::layers(criterion, &mut report);
    report.finish();
}

criterion_group!(benches, state);
criterion_main!(benches);
