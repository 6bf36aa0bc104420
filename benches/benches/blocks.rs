//! What does it cost to replay and commit a block, by either path?
//!
//! Ids are `replay/FIXTURE/PATH`; one iteration replays the whole guest chain of the repository,
//! 128 blocks, onto an empty database without `fsync`, and throughput is in extrinsics. Making the
//! database and compiling the runtime are not counted.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use slackwater_executor::{
    Database, Durability, ExecutionPath, ExecutorConfig, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureReplay, guest::fixture_chain_path};

fn blocks(criterion: &mut Criterion) {
    let chain = BlockFixture::load(&fixture_chain_path()).expect("the chain loads");
    let executor =
        WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default()).expect("engine");
    let last = chain.blocks.last().expect("blocks").state_root;
    let extrinsics: usize = chain.blocks.iter().map(|block| block.body.len()).sum();
    let mut group = criterion.benchmark_group("replay/guest-chain");
    group.throughput(Throughput::Elements(extrinsics as u64));
    group.sample_size(10);
    for (path, name) in [
        (ExecutionPath::Split, "split"),
        (ExecutionPath::Whole, "whole"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    let folder = tempfile::tempdir().expect("a folder");
                    let open = Database::open(folder.path(), Durability::Buffered);
                    (open.expect("opens"), folder)
                },
                |(database, folder)| {
                    let replay = FixtureReplay::new(&executor, &database, &chain, path);
                    let heads = replay
                        .expect("begins")
                        .map(|block| block.expect("replays").imported.head.state_root.0);
                    assert_eq!(heads.last(), Some(last));
                    (database, folder)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
