//! Doing what a call says.
//!
//! Invariant: `dispatch` leaves the storage as it was if it gives an error, and closes every
//! storage transaction it opens, unless the call exists to break exactly that.

use alloc::{vec, vec::Vec};

use crate::call::Call;
use crate::error::{self, DispatchError};
use crate::event::{self, Kind};
use crate::{account, faults, float, host, keys, scale, upgrade};

/// Executes a call inside a storage transaction of its own.
pub fn dispatch(who: &[u8; 32], call: &Call) -> Result<(), DispatchError> {
    host::start_transaction();
    let result = execute(who, call);
    match result {
        Ok(()) => host::commit_transaction(),
        Err(_) => host::rollback_transaction(),
    }
    result
}

fn execute(who: &[u8; 32], call: &Call) -> Result<(), DispatchError> {
    match call {
        // Has no sender when it is right, so a sender is wrong.
        Call::SetTimestamp { .. } => return Err(error::BAD_ORIGIN.to_vec()),
        Call::Transfer { to, amount } => return account::transfer(who, to, *amount),
        Call::Fail { kind } => return fail(who, *kind),
        Call::SetCode { code } => return upgrade::set_code(who, code),
        Call::Nested {
            depth,
            writes,
            rollback_mask,
        } => {
            nested(who, 0, *depth, *writes, *rollback_mask);
        }
        Call::Emit { events, bytes } => emit(*events, *bytes),
        Call::Burn { iterations } => {
            host::set(
                &keys::result(b"burn:", who),
                &burn(*iterations).to_le_bytes(),
            );
        }
        Call::GrowMemory { pages } => grow_memory(who, *pages),
        Call::HostCalls { count } => {
            host::set(
                &keys::result(b"hits:", who),
                &host_calls(*count).to_le_bytes(),
            );
        }
        Call::Nan => host::set(&keys::result(b"nan:", who), &float::nan_flags()),
        #[cfg(feature = "upgraded")]
        Call::Note { note } => event::deposit(Kind::Note, note),
        other => execute_storage(who, other),
    }
    Ok(())
}

fn execute_storage(who: &[u8; 32], call: &Call) {
    match call {
        Call::Put { key, value } => host::set(&keys::map(key), value),
        Call::Delete { key } => host::clear(&keys::map(key)),
        Call::ClearPrefix { prefix, limit } => {
            removed(&host::clear_prefix(&keys::map(prefix), *limit));
        }
        Call::Append { key, item } => host::append(&keys::map(key), &scale::encode_bytes(item)),
        Call::ChildPut { child, key, value } => host::child_set(child, key, value),
        Call::ChildDelete { child, key } => host::child_clear(child, key),
        Call::ChildKill { child, limit } => removed(&host::child_kill(child, *limit)),
        Call::ChildClearPrefix {
            child,
            prefix,
            limit,
        } => {
            removed(&host::child_clear_prefix(child, prefix, *limit));
        }
        Call::Scan { prefix, limit } => {
            host::set(
                &keys::result(b"scan:", who),
                &scan(&keys::map(prefix), *limit),
            );
        }
        Call::ChildScan { child, limit } => {
            host::set(&keys::result(b"scan:", who), &child_scan(child, *limit));
        }
        Call::OffchainIndex { key, value } => host::offchain_index_set(key, value),
        other => faults::execute(who, other),
    }
}

fn removed(result: &[u8]) {
    event::deposit(Kind::Removed, result);
}

fn fail(who: &[u8; 32], kind: u8) -> Result<(), DispatchError> {
    // Something to undo.
    host::set(&keys::result(b"fail:", who), &[kind]);
    Err(error::on_demand(kind).expect("checked when the call was decoded"))
}

fn emit(events: u32, bytes: u32) {
    let payload = vec![0x5a; bytes as usize];
    for _ in 0..events {
        event::deposit(Kind::Custom, &payload);
    }
}

/// One storage transaction for each level, the next level inside it; writes before and after the
/// inner level, so that both orders of closing and writing occur.
fn nested(who: &[u8; 32], level: u8, depth: u8, writes: u32, rollback_mask: u32) {
    if level == depth {
        return;
    }
    host::start_transaction();
    for index in 0..writes {
        host::set(&keys::nested(who, level, index), &[level]);
    }
    nested(who, level + 1, depth, writes, rollback_mask);
    host::append(&keys::result(b"nest-log:", who), &[level]);
    if rollback_mask >> (level % 32) & 1 == 1 {
        host::rollback_transaction();
    } else {
        host::commit_transaction();
    }
}

/// A chain of multiplications that depend on each other; no host function is called.
pub fn burn(iterations: u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for index in 0..iterations {
        state = (state ^ index)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .rotate_left(31);
    }
    state
}

fn grow_memory(who: &[u8; 32], pages: u32) {
    let grown = core::arch::wasm32::memory_grow::<0>(pages as usize) != usize::MAX;
    host::set(&keys::result(b"grow:", who), &[u8::from(grown)]);
}

/// Asks the storage `count` times; gives the number of hits.
pub fn host_calls(count: u32) -> u32 {
    let hit = |index: &u32| host::exists(&keys::map(&index.to_le_bytes()));
    (0..count).filter(hit).count() as u32
}

/// Number of keys with a prefix up to a limit, and the hash of keys and values.
fn scan(prefix: &[u8], limit: u32) -> Vec<u8> {
    let next = |key: &[u8]| host::next_key(key).filter(|key| key.starts_with(prefix));
    digest_entries(prefix, limit, next, host::get)
}

/// Number of keys of a child trie up to a limit, the hash of keys and values, and the trie's root.
fn child_scan(child: &[u8], limit: u32) -> Vec<u8> {
    let next = |key: &[u8]| host::child_next_key(child, key);
    let mut out = digest_entries(&[], limit, next, |key| host::child_get(child, key));
    out.extend_from_slice(&host::child_root(child));
    out
}

fn digest_entries(
    before: &[u8],
    limit: u32,
    next: impl Fn(&[u8]) -> Option<Vec<u8>>,
    get: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let (mut count, mut seen) = (0_u32, Vec::new());
    let mut key = before.to_vec();
    while count < limit {
        let Some(found) = next(&key) else { break };
        scale::put_bytes(&mut seen, &found);
        scale::put_bytes(&mut seen, &get(&found).unwrap_or_default());
        key = found;
        count += 1;
    }
    [count.to_le_bytes().as_slice(), &host::blake2_256(&seen)].concat()
}
