//! What is offered to the builder of each block of a signed chain, and what must come of it.
//!
//! Most blocks mix everything; those of [`super::exhibits`] each show one thing. Invariant: the
//! nonces kept here are those of the chain, because only included extrinsics count them up.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use slackwater_runtime_fixtures::OfferedOutcome::{self, Applied, DispatchError, Invalid, Trap};

use super::exhibits;
use super::extrinsic::{Address, Era, Signing, bare, with_length};
use super::runtime::SignedChain;
use crate::author::{ChainAuthor, Planned, PlannedBlock, PlannedRefusal};
use crate::error::OracleError;
use crate::header::{HeaderFields, pre_runtime_item};
use crate::keys::Key;

/// Engine of the digest items.
pub(super) const ENGINE: [u8; 4] = *b"aura";
/// Slot of the genesis block: the chain begins in November 2023.
const FIRST_SLOT: u64 = 283_400_000;
/// Accounts that send in random blocks.
const ACTORS: usize = 48;

/// SCALE of some `TransactionValidityError`s.
pub(super) mod refusals {
    pub(in super::super) const CALL: &[u8] = &[0, 0];
    pub(in super::super) const PAYMENT: &[u8] = &[0, 1];
    pub(in super::super) const FUTURE: &[u8] = &[0, 2];
    pub(in super::super) const STALE: &[u8] = &[0, 3];
    pub(in super::super) const BAD_PROOF: &[u8] = &[0, 4];
    pub(in super::super) const ANCIENT: &[u8] = &[0, 5];
    pub(in super::super) const EXHAUSTED: &[u8] = &[0, 6];
    pub(in super::super) const MANDATORY: &[u8] = &[0, 9];
    pub(in super::super) const BAD_SIGNER: &[u8] = &[0, 10];
    pub(in super::super) const CANNOT_LOOKUP: &[u8] = &[1, 0];
}
use refusals::{BAD_PROOF, EXHAUSTED, FUTURE, PAYMENT, STALE};

/// An account that sends.
pub(super) struct Actor {
    pub(super) key: Key,
    pub(super) nonce: u32,
}

/// Plans block after block.
pub(super) struct Planner {
    pub(super) chain: SignedChain,
    pub(super) rng: ChaCha20Rng,
    /// The account that may do everything, and pays for the others in the beginning.
    pub(super) root: Actor,
    pub(super) actors: Vec<Actor>,
    pub(super) genesis: [u8; 32],
    pub(super) parent_hash: [u8; 32],
    /// Number of the block being planned.
    pub(super) number: u32,
    /// The version of the runtime that executes it.
    pub(super) spec_version: u32,
    strangers: u32,
    block: Vec<Planned>,
    pub(super) refused: Vec<PlannedRefusal>,
}

impl Planner {
    pub(super) fn new(
        chain: SignedChain,
        seed: u64,
        genesis: [u8; 32],
    ) -> Result<Self, OracleError> {
        let actor = |key| Actor { key, nonce: 0 };
        let named = |index| Key::named(&format!("signed chain actor {index}")).map(actor);
        Ok(Self {
            chain,
            rng: ChaCha20Rng::seed_from_u64(seed),
            root: actor(Key::development("Alice")?),
            actors: (0..ACTORS).map(named).collect::<Result<_, _>>()?,
            genesis,
            parent_hash: genesis,
            number: 0,
            spec_version: chain.spec_version(),
            strangers: 0,
            block: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// Plans the block that `author` authors next.
    pub(super) fn block(&mut self, author: &ChainAuthor) -> Result<PlannedBlock, OracleError> {
        self.number = author.next_number();
        self.parent_hash = author.parent_hash();
        self.timestamp();
        if !exhibits::plan(self, author)? {
            self.mixed();
        }
        Ok(PlannedBlock {
            digest: self.digest(),
            offered: std::mem::take(&mut self.block),
            refused: std::mem::take(&mut self.refused),
        })
    }

    /// The first digest items of the block.
    pub(super) fn digest(&self) -> Vec<Vec<u8>> {
        vec![pre_runtime_item(ENGINE, self.slot())]
    }

    pub(super) fn slot(&self) -> u64 {
        FIRST_SLOT + u64::from(self.number)
    }

    /// The inherent of the block.
    pub(super) fn inherent(&self) -> Vec<u8> {
        let now = self.slot() * self.chain.slot_millis();
        bare(&self.chain.timestamp(now))
    }

    fn timestamp(&mut self) {
        let inherent = self.inherent();
        self.push(inherent, Applied);
    }

    pub(super) fn push(&mut self, extrinsic: Vec<u8>, outcome: OfferedOutcome) {
        self.block.push(Planned::new(extrinsic, outcome));
    }

    pub(super) fn push_refused(&mut self, extrinsic: Vec<u8>, error: &[u8]) {
        self.block
            .push(Planned::new(extrinsic, Invalid).with_error(error));
    }

    /// What `actor` signs, with nothing wrong about it.
    pub(super) fn signing<'a>(&self, actor: &'a Actor) -> Signing<'a> {
        Signing {
            chain: self.chain,
            key: &actor.key,
            nonce: actor.nonce,
            tip: 0,
            era: Era::Immortal,
            spec_version: self.spec_version,
            genesis: self.genesis,
            metadata_mode: 0,
            address: None,
        }
    }

    /// An extrinsic of an actor that is included.
    pub(super) fn include(&mut self, actor: usize, call: &[u8], outcome: OfferedOutcome) {
        let extrinsic = self.signing(&self.actors[actor]).extrinsic(call);
        self.actors[actor].nonce += 1;
        self.push(extrinsic, outcome);
    }

    /// An extrinsic of root that is included.
    pub(super) fn by_root(&mut self, call: &[u8]) {
        let extrinsic = self.signing(&self.root).extrinsic(call);
        self.root.nonce += 1;
        self.push(extrinsic, Applied);
    }

    /// An extrinsic of an actor that is refused: signed as usual, but for what `change` changes.
    pub(super) fn refuse(&mut self, actor: usize, change: impl FnOnce(&mut Signing), error: &[u8]) {
        let call = self.some_transfer(actor);
        let mut signing = self.signing(&self.actors[actor]);
        change(&mut signing);
        let extrinsic = signing.extrinsic(&call);
        self.push_refused(extrinsic, error);
    }

    /// An account that nobody has heard of.
    pub(super) fn stranger(&mut self) -> Address {
        self.strangers += 1;
        let seed = ("stranger", self.strangers, self.chain.name());
        Address::Account(codec::Encode::using_encoded(
            &seed,
            sp_crypto_hashing::blake2_256,
        ))
    }

    pub(super) fn address(&self, actor: usize) -> Address {
        Address::Account(self.actors[actor].key.account())
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        // Slightly biased, the same way everywhere.
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.rng.next_u64() % bound).unwrap_or_default()
    }

    fn some_actor(&mut self) -> usize {
        self.below(ACTORS)
    }

    fn some_amount(&mut self) -> u128 {
        1_000 + u128::from(self.rng.next_u32() % 1_000_000)
    }

    fn some_bytes(&mut self, bound: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(bound)];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A transfer to somebody else.
    pub(super) fn some_transfer(&mut self, from: usize) -> Vec<u8> {
        let to = (from + 1 + self.below(ACTORS - 1)) % ACTORS;
        let amount = self.some_amount();
        self.chain.transfer(&self.address(to), amount)
    }

    /// A block of everything, drawn at random.
    fn mixed(&mut self) {
        for _ in 0..4 + self.below(24) {
            let actor = self.some_actor();
            match self.below(100) {
                0..45 => self.transfer(actor),
                45..60 => self.other_call(actor),
                60..72 => self.dispatch_error(actor),
                72..76 => self.root_call(),
                76..92 => self.refused_signature(actor),
                92..96 => self.trapping(),
                _ => self.poor_sender(),
            }
        }
    }

    fn transfer(&mut self, actor: usize) {
        let call = self.some_transfer(actor);
        let mortal = self.below(3) == 0;
        let tip = u128::from(self.rng.next_u32() % 2_000);
        let era = Era::Mortal {
            birth: self.number - 1,
            hash: self.parent_hash,
        };
        let mut signing = self.signing(&self.actors[actor]);
        signing.tip = tip;
        signing.era = if mortal { era } else { Era::Immortal };
        let extrinsic = signing.extrinsic(&call);
        self.actors[actor].nonce += 1;
        self.push(extrinsic, Applied);
    }

    fn other_call(&mut self, actor: usize) {
        let chain = self.chain;
        let amount = self.some_amount();
        let call = match self.below(5) {
            0 => chain.transfer(&self.stranger(), amount),
            1 => chain.transfer_keep_alive(&self.stranger(), amount),
            2 => chain.remark(&self.some_bytes(300)),
            3 => chain.remark_with_event(&self.some_bytes(300)),
            _ => {
                let transfers = [self.some_transfer(actor), self.some_transfer(actor)];
                let batch = chain.batch_all(&transfers);
                batch.unwrap_or_else(|| chain.transfer(&self.address(actor), amount))
            }
        };
        self.include(actor, &call, Applied);
    }

    fn dispatch_error(&mut self, actor: usize) {
        let chain = self.chain;
        let call = match self.below(6) {
            // More than anybody has.
            0 => chain.transfer(&self.stranger(), u128::from(u64::MAX)),
            // Less than an account needs to exist.
            1 => chain.transfer(&self.stranger(), 1),
            2 => chain.transfer(&Address::Ethereum([7; 20]), 1_000),
            3 => chain.set_storage(&[(b"mine".to_vec(), vec![1])]),
            4 => chain.sudo(&chain.remark(b"not me")),
            _ => chain.transfer_keep_alive(&self.stranger(), u128::from(u64::MAX)),
        };
        self.include(actor, &call, DispatchError);
    }

    fn root_call(&mut self) {
        let key = format!("by root {}", self.below(16)).into_bytes();
        let call = if self.below(3) == 0 {
            self.chain.kill_storage(&[key])
        } else {
            let value = self.some_bytes(200);
            self.chain.set_storage(&[(key, value)])
        };
        self.by_root(&self.chain.sudo(&call));
    }

    fn refused_signature(&mut self, actor: usize) {
        match self.below(6) {
            0 if self.actors[actor].nonce > 0 => {
                let behind = 1 + self.below(self.actors[actor].nonce as usize);
                self.refuse(
                    actor,
                    |s| s.nonce -= u32::try_from(behind).unwrap_or(1),
                    STALE,
                );
            }
            0 | 1 => {
                let ahead = 1 + self.rng.next_u32() % 9;
                self.refuse(actor, |s| s.nonce += ahead, FUTURE);
            }
            2 => self.refuse(actor, |s| s.spec_version -= 1, BAD_PROOF),
            3 => self.refuse(actor, |s| s.genesis[31] ^= 1, BAD_PROOF),
            4 => self.refuse(actor, |s| s.tip = u128::from(u64::MAX), PAYMENT),
            _ => {
                let call = self.some_transfer(actor);
                let mut extrinsic = self.signing(&self.actors[actor]).extrinsic(&call);
                let inside = extrinsic.len() - call.len() - 40;
                extrinsic[inside] ^= 0x10;
                self.push_refused(extrinsic, BAD_PROOF);
            }
        }
    }

    fn trapping(&mut self) {
        let extrinsic = match self.below(3) {
            // The block has its time already.
            0 => self.inherent(),
            1 => with_length(&self.some_bytes(64)),
            // Cut short.
            _ => {
                let call = self.some_transfer(0);
                let whole = self.signing(&self.actors[0]).extrinsic(&call);
                with_length(&whole[2..whole.len() - 1])
            }
        };
        self.push(extrinsic, Trap);
    }

    /// Somebody without an account sends.
    fn poor_sender(&mut self) {
        let number = self.below(1_000);
        let Ok(key) = Key::named(&format!("poor {number}")) else {
            return;
        };
        let call = self.some_transfer(0);
        let poor = Actor { key, nonce: 0 };
        let extrinsic = self.signing(&poor).extrinsic(&call);
        self.push_refused(extrinsic, PAYMENT);
    }

    /// Fills the block with calls that end in `outcome`, until `spare` of them have been refused
    /// because it is full. How many fit, the oracle tells.
    pub(super) fn fill(
        &mut self,
        author: &ChainAuthor,
        outcome: OfferedOutcome,
        (candidates, spare): (usize, usize),
        mut call: impl FnMut(&mut Self, usize) -> Vec<u8>,
    ) -> Result<(), OracleError> {
        let mut senders: Vec<u32> = self.actors.iter().map(|actor| actor.nonce).collect();
        let mut extrinsics = Vec::with_capacity(candidates);
        for index in 0..candidates {
            let actor = index % ACTORS;
            let call = call(self, actor);
            let mut signing = self.signing(&self.actors[actor]);
            signing.nonce = senders[actor];
            senders[actor] += 1;
            extrinsics.push(signing.extrinsic(&call));
        }
        let initial = HeaderFields::initial(self.parent_hash, self.number, &self.digest());
        let before = self.block.iter().map(|planned| planned.extrinsic.clone());
        let offered: Vec<_> = before.chain(extrinsics.iter().cloned()).collect();
        let built = author.oracle().build_block(&initial.encoded(), &offered)?;
        let found = &built.offered[self.block.len()..];
        let fitting = found.iter().take_while(|o| o.outcome == outcome).count();
        if fitting + spare > candidates {
            let what = format!("{candidates} extrinsics do not fill the block");
            let number = self.number;
            return Err(OracleError::Plan { number, what });
        }
        for (index, extrinsic) in extrinsics.into_iter().enumerate().take(fitting + spare) {
            if index < fitting {
                self.actors[index % ACTORS].nonce += 1;
                self.push(extrinsic, outcome);
            } else {
                self.push_refused(extrinsic, EXHAUSTED);
            }
        }
        Ok(())
    }
}
