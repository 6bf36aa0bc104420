//! What does counting fuel cost a guest?
//!
//! Ids are `fuel/METHOD/METER`, on Kusama's runtime from cargo's cache, on an empty storage, each call
//! in a fresh instance. `engine` is wasmtime's own `consume_fuel`.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use slackwater_executor::{
    CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, InstanceMode, Meter, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::crate_file;
use sp_state_machine::BasicExternalities;

fn metered(
    criterion: &mut Criterion,
    code: &[u8],
    (method, input): (&str, &[u8]),
    meter: Meter,
    name: &str,
) {
    let config = ExecutorConfig::default()
        .with_meter(meter)
        .with_instances(InstanceMode::Fresh);
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config).expect("the engine");
    let runtime = executor.runtime(code).expect("loads");
    let mut ext = BasicExternalities::default();
    let mut call = || {
        let heap = HeapPages::default();
        let limits = CallLimits::consensus(Fuel(1 << 40));
        executor
            .call_limited(&runtime, &mut ext, method, input, heap, &limits)
            .expect("an outcome")
    };
    assert!(
        matches!(call().outcome, CallOutcome::Returned(_)),
        "{method} must return"
    );
    criterion.bench_function(&format!("fuel/{method}/{name}"), |bencher| {
        bencher.iter(|| black_box(call()));
    });
}

fn fuel(criterion: &mut Criterion) {
    let kusama = crate_file("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let Some(code) = kusama.and_then(|path| std::fs::read(path).ok()) else {
        return;
    };
    // What does nothing shows what a meter costs an instance.
    let calls: [(&str, &[u8]); 3] = [
        ("test_empty_return", &[0]),
        ("Core_version", &[]),
        ("Metadata_metadata", &[]),
    ];
    for call in calls {
        for (meter, name) in [
            (Meter::Off, "off"),
            (Meter::Slacked, "slacked"),
            (Meter::Checked, "checked"),
            (Meter::Engine, "engine"),
        ] {
            metered(criterion, &code, call, meter, name);
        }
    }
}

criterion_group!(benches, fuel);
criterion_main!(benches);
