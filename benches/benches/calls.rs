//! What does one call in a fresh instance cost, next to the Polkadot SDK's executor?
//!
//! Ids are `call/RUNTIME/METHOD/EXECUTOR`. Both executors run in this process, input written and
//! output read, on an empty storage. Kusama's runtime is taken from cargo's cache if it is there.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sc_executor::WasmExecutor as ReferenceExecutor;
use slackwater_executor::{
    CallOutcome, ExecutorConfig, HeapPages, WasmExecutor,
    host_functions::{SlackwaterHostFunctions, StandardHostFunctions},
};
use slackwater_runtime_fixtures::{crate_file, guest::GUEST_WASM};
use sp_core::traits::{CallContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode};
use sp_state_machine::BasicExternalities;

/// One byte each 4 KiB over 1 MiB from address 0, as sc-executor's own benchmark does.
const DIRTY_ONE_MEBIBYTE: [u8; 8] = [0, 0, 0, 0, 16, 0, 0, 0];

fn ours(criterion: &mut Criterion, name: &str, code: &[u8], method: &str, input: &[u8]) {
    let config = ExecutorConfig::default();
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config).expect("the engine");
    let runtime = executor.runtime(code).expect("loads");
    let mut ext = BasicExternalities::default();
    let mut call = || {
        let heap = HeapPages::default();
        executor
            .call(&runtime, &mut ext, method, input, heap)
            .expect("an outcome")
    };
    assert!(
        matches!(call(), CallOutcome::Returned(_)),
        "{method} must return"
    );
    let id = format!("call/{name}/{method}/slackwater-fresh");
    criterion.bench_function(&id, |bencher| bencher.iter(|| black_box(call())));
}

fn reference(criterion: &mut Criterion, name: &str, code: &[u8], method: &str, input: &[u8]) {
    let executor = ReferenceExecutor::<StandardHostFunctions>::builder()
        .with_allow_missing_host_functions(true)
        .build();
    let fetcher = WrappedRuntimeCode(code.into());
    let hash = sp_crypto_hashing::blake2_256(code).to_vec();
    let code = RuntimeCode {
        code_fetcher: &fetcher,
        hash,
        heap_pages: None,
    };
    let mut ext = BasicExternalities::default();
    let mut call = || {
        executor
            .call(&mut ext, &code, method, input, CallContext::Offchain)
            .0
    };
    assert!(call().is_ok(), "{method} must return");
    let id = format!("call/{name}/{method}/sc-executor-pooling-cow");
    criterion.bench_function(&id, |bencher| bencher.iter(|| black_box(call())));
}

fn calls(criterion: &mut Criterion) {
    let kusama = crate_file("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let kusama = kusama.and_then(|path| std::fs::read(path).ok());
    let runtimes = [("guest", Some(GUEST_WASM.to_vec())), ("kusama", kusama)];
    for (name, code) in runtimes {
        let Some(code) = code else { continue };
        for (method, input) in [
            ("test_empty_return", [0].as_slice()),
            ("test_dirty_plenty_memory", DIRTY_ONE_MEBIBYTE.as_slice()),
            ("Core_version", &[]),
        ] {
            ours(criterion, name, &code, method, input);
            reference(criterion, name, &code, method, input);
        }
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
