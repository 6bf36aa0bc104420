//! What becomes of calls when the kernel refuses what their memory needs: the error that says so, and
//! nothing else.

use std::num::NonZeroU32;

use slackwater_host_functions::SlackwaterHostFunctions;
use sp_state_machine::BasicExternalities;

use super::{CallError, CallOutcome};
use crate::{ExecutorConfig, HeapPages, MemoryStrategy, WasmExecutor, memory::refusals};

type Executor = WasmExecutor<SlackwaterHostFunctions>;

/// Stores to the pages between two addresses; grows first; says how large it is, and what it read. Or
/// allocates.
const CODE: &str = r#"(module
    (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (memory (export "memory") 2)
    (global (export "__heap_base") i32 (i32.const 70000))
    (global $mutable (mut i32) (i32.const 1))
    (data (i32.const 65536) "\01\02\03\04\05\06\07\08")
    (func (export "store") (param $input i32) (param i32) (result i64)
        (local $at i32) (local $end i32) (local $sum i32)
        (drop (memory.grow (i32.load8_u offset=8 (local.get $input))))
        (local.set $at (i32.load (local.get $input)))
        (local.set $end (i32.load offset=4 (local.get $input)))
        (loop $next
            (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
            (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 9)))
            (br_if $next (i32.lt_u
                (local.tee $at (i32.add (local.get $at) (i32.const 8192)))
                (local.get $end))))
        (global.set $mutable (i32.add (global.get $mutable) (i32.load (i32.const 65536))))
        (i32.store (i32.const 65536) (global.get $mutable))
        (i32.store (i32.const 65540) (memory.size))
        (i32.store (i32.const 65544) (local.get $sum))
        (i64.const 0xc00010000))
    (func (export "allocate") (param $input i32) (param i32) (result i64)
        (local $at i32)
        (local.set $at (call $malloc (i32.load (local.get $input))))
        (i32.store (i32.const 65536) (local.get $at))
        (i32.store (i32.const 65540) (i32.load (local.get $at)))
        (i32.store (local.get $at) (i32.const 7))
        (i64.const 0x800010000)))"#;

/// Calls that are learned, sealed, unsealed, that grow, write all over, and get other heaps.
fn calls(executor: &Executor) -> Vec<Result<CallOutcome, CallError>> {
    let code = wat::parse_str(CODE).expect("wat");
    let runtime = executor.runtime(&code).expect("it loads");
    let fixed = |extra| HeapPages::Static { extra };
    let growing = HeapPages::Dynamic { maximum: None };
    let usual = (65_536_u32, 65_537_u32, 0_u8, fixed(40));
    let mut calls = vec![usual; 6];
    calls.extend([(500_000, 500_001, 0, fixed(40)), usual]);
    calls.extend([(200_000, 200_001, 3, growing); 6]);
    calls.extend([(200_000, 300_000, 3, growing), (0, 2_000_000, 0, fixed(40))]);
    calls.extend([
        usual,
        (65_536, 65_537, 0, fixed(9)),
        (65_536, 65_537, 0, fixed(60)),
    ]);
    let made = calls.into_iter().map(|(start, end, grow, heap)| {
        let input = [&start.to_le_bytes()[..], &end.to_le_bytes()[..], &[grow]].concat();
        let mut ext = BasicExternalities::default();
        executor.call(&runtime, &mut ext, "store", &input, heap)
    });
    let mut made: Vec<_> = made.collect();
    // The allocator grows, and writes in front of what it gives.
    for bytes in [300_000_u32, 300_000, 300_000, 700_000, 300_000] {
        let input = bytes.to_le_bytes();
        let mut ext = BasicExternalities::default();
        made.push(executor.call(&runtime, &mut ext, "allocate", &input, growing));
    }
    made
}

fn check(memory: MemoryStrategy) {
    let config = ExecutorConfig::default()
        .with_memory(memory)
        .with_verify_reset_every(Some(NonZeroU32::MIN));
    let new = || Executor::new(config.clone()).expect("the engine can be set up");
    let expected = calls(&new());
    let expected: Vec<_> = expected
        .into_iter()
        .map(|call| call.expect("it returns"))
        .collect();
    assert!(
        expected
            .iter()
            .all(|call| matches!(call, CallOutcome::Returned(_)))
    );
    for all in [false, true] {
        let (mut number, mut failed) = (0, 0);
        loop {
            // With an executor of its own, so that all is as at the beginning.
            let executor = new();
            refusals::refuse(number, all);
            let found = calls(&executor);
            let refused = refusals::end();
            let mut errors = 0;
            for (found, expected) in found.iter().zip(&expected) {
                match found {
                    Ok(outcome) => assert_eq!(outcome, expected, "{number} {memory:?}"),
                    Err(CallError::HostOutOfMemory(_)) => errors += 1,
                    Err(other) => panic!("{number} {memory:?}: {other}"),
                }
            }
            assert!(all || errors <= 1, "{errors} of {number} {memory:?}");
            failed += errors;
            if !refused {
                break;
            }
            number += 1;
            // And afterwards, with what is left of it.
            let after = calls(&executor);
            let after: Vec<_> = after
                .into_iter()
                .map(|call| call.expect("it returns"))
                .collect();
            assert_eq!(after, expected, "{number} {memory:?}");
            assert_eq!(executor.instances_differing(), 0, "{number} {memory:?}");
        }
        assert!(
            number > 5 && failed > 2,
            "{number} requests, {failed} failed"
        );
    }
}

#[test]
fn every_request_that_is_refused_ends_one_call_at_most() {
    check(MemoryStrategy::Auto);
}

#[test]
fn the_same_without_tracking() {
    check(MemoryStrategy::Discard);
    check(MemoryStrategy::Plain);
}
