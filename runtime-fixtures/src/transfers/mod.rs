//! Signed transfers between accounts, as the runtime of a state wants them: what blocks are filled with to see how fast
//! they are produced.
//!
//! What a transfer looks like is read from the runtime's metadata, so no chain is known here but that of our own guest.
//! Invariant: a transfer is what a wallet would send, valid for ever.

mod frame;

use codec::Decode;
use slackwater_executor::{
    CallContext, WasmExecutor,
    block::{ExecutionError, load_runtime},
    host_functions::HostFunctions,
    state::BlockState,
};
use sp_core::H256;
use thiserror::Error;

use crate::{
    guest::{Account, GuestCall, GuestExtrinsic, Sender, account_key, signed_message},
    keys::{Key, KeyError},
    names::metadata_of,
};
use frame::FrameTransfers;

/// The name that our guest has.
const GUEST: &str = "slackwater-guest";

/// The least balance of an account of our guest.
const GUEST_LEAST: u128 = 10;

/// Bytes of an account's record in FRAME that hold balances: four of sixteen bytes, the free one first.
const FRAME_BALANCES: usize = 64;

/// Why the transfers of a runtime are not known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The runtime could not be asked.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The runtime does not tell its metadata.
    #[error("the runtime does not tell its metadata: {reason}")]
    NoMetadata {
        /// What it did instead.
        reason: String,
    },
    /// The metadata does not describe transfers that can be made here.
    #[error("the runtime's metadata: {reason}")]
    Unsupported {
        /// What is missing, or unknown.
        reason: String,
    },
    /// The account that all others are funded from has nothing.
    #[error("{name} has no balance in this state, and everybody's funds come from there")]
    NoFunds {
        /// The account's name.
        name: String,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn unsupported<T>(reason: impl Into<String>) -> Result<T, TransferError> {
    let reason = reason.into();
    Err(TransferError::Unsupported { reason })
}

/// How a runtime wants transfers.
#[derive(Debug, Clone)]
pub struct Transfers(Format);

#[derive(Debug, Clone)]
enum Format {
    Guest,
    Frame(Box<FrameTransfers>),
}

/// What an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Funds {
    /// What it may spend.
    pub free: u128,
    /// The nonce of its next extrinsic.
    pub nonce: u32,
}

impl Transfers {
    /// As the runtime of `state` wants them, on the chain whose genesis block has this hash.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn of_state<S: BlockState, H: HostFunctions>(
        executor: &WasmExecutor<H>,
        state: &S,
        genesis: H256,
    ) -> Result<Self, TransferError> {
        let context = CallContext::Offchain;
        let (runtime, _) = load_runtime(executor, state, context)?;
        let version = runtime.version();
        if &*version.spec_name == GUEST {
            return Ok(Self(Format::Guest));
        }
        let metadata = metadata_of(executor, state)?;
        let metadata = metadata.map_err(|reason| TransferError::NoMetadata { reason })?;
        let transfers = FrameTransfers::read(&metadata, version, genesis)?;
        Ok(Self(Format::Frame(Box::new(transfers))))
    }

    /// A transfer with its length prefix.
    #[must_use]
    pub fn transfer(&self, from: &Key, nonce: u32, to: &Account, amount: u128) -> Vec<u8> {
        match &self.0 {
            Format::Guest => {
                let call = GuestCall::Transfer { to: *to, amount };
                let sender = Sender {
                    who: from.account(),
                    nonce,
                    tip: 0,
                };
                let signature = from.sign(&signed_message(&sender, &call));
                GuestExtrinsic::Signed(sender, signature, call).encoded()
            }
            Format::Frame(frame) => frame.transfer(from, nonce, to, amount),
        }
    }

    /// The least balance an account may have.
    #[must_use]
    pub fn least(&self) -> u128 {
        match &self.0 {
            Format::Guest => GUEST_LEAST,
            Format::Frame(frame) => frame.least(),
        }
    }

    /// What an account has in `state`; nothing if there is none.
    ///
    /// # Errors
    /// [`TransferError::Execution`] when the state cannot be read, [`TransferError::Unsupported`] when accounts are kept
    /// in another way.
    pub fn funds<S: BlockState>(
        &self,
        state: &S,
        account: &Account,
    ) -> Result<Funds, TransferError> {
        let key = match self.0 {
            Format::Guest => account_key(account),
            Format::Frame(_) => frame::account_key(account),
        };
        let record = state.storage(&key).ok().flatten();
        state.check().map_err(ExecutionError::from)?;
        let Some(record) = record else {
            return Ok(Funds::default());
        };
        let funds = match self.0 {
            Format::Guest => decode_guest(&record),
            Format::Frame(_) => decode_frame(&record),
        };
        match funds {
            Some(funds) => Ok(funds),
            None => unsupported(format!("an account of {} bytes", record.len())),
        }
    }
}

fn decode_guest(mut record: &[u8]) -> Option<Funds> {
    let (free, nonce) = Decode::decode(&mut record).ok()?;
    Some(Funds { free, nonce })
}

fn decode_frame(record: &[u8]) -> Option<Funds> {
    let balances = record.len().checked_sub(FRAME_BALANCES)?;
    let nonce = Decode::decode(&mut record.get(..balances)?).ok()?;
    let free = Decode::decode(&mut record.get(balances..)?).ok()?;
    Some(Funds { free, nonce })
}

/// Accounts that send to one another, all funded from Alice's.
#[derive(Debug)]
pub struct Senders {
    transfers: Transfers,
    alice: Key,
    others: Vec<Key>,
    nonces: Vec<u32>,
    next: usize,
}

impl Senders {
    /// So many accounts; 0 and 1 stand for Alice alone.
    ///
    /// # Errors
    /// [`TransferError::Key`].
    pub fn new(transfers: Transfers, accounts: u32) -> Result<Self, TransferError> {
        let others = if accounts > 1 { accounts } else { 0 };
        let others = (0..others).map(|number| Key::named(&format!("sender {number}")));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            transfers,
            alice: Key::development("Alice")?,
            nonces: vec![0; others.len().max(1)],
            others,
            next: 0,
        })
    }

    /// What Alice sends to those who have less than their share in `state`.
    ///
    /// # Errors
    /// [`TransferError::NoFunds`] when she has nothing.
    pub fn funding<S: BlockState>(&mut self, state: &S) -> Result<Vec<Vec<u8>>, TransferError> {
        let alice = self.transfers.funds(state, &self.alice.account())?;
        if alice.free == 0 {
            let name = "//Alice".to_owned();
            return Err(TransferError::NoFunds { name });
        }
        // Half of all stays with her, for fees.
        let share = alice.free / (2 * (self.others.len() as u128 + 1));
        let mut nonce = alice.nonce;
        let mut funding = Vec::new();
        for other in &self.others {
            if self.transfers.funds(state, &other.account())?.free >= share {
                continue;
            }
            let account = other.account();
            funding.push(self.transfers.transfer(&self.alice, nonce, &account, share));
            nonce = nonce.saturating_add(1);
        }
        Ok(funding)
    }

    /// Goes on with the nonces of `state`.
    ///
    /// # Errors
    /// As [`Transfers::funds`].
    pub fn begin<S: BlockState>(&mut self, state: &S) -> Result<(), TransferError> {
        let Self {
            transfers,
            alice,
            others,
            nonces,
            ..
        } = self;
        let senders = others.iter().chain(others.is_empty().then_some(&*alice));
        for (sender, nonce) in senders.zip(nonces) {
            *nonce = transfers.funds(state, &sender.account())?.nonce;
        }
        Ok(())
    }

    /// The next transfer: the accounts send in turn, each to the one behind it; Alice alone sends to Bob.
    ///
    /// # Errors
    /// [`TransferError::Key`].
    pub fn transfer(&mut self) -> Result<Vec<u8>, TransferError> {
        let index = self.next % self.nonces.len();
        self.next = (index + 1) % self.nonces.len();
        let (from, to) = match self.others.get(index) {
            Some(from) => (from, self.others[self.next].account()),
            None => (&self.alice, Key::development("Bob")?.account()),
        };
        let nonce = self.nonces[index];
        self.nonces[index] = nonce.saturating_add(1);
        let amount = self.transfers.least();
        Ok(self.transfers.transfer(from, nonce, &to, amount))
    }
}
