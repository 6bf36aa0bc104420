//! How fast are blocks produced and imported, next to Substrate's own builder, executor and database?
//!
//! | question | ours | peer |
//! |---|---|---|
//! | `produce` | `Producer::produce` | `sc-block-builder`: new, push, build |
//! | `import` | `Core_execute_block`, and a commit without `fsync` | the same by `sc-client-db`, which never asks for `fsync`; the block is not final, so its trie stays in memory and a journal is written, as by ours |
//! | `import_final` | the same, and the journal is settled, which otherwise happens once in sixteen blocks, for all of them | the same, and the block is made final, so that its trie is in the database |
//! | `import_split` | extrinsic by extrinsic, with a receipt for each | as `import` |
//!
//! Each is asked of blocks of 1,000 and 4,500 signed transfers between 1,000 accounts of the node template, of 1,000 and
//! 5,000 contract-like calls of the repository's guest, which are not signed, and of a block with nothing but inherents.
//!
//! Every round makes another block of a growing chain and gives it to all ways, one after the other, each with a
//! database of its own; the order is another in every round. Nothing about the block's transactions is known to a way
//! before its timer starts. But the accounts are the same in every block, as their records in caches are, and the public
//! keys that ours keeps unpacked. All ways come to the same header, state root included, or the bench panics.
//!
//! The number behind a way is that of the cores that the whole process has meanwhile, threads of RocksDB and of the
//! arbiter included. A way is compared with the peer on as many, though the peer executes on one whatever it has.
//!
//! Criterion ids are `QUESTION/BLOCK/WAY`. The table behind them has medians, the ratio with its 95 % interval, and
//! seconds of processor time; it is also in `target/bench/summary.json` and `summary.md`.
//!
//! `SLACKWATER_BENCH_ROUNDS` changes the number of rounds, `SLACKWATER_BENCH_BLOCKS` and `SLACKWATER_BENCH_WAYS`
//! select those whose name contains them, `SLACKWATER_BENCH_QUESTION` the one of that name.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

mod author;
mod cores;
mod ours;
mod peer;
mod report;
mod rounds;
mod workloads;

use criterion::{Criterion, criterion_group, criterion_main};

use report::Report;
use rounds::Question;

fn production(criterion: &mut Criterion) {
    let mut report = Report::default();
    for workload in workloads::chosen() {
        for question in Question::chosen() {
            rounds::ask(criterion, question, workload, &mut report);
        }
    }
    report.finish();
}

criterion_group!(benches, production);
criterion_main!(benches);
