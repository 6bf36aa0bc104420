//! Calls drawn at random: what fills the blocks between the planned scenarios.
//!
//! Invariant: the same state of the generator gives the same call, and the outcome stated with a
//! call is the one it has on the fixture chain.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use slackwater_runtime_fixtures::OfferedOutcome::{self, Applied, DispatchError};
use slackwater_runtime_fixtures::guest::{Account, GuestCall};

/// Names of the child tries in use.
pub(crate) const CHILDREN: [&[u8]; 3] = [b"alpha", b"beta", b"gamma"];

/// A number below `end`, which is above zero. The slight bias does not matter here.
pub(crate) fn below(rng: &mut ChaCha20Rng, end: u32) -> u32 {
    rng.next_u32() % end
}

fn bytes(rng: &mut ChaCha20Rng, most: u32) -> Vec<u8> {
    let mut out = vec![0; below(rng, most + 1) as usize];
    rng.fill_bytes(&mut out);
    out
}

/// Few keys with common prefixes, so that calls meet each other's entries.
fn key(rng: &mut ChaCha20Rng) -> Vec<u8> {
    let group = [b'a', b'b', b'c'][below(rng, 3) as usize];
    let number = below(rng, 24);
    [&[group][..], number.to_string().as_bytes()].concat()
}

fn prefix(rng: &mut ChaCha20Rng) -> Vec<u8> {
    let key = key(rng);
    let len = 1 + below(rng, 2) as usize;
    key.into_iter().take(len).collect()
}

/// Values below and above 32 bytes are kept differently in a trie of version 1.
fn value(rng: &mut ChaCha20Rng) -> Vec<u8> {
    bytes(rng, 72)
}

fn limit(rng: &mut ChaCha20Rng) -> Option<u32> {
    match below(rng, 3) {
        0 => None,
        _ => Some(below(rng, 4)),
    }
}

fn child(rng: &mut ChaCha20Rng) -> Vec<u8> {
    CHILDREN[below(rng, 3) as usize].to_vec()
}

/// A call that neither traps nor is refused, and its outcome.
pub(crate) fn included(rng: &mut ChaCha20Rng, to: Account) -> (GuestCall, OfferedOutcome) {
    match below(rng, 100) {
        0..20 => (transfer(rng, to), Applied),
        20..26 => failing(rng, to),
        26..56 => (on_map(rng), Applied),
        56..80 => (on_children(rng), Applied),
        _ => (on_machine(rng), Applied),
    }
}

fn transfer(rng: &mut ChaCha20Rng, to: Account) -> GuestCall {
    let amount = 10 + u128::from(below(rng, 1_000_000));
    GuestCall::Transfer { to, amount }
}

fn failing(rng: &mut ChaCha20Rng, to: Account) -> (GuestCall, OfferedOutcome) {
    let call = match below(rng, 3) {
        0 => GuestCall::Transfer {
            to,
            amount: u128::from(u64::MAX),
        },
        1 => GuestCall::SetTimestamp { now: 1 },
        _ => {
            let kind = below(rng, 15).to_le_bytes()[0];
            GuestCall::Fail { kind }
        }
    };
    (call, DispatchError)
}

fn on_map(rng: &mut ChaCha20Rng) -> GuestCall {
    match below(rng, 12) {
        0..6 => GuestCall::Put {
            key: key(rng),
            value: value(rng),
        },
        6..8 => GuestCall::Delete { key: key(rng) },
        8 => GuestCall::ClearPrefix {
            prefix: prefix(rng),
            limit: limit(rng),
        },
        9..11 => GuestCall::Append {
            key: [b"list-".as_slice(), &key(rng)].concat(),
            item: bytes(rng, 12),
        },
        _ => GuestCall::Scan {
            prefix: prefix(rng),
            limit: below(rng, 20),
        },
    }
}

fn on_children(rng: &mut ChaCha20Rng) -> GuestCall {
    let child = child(rng);
    match below(rng, 12) {
        0..7 => GuestCall::ChildPut {
            child,
            key: key(rng),
            value: value(rng),
        },
        7 => GuestCall::ChildDelete {
            child,
            key: key(rng),
        },
        8 => GuestCall::ChildKill {
            child,
            limit: limit(rng),
        },
        9 => GuestCall::ChildClearPrefix {
            child,
            prefix: prefix(rng),
            limit: limit(rng),
        },
        _ => GuestCall::ChildScan {
            child,
            limit: below(rng, 20),
        },
    }
}

fn on_machine(rng: &mut ChaCha20Rng) -> GuestCall {
    match below(rng, 7) {
        0 => GuestCall::Emit {
            events: below(rng, 6),
            bytes: below(rng, 48),
        },
        1 => GuestCall::Nested {
            depth: 1 + below(rng, 5).to_le_bytes()[0],
            writes: below(rng, 4),
            rollback_mask: rng.next_u32(),
        },
        2 => GuestCall::Burn {
            iterations: u64::from(below(rng, 20_000)),
        },
        3 => GuestCall::GrowMemory {
            pages: below(rng, 64),
        },
        4 => GuestCall::HostCalls {
            count: below(rng, 200),
        },
        5 => GuestCall::Nan,
        _ => GuestCall::OffchainIndex {
            key: key(rng),
            value: value(rng),
        },
    }
}

/// A call that traps or exhausts the native stack, and which of both.
pub(crate) fn trapping(rng: &mut ChaCha20Rng) -> (GuestCall, OfferedOutcome) {
    let all = all_trapping();
    all[below(rng, 9) as usize].clone()
}

/// Every call that traps in the end; the endless loop is none of them.
pub(crate) fn all_trapping() -> [(GuestCall, OfferedOutcome); 9] {
    use OfferedOutcome::{NativeStack, Trap};
    let message = b"panic on demand".to_vec();
    [
        (GuestCall::Panic { message }, Trap),
        (GuestCall::Unreachable, Trap),
        (GuestCall::EndlessRecursion, NativeStack),
        (GuestCall::AllocOnce { bytes: 64 << 20 }, Trap),
        (GuestCall::AllocLoop { bytes: 16 << 20 }, Trap),
        (GuestCall::OutOfBounds, Trap),
        (GuestCall::DivByZero, Trap),
        (GuestCall::CloseExtraTransaction, Trap),
        (GuestCall::BadFree, Trap),
    ]
}
