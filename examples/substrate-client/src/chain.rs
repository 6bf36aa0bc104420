//! The chain that every client builds: a genesis with a real runtime, and what goes into its blocks.
//!
//! Invariant: what is offered to a block depends on the chain and on the block's number and parent only, so whoever builds
//! it builds the same. No client is asked here: digests, inherents and transfers are made over the state in memory.

use std::path::{Path, PathBuf};

use codec::{Decode, Encode};
use slackwater_executor::{
    CallContext, ExecutorConfig, WasmExecutor,
    block::{genesis_hash, load_runtime, state_version_of},
    host_functions::SlackwaterHostFunctions,
    state::MemoryState,
};
use slackwater_runtime_fixtures::{
    ChainSpec, crate_file,
    keys::Key,
    slots::Slots,
    transfers::{Senders, Transfers},
};
use sp_core::{H256, storage::Storage};
use sp_crypto_hashing::{blake2_128, twox_128};
use sp_inherents::InherentData;
use sp_runtime::{Digest, OpaqueExtrinsic};

use crate::{api::Header, error::Error};

/// The crate with the chain spec that is taken unless another is named, and where it is.
const SPEC: (&str, &str, &str) = ("polkadot-service", "31.0.0", "chain-specs/paseo.json");

/// Accounts that send to one another.
const ACCOUNTS: u32 = 20;

/// What each of them has: enough for fees of all blocks.
const FUNDS: u128 = 1_000_000_000_000_000_000;

/// What a relay chain's runtime makes its inherent of, by the name it has since 2020, and the one before.
const PARACHAINS: [u8; 8] = *b"parachn0";
const PARACHAIN_HEADS: [u8; 8] = *b"newheads";

/// A chain, and what its blocks are made of.
pub(crate) struct Chain {
    /// Its name.
    pub(crate) name: String,
    /// Name and version of its runtime.
    pub(crate) runtime: (String, u32),
    /// The state it begins with.
    pub(crate) genesis: Storage,
    /// Hash of its first block, as Slackwater has it.
    pub(crate) genesis_hash: H256,
    /// How many blocks there are to be.
    pub(crate) blocks: u32,
    /// An account that sends once in every block, if any does.
    pub(crate) sender: [u8; 32],
    slots: Slots,
    transfers: Vec<Vec<OpaqueExtrinsic>>,
}

/// What goes in front of a block.
pub(crate) struct Inputs {
    /// The slot.
    pub(crate) digest: Digest,
    /// What inherents are made of.
    pub(crate) inherents: InherentData,
}

impl Chain {
    /// The chain of a spec, or of the one in cargo's cache, with `transfers` signed transfers in each of `blocks` blocks.
    pub(crate) fn load(spec: Option<&Path>, blocks: u32, transfers: usize) -> Result<Self, Error> {
        let spec = ChainSpec::load(&match spec {
            Some(path) => path.to_owned(),
            None => default_spec()?,
        })?;
        let mut genesis = spec.genesis;
        if transfers > 0 {
            fund(&mut genesis)?;
        }
        let config = ExecutorConfig::default();
        let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config)?;
        let version = state_version_of(&executor, &genesis)?;
        let state = MemoryState::new(genesis.clone(), version);
        let genesis_hash = genesis_hash(state.state_root());
        let (runtime, _) = load_runtime(&executor, &state, CallContext::Build)?;
        let stated = runtime.version();
        let mut chain = Self {
            name: spec.name,
            runtime: (stated.spec_name.to_string(), stated.spec_version),
            genesis,
            genesis_hash,
            blocks,
            sender: sender(0)?,
            slots: Slots::of_state(&executor, &state, &runtime)?,
            transfers: Vec::new(),
        };
        if transfers > 0 {
            let format = Transfers::of_state(&executor, &state, genesis_hash)?;
            let mut senders = Senders::new(format, ACCOUNTS)?;
            let mut block = || -> Result<Vec<OpaqueExtrinsic>, Error> {
                let all = (0..transfers).map(|_| {
                    let bytes = senders.transfer()?;
                    OpaqueExtrinsic::decode(&mut bytes.as_slice())
                        .map_err(Error::undecodable("a transfer"))
                });
                all.collect()
            };
            chain.transfers = (0..blocks).map(|_| block()).collect::<Result<_, _>>()?;
        }
        Ok(chain)
    }

    /// What goes in front of the block of this number, on `parent`.
    pub(crate) fn inputs(&self, number: u32, parent: &Header) -> Result<Inputs, Error> {
        let inputs = self.slots.inputs(number.into(), None);
        let logs = inputs.digest.encode();
        let logs = Decode::decode(&mut logs.as_slice()).map_err(Error::undecodable("a digest"))?;
        let data = inputs.inherent_data.unwrap_or_default().encode();
        let data = InherentData::decode(&mut data.as_slice());
        let mut inherents = data.map_err(Error::undecodable("what inherents are made of"))?;
        // No bitfields, no candidates and no disputes. A runtime that does not know the name does not look.
        let none = Vec::<u8>::new();
        inherents.put_data(PARACHAINS, &(&none, &none, &none, parent))?;
        inherents.put_data(PARACHAIN_HEADS, &none)?;
        let digest = Digest { logs };
        Ok(Inputs { digest, inherents })
    }

    /// The transfers of the block of this number, from 1 on.
    pub(crate) fn transfers(&self, number: u32) -> &[OpaqueExtrinsic] {
        let index = usize::try_from(number.saturating_sub(1)).ok();
        let block = index.and_then(|index| self.transfers.get(index));
        block.map_or(&[], Vec::as_slice)
    }
}

fn default_spec() -> Result<PathBuf, Error> {
    let (package, version, path) = SPEC;
    crate_file(package, version, path).ok_or_else(|| Error::NoSpec {
        what: format!("{path} of {package} {version}"),
    })
}

/// The account of a sender, as [`Senders`] names them.
fn sender(number: u32) -> Result<[u8; 32], Error> {
    Ok(Key::named(&format!("sender {number}"))?.account())
}

/// Gives the senders what no public chain's genesis gives them: an account, in the form that FRAME has had since 2021.
fn fund(genesis: &mut Storage) -> Result<(), Error> {
    for number in 0..ACCOUNTS {
        let account = sender(number)?;
        let map = [b"System".as_slice(), b"Account"].map(twox_128);
        let key = [map.as_flattened(), &blake2_128(&account), &account].concat();
        // Nonce and three counts of references, of which the providers' one keeps it alive; then four balances.
        let record = ([0_u32, 0, 1, 0], [FUNDS, 0, 0, 0]).encode();
        genesis.top.insert(key, record);
    }
    Ok(())
}
