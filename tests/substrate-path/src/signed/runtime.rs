//! What an author must know of each runtime: where its genesis is, how its calls and its extrinsics
//! are encoded. The numbers are those of the runtimes' own metadata.

use codec::{Compact, Decode, Encode};

use super::extrinsic::Address;

/// Where a pallet keeps an item: the beginning of its keys.
pub(super) fn storage_name(pallet: &str, item: &str) -> Vec<u8> {
    [pallet, item]
        .map(|name| sp_crypto_hashing::twox_128(name.as_bytes()))
        .concat()
}

/// A chain of signed extrinsics on a real genesis state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedChain {
    /// Substrate's node template of 2021: Core 3, BlockBuilder 5, trie version 0.
    NodeTemplate,
    /// A Subtensor development chain of 2024: Core 5, BlockBuilder 6, trie version 1.
    Subtensor,
}

use SignedChain::{NodeTemplate, Subtensor};

impl SignedChain {
    /// All chains that are authored.
    pub const ALL: [Self; 2] = [NodeTemplate, Subtensor];

    /// Name of the fixture.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeTemplate => "signed-node-template",
            Subtensor => "signed-subtensor",
        }
    }

    /// The chain of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Name of the raw chain spec among the real fixtures.
    #[must_use]
    pub fn genesis(self) -> &'static str {
        match self {
            NodeTemplate => "smoldot-substrate-node-template",
            Subtensor => "subtensor-raonet",
        }
    }

    /// The version of the runtime in the genesis state.
    #[must_use]
    pub fn spec_version(self) -> u32 {
        match self {
            NodeTemplate => 100,
            Subtensor => 218,
        }
    }

    /// Length of a slot in milliseconds.
    pub(super) fn slot_millis(self) -> u64 {
        match self {
            NodeTemplate => 6_000,
            Subtensor => 3_000,
        }
    }

    /// Bytes of extrinsics that a block may have, all classes together.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            NodeTemplate => 5 << 20,
            Subtensor => 10 << 20,
        }
    }

    /// Balance that each account is given before the interesting blocks begin.
    pub(super) fn funds(self) -> u128 {
        match self {
            // A transfer costs some 0.3 * 10^9 here.
            NodeTemplate => 1_000_000_000_000_000,
            Subtensor => 1_000_000_000_000,
        }
    }

    /// The extensions' part of a signed extrinsic.
    pub(super) fn extra(self, era: &[u8], nonce: u32, tip: u128, metadata_mode: u8) -> Vec<u8> {
        let common = [era, &Compact(nonce).encode(), &Compact(tip).encode()].concat();
        match self {
            NodeTemplate => common,
            Subtensor => [common, vec![metadata_mode]].concat(),
        }
    }

    /// What is signed beside call and extra.
    pub(super) fn implicit(self, spec: u32, genesis: [u8; 32], birth: [u8; 32]) -> Vec<u8> {
        let common = (spec, 1_u32, genesis, birth).encode();
        match self {
            NodeTemplate => common,
            // No hash of the metadata.
            Subtensor => [common, vec![0]].concat(),
        }
    }

    /// `timestamp.set`: mandatory, and the only inherent.
    pub(super) fn timestamp(self, now: u64) -> Vec<u8> {
        ([2_u8, 0], Compact(now)).encode()
    }

    /// `balances.transfer`, later called `transfer_allow_death`.
    pub(super) fn transfer(self, to: &Address, value: u128) -> Vec<u8> {
        ([5_u8, 0], to, Compact(value)).encode()
    }

    /// Whether an extrinsic ends with a `balances.transfer` to an account.
    #[must_use]
    pub fn is_transfer(self, extrinsic: &[u8]) -> bool {
        let prefix = self.transfer(&Address::Account([0; 32]), 0);
        let prefix = prefix.get(..3).unwrap_or_default();
        (0..extrinsic.len()).any(|at| {
            let call = extrinsic.get(at..).unwrap_or_default();
            let value = call.strip_prefix(prefix).and_then(|rest| rest.get(32..));
            value.is_some_and(|mut value| {
                Compact::<u128>::decode(&mut value).is_ok() && value.is_empty()
            })
        })
    }

    /// `balances.transfer_keep_alive`.
    pub(super) fn transfer_keep_alive(self, to: &Address, value: u128) -> Vec<u8> {
        ([5_u8, 3], to, Compact(value)).encode()
    }

    /// `balances.transfer_all`.
    pub(super) fn transfer_all(self, to: &Address, keep_alive: bool) -> Vec<u8> {
        ([5_u8, 4], to, keep_alive).encode()
    }

    /// `system.remark`.
    pub(super) fn remark(self, remark: &[u8]) -> Vec<u8> {
        self.system([1, 0], remark)
    }

    /// `system.remark_with_event`.
    pub(super) fn remark_with_event(self, remark: &[u8]) -> Vec<u8> {
        self.system([9, 7], remark)
    }

    /// `system.set_code`.
    pub(super) fn set_code(self, code: &[u8]) -> Vec<u8> {
        self.system([3, 2], code)
    }

    /// `system.set_storage`.
    pub(super) fn set_storage(self, items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        self.system([6, 4], items)
    }

    /// `system.kill_storage`.
    pub(super) fn kill_storage(self, keys: &[Vec<u8>]) -> Vec<u8> {
        self.system([7, 5], keys)
    }

    /// A call of the system pallet, whose calls are numbered otherwise on each chain.
    fn system(self, [template, subtensor]: [u8; 2], argument: impl Encode) -> Vec<u8> {
        let call = match self {
            NodeTemplate => template,
            Subtensor => subtensor,
        };
        ([0, call], argument).encode()
    }

    /// `grandpa.note_stalled`, for root only.
    pub(super) fn note_stalled(self) -> Vec<u8> {
        ([4_u8, 2], 1_u32, 1_u32).encode()
    }

    /// `sudo.sudo`: of the class and weight of the call inside.
    pub(super) fn sudo(self, call: &[u8]) -> Vec<u8> {
        [&[self.sudo_pallet(), 0], call].concat()
    }

    /// `sudo.sudo_as`: a call in the name of somebody, signed.
    pub(super) fn sudo_as(self, who: &Address, call: &[u8]) -> Vec<u8> {
        [&[self.sudo_pallet(), 3], &who.encode()[..], call].concat()
    }

    /// `sudo.sudo_unchecked_weight`, with next to no weight.
    pub(super) fn sudo_unweighed(self, call: &[u8]) -> Vec<u8> {
        let weight = match self {
            NodeTemplate => 1_u64.encode(),
            Subtensor => (Compact(1_u64), Compact(1_u64)).encode(),
        };
        [&[self.sudo_pallet(), 1], call, &weight].concat()
    }

    fn sudo_pallet(self) -> u8 {
        match self {
            NodeTemplate => 7,
            Subtensor => 12,
        }
    }

    /// `utility.batch_all`, where there is one.
    pub(super) fn batch_all(self, calls: &[Vec<u8>]) -> Option<Vec<u8>> {
        // The calls carry no length prefix inside the list.
        let count = Compact(u32::try_from(calls.len()).unwrap_or(u32::MAX)).encode();
        (self == Subtensor).then(|| [&[11, 2], &count[..], &calls.concat()].concat())
    }

    /// A call that weighs much and does little, about `ten_thousandths` of a block.
    pub(super) fn heavy(self, to: &Address, ten_thousandths: u32) -> Vec<u8> {
        match self {
            // `system.fill_block`, by parts of a thousand million.
            NodeTemplate => ([0_u8, 0], ten_thousandths * 100_000).encode(),
            Subtensor => {
                let transfers = vec![self.transfer(to, 1_000); ten_thousandths as usize];
                self.batch_all(&transfers).unwrap_or_default()
            }
        }
    }
}
