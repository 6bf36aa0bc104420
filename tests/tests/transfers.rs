//! Transfers made by the metadata of real runtimes, against bytes encoded by hand, and before the runtimes themselves.

use slackwater_executor::{
    CallContext,
    block::{
        BlockBuilder, Invalidity, LeftOut, Offered, genesis_hash, load_runtime, state_version_of,
    },
    state::{Extensions, Head, MemoryState},
};
use slackwater_runtime_fixtures::{
    ChainSpec,
    keys::Key,
    real_fixtures_or_skip,
    slots::Slots,
    transfers::{Senders, TransferError, Transfers},
};
use slackwater_substrate_path::signed::transfers;
use slackwater_tests::{Executor, executor};
use sp_core::H256;

/// The real genesis states.
const GENESES: [&str; 4] = [
    "smoldot-substrate-node-template",
    "subtensor-raonet",
    "chopsticks-asset-hub-kusama-local",
    "bulletin-polkadot-raw",
];

fn state(executor: &Executor, name: &str) -> Option<MemoryState> {
    let path = real_fixtures_or_skip(name)?.join(format!("genesis/{name}.json"));
    let genesis = ChainSpec::load(&path).expect("loads").genesis;
    let version = state_version_of(executor, &genesis).expect("a runtime");
    Some(MemoryState::new(genesis, version))
}

#[test]
fn a_transfer_by_metadata_is_the_one_encoded_by_hand() {
    let (name, executor) = (GENESES[0], executor());
    let (Some(state), Some(fixtures)) = (state(&executor, name), real_fixtures_or_skip(name))
    else {
        return;
    };
    let by_hand = transfers(&fixtures, 3).expect("made");
    let genesis = genesis_hash(state.state_root());
    let transfers = Transfers::of_state(&executor, &state, genesis).expect("known");
    let [alice, bob] = ["Alice", "Bob"].map(|name| Key::development(name).expect("a key"));
    for nonce in 0..3 {
        let made = transfers.transfer(&alice, nonce, &bob.account(), 1_000_000_000);
        // An inherent goes before them.
        let expected = &by_hand.extrinsics[nonce as usize + 1];
        assert_eq!(made, *expected);
    }
    assert_eq!(transfers.least(), 500);
    let funds = transfers.funds(&state, &alice.account()).expect("readable");
    assert_eq!((funds.free, funds.nonce), (1 << 60, 0));
}

/// Whatever else a runtime looks at, it looks at the signature first, and at all that is signed.
#[test]
fn runtimes_refuse_who_has_no_funds_and_not_the_signature() {
    for name in GENESES {
        let executor = executor();
        let Some(state) = state(&executor, name) else {
            return;
        };
        let head = Head {
            number: 0,
            hash: genesis_hash(state.state_root()),
            state_root: state.state_root(),
        };
        let transfers = Transfers::of_state(&executor, &state, head.hash);
        let transfers = transfers.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (runtime, _) = load_runtime(&executor, &state, CallContext::Build).expect("loads");
        let slots = Slots::of_state(&executor, &state, &runtime).expect("known");
        let digest = slots.inputs(1, None).digest;
        let builder = BlockBuilder::new(&executor, &state, &head, digest, Extensions::new());
        let mut builder = builder.expect("begins");
        let nobody = Key::named("nobody").expect("a key");
        let amount = transfers.least();
        let transfer = |nonce| transfers.transfer(&nobody, nonce, &[7; 32], amount);
        let offered = builder.push(&transfer(0)).expect("goes on");
        assert_eq!(
            offered,
            Offered::LeftOut(LeftOut::Invalid(Invalidity::Payment)),
            "{name}"
        );
        let mut other = transfer(0);
        // The last byte of the amount is signed.
        if let Some(last) = other.last_mut() {
            *last ^= 4;
        }
        let offered = builder.push(&other).expect("goes on");
        assert_eq!(
            offered,
            Offered::LeftOut(LeftOut::Invalid(Invalidity::BadProof)),
            "{name}"
        );
    }
}

#[test]
fn who_has_nothing_funds_nobody() {
    let (name, executor) = (GENESES[1], executor());
    let Some(state) = state(&executor, name) else {
        return;
    };
    let transfers = Transfers::of_state(&executor, &state, H256::zero()).expect("known");
    let mut senders = Senders::new(transfers, 2).expect("keys");
    let alice = Key::development("Alice").expect("a key");
    let funded = senders.funding(&state);
    match funded {
        Err(TransferError::NoFunds { name }) => assert_eq!(name, "//Alice"),
        other => panic!("{other:?} from {alice:?}"),
    }
}
