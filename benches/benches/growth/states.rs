//! Blocks of writes on larger and larger states.

use std::collections::BTreeSet;

use codec::Encode;
use criterion::Criterion;
use slackwater_benches::calls::Calls;
use slackwater_runtime_fixtures::guest::{GuestCall, map_key};

use crate::{
    chain::{Chain, Taken},
    report::{Curve, Plot, Report},
    rounds::{Line, ask, in_turns, rounds},
};

const KEYS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// No more than so many, unless the environment says otherwise.
const KEYS_MAX: u64 = 1_000_000;
/// Writes of a block, each by an account of its own.
const WRITES: u64 = 1_000;

const CALLS: Calls = Calls {
    accounts: 1_000,
    contract: |sender| sender,
};

fn sizes() -> Vec<u64> {
    let stated = std::env::var("SLACKWATER_BENCH_KEYS_MAX").ok();
    let most = stated.map_or(KEYS_MAX, |text| text.parse().expect("a number of keys"));
    KEYS.into_iter().filter(|keys| *keys <= most).collect()
}

/// What the guest puts `kv:` before.
fn key(number: u64) -> Vec<u8> {
    sp_crypto_hashing::twox_128(&number.encode()).to_vec()
}

fn value(number: u64, version: u64) -> Vec<u8> {
    sp_crypto_hashing::blake2_256(&(number, version).encode()).to_vec()
}

/// A chain with so many keys.
struct State {
    chain: Chain,
    keys: u64,
    blocks: u64,
}

impl State {
    fn new(keys: u64) -> Self {
        let contents = (0..keys).map(|number| (map_key(&key(number)), value(number, 0)));
        Self {
            chain: Chain::with_more(&CALLS.genesis(), contents),
            keys,
            blocks: 0,
        }
    }

    /// Other values for keys that come up.
    fn block(&mut self) -> Taken {
        self.blocks += 1;
        let (block, keys) = (self.blocks, self.keys);
        let mut drawn = BTreeSet::new();
        let mut draw = 0_u64;
        while drawn.len() as u64 != WRITES {
            draw += 1;
            let hash = sp_crypto_hashing::twox_64(&(block, draw).encode());
            drawn.insert(u64::from_le_bytes(hash) % keys);
        }
        let first = (block - 1) * WRITES;
        let write = |(index, number)| {
            let (key, value) = (key(number), value(number, block));
            CALLS.by_turns(index, GuestCall::Put { key, value })
        };
        self.chain.block((first..).zip(drawn).map(write).collect())
    }
}

pub(crate) fn keys(criterion: &mut Criterion, report: &mut Report) {
    let sizes = sizes();
    let mut lines = ["keys-produce", "keys-commit"].map(|what| Line::new(what, &sizes));
    ask(criterion, rounds(30), &mut lines, || {
        let mut states: Vec<_> = sizes.iter().map(|keys| State::new(*keys)).collect();
        Box::new(move |round| {
            let taken = in_turns(states.len(), round, |which| states[which].block());
            let producing = taken.iter().map(|taken| taken.producing);
            let committing = taken.iter().map(|taken| taken.committing);
            producing.chain(committing).collect()
        })
    });
    let [produce, commit] = &lines;
    let curve = |line, name| Curve::of(line, "", name, "ms", |time, _| time / 1e6);
    report.add(Plot {
        name: "keys",
        title: "A block of 1,000 writes to keys that are there",
        x: "keys of the state",
        y: "time, ms",
        curves: vec![
            curve(produce, "producing, with the root"),
            curve(commit, "committing"),
        ],
    });
}
