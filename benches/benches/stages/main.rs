//! What do the stages of running a runtime cost, next to the Polkadot SDK?
//!
//! The runtime is the node template's of 2021. Both sides are run in turns within every sample; ours has its defaults.
//!
//! | stage | ours | peer |
//! |---|---|---|
//! | `load` | unpacked, hashed and validated | unpacked and parsed by `sc-executor-common`; the compiler validates |
//! | `compile` | from code to what can be called, the engine included; with instrumenting, and in a pool | the same by `sc-executor-wasmtime` |
//! | `instantiate` | `Core_version` in an instance from scratch | the same in an instance of the pool, copy on write |
//! | `call` | `Core_version` in an instance that was put back | the same; there, every call is in a new instance, which is asked for once |
//! | `reset` | what it costs more when a call writes to 256 pages: the call less one that writes to none | the same |
//! | `root` | root of a block that changes about 1,000 keys | the same by `sp-state-machine`'s `TrieBackend` over the same database |
//! | `commit` | that block written, without `fsync` | the same by `sc-client-db`, which never asks for `fsync` |
//!
//! Neither executor can be asked to put an instance back, and the peer does not: it makes a new one, whose pages are
//! copied when they are written to. So `reset` is a difference, in which there is whatever a page costs that was
//! written to, wherever that shows; the 256 stores are in it too. The function that writes is added to the runtime for it.
//!
//! Blocks are of 1,000 signed transfers between 1,000 accounts, and each side has a chain of its own of them. In `root`, nodes
//! are in the caches as executing the block has left them, for both. A `commit` of either keeps a block's nodes
//! in memory and in one record of a journal; that of ours holds values as well, and it writes receipts and what undoes the
//! block.
//!
//! Criterion ids are `stages/STAGE/ours` and `stages/STAGE/peer`; the table behind them is also in `target/bench/stages.json`.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

mod blocks;
mod peer;
mod questions;

use criterion::{Criterion, criterion_group, criterion_main};
use slackwater_benches::report::Report;
use slackwater_runtime_fixtures::{ChainSpec, dir::real_fixtures_dir};
use sp_core::storage::well_known_keys::CODE;

fn stages(criterion: &mut Criterion) {
    let folder = real_fixtures_dir().expect("the bench needs the real fixtures");
    let spec = folder.join("genesis/smoldot-substrate-node-template.json");
    let genesis = ChainSpec::load(&spec).expect("the chain loads").genesis;
    let code = genesis.top.get(CODE).expect("a runtime");
    let mut report = Report::new("stages");
    questions::load(criterion, code, &mut report);
    questions::compile(criterion, code, &mut report);
    questions::instantiate(criterion, code, &mut report);
    questions::call(criterion, code, &mut report);
    questions::reset(criterion, code, &mut report);
    questions::blocks(criterion, &genesis, &mut report);
    report.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
