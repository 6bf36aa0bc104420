//! Calls outside of any block that ask what the host does. README.md has the table.
//!
//! Invariant: each takes its whole argument as described there and panics on anything else.

use alloc::{vec, vec::Vec};

use crate::call::Call;
use crate::scale::{self, Reader};
use crate::{dispatch, faults, float, host};

const PAGE: u32 = 65_536;
/// Stride of the writes that dirty memory: the page of the host.
const HOST_PAGE: u32 = 4_096;

fn one_u32(arguments: &[u8]) -> u32 {
    Reader::new(arguments).u32().expect("a u32")
}

/// Bytes to the same bytes.
pub fn echo(arguments: &[u8]) -> Vec<u8> {
    arguments.to_vec()
}

/// Nothing to nothing.
pub fn empty_return(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

/// A key to `Option` of its value.
pub fn storage_get(key: &[u8]) -> Vec<u8> {
    match host::get(key) {
        None => vec![0],
        Some(value) => [&[1], scale::encode_bytes(&value).as_slice()].concat(),
    }
}

/// Account and call, to the dispatch result; neither fee nor nonce.
pub fn call(arguments: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(arguments);
    let who = reader.array().expect("an account");
    let call = Call::decode(&mut reader).expect("a call");
    match dispatch::dispatch(&who, &call) {
        Ok(()) => vec![0],
        Err(dispatch_error) => [&[1], dispatch_error.as_slice()].concat(),
    }
}

/// Address and pages: writes into each 4096 bytes of the pages behind the address.
pub fn dirty_plenty_memory(arguments: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(arguments);
    let start = reader.u32().expect("an address");
    let pages = reader.u32().expect("a number of pages");
    let end = u64::from(start) + u64::from(pages) * u64::from(PAGE);
    for address in (u64::from(start)..end).step_by(HOST_PAGE as usize) {
        // SAFETY: not sound by design: nothing lives behind the heap base yet but the arguments,
        // which were read above; behind the memory the engine traps.
        unsafe { core::ptr::write_volatile(address as u32 as *mut u8, 1) };
    }
    Vec::new()
}

/// Nothing to the number of memory pages.
pub fn memory_size(_: &[u8]) -> Vec<u8> {
    (core::arch::wasm32::memory_size::<0>() as u32)
        .to_le_bytes()
        .to_vec()
}

/// A size to the address of an allocation of it.
pub fn alloc(arguments: &[u8]) -> Vec<u8> {
    host::malloc(one_u32(arguments)).to_le_bytes().to_vec()
}

/// Nothing to the bits of results that are no numbers.
pub fn nan(_: &[u8]) -> Vec<u8> {
    float::nan_bits()
}

/// A depth to a number that was computed by so many calls inside each other.
pub fn recurse(arguments: &[u8]) -> Vec<u8> {
    faults::recurse(u64::from(one_u32(arguments)))
        .to_le_bytes()
        .to_vec()
}

/// A number of iterations to their result.
pub fn burn(arguments: &[u8]) -> Vec<u8> {
    let iterations = Reader::new(arguments).u64().expect("a u64");
    dispatch::burn(iterations).to_le_bytes().to_vec()
}

/// A number of storage reads to the number of hits.
pub fn host_calls(arguments: &[u8]) -> Vec<u8> {
    dispatch::host_calls(one_u32(arguments))
        .to_le_bytes()
        .to_vec()
}

/// Nothing to the host's log level, one byte.
pub fn max_level(_: &[u8]) -> Vec<u8> {
    vec![host::max_level() as u8]
}

/// Nothing to whether the host traces, one byte.
pub fn tracing_enabled(_: &[u8]) -> Vec<u8> {
    let mut metadata = Vec::new();
    scale::put_bytes(&mut metadata, b"probe");
    scale::put_bytes(&mut metadata, b"slackwater_guest");
    // The level: error, the least that a host can trace.
    metadata.push(0);
    scale::put_bytes(&mut metadata, b"probes.rs");
    metadata.extend_from_slice(&1_u32.to_le_bytes());
    scale::put_bytes(&mut metadata, b"slackwater_guest");
    // A span, without fields.
    metadata.extend_from_slice(&[1, 0]);
    vec![u8::from(host::tracing_enabled(&metadata))]
}

/// Nothing to the size of the recorded proof, u64.
pub fn proof_size(_: &[u8]) -> Vec<u8> {
    host::proof_size().to_le_bytes().to_vec()
}

/// Nothing to nothing; sets one key of the off-chain index.
pub fn offchain_index(_: &[u8]) -> Vec<u8> {
    host::offchain_index_set(b"test:offchain", b"value");
    Vec::new()
}

/// Nothing to nothing; indexes one transaction.
pub fn transaction_index(_: &[u8]) -> Vec<u8> {
    host::transaction_index(3, 5, &[7; 32]);
    Vec::new()
}

/// Nothing to nothing; writes a key, opens a storage transaction, writes both there.
pub fn leave_transaction_open(_: &[u8]) -> Vec<u8> {
    host::set(b"test:outer", b"before");
    host::start_transaction();
    host::set(b"test:outer", b"inside");
    host::set(b"test:inner", b"inside");
    Vec::new()
}

/// Nothing to the state roots before and after an append that follows the first one.
pub fn append_after_root(_: &[u8]) -> Vec<u8> {
    host::append(b"test:append", &[1]);
    let before = host::storage_root();
    host::append(b"test:append", &[2]);
    [before, host::storage_root()].concat()
}

/// A wasm blob to `Option` of its encoded version.
pub fn runtime_version(code: &[u8]) -> Vec<u8> {
    match host::runtime_version(code) {
        None => vec![0],
        Some(version) => [&[1], scale::encode_bytes(&version).as_slice()].concat(),
    }
}

/// Nothing to the root of a child trie after three writes and a deletion.
pub fn child_storage(_: &[u8]) -> Vec<u8> {
    const CHILD: &[u8] = b"test-child";
    for key in [b"a", b"b", b"c"] {
        host::child_set(CHILD, key, b"value");
    }
    host::child_clear(CHILD, b"b");
    host::child_root(CHILD)
}
