//! A runtime that is asked who pays, and for inherents.

use std::cell::Cell;

use codec::Encode;
use slackwater_executor::{
    ExecutorConfig, TrapKind,
    block::{
        BlockBuilder, BlockEnd, BlockInputs, BuildError, Invalidity, LeftOut, Offered,
        OverrunPolicy, Produced, Producer, ProducerConfig, Uncharged,
    },
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::guest::with_length;
use slackwater_tests::{Executor, executor, executor_with};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

use super::{PLENTY, parent, told, with_timestamp};

/// A runtime whose extrinsics name what they do by the byte behind their length: answer with what follows, or never
/// end. Asked by `charge` it answers with a charge that copies what it was asked, by `free` with none, by `fault` with
/// a trap, by `endless` not at all, by `nonsense` with bytes that mean nothing.
fn charging(mode: u8) -> MemoryState {
    let text = format!(
        r#"(module
        (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
        (memory (export "memory") 17)
        (global (export "__heap_base") i32 (i32.const 65536))
        (data (i32.const 512) "\{mode:02x}")
        (data (i32.const 600) "key")
        (data (i32.const 1056) "\04")
        (data (i32.const 2048) "\04\10\01\00\00\2a")
        (func $pack (param i32 i32) (result i64)
            (i64.or (i64.extend_i32_u (local.get 0))
                (i64.shl (i64.extend_i32_u (local.get 1)) (i64.const 32))))
        (func (export "Core_initialize_block") (param i32 i32) (result i64)
            (i64.const 0x100000200))
        (func (export "BlockBuilder_apply_extrinsic") (param $at i32) (param $length i32)
            (result i64)
            (call $set (i64.const 0x300000258) (i64.const 0x300000258))
            (if (i32.eqz (i32.load8_u (i32.add (local.get $at) (i32.const 1))))
                (then (loop (br 0))))
            (call $pack (i32.add (local.get $at) (i32.const 2)) (i32.const 2)))
        (func (export "BlockBuilder_finalize_block") (param i32 i32) (result i64)
            (i64.const 0x6200000400))
        ;; One inherent of four bytes.
        (func (export "BlockBuilder_inherent_extrinsics") (param i32 i32) (result i64)
            (i64.const 0x600000800))
        ;; Some(bytes): the length of all, an opcode, two bytes of an answer, the bytes asked about.
        (func (export "charge") (param $at i32) (param $length i32) (result i64)
            (call $set (i64.const 0x300000258) (i64.const 0x300000258))
            (i32.store (i32.const 4096) (i32.const 1))
            (i32.store8 (i32.const 4097)
                (i32.shl (i32.add (local.get $length) (i32.const 3)) (i32.const 2)))
            (i32.store (i32.const 4098) (i32.const 1))
            (memory.copy (i32.const 4101) (local.get $at) (local.get $length))
            (call $pack (i32.const 4096) (i32.add (local.get $length) (i32.const 5))))
        (func (export "free") (param i32 i32) (result i64) (i64.const 0x100000400))
        (func (export "fault") (param i32 i32) (result i64) unreachable)
        (func (export "endless") (param i32 i32) (result i64) (loop (br 0)) unreachable)
        (func (export "nonsense") (param i32 i32) (result i64) (i64.const 0x700000800)))"#
    );
    let mut storage = Storage::default();
    let code = wat::parse_str(text).expect("wat");
    storage.top.insert(CODE.to_vec(), code);
    MemoryState::new(storage, StateVersion::V1)
}

fn charging_executor() -> Executor {
    executor_with(ExecutorConfig {
        profile: slackwater_tests::overruns::PROFILE,
        ..ExecutorConfig::default()
    })
}

const ENDLESS: [u8; 3] = [0, 7, 7];
const APPLIED: [u8; 3] = [1, 0, 0];

fn produce_charging(method: &str, offered: &[&[u8]]) -> Produced {
    let state = charging(0);
    let config = ProducerConfig {
        extrinsic_fuel: Some(PLENTY),
        overrun: OverrunPolicy::Charge {
            method: method.to_owned(),
        },
        ..ProducerConfig::default()
    };
    let producer = Producer::new(charging_executor(), config);
    let mut offered = offered.iter().map(|payload| with_length(payload));
    let inputs = BlockInputs::default();
    producer
        .produce(&state, &parent(&state), inputs, &mut offered)
        .expect("a block")
}

#[test]
fn whoever_uses_more_than_it_may_pays_by_an_extrinsic_of_the_runtime() {
    let produced = produce_charging("charge", &[&APPLIED, &ENDLESS, &APPLIED]);
    assert_eq!(
        told(&produced),
        ["t applied", "t local_limit", "c applied", "t applied"]
    );
    // The runtime was told the bytes and the limit, and its answer is in the block.
    let asked = (with_length(&ENDLESS), PLENTY.0).encode();
    let charge = with_length(&[[1, 0, 0].as_slice(), &asked].concat());
    let body = &produced.built.block.extrinsics;
    assert_eq!(
        *body,
        [with_length(&APPLIED), charge, with_length(&APPLIED)]
    );
    assert_eq!(produced.overruns[0].extrinsic, with_length(&ENDLESS));
    assert_eq!(produced.overruns[0].uncharged, None);
    // What was written when it was asked is gone, as what the overrun wrote.
    let nothing = produce_charging("free", &[&ENDLESS]);
    assert!(nothing.built.changes.writes[&None].is_empty());
}

#[test]
fn a_runtime_that_cannot_say_who_pays_does_not_end_the_block() {
    let uncharged = |method| {
        let produced = produce_charging(method, &[&ENDLESS, &APPLIED]);
        assert_eq!(told(&produced), ["t local_limit", "t applied"], "{method}");
        let overrun = produced.overruns.into_iter().next();
        overrun.expect("one").uncharged.expect("nobody pays")
    };
    assert_eq!(uncharged("free"), Uncharged::Declined);
    let stopped = Uncharged::Stopped(LeftOut::LocalLimit { limit: PLENTY });
    assert_eq!(uncharged("endless"), stopped);
    for (method, kind) in [
        ("fault", TrapKind::Unreachable),
        ("nonsense", TrapKind::UndecodableOutput),
        ("absent", TrapKind::MissingMethod),
    ] {
        match uncharged(method) {
            Uncharged::Faulted(trap) => assert_eq!(trap.kind, kind, "{method}"),
            other => panic!("{method}: {other:?}"),
        }
    }
}

#[test]
fn the_runtime_makes_inherents_of_the_data_it_is_given() {
    let state = charging(0);
    let producer = Producer::new(charging_executor(), ProducerConfig::default());
    let data = [(*b"timstap0", 6_000_u64.encode())];
    let inputs = BlockInputs {
        inherent_data: Some(data.into_iter().collect()),
        inherents: vec![with_length(&APPLIED)],
        ..BlockInputs::default()
    };
    let mut nothing = std::iter::empty();
    let produced = producer
        .produce(&state, &parent(&state), inputs, &mut nothing)
        .expect("a block");
    assert_eq!(told(&produced), ["i applied", "i applied"]);
    // What it answers has no length prefix of its own.
    let body = &produced.built.block.extrinsics;
    assert_eq!(
        *body,
        [with_length(&[1, 0, 0, 0x2a]), with_length(&APPLIED)]
    );
}

#[test]
fn a_runtime_that_wants_inherents_only_has_no_transactions_taken_for_it() {
    let state = charging(1);
    let producer = Producer::new(charging_executor(), ProducerConfig::default());
    let inputs = BlockInputs {
        inherents: vec![with_length(&APPLIED)],
        ..BlockInputs::default()
    };
    let taken = Cell::new(0);
    let mut transactions = std::iter::repeat_with(|| {
        taken.set(taken.get() + 1);
        with_length(&APPLIED)
    });
    let produced = producer
        .produce(&state, &parent(&state), inputs, &mut transactions)
        .expect("a block");
    assert_eq!(told(&produced), ["i applied"]);
    assert_eq!(produced.end, BlockEnd::OnlyInherents);
    assert_eq!(taken.get(), 0);
}

#[test]
fn a_mandatory_inherent_that_fails_abandons_the_block() {
    // An extrinsic of this runtime answers with two of its bytes, and this needs three.
    let text = r#"(module
        (memory (export "memory") 17)
        (global (export "__heap_base") i32 (i32.const 65536))
        (data (i32.const 512) "\01\00\08")
        (func (export "Core_initialize_block") (param i32 i32) (result i64) (i64.const 0))
        (func (export "BlockBuilder_apply_extrinsic") (param i32 i32) (result i64)
            (i64.const 0x300000200)))"#;
    let mut storage = Storage::default();
    let code = wat::parse_str(text).expect("wat");
    storage.top.insert(CODE.to_vec(), code);
    let state = MemoryState::new(storage, StateVersion::V1);
    let producer = Producer::new(executor(), ProducerConfig::default());
    let inputs = with_timestamp();
    let mut nothing = std::iter::empty();
    let abandoned = producer.produce(&state, &parent(&state), inputs, &mut nothing);
    let error = abandoned.expect_err("abandoned");
    assert!(
        matches!(error, BuildError::MandatoryFailed { index: 0 }),
        "{error}"
    );
    // What anybody may offer does not.
    let head = parent(&state);
    let builder = BlockBuilder::new(&executor(), &state, &head, Vec::new(), Extensions::new());
    let offered = builder.expect("begins").push(&with_length(&APPLIED));
    let left_out = LeftOut::Invalid(Invalidity::BadMandatory);
    assert_eq!(offered.expect("goes on"), Offered::LeftOut(left_out));
}
