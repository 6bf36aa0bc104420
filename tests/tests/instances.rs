//! Instances that are put back after each call are as good as new ones: whatever was called before, on
//! however many threads, and however it ended.

#![expect(clippy::print_stdout, reason = "what became of random modules")]

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use slackwater_executor::{
    CallError, CallLimits, CallOutcome, ExecutorConfig, Fuel, FuelUsed, GuestProfile, HeapPages,
    InstanceMode, MemoryStrategy, Meter, Runtime, TrapKind,
};
use slackwater_runtime_fixtures::guest::GUEST_WASM;
use slackwater_tests::{
    Executor, executor_with,
    random_reset::{RandomRuntime, random_runtime},
    runs,
};
use sp_state_machine::BasicExternalities;

/// How a call ended, as far as that may not depend on where its instance came from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    Returned(Vec<u8>, Option<FuelUsed>),
    Trapped(TrapKind, Option<FuelUsed>),
    Failed(String),
}

fn call(
    (executor, runtime): (&Executor, &Runtime),
    method: &str,
    input: &[u8],
    heap: HeapPages,
    limits: &CallLimits,
) -> Ended {
    let mut ext = BasicExternalities::default();
    match executor.call_limited(runtime, &mut ext, method, input, heap, limits) {
        Ok(called) => match called.outcome {
            CallOutcome::Returned(output) => Ended::Returned(output, called.fuel),
            CallOutcome::Trapped(trap) => Ended::Trapped(trap.kind, called.fuel),
        },
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Two executors that differ in where instances come from. Every reset is compared with a new instance.
fn both(config: &ExecutorConfig) -> [Executor; 2] {
    [InstanceMode::Fresh, InstanceMode::Snapshot].map(|mode| {
        let config = config.clone().with_instances(mode);
        executor_with(config.with_verify_reset_every(Some(NonZeroU32::MIN)))
    })
}

/// One code, as each of them runs it.
fn runtimes(executors: &[Executor; 2], code: &[u8]) -> [Arc<Runtime>; 2] {
    executors
        .each_ref()
        .map(|executor| executor.runtime(code).expect("it loads"))
}

/// Numbers nobody foresees, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

fn assert_sound(runtime: &Runtime) {
    let counts = runtime.instances();
    assert_eq!((counts.differing, counts.failed), (0, 0), "{counts:?}");
    assert!(counts.reused > 0, "{counts:?}");
}

/// What became of the random modules.
#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    writing: usize,
    not_resettable: usize,
    returned: usize,
    trapped: usize,
    out_of_fuel: usize,
    reused: u64,
}

impl Tally {
    fn check(&mut self, executors: &[Executor; 2], made: &RandomRuntime, random: &mut Random) {
        let heap = HeapPages::Dynamic { maximum: Some(40) };
        let [fresh, snapshot] = runtimes(executors, &made.wasm);
        if !snapshot.is_resettable() {
            self.not_resettable += 1;
            return;
        }
        self.modules += 1;
        self.writing += usize::from(made.writes);
        let mut alone = BTreeMap::new();
        for _ in 0..12 {
            let method = made.methods[random.below(made.methods.len())].as_str();
            let (rounds, limited) = (random.below(6).pow(2), random.below(3) == 0);
            let input = [u8::try_from(rounds).expect("small")];
            let limits = if limited {
                CallLimits::consensus(Fuel(20_000))
            } else {
                CallLimits::none()
            };
            let expected = alone
                .entry((method, rounds, limited))
                .or_insert_with(|| call((&executors[0], &fresh), method, &input, heap, &limits));
            let ended = call((&executors[1], &snapshot), method, &input, heap, &limits);
            assert!(*expected == ended, "{method} {rounds} {limited}");
            match ended {
                Ended::Returned(..) => self.returned += 1,
                Ended::Trapped(TrapKind::OutOfFuel, _) => self.out_of_fuel += 1,
                Ended::Trapped(..) | Ended::Failed(_) => self.trapped += 1,
            }
        }
        // After some errors none is used again.
        let counts = snapshot.instances();
        assert_eq!((counts.differing, counts.failed), (0, 0), "{counts:?}");
        self.reused += counts.reused;
    }
}

#[test]
fn a_call_after_others_is_as_a_call_alone() {
    let config = ExecutorConfig::default().with_profile(GuestProfile::Wide);
    let executors = both(&config);
    let mut tally = Tally::default();
    let mut random = Random(1);
    let count = runs("SLACKWATER_RESET_MODULES", 150);
    let first = runs("SLACKWATER_RESET_FIRST", 0);
    for number in first..first + count {
        if let Some(made) = random_runtime(number) {
            tally.check(&executors, &made, &mut random);
        }
    }
    println!("{tally:?}");
    assert!(tally.modules > count / 3, "{tally:?}");
    assert!(tally.writing > tally.modules / 2, "{tally:?}");
    assert!(tally.returned > tally.modules, "{tally:?}");
    assert!(tally.trapped > tally.modules / 4, "{tally:?}");
    assert!(tally.reused > 6 * tally.modules as u64, "{tally:?}");
}

/// Calls of our guest that return, trap in each way, fill, grow and burn.
fn calls_of_the_guest() -> Vec<(&'static str, Vec<u8>)> {
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut calls = vec![
        ("Core_version", Vec::new()),
        ("test_memory_size", Vec::new()),
        ("test_nan", Vec::new()),
        ("test_no_such_method", Vec::new()),
        ("test_burn", 100_000_u64.to_le_bytes().to_vec()),
        ("test_burn", 100_000_000_u64.to_le_bytes().to_vec()),
    ];
    calls.extend([0, 1, 100, 70_000].map(|bytes| ("test_echo", vec![7; bytes])));
    let sizes = [8, 100_000, 5_000_000, 40_000_000, u32::MAX];
    calls.extend(sizes.map(|bytes| ("test_alloc", words(&[bytes]))));
    for (start, pages) in [(0, 1), (0x10_0000, 16), (0x40_0000, 3), (0xffff_0000, 1)] {
        calls.push(("test_dirty_plenty_memory", words(&[start, pages])));
    }
    calls
}

#[test]
fn eight_threads_in_any_order_agree_with_instances_from_scratch() {
    for meter in [Meter::Slacked, Meter::Checked, Meter::Off] {
        let executors = both(&ExecutorConfig::default().with_meter(meter));
        let calls = calls_of_the_guest();
        let limits = match meter {
            Meter::Off => CallLimits::none(),
            _ => CallLimits::consensus(Fuel(50_000_000)),
        };
        let heaps = [
            HeapPages::Static { extra: 64 },
            HeapPages::Static { extra: 2_048 },
            HeapPages::Dynamic { maximum: Some(120) },
        ];
        let [fresh, snapshot] = runtimes(&executors, GUEST_WASM);
        let at = |index: usize| {
            let (method, input) = &calls[index / heaps.len()];
            (*method, input, heaps[index % heaps.len()])
        };
        let all = calls.len() * heaps.len();
        let expected: Vec<_> = (0..all)
            .map(|index| {
                let (method, input, heap) = at(index);
                call((&executors[0], &fresh), method, input, heap, &limits)
            })
            .collect();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (expected, executor, snapshot) = (&expected, &executors[1], &snapshot);
                let (at, limits) = (&at, &limits);
                scope.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..runs("SLACKWATER_RESET_CALLS", 150) {
                        let index = random.below(all);
                        let (method, input, heap) = at(index);
                        let ended = call((executor, snapshot), method, input, heap, limits);
                        assert!(ended == expected[index], "{method} {heap:?} {meter:?}");
                    }
                });
            }
        });
        assert_sound(&snapshot);
    }
}

/// Slots are made and dropped all the time, since hardly any are kept, and runtimes with them.
#[test]
fn sixteen_threads_make_put_back_and_drop() {
    let config = ExecutorConfig::default()
        .with_instances_cached_max(3)
        .with_verify_reset_every(NonZeroU32::new(5));
    let executor = executor_with(config);
    let guest = executor.runtime(GUEST_WASM).expect("loads");
    let heaps = [
        HeapPages::Static { extra: 64 },
        HeapPages::Dynamic { maximum: Some(120) },
    ];
    let calls = calls_of_the_guest();
    let limits = CallLimits::consensus(Fuel(5_000_000));
    let expected: Vec<_> = (0..calls.len() * heaps.len())
        .map(|index| {
            let (method, input) = &calls[index / heaps.len()];
            let heap = heaps[index % heaps.len()];
            call((&executor, &guest), method, input, heap, &limits)
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (executor, guest, calls, expected) = (&executor, &guest, &calls, &expected);
            let limits = &limits;
            scope.spawn(move || {
                let mut random = Random(thread);
                for round in 0..runs("SLACKWATER_RESET_CALLS", 60) {
                    let index = random.below(expected.len());
                    let (method, input) = &calls[index / heaps.len()];
                    let heap = heaps[index % heaps.len()];
                    let ended = call((executor, guest), method, input, heap, limits);
                    assert!(ended == expected[index], "{method} {heap:?}");
                    if round % 20 == 0 {
                        // Code of its own, whose slots go with it.
                        let own = BOUNDARIES.replace("131064", &(131_000 + thread).to_string());
                        let code = wat::parse_str(own).expect("wat");
                        let runtime = executor.runtime(&code).expect("loads");
                        let ended = call((executor, &runtime), "grow", &[3], heap, limits);
                        assert!(matches!(ended, Ended::Returned(..)), "{ended:?}");
                        executor.set_instances_cached_max(u32::try_from(round % 7).expect("few"));
                    }
                }
            });
        }
    });
    assert_sound(&guest);
    assert!(guest.instances().surplus > 0);
}

/// Loads and stores around the current end of memory, near 2^32, and after the memory was larger.
const BOUNDARIES: &str = r#"(module
    (memory (export "memory") 2)
    (global (export "__heap_base") i32 (i32.const 65536))
    (data (i32.const 131064) "\01\02\03\04\05\06\07\08")
    (func (export "grow") (param i32 i32) (result i64)
        (drop (memory.grow (i32.load8_u (local.get 0))))
        (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)) (i32.const -1))
        (i64.extend_i32_u (memory.size)))
    (func (export "load") (param i32 i32) (result i64)
        (i64.store (i32.const 8) (i64.load (i32.load align=1 (local.get 0))))
        (i64.const 0x800000008))
    (func (export "load_far") (param i32 i32) (result i64)
        (i64.store (i32.const 8) (i64.load offset=0xfffffff8 (i32.load align=1 (local.get 0))))
        (i64.const 0x800000008))
    (func (export "store") (param i32 i32) (result i64)
        (i32.store (i32.load align=1 (local.get 0)) (i32.const 77))
        (i64.const 0)))"#;

#[test]
fn bounds_are_those_of_a_new_instance_even_after_a_larger_memory() {
    let code = wat::parse_str(BOUNDARIES).expect("wat");
    let executors = both(&ExecutorConfig::default());
    let [fresh, snapshot] = runtimes(&executors, &code);
    assert!(snapshot.is_resettable());
    let end = 2_u32 << 16;
    let addresses = [
        0,
        7,
        end - 9,
        end - 8,
        end - 7,
        end - 4,
        end - 3,
        end,
        end + 4_096,
        3 << 16,
        5 << 16,
        1 << 31,
        u32::MAX - 8,
        u32::MAX - 7,
        u32::MAX,
    ];
    let heap = HeapPages::Dynamic { maximum: Some(9) };
    let mut trapped = 0;
    for grown in [0_u8, 1, 3, 200] {
        for address in addresses {
            for method in ["load", "load_far", "store"] {
                let both = [(&executors[0], &fresh), (&executors[1], &snapshot)];
                let [alone, after] = both.map(|(executor, runtime)| {
                    let call = |method: &str, input: &[u8]| {
                        let limits = CallLimits::none();
                        call((executor, runtime), method, input, heap, &limits)
                    };
                    (call("grow", &[grown]), call(method, &address.to_le_bytes()))
                });
                assert_eq!(alone, after, "{method} {address:#x} after {grown}");
                trapped += usize::from(matches!(after.1, Ended::Trapped(..)));
            }
        }
    }
    assert!(trapped > 60, "{trapped}");
    assert_sound(&snapshot);
}

/// A code that can change more than can be put back runs all the same, from scratch.
#[test]
fn what_cannot_be_put_back_is_run_from_scratch() {
    let text = r#"(module (memory (export "memory") 1) (table 2 funcref)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func $f) (elem declare func $f)
        (func (export "run") (param i32 i32) (result i64)
            (if (i32.eqz (ref.is_null (table.get 0 (i32.const 1)))) (then (unreachable)))
            (table.set 0 (i32.const 1) (ref.func $f))
            (i64.const 0)))"#;
    let code = wat::parse_str(text).expect("wat");
    let config = ExecutorConfig::default().with_profile(GuestProfile::Wide);
    let executor = executor_with(config);
    let runtime = executor.runtime(&code).expect("loads");
    assert!(!runtime.is_resettable());
    for _ in 0..3 {
        let heap = HeapPages::default();
        let ended = call((&executor, &runtime), "run", &[], heap, &CallLimits::none());
        assert!(matches!(ended, Ended::Returned(..)), "{ended:?}");
    }
}

/// However memory is put back, everything else is the same.
#[test]
fn strategies_agree() {
    let ways = [
        MemoryStrategy::Auto,
        MemoryStrategy::Discard,
        MemoryStrategy::Plain,
    ];
    let all = ways.map(|memory| {
        let executor = executor_with(ExecutorConfig::default().with_memory(memory));
        let runtime = executor.runtime(GUEST_WASM).expect("loads");
        let heap = HeapPages::Static { extra: 64 };
        let limits = CallLimits::consensus(Fuel(50_000_000));
        let ended = calls_of_the_guest()
            .into_iter()
            .cycle()
            .take(60)
            .map(|(method, input)| call((&executor, &runtime), method, &input, heap, &limits));
        let ended: Vec<_> = ended.collect();
        assert_sound(&runtime);
        ended
    });
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

/// A heap that cannot be had is an error in both modes, and the same.
#[test]
fn heaps_that_cannot_be_had_are_refused_alike() {
    let executors = both(&ExecutorConfig::default());
    for heap in [
        HeapPages::Static { extra: 65_536 },
        HeapPages::Dynamic { maximum: Some(1) },
    ] {
        let [fresh, snapshot] = executors.each_ref().map(|executor| {
            let runtime = executor.runtime(GUEST_WASM).expect("loads");
            let mut ext = BasicExternalities::default();
            let limits = CallLimits::none();
            executor
                .call_limited(&runtime, &mut ext, "Core_version", &[], heap, &limits)
                .expect_err("it cannot be had")
        });
        let same = std::mem::discriminant(&fresh) == std::mem::discriminant(&snapshot);
        assert!(same, "{fresh} / {snapshot}");
        assert!(matches!(
            fresh,
            CallError::HeapTooLarge { .. } | CallError::Instantiate { .. }
        ));
    }
}

/// A slot waits for whatever heap comes next. It may be under a seal that knows another size.
#[test]
fn a_slot_that_changes_its_heap_is_clean() {
    let code = wat::parse_str(BOUNDARIES).expect("wat");
    let executors = both(&ExecutorConfig::default());
    let [fresh, snapshot] = runtimes(&executors, &code);
    let heaps = [3, 40, 1, 40, 3].map(|extra| HeapPages::Static { extra });
    // Within the data, the smallest heap, the larger ones, and beyond them.
    let addresses = [100_u32, 131_070, 190_000, 300_000, 2_000_000, 5_000_000];
    for heap in heaps {
        for _ in 0..8 {
            for method in ["store", "load"] {
                for address in addresses {
                    let input = address.to_le_bytes();
                    let limits = CallLimits::none();
                    let alone = call((&executors[0], &fresh), method, &input, heap, &limits);
                    let after = call((&executors[1], &snapshot), method, &input, heap, &limits);
                    assert_eq!(alone, after, "{method} {address} {heap:?}");
                }
            }
            // The same call, often enough that memory is sealed.
            let input = 100_u32.to_le_bytes();
            let limits = CallLimits::none();
            call((&executors[1], &snapshot), "store", &input, heap, &limits);
        }
    }
    assert_sound(&snapshot);
}

/// Code that does not begin by its data alone, or cannot begin at all, ends alike in both modes.
#[test]
fn codes_that_begin_otherwise_end_alike() {
    let frame = r#"(memory (export "memory") 17)
        (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))"#;
    let frame: Vec<_> = frame.lines().rev().collect();
    let run = r#"(func (export "run") (param i32 i32) (result i64)
        (i64.store (i32.const 0) (i64.extend_i32_u (memory.size))) (i64.const 0x800000000))"#;
    for (items, starts) in [
        ("(func $f) (start $f)", true),
        (
            "(func $f (drop (call $malloc (i32.const 9)))) (start $f)",
            true,
        ),
        ("(func $f unreachable) (start $f)", true),
        ("(table 1 funcref) (elem (i32.const 5) 1)", true),
        ("(data (i32.const 1114110) \"abc\")", true),
        ("(global $mutable (mut i32) (i32.const 7))", false),
    ] {
        let base = r#"(global (export "__heap_base") i32 (i32.const 65536))"#;
        let text = format!("(module {} {base} {items} {run})", frame.join("\n"));
        let code = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let heap = HeapPages::Static { extra: 5 };
        for meter in [Meter::Slacked, Meter::Off] {
            let [fresh, snapshot] =
                both(&ExecutorConfig::default().with_meter(meter)).map(|executor| {
                    let runtime = executor.runtime(&code).expect("loads");
                    let ended = [(); 3].map(|()| {
                        call((&executor, &runtime), "run", &[], heap, &CallLimits::none())
                    });
                    (ended, runtime.is_resettable())
                });
            assert_eq!(fresh.0, snapshot.0, "{items} {meter:?}");
            assert_eq!((fresh.1, snapshot.1), (false, !starts), "{items}");
        }
    }
}
