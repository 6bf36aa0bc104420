//! The guest behaves as its README says, under Substrate's own executor.

#![expect(
    clippy::unwrap_used,
    reason = "the line that a test fails on is all a reader needs"
)]

use codec::Encode;
use slackwater_runtime_fixtures::guest::{
    Account, BASE_FEE, GUEST_UPGRADED_WASM, GUEST_WASM, GuestCall, GuestExtrinsic, Sender,
    account_key, fee, genesis, map_key,
};
use slackwater_runtime_fixtures::{ExpectedWrite, OfferedOutcome};
use slackwater_substrate_path::header::HeaderFields;
use slackwater_substrate_path::keys::Key;
use slackwater_substrate_path::oracle::{BuiltBlock, decode_all};
use slackwater_substrate_path::{CallResult, Oracle};
use sp_core::storage::StateVersion;

const WHO: Account = [0xa1; 32];
const OTHER: Account = [0xb2; 32];
const FUNDS: u128 = 1_000_000;

fn oracle() -> Oracle {
    let state = genesis(&[(WHO, FUNDS), (OTHER, BASE_FEE)], &WHO);
    Oracle::new(state, StateVersion::V1).unwrap()
}

fn run(method: &str, arguments: &[u8]) -> CallResult {
    oracle().call(method, arguments).unwrap()
}

fn output(method: &str, arguments: &[u8]) -> Vec<u8> {
    run(method, arguments).output.unwrap()
}

fn fault(call: &GuestCall) -> String {
    let result = run("test_call", &(WHO, call).encode());
    assert_eq!(result.writes, []);
    result.output.unwrap_err().message
}

fn sender(nonce: u32) -> Sender {
    Sender {
        who: WHO,
        nonce,
        tip: 0,
    }
}

fn trusted(nonce: u32, call: GuestCall) -> Vec<u8> {
    GuestExtrinsic::Trusted(sender(nonce), call).encoded()
}

fn initial(number: u32) -> Vec<u8> {
    HeaderFields::initial([7; 32], number, &[]).encoded()
}

fn build(offered: &[Vec<u8>]) -> BuiltBlock {
    oracle().build_block(&initial(1), offered).unwrap()
}

/// Outcome and error of a single offered extrinsic.
fn offer(extrinsic: Vec<u8>) -> (OfferedOutcome, Option<Vec<u8>>) {
    let built = build(&[extrinsic]);
    let offered = built.offered.into_iter().next().unwrap();
    (offered.outcome, offered.error)
}

fn written<'a>(writes: &'a [ExpectedWrite], key: &[u8]) -> Option<&'a ExpectedWrite> {
    writes.iter().find(|w| w.child.is_none() && w.key == key)
}

#[test]
fn the_version_is_the_same_by_section_and_by_call() {
    let called = output("Core_version", &[]);
    let read = output("test_runtime_version", GUEST_WASM);
    assert_eq!(decode_all::<Option<Vec<u8>>>(&read).unwrap(), Some(called));
    let upgraded = output("test_runtime_version", GUEST_UPGRADED_WASM);
    let upgraded = decode_all::<Option<Vec<u8>>>(&upgraded).unwrap().unwrap();
    assert_eq!(upgraded[..17], *b"\x40slackwater-guest");
    assert_eq!(upgraded[38], 2);
    assert_eq!(output("test_runtime_version", b"no wasm"), [0]);
}

#[test]
fn probes_return_what_they_are_asked_for() {
    assert_eq!(output("test_echo", b"echo"), b"echo");
    assert_eq!(output("test_empty_return", &[]), b"");
    let nonce = run("AccountNonceApi_account_nonce", &WHO);
    assert_eq!((nonce.output.unwrap(), nonce.writes), (vec![0; 4], vec![]));
    let account = (FUNDS, 0_u32).encode();
    assert_eq!(
        output("test_storage_get", &account_key(&WHO)),
        Some(account).encode()
    );
    assert_eq!(output("test_storage_get", b"absent"), [0]);
    assert_eq!(output("test_host_calls", &9_u32.encode()), 0_u32.encode());
    assert_eq!(output("test_proof_size", &[]), u64::MAX.encode());
    assert_eq!(output("test_tracing_enabled", &[]), [0]);
    assert!(output("test_max_level", &[])[0] <= 5);
    assert_eq!(
        output("test_burn", &0_u64.encode()),
        0x9e37_79b9_7f4a_7c15_u64.encode()
    );
    assert_eq!(output("BlockBuilder_inherent_extrinsics", &[0]), [0]);
    assert_eq!(output("BlockBuilder_check_inherents", &[]), [1, 0, 0]);
}

#[test]
fn memory_is_as_large_as_the_executor_made_it() {
    // 17 pages of the guest and 2048 of heap, which an offchain call may not grow beyond.
    let pages = decode_all::<u32>(&output("test_memory_size", &[])).unwrap();
    assert_eq!(pages, 17 + 2048);
    assert_eq!(
        output(
            "test_dirty_plenty_memory",
            &(1_200_000_u32, 64_u32).encode()
        ),
        b""
    );
    let behind = run(
        "test_dirty_plenty_memory",
        &(1_200_000_u32, 4096_u32).encode(),
    );
    assert!(behind.output.unwrap_err().message.contains("out of bounds"));
    let address = decode_all::<u32>(&output("test_alloc", &100_u32.encode())).unwrap();
    assert!(address > 1 << 20 && address.is_multiple_of(8));
    assert!(run("test_alloc", &u32::MAX.encode()).output.is_err());
}

/// The executor does not canonicalise, so the bits differ between machines; what kind they are of
/// does not.
#[test]
fn results_that_are_no_numbers_are_none_on_any_machine() {
    let bits = output("test_nan", &[]);
    let (singles, doubles) = bits.split_at(32);
    let singles = decode_all::<[u32; 8]>(singles).unwrap();
    let doubles = decode_all::<[u64; 8]>(doubles).unwrap();
    assert!(singles.iter().all(|bits| f32::from_bits(*bits).is_nan()));
    assert!(doubles.iter().all(|bits| f64::from_bits(*bits).is_nan()));
    // Negation flips the sign and nothing else.
    assert_eq!(singles[0] ^ singles[1], 1 << 31);
    assert_eq!(doubles[0] ^ doubles[1], 1 << 63);

    let call = run("test_call", &(WHO, GuestCall::Nan).encode());
    let key = [b"nan:".as_slice(), &WHO].concat();
    let stored = written(&call.writes, &key).unwrap().value.clone();
    assert_eq!(stored, Some(vec![1; 16]));
}

#[test]
fn storage_probes_write_what_they_say() {
    let open = run("test_leave_transaction_open", &[]);
    assert_eq!(open.output.unwrap(), b"");
    let expected = ExpectedWrite {
        child: None,
        key: b"test:outer".to_vec(),
        value: Some(b"before".to_vec()),
    };
    assert_eq!(open.writes, [expected]);

    let roots = run("test_append_after_root", &[]);
    let (before, after) = decode_all::<([u8; 32], [u8; 32])>(&roots.output.unwrap()).unwrap();
    // The state machine keeps a root it has computed although something is appended behind it.
    assert_eq!(before, after);
    let appended = written(&roots.writes, b"test:append").unwrap();
    assert_eq!(appended.value, Some(vec![8, 1, 2]));

    let child = run("test_child_storage", &[]);
    let root = child.output.unwrap();
    let root_key = [b":child_storage:default:".as_slice(), b"test-child"].concat();
    assert_eq!(written(&child.writes, &root_key).unwrap().value, Some(root));
    assert_eq!(child.writes.iter().filter(|w| w.child.is_some()).count(), 3);

    assert_eq!(run("test_offchain_index", &[]).writes, []);
    assert_eq!(output("test_transaction_index", &[]), b"");
}

#[test]
fn recursion_ends_or_exhausts_the_native_stack() {
    assert_eq!(output("test_recurse", &0_u32.encode()), 1_u64.encode());
    assert_eq!(output("test_recurse", &1_000_u32.encode()).len(), 8);
    let deep = run("test_recurse", &u32::MAX.encode()).output.unwrap_err();
    assert!(deep.is_stack_overflow(), "{deep}");
    let endless = fault(&GuestCall::EndlessRecursion);
    assert!(endless.contains("call stack exhausted"), "{endless}");
}

#[test]
fn faults_say_what_happened() {
    let message = b"on demand".to_vec();
    for (call, words) in [
        (GuestCall::Panic { message }, "on demand"),
        (GuestCall::Unreachable, "unreachable"),
        (GuestCall::OutOfBounds, "out of bounds memory access"),
        (GuestCall::DivByZero, "integer divide by zero"),
        (GuestCall::AllocOnce { bytes: 33 << 20 }, "too large"),
        (GuestCall::AllocLoop { bytes: 16 << 20 }, "ran out of space"),
        (GuestCall::CloseExtraTransaction, "No open transaction"),
        (GuestCall::BadFree, "Failed to deallocate"),
    ] {
        let found = fault(&call);
        assert!(found.contains(words), "{call:?}: {found}");
    }
}

#[test]
fn refusals_are_the_bytes_of_the_readme() {
    let signed_wrongly = GuestExtrinsic::Signed(sender(0), [1; 64], GuestCall::Nan).encoded();
    let poor = GuestExtrinsic::Trusted(
        Sender {
            who: OTHER,
            nonce: 0,
            tip: 0,
        },
        GuestCall::Nan,
    );
    for (extrinsic, error) in [
        (vec![8, 1, 99], &[0, 0][..]),
        (trusted(0, GuestCall::Note { note: vec![] }), &[0, 0]),
        (signed_wrongly, &[0, 4]),
        (trusted(0, GuestCall::Exhaust), &[0, 6]),
        (GuestExtrinsic::Unsigned(GuestCall::Nan).encoded(), &[1, 1]),
        (trusted(1, GuestCall::Nan), &[0, 2]),
        (poor.encoded(), &[0, 1]),
    ] {
        let expected = (OfferedOutcome::Invalid, Some(error.to_vec()));
        assert_eq!(offer(extrinsic), expected);
    }
    let twice = build(&[trusted(0, GuestCall::Nan), trusted(0, GuestCall::Nan)]);
    assert_eq!(twice.offered[1].error, Some(vec![0, 3]));
    let now = GuestExtrinsic::Unsigned(GuestCall::SetTimestamp { now: 1 }).encoded();
    let twice = build(&[now.clone(), now]);
    assert_eq!(twice.offered[1].error, Some(vec![0, 7, 1]));
    assert_eq!(offer(vec![12, 1]), (OfferedOutcome::Trap, None));
}

#[test]
fn a_right_signature_is_accepted() {
    let key = Key::named("signer").unwrap();
    let state = genesis(&[(key.account(), FUNDS)], &WHO);
    let oracle = Oracle::new(state, StateVersion::V1).unwrap();
    let sender = Sender {
        who: key.account(),
        nonce: 0,
        tip: 9,
    };
    let message = slackwater_runtime_fixtures::guest::signed_message(&sender, &GuestCall::Nan);
    let signed = GuestExtrinsic::Signed(sender, key.sign(&message), GuestCall::Nan).encoded();
    let cost = fee(&signed) + 9;
    let built = oracle.build_block(&initial(1), &[signed]).unwrap();
    assert_eq!(built.offered[0].outcome, OfferedOutcome::Applied);
    let account = written(&built.changes.writes, &account_key(&key.account())).unwrap();
    assert_eq!(account.value, Some((FUNDS - cost, 1_u32).encode()));
}

#[test]
fn a_dispatch_error_keeps_fee_and_nonce_and_undoes_the_rest() {
    for kind in 0..15 {
        let extrinsic = trusted(0, GuestCall::Fail { kind });
        let cost = fee(&extrinsic);
        let built = build(&[extrinsic]);
        assert_eq!(built.offered[0].outcome, OfferedOutcome::DispatchError);
        assert_eq!(built.offered[0].error.as_ref().unwrap()[0], kind);
        let account = written(&built.changes.writes, &account_key(&WHO)).unwrap();
        assert_eq!(account.value, Some((FUNDS - cost, 1_u32).encode()));
        let undone = [b"fail:".as_slice(), &WHO].concat();
        assert_eq!(written(&built.changes.writes, &undone), None);
    }
}

#[test]
fn only_sudo_sets_a_newer_code_of_the_same_name() {
    let set = |who: Account, code: &[u8]| {
        let code = code.to_vec();
        output("test_call", &(who, GuestCall::SetCode { code }).encode())
    };
    assert_eq!(set(OTHER, GUEST_UPGRADED_WASM), [1, 2]);
    assert_eq!(set(WHO, b"no wasm"), [1, 3, 1, 0, 0, 0, 0]);
    let renamed = {
        let mut code = GUEST_UPGRADED_WASM.to_vec();
        let name = b"\x40slackwater-guest\x40";
        let at = code.windows(name.len()).rposition(|window| window == name);
        code[at.unwrap() + 1] = b'b';
        code
    };
    assert_eq!(set(WHO, &renamed), [1, 3, 1, 1, 0, 0, 0]);
    assert_eq!(set(WHO, GUEST_WASM), [1, 3, 1, 2, 0, 0, 0]);
    assert_eq!(set(WHO, GUEST_UPGRADED_WASM), [0]);
}

#[test]
fn an_upgrade_shows_in_the_digest_and_in_the_next_block() {
    let mut oracle = oracle();
    let code = GUEST_UPGRADED_WASM.to_vec();
    let set = trusted(0, GuestCall::SetCode { code });
    let first = oracle.build_block(&initial(1), &[set]).unwrap();
    assert_eq!(first.header.last_chunk(), Some(&[4, 8]));
    oracle.advance(first.changes);
    let note = trusted(1, GuestCall::Note { note: vec![1] });
    let second = oracle.build_block(&initial(2), &[note]).unwrap();
    assert_eq!(second.offered[0].outcome, OfferedOutcome::Applied);
    let version = written(&second.changes.writes, b"sys:spec_version").unwrap();
    assert_eq!(version.value, Some(2_u32.encode()));
}

#[test]
fn an_open_transaction_loses_what_is_written_behind_it() {
    let built = build(&[trusted(0, GuestCall::LeaveTransactionOpen)]);
    assert_eq!(built.offered[0].outcome, OfferedOutcome::Applied);
    // The index of the next extrinsic was among what was lost, so the body's trie is empty.
    let header = slackwater_substrate_path::oracle::decode_header(&built.header).unwrap();
    let empty = oracle().build_block(&initial(1), &[]).unwrap();
    let empty = slackwater_substrate_path::oracle::decode_header(&empty.header).unwrap();
    assert_eq!(header.extrinsics_root, empty.extrinsics_root);
    let whole = oracle().execute_block(&built.header, &built.body);
    assert!(whole.is_err());
}

#[test]
fn nested_transactions_keep_what_their_mask_says() {
    let nested = |rollback_mask| {
        let call = GuestCall::Nested {
            depth: 3,
            writes: 1,
            rollback_mask,
        };
        let result = run("test_call", &(WHO, call).encode());
        assert_eq!(result.output.unwrap(), [0]);
        let levels = result.writes.iter().filter(|w| w.key.starts_with(b"nest:"));
        levels
            .map(|w| w.value.clone().unwrap()[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(nested(0b000), [0, 1, 2]);
    assert_eq!(nested(0b001), Vec::<u8>::new());
    assert_eq!(nested(0b010), [0]);
    assert_eq!(nested(0b100), [0, 1]);
}

#[test]
fn calls_on_the_map_write_the_map() {
    let mut oracle = oracle();
    let put = |key: &[u8], value: &[u8]| GuestCall::Put {
        key: key.to_vec(),
        value: value.to_vec(),
    };
    let append = GuestCall::Append {
        key: b"list".to_vec(),
        item: b"x".to_vec(),
    };
    let calls = [put(b"a1", b"1"), put(b"a2", b"2"), append.clone(), append];
    let offered: Vec<_> = (0..).zip(calls).map(|(n, call)| trusted(n, call)).collect();
    let built = oracle.build_block(&initial(1), &offered).unwrap();
    oracle.advance(built.changes);
    let read = |oracle: &Oracle, key: &[u8]| oracle.read(None, &map_key(key)).unwrap();
    assert_eq!(read(&oracle, b"list"), Some(b"\x08\x04x\x04x".to_vec()));
    let clear = GuestCall::ClearPrefix {
        prefix: b"a".to_vec(),
        limit: Some(1),
    };
    let built = oracle
        .build_block(&initial(2), &[trusted(4, clear)])
        .unwrap();
    oracle.advance(built.changes);
    assert_eq!(read(&oracle, b"a1"), None);
    assert_eq!(read(&oracle, b"a2"), Some(b"2".to_vec()));
}

#[test]
fn memory_grows_up_to_what_the_executor_allows() {
    let grown = |pages| {
        let result = run(
            "test_call",
            &(WHO, GuestCall::GrowMemory { pages }).encode(),
        );
        assert_eq!(result.output.unwrap(), [0]);
        let key = [b"grow:".as_slice(), &WHO].concat();
        written(&result.writes, &key)
            .unwrap()
            .value
            .clone()
            .unwrap()
    };
    assert_eq!(grown(0), [1]);
    assert_eq!(grown(65_536), [0]);
}

#[test]
fn a_block_outside_of_its_order_panics() {
    let early = run("BlockBuilder_finalize_block", &[]).output.unwrap_err();
    assert!(
        early.message.contains("no block was initialized"),
        "{early}"
    );
    let header = run("Core_initialize_block", &[1, 2, 3]).output.unwrap_err();
    assert!(header.message.contains("bad header"), "{header}");
}
