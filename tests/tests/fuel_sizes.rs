//! What is charged beside operators: bytes, elements and pages, host functions, keys; and what a guest
//! is told of its fuel.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use slackwater_executor::{
    CallContext, CallLimits, CallOutcome, ExecutorConfig, Fuel, FuelUsed, Meter,
    block::BlockExecution,
    call_on_state, call_on_state_limited,
    fuel::{Check, FUEL_MAX, HEADROOM_OFFSET, Instrumentation, SIZE_OFFSET, Schedule, StateCost},
    state::{Database, Durability, Extensions, MemoryState},
};
use slackwater_tests::{
    Executor, executor_with,
    metered::{empty, engine, instrumented, meter, operators_fuel, set_word, word},
    overruns::{PROFILE, guest, run, state_with},
    rules_for_extrinsics,
};
use sp_core::storage::{StateVersion, Storage};
use sp_trie::proof_size_extension::ProofSizeExt;
use wasmtime::{Instance, Module, Store, Trap, Val};

/// Size and operators charged for calling `run` with an argument, and the trap, if any.
fn sizes(text: &str, arguments: &[i32]) -> Vec<(u64, u64, Option<Trap>)> {
    let wasm = wat::parse_str(text).expect("wat");
    let made = instrumented(&wasm, &Instrumentation::new(Check::None));
    let engine = engine(true);
    let module = Module::new(&engine, &made.wasm).expect("compiles");
    let calls = arguments.iter().map(|argument| {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiates");
        let meter = meter(&mut store, &instance);
        let function = instance.get_func(&mut store, "run").expect("exported");
        let ended = function.call(&mut store, &[Val::I32(*argument)], &mut []);
        let trap = ended.err().and_then(|error| error.downcast_ref().copied());
        let size = word(&store, meter, SIZE_OFFSET);
        (size, operators_fuel(&store, meter), trap)
    });
    calls.collect()
}

fn state_price(cost: StateCost) -> u64 {
    Schedule::default().state().of(cost).into()
}

fn price(name: &str) -> u64 {
    let rows = Schedule::default().rows();
    let found = rows.into_iter().find(|(row, _)| row == name);
    found.map(|(_, fuel)| fuel.into()).expect("a price")
}

/// Audits of other meters found copies of terabytes within small budgets.
#[test]
fn bulk_operations_cost_what_they_move() {
    let bytes = price("size 64 bytes");
    for operation in ["memory.fill", "memory.copy", "memory.init 0"] {
        let text = format!(
            r#"(module (memory 4) (data "{}")
                (func (export "run") (param i32)
                    ({operation} (i32.const 0) (i32.const 0) (local.get 0))))"#,
            "x".repeat(20_000)
        );
        let found = sizes(&text, &[0, 1, 63, 64, 20_000, 20_001 + (4 << 16), -1]);
        for ((size, operators, trap), length) in
            found
                .iter()
                .zip([0, 1, 63, 64, 20_000, 20_001 + (4 << 16), u32::MAX])
        {
            // Whatever comes of it, it is paid for before.
            assert_eq!(
                *size,
                u64::from(length) * bytes / 64,
                "{operation} of {length}"
            );
            assert_eq!(*operators, 5, "{operation} of {length}");
            let fits = length <= 20_000;
            let expected = (!fits).then_some(Trap::MemoryOutOfBounds);
            assert_eq!(*trap, expected, "{operation} of {length}");
        }
    }
    let element = price("size element");
    for operation in ["table.fill", "table.copy", "table.init 0", "table.grow"] {
        let (operands, drop) = match operation {
            "table.fill" => ("(i32.const 0) (ref.null func)", ""),
            "table.grow" => ("(ref.null func)", "drop"),
            _ => ("(i32.const 0) (i32.const 0)", ""),
        };
        let text = format!(
            r#"(module (table 500 1000 funcref) (func $f) (elem func {})
                (func (export "run") (param i32)
                    ({operation} {operands} (local.get 0)) {drop}))"#,
            "$f ".repeat(500)
        );
        for ((size, _, trap), length) in
            sizes(&text, &[0, 7, 500, 501, -500])
                .iter()
                .zip([0, 7, 500, 501, 0xffff_fe0c_u32])
        {
            assert_eq!(
                *size,
                u64::from(length) * element,
                "{operation} of {length}"
            );
            let fits = length <= 500 || operation == "table.grow";
            assert_eq!(trap.is_none(), fits, "{operation} of {length}: {trap:?}");
        }
    }
}

/// Growth is paid for by page, whether it succeeds or not, and never mints fuel.
#[test]
fn growth_costs_pages_even_if_it_fails() {
    let page = price("size page");
    let text = r#"(module (memory 1 100)
        (func (export "run") (param i32) (drop (memory.grow (local.get 0)))))"#;
    for ((size, _, trap), pages) in
        sizes(text, &[0, 1, 99, 100, -1])
            .iter()
            .zip([0, 1, 99, 100, u32::MAX])
    {
        assert_eq!(
            (*size, *trap),
            (u64::from(pages) * page, None),
            "{pages} pages"
        );
    }
}

/// However much an operation asks for, a counter without a limit does not wrap.
#[test]
fn no_size_makes_a_counter_wrap() {
    let text = r#"(module (memory 1 1)
        (func (export "run") (loop (drop (memory.grow (i32.const -1))) (br 0))))"#;
    let wasm = wat::parse_str(text).expect("wat");
    let mut instrumentation = Instrumentation::new(Check::None);
    instrumentation
        .schedule
        .set("size page", 65_535)
        .expect("a price");
    let made = instrumented(&wasm, &instrumentation);
    let engine = engine(true);
    let module = Module::new(&engine, &made.wasm).expect("compiles");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("instantiates");
    let meter = meter(&mut store, &instance);
    empty(&mut store, meter);
    set_word(&mut store, meter, HEADROOM_OFFSET, 0);
    let function = instance.get_func(&mut store, "run").expect("exported");
    let ended = function
        .call(&mut store, &[], &mut [])
        .expect_err("over every limit");
    assert_eq!(ended.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    let counted = word(&store, meter, slackwater_executor::fuel::COUNTER_OFFSET);
    assert!(
        counted > FUEL_MAX && counted < FUEL_MAX + (1 << 50),
        "{counted}"
    );
}

fn executor(meter: Meter) -> Executor {
    executor_with(ExecutorConfig {
        profile: PROFILE,
        ..ExecutorConfig::default().with_meter(meter)
    })
}

/// Fuel of a guest that does this, less that of one that does nothing.
fn host(executor: &Executor, work: &str, keys: u32) -> FuelUsed {
    let fuel = |work: &str| {
        let state = state_with(guest(&format!("(func $work {work})")), keys);
        let call = run(executor, &state, &CallLimits::none()).expect("an outcome");
        assert!(
            matches!(call.outcome, CallOutcome::Returned(_)),
            "{work}: {:?}",
            call.outcome
        );
        call.fuel.expect("it is counted")
    };
    let (one, nothing) = (fuel(work), fuel(""));
    FuelUsed {
        host: one.host - nothing.host,
        wasm: one.wasm - nothing.wasm,
        ..one
    }
}

#[test]
fn host_functions_cost_a_base_and_what_is_passed_and_returned() {
    let executor = executor(Meter::Slacked);
    let schedule = Schedule::default();
    let blake2 = schedule.host("ext_hashing_blake2_256_version_1");
    for bytes in [0_u32, 63, 64, 100_000] {
        let used = host(
            &executor,
            &format!(
                "(drop (call $blake2 (i64.const {})))",
                u64::from(bytes) << 32 | 64
            ),
            0,
        );
        let passed = u64::from(bytes) * u64::from(blake2.passed) / 64;
        assert_eq!(used.host, u64::from(blake2.base) + passed, "{bytes} bytes");
        // The engine counts the operators: i64.const, call, and the guest's own call.
        assert_eq!(used.wasm, 2, "{bytes} bytes");
    }
    // The value is read back, so its encoding is paid for: a byte and ten, of the key's eight.
    let get = schedule.host("ext_storage_get_version_1");
    let used = host(&executor, "(drop (call $get (i64.const 0x800000040)))", 0);
    let passed = 8 * u64::from(get.passed) / 64;
    let returned = 10 * u64::from(get.returned) / 64;
    let handed_out = 8 * state_price(StateCost::Value) / 64;
    let expected = u64::from(get.base) + passed + returned + handed_out;
    assert_eq!(used.host, expected);
}

#[test]
fn keys_are_paid_for_one_by_one_wherever_the_state_is() {
    let schedule = Schedule::default();
    let state = schedule.state();
    let removing = state.of(StateCost::Walked) + state.of(StateCost::Removed);
    let prefix = r#"(call $clear_prefix (i64.const 0x400000080))"#;
    let clearing = |executor: &Executor, count| {
        let body = format!(r#"(func $work {prefix}) (data (i32.const 128) "many")"#);
        let state = state_with(guest(&body), count);
        let call = run(executor, &state, &CallLimits::none()).expect("an outcome");
        let removed = call.changes.as_ref().expect("it returned").keys();
        // Beside them, the key that the guest writes.
        assert_eq!(removed, count as usize + 1);
        call.fuel.expect("it is counted").host
    };
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor = executor(meter);
        let none = clearing(&executor, 0);
        for count in [1, 10, 1_000] {
            let more = clearing(&executor, count) - none;
            assert_eq!(more, u64::from(count) * u64::from(removing), "{count} keys");
        }
    }
    // A root costs the changed keys: one here, two with another.
    let executor = executor(Meter::Slacked);
    let one = host(&executor, "(drop (call $root (i32.const 1)))", 0).host;
    let two = host(
        &executor,
        "(call $set (i64.const 0x700000040) (i64.const 0x800000040))
        (drop (call $root (i32.const 1)))",
        0,
    );
    let set = schedule.host("ext_storage_set_version_1");
    let setting = u64::from(set.base) + 15 * u64::from(set.passed) / 64;
    let rooted = u64::from(state.of(StateCost::Rooted));
    assert!(one > rooted, "{one}");
    let hashed = 8 * state_price(StateCost::Hashed) / 64;
    assert!((two.host - one).abs_diff(setting + rooted + hashed) <= 1);
}

/// Keys that the block itself has changed are looked at by the reference as often as it is asked.
#[test]
fn keys_of_the_blocks_own_are_paid_for_whenever_they_are_looked_at() {
    let executor = executor(Meter::Slacked);
    let changed = state_price(StateCost::Changed);
    let keys = [10_u64, 500];
    // Writes so many keys that begin with `keyk`, and then does something.
    let after_writing = |count: u64, then: &str| {
        let write = format!(
            "(local $i i32) (loop $again
                (i32.store (i32.const 68) (local.get $i)) (call $write)
                (br_if $again (i32.lt_u
                    (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))"
        );
        host(&executor, &format!("{write} {then}"), 0).host
    };
    // What doing `then` costs behind `before`, for each key more that was written.
    let by_key = |before: &str, then: &str| {
        let [few, many] = keys.map(|count| {
            after_writing(count, &format!("{before} {then}")) - after_writing(count, before)
        });
        (many - few) / (keys[1] - keys[0])
    };
    let clear = "(call $clear_prefix (i64.const 0x400000040))";
    let clear_other = "(call $clear_prefix (i64.const 0x200000000))";
    let next = "(drop (call $next_key (i64.const 0x400000040)))";
    assert_eq!(by_key("", clear), changed + state_price(StateCost::Removed));
    assert_eq!(by_key(clear, clear), changed, "they are removed already");
    assert_eq!(by_key("", clear_other), changed, "all others are looked at");
    assert_eq!(
        by_key(clear, next),
        changed,
        "removed keys are stepped over"
    );
    assert_eq!(by_key("", next), 0, "the first is there");
    // A removed key is handed on by each layer that closes.
    let layers = "(call $start) (call $start)";
    assert_eq!(by_key(&format!("{clear} {layers}"), clear), 3 * changed);
}

/// Every layer hands on what was changed in it, and every child trie that was changed opens and closes
/// its layers with the others, those among them that were open before.
#[test]
fn layers_are_paid_for_by_what_is_in_them() {
    let executor = executor(Meter::Slacked);
    let fuel = |work: &str| host(&executor, work, 0).host;
    let changed = state_price(StateCost::Changed);
    let write = "(call $write)";
    let outside = fuel(&format!("{write} (call $start) (call $commit)"));
    let inside = fuel(&format!("(call $start) {write} (call $commit)"));
    assert_eq!(inside, outside + changed);
    let layers = "(call $start) (call $start)";
    let deeper = fuel(&format!("{layers} {write}")) - fuel(layers);
    assert_eq!(deeper, fuel(write) + 2 * changed);
    let child = "(call $set_child
        (i64.const 0x400000040) (i64.const 0x800000040) (i64.const 0x800000040))";
    let first = fuel(child);
    let second = fuel(&format!("{child} {child}")) - first;
    assert_eq!(first, second + state_price(StateCost::Child));
    let late = fuel(&format!("{layers} {child}")) - fuel(layers);
    // Two layers, opened and closed in it, and one key handed on by both.
    assert_eq!(late, first + (2 * 2 + 2) * changed);
    let layer = "(call $start) (call $rollback)";
    assert_eq!(
        fuel(&format!("{child} {layer}")),
        first + fuel(layer) + 2 * changed
    );
}

/// The reference copies a value to read a part of it, and to append to it in a new layer.
#[test]
fn values_are_paid_for_by_their_size_wherever_they_are() {
    let executor = executor(Meter::Slacked);
    let fuel = |work: &str| host(&executor, work, 0).host;
    let copied = 60_000 * state_price(StateCost::Value) / 64;
    // The value begins with the length of a list, zero, as memory does there.
    let set = "(call $set (i64.const 0x700000040) (i64.const 0xea6000010000))";
    let read = "(drop (call $read (i64.const 0x700000040) (i64.const 0x400000080) (i32.const 0)))";
    assert_eq!(
        fuel(&format!("{set} {read}")) - fuel(set),
        fuel(read) + copied
    );
    let append = "(call $append (i64.const 0x700000040) (i64.const 0x100000080))";
    let in_layer = format!("(call $start) {append} (call $rollback)");
    let once = fuel(&format!("{set} {in_layer}")) - fuel(set);
    assert_eq!(once, fuel(&in_layer) + copied);
    let twice = fuel(&format!("{set} {in_layer} {in_layer}")) - fuel(set);
    assert_eq!(twice, 2 * once, "what was copied is gone");
    let kept = fuel(&format!("{set} {append} {append}")) - fuel(set);
    assert_eq!(kept, fuel(&format!("{append} {append}")) + copied);
    // One of the state is read, and then handed out.
    let code = "(drop (call $read (i64.const 0x500000180) (i64.const 0x400000080) (i32.const 0)))";
    let of_state = |padding: usize| {
        let body = format!(
            r#"(func $work {code}) (data (i32.const 384) ":code")
                (data (i32.const 100000) "{}")"#,
            "x".repeat(padding)
        );
        let code = guest(&body);
        let bytes = code.len() as u64;
        let call = run(&executor, &state_with(code, 0), &CallLimits::none());
        (
            bytes,
            call.expect("an outcome").fuel.expect("it is counted").host,
        )
    };
    let [(short, cheap), (long, dear)] = [10_000, 30_000].map(of_state);
    let more = 2 * (long - short) * state_price(StateCost::Value) / 64;
    assert!((dear - cheap).abs_diff(more) <= 2, "{dear} {cheap}");
}

/// A removal that passes the limit stops where it does, in memory and on disk alike.
#[test]
fn a_walk_stops_in_the_middle() {
    let body = r#"(func $work (call $clear_prefix (i64.const 0x400000080)))
        (data (i32.const 128) "many")"#;
    let code = guest(body);
    let state = state_with(code.clone(), 5_000);
    let mut storage = Storage::default();
    storage.top.insert(b":code".to_vec(), code);
    for number in 0..5_000_u32 {
        let key = [b"many".as_slice(), &number.to_be_bytes()].concat();
        storage.top.insert(key, vec![1; 40]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path(), Durability::Buffered).expect("opens");
    let prepared = database
        .prepare_state(&storage, StateVersion::V1)
        .expect("prepares");
    let hash = Default::default();
    database.import_state(prepared, 0, hash).expect("imports");
    let view = database.view().expect("a view");
    let executor = executor(Meter::Slacked);
    let used = run(&executor, &state, &CallLimits::none())
        .expect("an outcome")
        .fuel;
    let used = used.expect("it is counted");
    let context = CallContext::Build;
    let on_disk = |limits: &CallLimits| {
        let extensions = Extensions::new();
        call_on_state_limited(&executor, &view, context, "run", &[], extensions, limits)
            .expect("an outcome")
    };
    assert_eq!(on_disk(&CallLimits::none()).fuel, Some(used));
    for limit in [used.total.0 - 1, used.total.0 / 2] {
        let limits = CallLimits::consensus(Fuel(limit));
        let ended = [
            on_disk(&limits),
            run(&executor, &state, &limits).expect("an outcome"),
        ];
        for ended in ended {
            let CallOutcome::Trapped(trap) = &ended.outcome else {
                panic!("{limit} is not enough");
            };
            assert_eq!(trap.outcome_name(), "out_of_fuel");
            assert!(ended.changes.is_none());
        }
    }
    let enough = CallLimits::consensus(used.total);
    assert!(matches!(on_disk(&enough).outcome, CallOutcome::Returned(_)));
}

/// A runtime without a name for its function of fuel, and what it says: its output.
fn telling() -> MemoryState {
    let text = r#"(module
        (import "env" "ext_fuel_left_version_1" (func $left (result i64)))
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "run") (param i32 i32) (result i64)
            (i64.store (i32.const 64) (call $left))
            (i64.const 0x800000040)))"#;
    state_with(wat::parse_str(text).expect("wat"), 0)
}

#[test]
fn a_guest_is_told_what_is_left_of_the_chains_limit_alone() {
    let state = telling();
    let told = |meter, limits: &CallLimits| {
        let call = run(&executor(meter), &state, limits).expect("an outcome");
        let CallOutcome::Returned(output) = call.outcome else {
            panic!("{:?}", call.outcome);
        };
        let left = u64::from_le_bytes(output.try_into().expect("a word"));
        (left, call.fuel)
    };
    let limits = CallLimits::consensus(Fuel(1_000_000));
    for meter in [Meter::Slacked, Meter::Checked] {
        let (left, fuel) = told(meter, &limits);
        let used = fuel.expect("it is counted").total.0;
        // After it asked: i64.store, i64.const; the rest had been charged with the call.
        assert_eq!(left, 1_000_000 - (used - 2), "{meter:?}");
        assert_eq!(told(meter, &CallLimits::none()).0, u64::MAX);
        let local = CallLimits::local(Fuel(1_000_000));
        assert_eq!(told(meter, &local).0, u64::MAX, "a node's limit is its own");
    }
    for meter in [Meter::Off, Meter::Engine] {
        assert_eq!(told(meter, &CallLimits::none()).0, u64::MAX);
    }
}

/// Counts how often it is asked.
struct Asked(Arc<AtomicUsize>);

impl sp_trie::ProofSizeProvider for Asked {
    fn estimate_encoded_size(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

#[test]
fn a_host_function_starts_only_within_the_limit() {
    let text = r#"(module
        (import "env" "ext_storage_proof_size_storage_proof_size_version_1"
            (func $ask (result i64)))
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "run") (param i32 i32) (result i64)
            (drop (call $ask)) (i64.const 0)))"#;
    let state = state_with(wat::parse_str(text).expect("wat"), 0);
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor = executor(meter);
        let asked = Arc::new(AtomicUsize::new(0));
        let run = |limits: &CallLimits| {
            let mut extensions = Extensions::new();
            extensions.register(ProofSizeExt::new(Asked(Arc::clone(&asked))));
            let context = CallContext::Build;
            call_on_state_limited(&executor, &state, context, "run", &[], extensions, limits)
                .expect("an outcome")
        };
        let used = run(&CallLimits::none())
            .fuel
            .expect("it is counted")
            .total
            .0;
        assert_eq!(asked.swap(0, Ordering::SeqCst), 1);
        // What comes behind the call: i64.const.
        run(&CallLimits::consensus(Fuel(used - 1)));
        assert_eq!(asked.swap(0, Ordering::SeqCst), 1);
        run(&CallLimits::consensus(Fuel(used - 2)));
        assert_eq!(
            asked.swap(0, Ordering::SeqCst),
            0,
            "{meter:?}: not even begun"
        );
    }
    let unlimited = call_on_state(
        &executor(Meter::Off),
        &state,
        CallContext::Build,
        "run",
        &[],
        Extensions::new(),
    );
    assert!(matches!(
        unlimited.expect("an outcome").outcome,
        CallOutcome::Returned(_)
    ));
}

/// An extrinsic that was left out must not change what a later one pays: whoever replays the block never
/// ran it. This one asks for the root, which was known before, and for that of a child trie, which had been
/// removed without having existed.
#[test]
fn what_was_left_out_changes_nobodys_fuel() {
    let text = r#"(module
        (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
        (import "env" "ext_storage_root_version_2" (func $root (param i32) (result i64)))
        (import "env" "ext_storage_start_transaction_version_1" (func $start))
        (import "env" "ext_storage_commit_transaction_version_1" (func $commit))
        (import "env" "ext_storage_clear_prefix_version_1" (func $clear_prefix (param i64)))
        (import "env" "ext_default_child_storage_storage_kill_version_1"
            (func $kill_child (param i64)))
        (import "env" "ext_default_child_storage_root_version_1"
            (func $child_root (param i64) (result i64)))
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "BlockBuilder_apply_extrinsic") (param $at i32) (param i32) (result i64)
            (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0)) (then
                (call $set (i64.const 0x800000040) (i64.const 0x800000040))))
            (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 1)) (then (unreachable)))
            (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 3)) (then
                (call $kill_child (i64.const 0x800000040))))
            (call $start)
            (drop (call $child_root (i64.const 0x800000040)))
            (call $commit)
            (call $clear_prefix (i64.const 0x100000000))
            (drop (call $root (i32.const 1)))
            (i64.const 0x200000000)))"#;
    let state = state_with(wat::parse_str(text).expect("wat"), 0);
    let rules = rules_for_extrinsics(Fuel(1 << 40));
    let executor = executor_with(ExecutorConfig::default().with_consensus_fuel(rules));
    let last = |extrinsics: &[u8]| {
        let context = CallContext::Build;
        let mut execution =
            BlockExecution::new(&executor, &state, context, Extensions::new()).expect("loads");
        let runs = extrinsics
            .iter()
            .map(|extrinsic| execution.apply(&[*extrinsic]));
        let runs: Result<Vec<_>, _> = runs.collect();
        let last = runs.expect("outcomes").pop().expect("some");
        assert!(last.outcome.is_included(), "{last:?}");
        last.fuel.expect("it is counted")
    };
    assert_eq!(last(&[0, 2]), last(&[0, 1, 2]));
    assert_eq!(last(&[3, 2]), last(&[3, 1, 2]));
    let rooted = state_price(StateCost::Rooted);
    assert!(last(&[0, 2]).host > last(&[2]).host + rooted - 1);
}
