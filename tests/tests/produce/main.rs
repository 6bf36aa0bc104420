//! What a producer puts into a block, and when it stops: the rules of the Polkadot SDK's proposer, limits of fuel, and
//! having whoever passes them pay. Blocks of the guest are replayed by both paths.

mod charging;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use slackwater_executor::{
    Block, ExecutionPath, ExecutorConfig, Fuel, Meter,
    block::{
        BlockEnd, BlockInputs, Included, LeftOut, Offered, Origin, Produced, Producer,
        ProducerConfig, TransactionSource, Uncharged, execute,
    },
    state::{Extensions, Head, MemoryState},
};
use slackwater_runtime_fixtures::guest::{
    Account, GUEST_WASM, GuestCall, GuestExtrinsic, Sender, genesis,
};
use slackwater_tests::{Executor, executor, executor_with, rules_for_extrinsics};
use sp_core::{H256, storage::StateVersion};

const ALICE: Account = [1; 32];
const BOB: Account = [2; 32];
/// More than any extrinsic here uses that is meant to end.
const PLENTY: Fuel = Fuel(50_000_000);

fn guest_state() -> MemoryState {
    let funds = [(ALICE, 1 << 60), (BOB, 1 << 60)];
    MemoryState::new(genesis(&funds, &ALICE), StateVersion::V1)
}

fn parent(state: &MemoryState) -> Head {
    Head {
        number: 0,
        hash: H256::repeat_byte(7),
        state_root: state.state_root(),
    }
}

fn trusted(who: Account, nonce: u32, call: GuestCall) -> Vec<u8> {
    let tip = 0;
    GuestExtrinsic::Trusted(Sender { who, nonce, tip }, call).encoded()
}

fn put(nonce: u32) -> Vec<u8> {
    let key = nonce.to_le_bytes().to_vec();
    trusted(
        ALICE,
        nonce,
        GuestCall::Put {
            key,
            value: vec![7; 40],
        },
    )
}

fn timestamp() -> Vec<u8> {
    GuestExtrinsic::Unsigned(GuestCall::SetTimestamp { now: 6_000 }).encoded()
}

fn with_timestamp() -> BlockInputs {
    BlockInputs {
        inherents: vec![timestamp()],
        ..BlockInputs::default()
    }
}

/// Produces a block of the guest and sees that both paths execute it to the same root.
fn produce(
    executor: &Executor,
    config: ProducerConfig,
    inputs: BlockInputs,
    transactions: impl IntoIterator<Item = Vec<u8>>,
) -> Produced {
    let state = guest_state();
    let producer = Producer::new(executor.clone(), config);
    let mut transactions = transactions.into_iter();
    let produced = producer
        .produce(&state, &parent(&state), inputs, &mut transactions)
        .expect("a block");
    replays(&state, &produced.built.block, &produced);
    produced
}

fn replays(state: &MemoryState, block: &Block, produced: &Produced) {
    for path in [ExecutionPath::Split, ExecutionPath::Whole] {
        let executed = execute(&executor(), state, block, path, &Extensions::new);
        let executed = executed.expect("the block is valid");
        let root = produced.built.changes.state_root;
        assert_eq!(executed.changes.state_root, root, "{path:?}");
    }
}

/// Names of what became of everything, with a letter for where it came from.
fn told(produced: &Produced) -> Vec<String> {
    let letter = |origin| match origin {
        Origin::Inherent => 'i',
        Origin::Transaction => 't',
        Origin::Charge => 'c',
    };
    let offered = produced.offered.iter();
    offered
        .map(|offered| format!("{} {}", letter(offered.origin), offered.result.name()))
        .collect()
}

#[test]
fn inherents_come_first_and_everything_offered_has_a_result() {
    let stale = trusted(ALICE, 0, GuestCall::Nan);
    let failing = trusted(ALICE, 1, GuestCall::Fail { kind: 2 });
    let panics = trusted(
        BOB,
        0,
        GuestCall::Panic {
            message: b"no".to_vec(),
        },
    );
    let offered = vec![put(0), stale, failing.clone(), panics, put(2)];
    let inputs = BlockInputs {
        // The second is one too many, and left out.
        inherents: vec![timestamp(), timestamp()],
        ..BlockInputs::default()
    };
    let produced = produce(&executor(), ProducerConfig::default(), inputs, offered);
    assert_eq!(
        told(&produced),
        [
            "i applied",
            "i invalid",
            "t applied",
            "t invalid",
            "t dispatch_error",
            "t trap",
            "t applied"
        ]
    );
    assert_eq!(produced.end, BlockEnd::NoMoreTransactions);
    assert!(produced.overruns.is_empty());
    let body = &produced.built.block.extrinsics;
    assert_eq!(*body, [timestamp(), put(0), failing, put(2)]);
}

/// Tells the source what was left out, as a pool needs it to drop what depends on it.
#[test]
fn a_source_is_told_of_what_is_left_out_before_it_is_asked_for_more() {
    struct Pool {
        waiting: Vec<Vec<u8>>,
        told: Vec<(Vec<u8>, LeftOut)>,
    }
    impl TransactionSource for Pool {
        fn next_transaction(&mut self) -> Option<Vec<u8>> {
            // Without the first of Bob's, his others are of no use.
            let useless = |extrinsic: &Vec<u8>| {
                let of_bob = extrinsic.get(2..34) == Some(BOB.as_slice());
                of_bob && !self.told.is_empty()
            };
            let next = self.waiting.iter().position(|it| !useless(it))?;
            Some(self.waiting.remove(next))
        }

        fn left_out(&mut self, transaction: &[u8], why: &LeftOut) {
            self.told.push((transaction.to_vec(), why.clone()));
        }
    }
    let of_bob = |nonce| trusted(BOB, nonce, GuestCall::Nan);
    let mut pool = Pool {
        waiting: vec![put(0), of_bob(5), of_bob(6), of_bob(7), put(1)],
        told: Vec::new(),
    };
    // Their bytes do not matter here but for the account behind the length and the kind.
    assert_eq!(of_bob(5).get(2..34), Some(BOB.as_slice()));
    let state = guest_state();
    let producer = Producer::new(executor(), ProducerConfig::default());
    let produced = producer.produce(&state, &parent(&state), with_timestamp(), &mut pool);
    let produced = produced.expect("a block");
    assert_eq!(
        told(&produced),
        ["i applied", "t applied", "t invalid", "t applied"]
    );
    assert_eq!(pool.told.len(), 1);
    assert_eq!(pool.told[0].0, of_bob(5));
}

/// So many that do not fit, and then one that would.
fn exhausting(count: usize) -> Vec<Vec<u8>> {
    let exhaust = (0..count).map(|_| trusted(BOB, 0, GuestCall::Exhaust));
    exhaust.chain([put(0)]).collect()
}

#[test]
fn a_full_block_ends_after_so_many_were_skipped() {
    let executor = executor();
    let config = ProducerConfig::default;
    // Eight are skipped, and the ninth ends it.
    let produced = produce(&executor, config(), with_timestamp(), exhausting(8));
    assert_eq!(produced.offered.len(), 1 + 9);
    assert_eq!(produced.end, BlockEnd::NoMoreTransactions);
    let produced = produce(&executor, config(), with_timestamp(), exhausting(9));
    assert_eq!(produced.offered.len(), 1 + 9);
    assert_eq!(produced.end, BlockEnd::Resources);
    // One that fits does not make the count begin anew, but the block is not full then.
    let many = [exhausting(4), exhausting(4)].concat();
    let mut many: Vec<_> = many.into_iter().collect();
    *many.last_mut().expect("some") = put(1);
    let produced = produce(&executor, config(), with_timestamp(), many);
    assert_eq!(produced.offered.len(), 1 + 10);
    assert_eq!(produced.end, BlockEnd::NoMoreTransactions);
    let none = ProducerConfig {
        skipped_max: 0,
        ..config()
    };
    let produced = produce(&executor, none, with_timestamp(), exhausting(3));
    assert_eq!(produced.offered.len(), 1 + 1);
}

/// A producer whose clock goes on by a second each time it looks, beginning with the block.
fn produce_by_seconds(config: ProducerConfig, transactions: Vec<Vec<u8>>) -> Produced {
    let state = guest_state();
    let begun = Instant::now();
    let seconds = Cell::new(0);
    let clock = || {
        let now = begun + Duration::from_secs(seconds.get());
        seconds.set(seconds.get() + 1);
        now
    };
    let producer = Producer::new(executor(), config);
    let (inputs, mut transactions) = (with_timestamp(), transactions.into_iter());
    producer
        .produce_by(&clock, &state, &parent(&state), inputs, &mut transactions)
        .expect("a block")
}

#[test]
fn before_the_soft_deadline_nothing_is_skipped_for_good_and_behind_the_hard_one_nothing_begins() {
    // Transactions have from 1 s to 90 s, the soft deadline is after 45; the first is offered after 2 s.
    let config = || ProducerConfig {
        duration: Some(Duration::from_secs(100)),
        ..ProducerConfig::default()
    };
    let produced = produce_by_seconds(config(), exhausting(60));
    assert_eq!(produced.end, BlockEnd::Resources);
    assert_eq!(produced.offered.len(), 1 + 45);
    let produced = produce_by_seconds(config(), (0..200).map(put).collect());
    assert_eq!(produced.end, BlockEnd::Deadline);
    assert_eq!(produced.offered.len(), 1 + 89);
    // Which was full says so.
    let soft = ProducerConfig {
        soft_deadline_percent: 100,
        ..config()
    };
    let produced = produce_by_seconds(soft, exhausting(200));
    assert_eq!(produced.end, BlockEnd::Resources);
    assert_eq!(produced.offered.len(), 1 + 89);
    let produced = produce_by_seconds(config(), exhausting(20));
    assert_eq!(produced.end, BlockEnd::NoMoreTransactions);
    assert_eq!(produced.offered.len(), 1 + 21);
}

#[test]
fn what_runs_at_the_hard_deadline_is_cancelled_and_the_block_is_there() {
    let executor = executor();
    // Compiling takes its time, too.
    executor.runtime(GUEST_WASM).expect("compiles");
    let config = ProducerConfig {
        duration: Some(Duration::from_secs(2)),
        ..ProducerConfig::default()
    };
    let endless = trusted(BOB, 0, GuestCall::EndlessLoop);
    let offered = vec![put(0), endless, put(1)];
    let produced = produce(&executor, config, with_timestamp(), offered);
    assert_eq!(told(&produced), ["i applied", "t applied", "t cancelled"]);
    assert_eq!(produced.end, BlockEnd::Deadline);
    assert!(produced.overruns.is_empty());
}

#[test]
fn a_block_has_no_more_bytes_than_it_may() {
    let executor = executor();
    let whole = produce(
        &executor,
        ProducerConfig::default(),
        with_timestamp(),
        vec![put(0), put(1)],
    );
    // The header's length does not change while this guest makes a block without digest items.
    let bytes = whole.built.block.encoded().len();
    for (less, expected) in [
        (0, &["i applied", "t applied", "t applied"]),
        (1, &["i applied", "t applied", "t no_bytes_left"]),
    ] {
        let config = ProducerConfig {
            block_bytes_max: bytes - less,
            ..ProducerConfig::default()
        };
        let produced = produce(&executor, config, with_timestamp(), vec![put(0), put(1)]);
        assert_eq!(told(&produced), *expected);
        assert!(produced.built.block.encoded().len() <= bytes - less);
    }
    // A smaller one behind it still fits.
    let config = ProducerConfig {
        block_bytes_max: bytes - 1,
        ..ProducerConfig::default()
    };
    let small = trusted(BOB, 0, GuestCall::Nan);
    let offered = vec![put(0), put(1), small];
    let produced = produce(&executor, config, with_timestamp(), offered);
    assert_eq!(produced.end, BlockEnd::NoMoreTransactions);
    assert_eq!(produced.built.block.extrinsics.len(), 3);
}

fn burn(nonce: u32, iterations: u64) -> Vec<u8> {
    trusted(ALICE, nonce, GuestCall::Burn { iterations })
}

/// Fuel of a transaction that burns so much.
fn fuel_of_burning(executor: &Executor, iterations: u64) -> Fuel {
    let config = ProducerConfig::default();
    let offered = [burn(0, iterations)];
    let produced = produce(executor, config, with_timestamp(), offered);
    match &produced.offered[1].result {
        Offered::Included { fuel, .. } => fuel.expect("counted").total,
        left_out => panic!("{left_out:?}"),
    }
}

#[test]
fn whoever_uses_more_fuel_than_it_may_is_left_out_and_reported_with_its_bytes() {
    for meter in [Meter::Slacked, Meter::Checked] {
        let executor = executor_with(ExecutorConfig::default().with_meter(meter));
        let config = ProducerConfig {
            extrinsic_fuel: Some(PLENTY),
            ..ProducerConfig::default()
        };
        let endless = trusted(BOB, 0, GuestCall::EndlessLoop);
        let offered = vec![put(0), endless.clone(), put(1)];
        let produced = produce(&executor, config, with_timestamp(), offered);
        assert_eq!(
            told(&produced),
            ["i applied", "t applied", "t local_limit", "t applied"]
        );
        let [overrun] = produced.overruns.as_slice() else {
            panic!("{:?}", produced.overruns)
        };
        assert_eq!(overrun.extrinsic, endless);
        assert_eq!(overrun.limit, PLENTY);
        assert_eq!(overrun.uncharged, Some(Uncharged::Policy));
    }
}

#[test]
fn an_overrun_of_the_chains_limit_is_reported_as_well() {
    let rules = rules_for_extrinsics(PLENTY);
    let executor = executor_with(ExecutorConfig::default().with_consensus_fuel(rules));
    let endless = trusted(BOB, 0, GuestCall::EndlessLoop);
    let state = guest_state();
    let producer = Producer::new(executor, ProducerConfig::default());
    let mut offered = [endless.clone(), put(0)].into_iter();
    let produced = producer
        .produce(&state, &parent(&state), with_timestamp(), &mut offered)
        .expect("a block");
    assert_eq!(told(&produced), ["i applied", "t out_of_fuel", "t applied"]);
    assert_eq!(produced.overruns[0].extrinsic, endless);
    assert_eq!(produced.overruns[0].limit, PLENTY);
}

#[test]
fn the_fuel_of_a_block_is_shared_and_what_has_no_room_in_it_may_fit_into_another() {
    let executor = executor();
    let each = fuel_of_burning(&executor, 10_000);
    let config = |block| ProducerConfig {
        block_fuel: Some(Fuel(block)),
        skipped_max: 0,
        ..ProducerConfig::default()
    };
    let offered = |count| (0..count).map(|nonce| burn(nonce, 10_000));
    // Nonces and indices change the fuel of one a little.
    let three = config(each.0 * 7 / 2);
    let produced = produce(&executor, three.clone(), with_timestamp(), offered(5));
    assert_eq!(
        told(&produced)[1..],
        ["t applied", "t applied", "t applied", "t no_fuel_left"]
    );
    assert_eq!(produced.end, BlockEnd::Fuel);
    assert!(produced.overruns.is_empty());
    // One that would not even fit into an empty block is an overrun, or it would be offered for ever.
    let produced = produce(&executor, config(each.0 / 2), with_timestamp(), offered(1));
    assert_eq!(told(&produced)[1..], ["t local_limit"]);
    assert_eq!(produced.overruns.len(), 1);
    // So is one that uses more than it may by itself, whatever the block has left.
    let own = ProducerConfig {
        extrinsic_fuel: Some(Fuel(each.0 / 2)),
        ..three
    };
    let produced = produce(&executor, own, with_timestamp(), offered(1));
    assert_eq!(produced.overruns.len(), 1);
}

/// What one extrinsic used counts for the block it is in, and included ones are the receipts'.
#[test]
fn receipts_are_of_what_is_in_the_block() {
    let offered = vec![put(0), trusted(ALICE, 7, GuestCall::Nan), put(1)];
    let config = ProducerConfig::default();
    let produced = produce(&executor(), config, with_timestamp(), offered);
    let receipts = produced.built.receipts.extrinsics.as_ref().expect("split");
    assert_eq!(receipts.len(), 3);
    assert!(receipts.iter().all(|it| it.result == Included::Applied));
    let fuel = produced.built.fuel.as_ref().expect("counted");
    let offered = produced.offered.iter().filter_map(|it| match it.result {
        Offered::Included { fuel, .. } => fuel.map(|fuel| fuel.total),
        Offered::LeftOut(_) => None,
    });
    let told: Vec<_> = offered.collect();
    let counted: Vec<_> = fuel.extrinsics.iter().map(|it| it.total).collect();
    assert_eq!(told, counted);
}
