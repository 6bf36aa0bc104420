//! Host functions that know no state: hashes, signatures, tries over given values, and the rest.

use sp_core::{Pair, ecdsa, ed25519, sr25519};
use sp_crypto_hashing::blake2_256;

use super::{
    BYTES, CODE, KEY, KEY_BYTES, LARGE, LARGE_BYTES, LIST, MESSAGE, PUBLIC, Price, Row, SIGNATURE,
    SIGNATURES, VALUE, VALUE_BYTES, fat, thin,
};

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = hashing();
    rows.extend(signatures());
    rows.extend(tries());
    rows.extend(others());
    rows
}

fn hashing() -> Vec<Row> {
    let functions = SIGNATURES.iter().map(|(name, ..)| *name);
    let functions = functions.filter(|name| name.starts_with("hashing_"));
    let rows = functions.flat_map(|function| {
        let large = Row::new(function, "64 KiB", &fat(LARGE, LARGE_BYTES));
        [
            Row::new(function, "32 bytes", &fat(LARGE, 32)),
            large.tests(Price::Passed(LARGE_BYTES)),
        ]
    });
    rows.collect()
}

/// Valid signatures of a message of 32 bytes, and of one of 64 KiB.
fn signatures() -> Vec<Row> {
    let large = vec![0; LARGE_BYTES as usize];
    let small = vec![0; 32];
    let mut rows = Vec::new();
    for (message, at, about) in [(&small, MESSAGE, "32 bytes"), (&large, LARGE, "64 KiB")] {
        let length = u32::try_from(message.len()).unwrap_or(0);
        let arguments = thin(SIGNATURE) + &fat(at, length) + &thin(PUBLIC);
        let ed = ed25519::Pair::from_seed(&[7; 32]);
        let sr = sr25519::Pair::from_seed(&[7; 32]);
        let ec = ecdsa::Pair::from_seed(&[7; 32]);
        let keys: [(&str, Vec<u8>, Vec<u8>); 3] = [
            (
                "crypto_ed25519_verify",
                ed.sign(message).0.to_vec(),
                ed.public().0.to_vec(),
            ),
            (
                "crypto_sr25519_verify",
                sr.sign(message).0.to_vec(),
                sr.public().0.to_vec(),
            ),
            (
                "crypto_ecdsa_verify",
                ec.sign(message).0.to_vec(),
                ec.public().0.to_vec(),
            ),
        ];
        for (function, signature, public) in keys {
            let price = if length > BYTES {
                Price::Passed(length)
            } else {
                Price::Call
            };
            rows.push(
                Row::new(function, about, &arguments)
                    .with(SIGNATURE, &signature)
                    .with(PUBLIC, &public)
                    .tests(price),
            );
        }
    }
    let pair = ecdsa::Pair::from_seed(&[7; 32]);
    let hash = blake2_256(&small);
    let signature = pair.sign_prehashed(&hash);
    let prehashed = thin(SIGNATURE) + &thin(MESSAGE);
    for (function, arguments) in [
        (
            "crypto_ecdsa_verify_prehashed",
            prehashed.clone() + &thin(PUBLIC),
        ),
        ("crypto_secp256k1_ecdsa_recover", prehashed.clone()),
        ("crypto_secp256k1_ecdsa_recover_compressed", prehashed),
    ] {
        rows.push(
            Row::new(function, "", &arguments)
                .with(SIGNATURE, &signature.0)
                .with(PUBLIC, &pair.public().0)
                .with(MESSAGE, &hash),
        );
    }
    rows
}

/// Roots over values that are short, as usual, or empty; and proofs that prove nothing.
fn tries() -> Vec<Row> {
    // SCALE: how many there are, and each behind its length.
    let values = |number: &u8| [vec![32 << 2], vec![*number; 32]].concat();
    let pairs = |number: &u8| [vec![4, *number], values(number)].concat();
    let short: Vec<u8> = [1, 1]
        .into_iter()
        .chain((0..64).flat_map(|n| values(&n)))
        .collect();
    let pairs: Vec<u8> = [1, 1]
        .into_iter()
        .chain((0..64).flat_map(|n| pairs(&n)))
        .collect();
    let empty = [vec![1, 64], vec![0; 4_096]].concat();
    let row = |function: &'static str, about: &str, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let list = fat(LIST, length);
        let arguments = if function.contains("proof") {
            thin(MESSAGE) + &list + &fat(KEY, KEY_BYTES) + &fat(VALUE, VALUE_BYTES)
        } else {
            list
        };
        let row = Row::new(function, about, &arguments);
        row.with(LIST, bytes).tests(Price::Passed(length))
    };
    vec![
        row("trie_blake2_256_ordered_root", "64 values", &short),
        row("trie_blake2_256_ordered_root", "4,096 empty values", &empty),
        row("trie_keccak_256_ordered_root", "64 values", &short),
        row("trie_keccak_256_ordered_root", "4,096 empty values", &empty),
        row("trie_blake2_256_root", "64 values", &pairs),
        row("trie_blake2_256_verify_proof", "64 nodes", &short),
        row("trie_blake2_256_verify_proof", "4,096 empty nodes", &empty),
    ]
}

fn others() -> Vec<Row> {
    let pair = |bytes| {
        format!("(call $ext_allocator_free (call $ext_allocator_malloc (i32.const {bytes})))")
    };
    let code = code_without_version();
    let length = u32::try_from(code.len()).unwrap_or(0);
    let code_of = |about| Row::new("misc_runtime_version", about, &fat(CODE, length));
    vec![
        Row::doing("allocator_malloc", "32 bytes, and freed", &pair(32)),
        Row::doing("allocator_malloc", "1 MiB, and freed", &pair(1 << 20)),
        Row::new("logging_max_level", "", ""),
        Row::new(
            "logging_log",
            "32 bytes, not shown",
            &(thin(4) + &fat(LARGE, 8) + &fat(LARGE, 32)),
        ),
        Row::new("misc_print_hex", "32 bytes, not shown", &fat(LARGE, 32)),
        Row::new("misc_runtime_version", "of no code", &fat(LARGE, 32)),
        code_of("code without a version")
            .with(CODE, &code)
            .tests(Price::Passed(length)),
        Row::new(
            "offchain_index_set",
            "32 bytes",
            &(fat(KEY, KEY_BYTES) + &fat(VALUE, VALUE_BYTES)),
        ),
        Row::new(
            "transaction_index_index",
            "",
            &(thin(0) + &thin(32) + &thin(MESSAGE)),
        ),
        Row::new("wasm_tracing_enabled", "", &fat(LARGE, 32)),
        Row::new("storage_proof_size_storage_proof_size", "", ""),
        Row::new("fuel_left", "", ""),
    ]
}

/// A module that has to be compiled to ask it for its version: 32 KiB of arithmetic.
fn code_without_version() -> Vec<u8> {
    let steps = "local.get 0 local.get 1 i64.add local.tee 1 local.get 0 i64.mul local.set 0 ";
    let functions = format!("(func (param i64 i64) {})", steps.repeat(128));
    let text = format!(
        "(module (memory (export \"memory\") 1)
            (global (export \"__heap_base\") i32 (i32.const 0)) {})",
        functions.repeat(20)
    );
    // What it is does not matter if it cannot be made: the row then says so.
    wat::parse_str(text).unwrap_or_default()
}
