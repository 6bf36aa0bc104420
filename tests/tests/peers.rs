//! Calls compared with the Polkadot SDK's executor in the same process: outputs on the Kusama
//! runtime, and what a guest can see of its memory in every context.

use sc_executor::{HeapAllocStrategy, WasmExecutor as ReferenceExecutor};
use slackwater_executor::{
    CallContext, CallOutcome, ExecutorConfig, HeapPages, call_on_state,
    host_functions::StandardHostFunctions,
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::guest::GUEST_WASM;
use slackwater_tests::{Executor, crate_file_or_skip, executor, executor_with};
use sp_core::{
    storage::{
        StateVersion, Storage,
        well_known_keys::{CODE, HEAP_PAGES},
    },
    traits::{CallContext as ReferenceContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode},
};
use sp_state_machine::BasicExternalities;

type Reference = ReferenceExecutor<StandardHostFunctions>;

fn reference() -> Reference {
    Reference::builder()
        .with_allow_missing_host_functions(true)
        .build()
}

fn reference_call(
    executor: &Reference,
    code: &[u8],
    heap_pages: Option<u64>,
    context: ReferenceContext,
    method: &str,
    input: &[u8],
) -> Result<Vec<u8>, String> {
    let fetcher = WrappedRuntimeCode(code.into());
    let hash = sp_crypto_hashing::blake2_256(code).to_vec();
    let code = RuntimeCode {
        code_fetcher: &fetcher,
        hash,
        heap_pages,
    };
    let mut ext = BasicExternalities::default();
    let (result, _) = executor.call(&mut ext, &code, method, input, context);
    result.map_err(|error| error.to_string())
}

fn state(code: &[u8], heap_pages: Option<u64>) -> MemoryState {
    let mut top = std::collections::BTreeMap::from([(CODE.to_vec(), code.to_vec())]);
    if let Some(pages) = heap_pages {
        top.insert(HEAP_PAGES.to_vec(), codec::Encode::encode(&pages));
    }
    MemoryState::new(
        Storage {
            top,
            ..Storage::default()
        },
        StateVersion::V1,
    )
}

fn our_call(
    executor: &Executor,
    state: &MemoryState,
    context: CallContext,
    method: &str,
    input: &[u8],
) -> CallOutcome {
    call_on_state(executor, state, context, method, input, Extensions::new())
        .unwrap_or_else(|error| panic!("{method}: {error}"))
        .outcome
}

#[test]
fn kusama_9190_gives_the_reference_s_outputs() {
    let file = crate_file_or_skip("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let Some(file) = file else { return };
    let code = std::fs::read(file).expect("readable");
    let (ours, reference, state) = (executor(), reference(), state(&code, None));
    // One byte each 4 KiB over 16 pages of 64 KiB, at the stack and at the data.
    let dirty = |from: u32| codec::Encode::encode(&(from, 16u32));
    let calls = [
        ("Core_version", Vec::new(), 100),
        ("Metadata_metadata", Vec::new(), 100_000),
        ("test_empty_return", vec![0], 0),
        ("test_dirty_plenty_memory", dirty(0), 0),
        ("test_dirty_plenty_memory", dirty(0x10_0000), 0),
    ];
    for (method, input, bytes_min) in calls {
        let context = ReferenceContext::Offchain;
        let expected = reference_call(&reference, &code, None, context, method, &input)
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        assert!(
            expected.len() >= bytes_min,
            "{method} returned {} bytes",
            expected.len()
        );
        let outcome = our_call(&ours, &state, CallContext::Offchain, method, &input);
        assert!(
            outcome == CallOutcome::Returned(expected),
            "{method}: outputs differ"
        );
    }
}

#[test]
fn the_guest_sees_the_reference_s_memory_size() {
    let contexts = [
        (CallContext::Offchain, ReferenceContext::Offchain),
        (
            CallContext::Build,
            ReferenceContext::Onchain { import: false },
        ),
        (
            CallContext::Import,
            ReferenceContext::Onchain { import: true },
        ),
    ];
    let strategies = [
        (
            HeapPages::default(),
            HeapAllocStrategy::Static { extra_pages: 2_048 },
        ),
        (
            HeapPages::Static { extra: 64 },
            HeapAllocStrategy::Static { extra_pages: 64 },
        ),
        (
            HeapPages::Dynamic { maximum: None },
            HeapAllocStrategy::Dynamic {
                maximum_pages: None,
            },
        ),
        (
            HeapPages::Dynamic { maximum: Some(200) },
            HeapAllocStrategy::Dynamic {
                maximum_pages: Some(200),
            },
        ),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (heap, strategy) in strategies {
        let reference = Reference::builder()
            .with_allow_missing_host_functions(true)
            .with_onchain_heap_alloc_strategy(strategy)
            .with_offchain_heap_alloc_strategy(strategy)
            .build();
        let config = ExecutorConfig::default()
            .with_onchain_heap(heap)
            .with_offchain_heap(heap);
        let ours = executor_with(config);
        for heap_pages in [None, Some(100)] {
            let state = state(GUEST_WASM, heap_pages);
            for (context, reference_context) in contexts {
                // Allocating makes a dynamic heap grow; a static one is grown before the call.
                for (method, input) in [
                    ("test_memory_size", vec![]),
                    ("test_alloc", vec![0, 0, 16, 0]),
                ] {
                    let expected = reference_call(
                        &reference,
                        GUEST_WASM,
                        heap_pages,
                        reference_context,
                        method,
                        &input,
                    );
                    let outcome = our_call(&ours, &state, context, method, &input);
                    let what = format!("{heap:?} {heap_pages:?} {context:?} {method}");
                    match expected {
                        Ok(output) => {
                            assert_eq!(outcome, CallOutcome::Returned(output.clone()), "{what}");
                            seen.insert((method, output));
                        }
                        Err(error) => assert!(
                            matches!(outcome, CallOutcome::Trapped(_)),
                            "{what}: reference says {error}, ours {outcome:?}",
                        ),
                    }
                }
            }
        }
    }
    // 17 pages at first, and 2,048, 4,096, 64, 128, 100, 200 and no more beyond them.
    let sizes = seen
        .iter()
        .filter(|(method, _)| *method == "test_memory_size")
        .count();
    assert_eq!(sizes, 7, "{seen:?}");
}

/// With the settings of the reference, NaNs come out with the reference's bits; by default they do
/// not depend on the processor.
#[test]
fn nan_bits_are_the_reference_s_in_compat_and_canonical_by_default() {
    let state = state(GUEST_WASM, None);
    let call = |config| {
        our_call(
            &executor_with(config),
            &state,
            CallContext::Offchain,
            "test_nan",
            &[],
        )
    };
    let context = ReferenceContext::Offchain;
    let expected = reference_call(&reference(), GUEST_WASM, None, context, "test_nan", &[]);
    let compat = call(ExecutorConfig::compat());
    assert_eq!(
        compat,
        CallOutcome::Returned(expected.expect("the reference runs it"))
    );
    let canonical = call(ExecutorConfig::default());
    assert_ne!(canonical, compat, "the guest makes NaNs whose bits differ");
}
