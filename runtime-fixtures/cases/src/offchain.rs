//! What only off-chain workers may do. Answers of the host go back one behind the other.

use alloc::vec::Vec;

use crate::host;

const KEY: &[u8] = b"test";

/// Writes `v` under `k` of the off-chain index.
pub fn index(_: &[u8]) -> Vec<u8> {
    host::offchain_index_set(b"k", b"v");
    Vec::new()
}

/// Reads a key off chain, writes it, reads it, exchanges the value for an empty one, reads that.
pub fn store(_: &[u8]) -> Vec<u8> {
    let mut answers = host::offchain_get(KEY);
    host::offchain_set(KEY, b"asd");
    answers.extend(host::offchain_get(KEY));
    // An option of a list of three bytes.
    let exchanged = host::offchain_compare_and_set(KEY, b"\x01\x0casd", b"");
    answers.push(exchanged.into());
    answers.extend(host::offchain_get(KEY));
    answers
}

/// Reads a key off chain, exchanges nothing for a value, reads that.
pub fn store_from_none(_: &[u8]) -> Vec<u8> {
    let mut answers = host::offchain_get(KEY);
    answers.push(host::offchain_compare_and_set(KEY, &[0], b"value").into());
    answers.extend(host::offchain_get(KEY));
    answers
}

/// A request with a header and a body, to its end, and the answer to its end; a buffer follows the first read.
pub fn request(_: &[u8]) -> Vec<u8> {
    let mut answers = host::http_start("POST", "http://localhost:12345");
    let [0, low, high] = answers.as_slice() else {
        return answers;
    };
    let id = u16::from_le_bytes([*low, *high]);
    answers.extend(host::http_add_header(id, "X-Auth", "test"));
    answers.extend(host::http_write_body(id, &[1, 2, 3, 4]));
    answers.extend(host::http_write_body(id, &[]));
    answers.extend(host::http_wait(id));
    answers.extend(host::http_headers(id));
    let mut buffer = [0; 64];
    answers.extend(host::http_read_body(id, &mut buffer));
    answers.extend(buffer);
    answers.extend(host::http_read_body(id, &mut buffer));
    answers
}
