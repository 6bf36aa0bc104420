//! What a runtime answers when all goes well.

use alloc::{vec, vec::Vec};

use crate::host;

/// What stands for "done".
const DONE: &[u8] = b"all ok!";

/// Anything to nothing.
pub fn nothing(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

/// Anything to the u64 1234.
pub fn number(_: &[u8]) -> Vec<u8> {
    1_234_u64.to_le_bytes().to_vec()
}

/// Anything to the i8 -66.
pub fn small(_: &[u8]) -> Vec<u8> {
    (-66_i8).to_le_bytes().to_vec()
}

/// The i8 -66 to nothing.
pub fn take_small(arguments: &[u8]) -> Vec<u8> {
    assert_eq!(arguments, (-66_i8).to_le_bytes());
    Vec::new()
}

/// The bits of two f32 to those of their sum.
pub fn add_f32(arguments: &[u8]) -> Vec<u8> {
    let (left, right) = arguments.split_at(4);
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
    (number(left) + number(right))
        .to_bits()
        .to_le_bytes()
        .to_vec()
}

/// A value, written under `input`, to "done"; copies what is under `foo` to `baz`.
pub fn store_and_copy(value: &[u8]) -> Vec<u8> {
    host::print("writing");
    host::set(b"input", value);
    host::print("reading");
    let found = host::get(b"foo");
    // An option of a list of fewer than 64 bytes: there is one, how long it is, and the bytes.
    let [1, length, copied @ ..] = found.as_slice() else {
        panic!("there is nothing to copy");
    };
    assert_eq!(usize::from(*length), copied.len() * 4);
    host::set(b"baz", copied);
    DONE.to_vec()
}

/// A prefix, whose keys are deleted, to "done".
pub fn clear_prefix(prefix: &[u8]) -> Vec<u8> {
    host::clear_prefix(prefix);
    DONE.to_vec()
}

/// A SCALE list of byte strings to the root of their trie.
pub fn ordered_root(items: &[u8]) -> Vec<u8> {
    host::ordered_root(items)
}

/// The parts of a signed message: 32 bytes of key, 64 of signature, the rest.
fn signed(arguments: &[u8]) -> (&[u8; 32], &[u8; 64], &[u8]) {
    let (public, rest) = arguments.split_first_chunk().expect("a key");
    let (signature, message) = rest.split_first_chunk().expect("a signature");
    (public, signature, message)
}

/// Key, signature, message to whether the signature is right.
pub fn verify_ed25519(arguments: &[u8]) -> Vec<u8> {
    let (public, signature, message) = signed(arguments);
    vec![host::ed25519_verify(signature, message, public).into()]
}

/// Key, signature, message to whether the signature is right.
pub fn verify_sr25519(arguments: &[u8]) -> Vec<u8> {
    let (public, signature, message) = signed(arguments);
    vec![host::sr25519_verify(signature, message, public).into()]
}
