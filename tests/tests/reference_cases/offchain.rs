//! What off-chain workers may do. The host behind it is `sp-core`'s for tests.

use codec::Encode;
use slackwater_executor::host_functions::{SlackwaterHostFunctions, StandardHostFunctions};
use slackwater_runtime_fixtures::cases::CASES_WASM;
use sp_core::{
    offchain::{
        HttpError, HttpRequestStatus, OffchainDbExt, OffchainOverlayedChange, OffchainWorkerExt,
        STORAGE_PREFIX,
        testing::{PendingRequest, TestOffchainExt},
    },
    traits::{CallContext, WrappedRuntimeCode},
};

use super::{
    case::{Settings, externalities, runtime_code},
    machine::{Machine, Outcome, with_functions},
};

/// Calls an entry point on each machine with a state and an off-chain host of its own, which `prepare` sees before and
/// `check` after.
fn on_machines(
    entry: &str,
    expected: &[u8],
    prepare: impl Fn(&TestOffchainExt),
    check: impl Fn(&TestOffchainExt, &mut sp_state_machine::TestExternalities<sp_core::Blake2Hasher>),
) {
    let machines: Vec<Machine> =
        with_functions::<SlackwaterHostFunctions, StandardHostFunctions>(&Settings::default());
    for machine in machines {
        let (host, _) = TestOffchainExt::new();
        prepare(&host);
        let mut state = externalities(&[]);
        state.register_extension(OffchainDbExt::new(host.clone()));
        state.register_extension(OffchainWorkerExt::new(host.clone()));
        let code = WrappedRuntimeCode(CASES_WASM.into());
        let code = runtime_code(CASES_WASM, &code);
        let outcome = machine.call(&mut state.ext(), &code, (entry, &[]), CallContext::Offchain);
        let right = matches!(&outcome, Outcome::Output(output) if output == expected);
        assert!(
            right,
            "{}: found {outcome:?}, expected {expected:?}",
            machine.name
        );
        check(&host, &mut state);
    }
}

#[test]
fn the_offchain_index_is_written() {
    let check = |_: &_, state: &mut sp_state_machine::TestExternalities<_>| {
        let changes = state.overlayed_changes().clone().offchain_drain_committed();
        let changes: Vec<_> = changes.collect();
        let key = (STORAGE_PREFIX.to_vec(), b"k".to_vec());
        let change = OffchainOverlayedChange::SetValue(b"v".to_vec());
        assert_eq!(changes, [(key, change)]);
    };
    on_machines("index_for_offchain", &[], |_| (), check);
}

#[test]
fn offchain_storage_is_read_written_and_exchanged() {
    let stored = |value: &'static [u8]| {
        move |host: &TestOffchainExt, _: &mut _| {
            let found = host.0.read().persistent_storage.get(b"test");
            assert_eq!(found.as_deref(), Some(value));
        }
    };
    let none = None::<Vec<u8>>;
    let some = |value: &[u8]| Some(value.to_vec());
    let expected = (none.clone(), some(b"asd"), true, some(b"")).encode();
    on_machines("store_offchain", &expected, |_| (), stored(b""));
    let expected = (none, true, some(b"value")).encode();
    let entry = "store_offchain_from_none";
    on_machines(entry, &expected, |_| (), stored(b"value"));
}

#[test]
fn a_request_is_made_and_its_answer_read() {
    let header = |value: &str| vec![("X-Auth".to_owned(), value.to_owned())];
    let prepare = |host: &TestOffchainExt| {
        host.0.write().expect_request(PendingRequest {
            method: "POST".to_owned(),
            uri: "http://localhost:12345".to_owned(),
            headers: header("test"),
            body: vec![1, 2, 3, 4],
            sent: true,
            response: Some(vec![1, 2, 3]),
            response_headers: header("hello"),
            ..PendingRequest::default()
        });
    };
    let mut buffer = [0_u8; 64];
    buffer[..3].copy_from_slice(&[1, 2, 3]);
    let done = Ok::<(), ()>(());
    let written = Ok::<(), HttpError>(());
    let read = |length: u32| Ok::<u32, HttpError>(length);
    let expected = (
        (Ok::<u16, ()>(0), done, written, written),
        vec![HttpRequestStatus::Finished(200)],
        vec![(b"X-Auth".to_vec(), b"hello".to_vec())],
        (read(3), buffer, read(0)),
    );
    let check = |host: &TestOffchainExt, _: &mut _| {
        assert!(host.0.read().requests.is_empty());
    };
    on_machines("request_http", &expected.encode(), prepare, check);
}
