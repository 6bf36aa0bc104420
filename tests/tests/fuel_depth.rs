//! The limit of depth comes before the native stack: the estimate of every frame of real runtimes, and
//! of random modules, is at least what the compiler makes of it.

use std::collections::BTreeMap;

use object::{Object, ObjectSection, ObjectSymbol};
use slackwater_executor::{
    ExecutorConfig, GuestProfile, RuntimeBlob,
    config::WASM_STACK_BYTES_DEFAULT,
    fuel::{Check, DEPTH_BYTES_DEFAULT, Instrumentation},
    runtime::CODE_BYTES_MAX,
};
use slackwater_runtime_fixtures::{ChainSpec, real_fixtures_or_skip};
use slackwater_tests::crate_file_or_skip;
use slackwater_tests::metered::instrumented;
use sp_core::storage::well_known_keys::CODE;
use wasmtime::{Config, Engine, OptLevel};

/// What a frame has beside what it allocates: the return address and the caller's frame pointer.
const LINK_BYTES: u32 = 16;
/// How far into a function its frame is allocated, at most.
const PROLOGUE_BYTES: usize = 256;

/// Bytes the function with this code takes of the stack, by its prologue: `sub rsp, n`. A frame of a
/// page or more is probed before, page by page, by the same instruction; so the largest `n` counts.
fn frame_bytes(code: &[u8]) -> u32 {
    let prologue = &code[..code.len().min(PROLOGUE_BYTES)];
    let found = prologue.windows(7).filter_map(|bytes| match bytes {
        [0x48, 0x81, 0xec, a, b, c, d] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        [0x48, 0x83, 0xec, n, ..] => Some(u32::from(*n)),
        _ => None,
    });
    LINK_BYTES + found.max().unwrap_or(0)
}

/// The frames of all functions of a module, by the index in the module.
fn frames(engine: &Engine, wasm: &[u8]) -> BTreeMap<usize, u32> {
    let compiled = engine.precompile_module(wasm).expect("compiles");
    let file = object::File::parse(&*compiled).expect("an object file");
    let text = file.section_by_name(".text").expect("there is code");
    let code = text.data().expect("readable");
    let functions = file.symbols().filter_map(|symbol| {
        let name = symbol.name().ok()?;
        let index = name.strip_prefix("wasm[0]::function[")?.split(']').next()?;
        let start = usize::try_from(symbol.address() - text.address()).ok()?;
        let end = start + usize::try_from(symbol.size()).ok()?;
        Some((index.parse().ok()?, frame_bytes(&code[start..end])))
    });
    functions.collect()
}

fn engine() -> Engine {
    let mut config = Config::new();
    config
        .wasm_multi_memory(true)
        .cranelift_nan_canonicalization(ExecutorConfig::default().canonicalize_nans)
        .cranelift_opt_level(OptLevel::SpeedAndSize);
    Engine::new(&config).expect("an engine")
}

/// What is known of the frames of a module.
#[derive(Debug, Default)]
struct Tally {
    functions: usize,
    largest: u32,
    /// The largest of what the compiler made of a frame, in percent of its estimate.
    worst_percent: u32,
}

/// Compares each function's frame with its estimate. The native stack is so many times the limit of
/// depth, so that is how far an estimate may fall short.
fn compare(engine: &Engine, name: &str, wasm: &[u8], tally: &mut Tally) {
    let instrumentation = Instrumentation {
        depth_bytes_max: Some(DEPTH_BYTES_DEFAULT),
        ..Instrumentation::new(Check::None)
    };
    let made = instrumented(wasm, &instrumentation);
    let frames = frames(engine, &made.wasm);
    let imports = frames.keys().next().copied().unwrap_or(0);
    let native = u32::try_from(WASM_STACK_BYTES_DEFAULT).expect("small");
    for (body, function) in made.functions.iter().enumerate() {
        let frame = frames[&(body + imports)];
        tally.functions += 1;
        tally.largest = tally.largest.max(frame);
        tally.worst_percent = tally.worst_percent.max(frame * 100 / function.frame_bytes);
        let covered = function.frame_bytes * (native / DEPTH_BYTES_DEFAULT);
        assert!(
            frame <= covered,
            "{name}: the frame of body {body} has {frame} bytes, estimated {}",
            function.frame_bytes
        );
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
#[expect(clippy::print_stderr, reason = "how close it was is to be seen")]
fn frames_of_real_runtimes_are_estimated_well() {
    let engine = engine();
    let codes = real_codes();
    for (name, code) in &codes {
        let blob = RuntimeBlob::new(code, CODE_BYTES_MAX, GuestProfile::Substrate).expect("valid");
        let mut tally = Tally::default();
        compare(&engine, name, blob.wasm(), &mut tally);
        eprintln!("{name}: {tally:?}");
        assert!(tally.functions > 400, "{name}: {tally:?}");
        // An estimate that was far off would limit depth for nothing.
        assert!(tally.worst_percent > 40, "{name}: {tally:?}");
    }
}

/// The runtimes at hand.
fn real_codes() -> Vec<(String, Vec<u8>)> {
    let mut codes = Vec::new();
    let file = "benches/kusama_runtime.wasm";
    if let Some(path) = crate_file_or_skip("sc-executor", "0.51.0", file) {
        codes.push((file.to_owned(), std::fs::read(path).expect("readable")));
    }
    let genesis = [
        "smoldot-substrate-node-template.json",
        "subtensor-raonet.json",
        "chopsticks-asset-hub-kusama-local.json",
        "bulletin-polkadot-raw.json",
    ]
    .map(|spec| {
        (
            spec,
            real_fixtures_or_skip(spec).map(|real| real.join("genesis").join(spec)),
        )
    });
    let relay = ["westend", "polkadot"].map(|chain| format!("chain-specs/{chain}.json"));
    let relay = relay.each_ref().map(|spec| {
        (
            spec.as_str(),
            crate_file_or_skip("polkadot-service", "31.0.0", spec),
        )
    });
    for (spec, path) in genesis.into_iter().chain(relay) {
        if let Some(path) = path {
            let genesis = ChainSpec::load(&path).expect("loads").genesis;
            codes.push((spec.to_owned(), genesis.top[CODE].clone()));
        }
    }
    codes
}
