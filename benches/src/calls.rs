//! What contracts do, as calls of the repository's guest, which are not signed.
//!
//! Invariant: the call with some number is always the same, and its nonce fits if all with lower numbers are in blocks
//! before it.

use slackwater_runtime_fixtures::guest::{Account, GuestCall, GuestExtrinsic, Sender, genesis};
use sp_core::storage::Storage;

/// Funds of an account.
const FUNDS: u128 = 1 << 80;

/// Who calls what.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Accounts that call in turn.
    pub accounts: u32,
    /// The contract that an account calls.
    pub contract: fn(u64) -> u64,
}

impl Calls {
    /// A state in which all accounts can pay.
    #[must_use]
    pub fn genesis(self) -> Storage {
        let accounts: Vec<_> = (0..self.accounts).map(|it| (account(it), FUNDS)).collect();
        genesis(&accounts, &account(0))
    }

    /// An extrinsic of the account whose turn it is.
    ///
    /// # Panics
    /// If nonces do not suffice.
    #[must_use]
    pub fn by_turns(self, number: u64, call: GuestCall) -> Vec<u8> {
        let (turn, sender) = self.turn(number);
        let sender = Sender {
            who: account(u32::try_from(sender).expect("less than there are accounts")),
            nonce: u32::try_from(turn).expect("a number of rounds"),
            tip: 0,
        };
        GuestExtrinsic::Trusted(sender, call).encoded()
    }

    /// The extrinsic with this number: six kinds of calls, one after the other.
    #[must_use]
    pub fn mixed(self, number: u64) -> Vec<u8> {
        let (_, sender) = self.turn(number);
        self.by_turns(number, call(number, (self.contract)(sender)))
    }

    fn turn(self, number: u64) -> (u64, u64) {
        let accounts = u64::from(self.accounts);
        (number / accounts, number % accounts)
    }
}

fn account(number: u32) -> Account {
    let mut account = [0xaa; 32];
    account[..4].copy_from_slice(&number.to_le_bytes());
    account
}

fn call(number: u64, contract: u64) -> GuestCall {
    let key = format!("contract {contract}/slot {}", number % 7).into_bytes();
    match number % 6 {
        // Calls in calls, one of which fails.
        0 => GuestCall::Nested {
            depth: 3,
            writes: 2,
            rollback_mask: 0b100,
        },
        1 => GuestCall::Burn { iterations: 5_000 },
        2 => GuestCall::Put {
            key,
            value: number.to_le_bytes().repeat(8),
        },
        3 => GuestCall::ChildPut {
            child: format!("contract {contract}").into_bytes(),
            key,
            value: number.to_le_bytes().repeat(4),
        },
        4 => GuestCall::HostCalls { count: 20 },
        _ => GuestCall::Emit {
            events: 3,
            bytes: 64,
        },
    }
}
