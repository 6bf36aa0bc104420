//! What is offered to the builder of each block of the fixture chain, and what must come of it.
//!
//! The first blocks each show one thing, the others mix everything. Invariant: the nonces kept
//! here are those of the chain, because only included extrinsics count them up.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use slackwater_runtime_fixtures::OfferedOutcome::{self, Applied, DispatchError, Invalid, Trap};
use slackwater_runtime_fixtures::guest::{
    Account, GUEST_UPGRADED_WASM, GUEST_WASM, GuestCall, GuestExtrinsic, Sender, signed_message,
    with_length,
};

use super::random_calls::{self, CHILDREN, below};
use crate::author::Planned;
use crate::error::OracleError;
use crate::keys::Key;

/// Milliseconds of the first block, and between blocks.
const FIRST_TIMESTAMP: u64 = 1_700_000_000_000;
const BLOCK_TIME: u64 = 6_000;
/// The block that sets the code; the next one runs it.
pub(super) const UPGRADE_BLOCK: u32 = 40;
/// Balance of each rich account at genesis.
const RICHES: u128 = 1_000_000_000_000;
/// Less than any fee.
const PITTANCE: u128 = 50;

struct Actor {
    key: Key,
    nonce: u32,
}

/// Plans block after block.
pub(super) struct Planner {
    rng: ChaCha20Rng,
    actors: Vec<Actor>,
    poor: Key,
    block: Vec<Planned>,
}

impl Planner {
    pub(super) fn new(seed: u64) -> Result<Self, OracleError> {
        let actor = |name| {
            Ok(Actor {
                key: Key::named(name)?,
                nonce: 0,
            })
        };
        let names = ["anna", "bela", "cora", "dana", "edda", "fine"];
        Ok(Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            actors: names
                .map(actor)
                .into_iter()
                .collect::<Result<_, OracleError>>()?,
            poor: Key::named("poor")?,
            block: Vec::new(),
        })
    }

    /// The accounts and balances of the genesis state.
    pub(super) fn funded(&self) -> Vec<(Account, u128)> {
        let rich = self
            .actors
            .iter()
            .map(|actor| (actor.key.account(), RICHES));
        rich.chain([(self.poor.account(), PITTANCE)]).collect()
    }

    /// The account that may set the code: the first actor.
    pub(super) fn sudo(&self) -> Account {
        self.account(0)
    }

    /// Signs a block's header.
    pub(super) fn seal(&self, header_hash: &[u8; 32]) -> [u8; 64] {
        self.actors[0].key.sign(header_hash)
    }

    /// What to offer for block `number`.
    pub(super) fn block(&mut self, number: u32) -> Vec<Planned> {
        if number != 11 {
            self.timestamp(number, Applied);
        }
        match number {
            1 => self.transfers(),
            2 => self.map_entries(),
            3 => self.child_tries(),
            4 => self.nested_transactions(),
            5 => self.dispatch_errors(),
            6 => self.refusals(number),
            7 => self.faults(),
            8 => self.machine(),
            9 => self.removals(),
            // Nothing but the timestamp, nothing at all, nothing that is included.
            10 | 11 => {}
            12 => self.only_refused(),
            UPGRADE_BLOCK => self.upgrade(),
            _ => self.mixture(number),
        }
        std::mem::take(&mut self.block)
    }

    fn account(&self, actor: usize) -> Account {
        self.actors[actor].key.account()
    }

    fn any_actor(&mut self) -> usize {
        below(&mut self.rng, 6) as usize
    }

    fn push(&mut self, extrinsic: &GuestExtrinsic, outcome: OfferedOutcome) {
        let extrinsic = extrinsic.encoded();
        self.block.push(Planned::new(extrinsic, outcome));
    }

    fn push_raw(&mut self, payload: &[u8], outcome: OfferedOutcome) {
        let extrinsic = with_length(payload);
        self.block.push(Planned::new(extrinsic, outcome));
    }

    fn timestamp(&mut self, number: u32, outcome: OfferedOutcome) {
        let now = FIRST_TIMESTAMP + u64::from(number) * BLOCK_TIME;
        let call = GuestCall::SetTimestamp { now };
        self.push(&GuestExtrinsic::Unsigned(call), outcome);
    }

    /// Offers a call by an actor with its right nonce.
    fn offer(&mut self, actor: usize, call: GuestCall, outcome: OfferedOutcome) {
        let sender = self.sender(actor);
        self.offer_from(actor, sender, call, outcome);
        if outcome.is_included() {
            self.actors[actor].nonce += 1;
        }
    }

    fn sender(&mut self, actor: usize) -> Sender {
        Sender {
            who: self.account(actor),
            nonce: self.actors[actor].nonce,
            tip: u64::from(below(&mut self.rng, 4)),
        }
    }

    /// Every other extrinsic is signed, the others are trusted.
    fn offer_from(
        &mut self,
        actor: usize,
        sender: Sender,
        call: GuestCall,
        outcome: OfferedOutcome,
    ) {
        let extrinsic = if self.rng.next_u32().is_multiple_of(2) {
            let signature = self.actors[actor].key.sign(&signed_message(&sender, &call));
            GuestExtrinsic::Signed(sender, signature, call)
        } else {
            GuestExtrinsic::Trusted(sender, call)
        };
        self.push(&extrinsic, outcome);
    }

    fn transfers(&mut self) {
        for from in 0..6 {
            for (step, amount) in [(1, 1_000), (2, 77)] {
                let to = self.account((from + step) % 6);
                self.offer(from, GuestCall::Transfer { to, amount }, Applied);
            }
        }
        let to = self.account(0);
        self.offer(0, GuestCall::Transfer { to, amount: 5 }, Applied);
        let newcomer = GuestCall::Transfer {
            to: [0xee; 32],
            amount: 10,
        };
        self.offer(1, newcomer, Applied);
        let too_little = GuestCall::Transfer {
            to: [0xef; 32],
            amount: 9,
        };
        self.offer(1, too_little, DispatchError);
    }

    fn map_entries(&mut self) {
        for length in [0_u8, 1, 31, 32, 33, 200] {
            let call = GuestCall::Put {
                key: vec![b'a', length],
                value: vec![length; usize::from(length)],
            };
            self.offer(2, call, Applied);
        }
        for item in [vec![], vec![1], vec![2; 40]] {
            let key = b"list".to_vec();
            self.offer(3, GuestCall::Append { key, item }, Applied);
        }
        let delete = |key: &[u8]| GuestCall::Delete { key: key.to_vec() };
        self.offer(4, delete(&[b'a', 1]), Applied);
        self.offer(4, delete(b"never written"), Applied);
        // Written and deleted in the same block.
        let key = b"passing".to_vec();
        let value = vec![1];
        self.offer(5, GuestCall::Put { key, value }, Applied);
        self.offer(4, delete(b"passing"), Applied);
        // An append to what is no list starts a new one.
        let key = vec![b'a', 33];
        let item = vec![9];
        self.offer(5, GuestCall::Append { key, item }, Applied);
    }

    fn child_tries(&mut self) {
        for (actor, child) in CHILDREN.iter().enumerate() {
            for number in 0..6_u8 {
                let call = GuestCall::ChildPut {
                    child: child.to_vec(),
                    key: vec![b'a' + number % 2, number],
                    value: vec![number; usize::from(number) * 12],
                };
                self.offer(actor, call, Applied);
            }
            let child = child.to_vec();
            self.offer(actor, GuestCall::ChildScan { child, limit: 4 }, Applied);
        }
        let child = b"passing".to_vec();
        let (key, value) = (vec![1], vec![2]);
        let put = GuestCall::ChildPut {
            child: child.clone(),
            key: key.clone(),
            value,
        };
        self.offer(5, put, Applied);
        self.offer(5, GuestCall::ChildDelete { child, key }, Applied);
    }

    fn nested_transactions(&mut self) {
        for (depth, writes, rollback_mask) in [
            (0, 3, 0),
            (1, 2, 0),
            (1, 2, 1),
            (4, 2, 0b0101),
            (4, 2, 0b1010),
            (4, 1, 0b1000),
            (40, 1, 0x8000_0001),
            (4, 0, 0b0110),
        ] {
            let actor = self.any_actor();
            let call = GuestCall::Nested {
                depth,
                writes,
                rollback_mask,
            };
            self.offer(actor, call, Applied);
        }
    }

    fn dispatch_errors(&mut self) {
        for kind in 0..15 {
            let actor = self.any_actor();
            self.offer(actor, GuestCall::Fail { kind }, DispatchError);
        }
        let to = self.account(1);
        let all = GuestCall::Transfer {
            to,
            amount: u128::MAX,
        };
        self.offer(2, all, DispatchError);
        self.offer(3, GuestCall::SetTimestamp { now: 1 }, DispatchError);
    }

    fn refusals(&mut self, number: u32) {
        let key = b"before".to_vec();
        let value = vec![1];
        self.offer(0, GuestCall::Put { key, value }, Applied);
        self.wrong_nonces();
        self.wrong_signature();
        self.offer_poor();
        self.undecodable();
        self.offer(3, GuestCall::Exhaust, Invalid);
        self.push(&GuestExtrinsic::Unsigned(GuestCall::Nan), Invalid);
        self.timestamp(number, Invalid);
        let key = b"behind".to_vec();
        let value = vec![2];
        self.offer(0, GuestCall::Put { key, value }, Applied);
    }

    fn wrong_nonces(&mut self) {
        let right = self.sender(0);
        for nonce in [0, right.nonce + 1, u32::MAX] {
            let sender = Sender { nonce, ..right };
            self.offer_from(0, sender, GuestCall::Nan, Invalid);
        }
    }

    fn wrong_signature(&mut self) {
        let sender = self.sender(1);
        let signature = self.actors[1].key.sign(&[0; 32]);
        let extrinsic = GuestExtrinsic::Signed(sender, signature, GuestCall::Nan);
        self.push(&extrinsic, Invalid);
    }

    fn offer_poor(&mut self) {
        let sender = Sender {
            who: self.poor.account(),
            nonce: 0,
            tip: 0,
        };
        let extrinsic = GuestExtrinsic::Trusted(sender, GuestCall::Nan);
        self.push(&extrinsic, Invalid);
        let tip = u64::MAX;
        let sender = Sender {
            tip,
            ..self.sender(2)
        };
        self.offer_from(2, sender, GuestCall::Nan, Invalid);
    }

    fn undecodable(&mut self) {
        // Empty; an unknown kind; a call that only the upgraded guest knows; bytes behind a call;
        // a length prefix that lies, which panics instead.
        self.push_raw(&[], Invalid);
        self.push_raw(&[3, 1, 2], Invalid);
        self.push_raw(&[1, 99], Invalid);
        let note = b"too early".to_vec();
        self.offer(2, GuestCall::Note { note }, Invalid);
        self.offer(2, GuestCall::Fail { kind: 15 }, Invalid);
        self.push_raw(&[1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9], Invalid);
        let extrinsic = vec![12, 1, 0];
        self.block.push(Planned::new(extrinsic, Trap));
    }

    fn faults(&mut self) {
        for (step, (call, outcome)) in random_calls::all_trapping().into_iter().enumerate() {
            let actor = step % 6;
            self.offer(actor, call, outcome);
            // The state must be as if the fault had never been offered.
            let key = b"after fault".to_vec();
            let value = step.to_le_bytes().to_vec();
            self.offer(actor, GuestCall::Put { key, value }, Applied);
        }
    }

    fn machine(&mut self) {
        let calls = [
            GuestCall::Burn { iterations: 0 },
            GuestCall::Burn {
                iterations: 1_000_000,
            },
            GuestCall::GrowMemory { pages: 0 },
            GuestCall::GrowMemory { pages: 100 },
            GuestCall::GrowMemory { pages: 65_536 },
            GuestCall::HostCalls { count: 5_000 },
            GuestCall::Nan,
            GuestCall::Emit {
                events: 70,
                bytes: 3,
            },
            GuestCall::Emit {
                events: 1,
                bytes: 20_000,
            },
            GuestCall::OffchainIndex {
                key: b"off".to_vec(),
                value: b"chain".to_vec(),
            },
        ];
        for (step, call) in calls.into_iter().enumerate() {
            self.offer(step % 6, call, Applied);
        }
    }

    fn removals(&mut self) {
        let prefix = |text: &[u8]| text.to_vec();
        let [alpha, beta, gamma] = CHILDREN.map(<[u8]>::to_vec);
        let child_clear = |child: &Vec<u8>, limit| GuestCall::ChildClearPrefix {
            child: child.clone(),
            prefix: b"a".to_vec(),
            limit,
        };
        let scan = |child: &Vec<u8>| GuestCall::ChildScan {
            child: child.clone(),
            limit: 100,
        };
        let clear = |text, limit| GuestCall::ClearPrefix {
            prefix: prefix(text),
            limit,
        };
        let kill = |child: &Vec<u8>, limit| GuestCall::ChildKill {
            child: child.clone(),
            limit,
        };
        let put = GuestCall::Put {
            key: b"a-new".to_vec(),
            value: vec![1],
        };
        let calls = [
            put,
            clear(b"a", Some(0)),
            clear(b"a", Some(2)),
            GuestCall::Scan {
                prefix: prefix(b"a"),
                limit: 100,
            },
            clear(b"a", None),
            clear(b"", Some(1)),
            child_clear(&alpha, Some(1)),
            scan(&alpha),
            child_clear(&alpha, None),
            kill(&beta, Some(2)),
            scan(&beta),
            kill(&gamma, None),
            scan(&gamma),
            kill(&b"no such child".to_vec(), None),
        ];
        for (step, call) in calls.into_iter().enumerate() {
            self.offer(step % 6, call, Applied);
        }
    }

    fn only_refused(&mut self) {
        self.offer_poor();
        self.offer(1, GuestCall::Unreachable, Trap);
        self.offer(4, GuestCall::Exhaust, Invalid);
    }

    fn upgrade(&mut self) {
        let set = |code: &[u8]| GuestCall::SetCode {
            code: code.to_vec(),
        };
        self.offer(1, set(b"not sudo"), DispatchError);
        self.offer(0, set(b"no wasm"), DispatchError);
        self.offer(0, set(&GUEST_WASM[..8]), DispatchError);
        self.offer(0, set(GUEST_UPGRADED_WASM), Applied);
        // The rest of the block still runs the old code.
        let note = b"too early".to_vec();
        self.offer(2, GuestCall::Note { note }, Invalid);
        self.offer(3, GuestCall::Nan, Applied);
    }

    fn mixture(&mut self, number: u32) {
        for _ in 0..4 + below(&mut self.rng, 9) {
            let actor = self.any_actor();
            let to = self.any_actor();
            let to = self.account(to);
            match below(&mut self.rng, 20) {
                0 => {
                    let (call, outcome) = random_calls::trapping(&mut self.rng);
                    self.offer(actor, call, outcome);
                }
                1 => self.offer(actor, GuestCall::Exhaust, Invalid),
                2 if number > UPGRADE_BLOCK => {
                    let note = number.to_le_bytes().to_vec();
                    self.offer(actor, GuestCall::Note { note }, Applied);
                }
                _ => {
                    let (call, outcome) = random_calls::included(&mut self.rng, to);
                    self.offer(actor, call, outcome);
                }
            }
        }
    }
}
