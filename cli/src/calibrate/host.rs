//! Host functions: what each costs that a guest can call on a state in memory, by itself, on much, and
//! where it has most to do for what is paid.
//!
//! Invariant: what a guest needs beside the call, such as another key for each, costs far less than
//! the call. Results are not freed: they lie in memory never touched before, the dearest there is.

use sp_core::{Pair, ecdsa, ed25519, sr25519};
use sp_crypto_hashing::blake2_256;

use super::{
    guest::{COUNT_LOCALS, Guest, data, repeated},
    measure::Bench,
};

/// Where things lie in the guest.
const KEY: u32 = 4_096;
const VALUE: u32 = 4_352;
const CHILD: u32 = 4_608;
const SIGNATURE: u32 = 4_864;
const PUBLIC: u32 = 5_120;
const MESSAGE: u32 = 5_376;
const LIST: u32 = 8_192;
const LARGE: u32 = 65_536;
const CODE: u32 = 131_072;

/// Bytes of a key. The last 8 are its number.
const KEY_BYTES: u32 = 32;
const NUMBER: u32 = KEY + 24;
const VALUE_BYTES: u32 = 32;
/// Bytes of what is large.
const LARGE_BYTES: u32 = 65_536;
/// Bytes that are paid for together.
const BYTES: u32 = 64;
/// Keys in the state, and in layers over it.
const KEYS: u32 = 4_096;
/// Room for results that are as large as [`LARGE`]; each takes twice the bytes.
const LARGE_RESULTS_MAX: u32 = 900;

/// Parameters and results: `i` for 32 bits, `l` for 64.
const SIGNATURES: &[(&str, &str, &str)] = &[
    ("hashing_twox_64", "l", "i"),
    ("hashing_twox_128", "l", "i"),
    ("hashing_twox_256", "l", "i"),
    ("hashing_blake2_128", "l", "i"),
    ("hashing_blake2_256", "l", "i"),
    ("hashing_keccak_256", "l", "i"),
    ("hashing_keccak_512", "l", "i"),
    ("hashing_sha2_256", "l", "i"),
    ("storage_get", "l", "l"),
    ("storage_read", "lli", "l"),
    ("storage_set", "ll", ""),
    ("storage_clear", "l", ""),
    ("storage_exists", "l", "i"),
    ("storage_clear_prefix", "l", ""),
    ("storage_append", "ll", ""),
    ("storage_root", "", "l"),
    ("storage_next_key", "l", "l"),
    ("storage_start_transaction", "", ""),
    ("storage_rollback_transaction", "", ""),
    ("storage_commit_transaction", "", ""),
    ("default_child_storage_get", "ll", "l"),
    ("default_child_storage_read", "llli", "l"),
    ("default_child_storage_set", "lll", ""),
    ("default_child_storage_clear", "ll", ""),
    ("default_child_storage_exists", "ll", "i"),
    ("default_child_storage_clear_prefix", "ll", ""),
    ("default_child_storage_storage_kill", "l", ""),
    ("default_child_storage_root", "l", "l"),
    ("default_child_storage_next_key", "ll", "l"),
    ("trie_blake2_256_root", "l", "i"),
    ("trie_blake2_256_ordered_root", "l", "i"),
    ("trie_keccak_256_ordered_root", "l", "i"),
    ("trie_blake2_256_verify_proof", "illl", "i"),
    ("crypto_ed25519_verify", "ili", "i"),
    ("crypto_sr25519_verify", "ili", "i"),
    ("crypto_ecdsa_verify", "ili", "i"),
    ("crypto_ecdsa_verify_prehashed", "iii", "i"),
    ("crypto_secp256k1_ecdsa_recover", "ii", "l"),
    ("crypto_secp256k1_ecdsa_recover_compressed", "ii", "l"),
    ("allocator_malloc", "i", "i"),
    ("allocator_free", "i", ""),
    ("logging_max_level", "", "i"),
    ("logging_log", "ill", ""),
    ("misc_print_hex", "l", ""),
    ("misc_runtime_version", "l", "l"),
    ("offchain_index_set", "ll", ""),
    ("transaction_index_index", "iii", ""),
    ("wasm_tracing_enabled", "l", "i"),
    ("storage_proof_size_storage_proof_size", "", "l"),
    ("fuel_left", "", "l"),
];

/// One row, in the making.
struct Row {
    function: &'static str,
    /// What is special about it.
    about: String,
    guest: Guest,
    /// Units in a round.
    units: u32,
    /// The part of the function's price that it tests, or another price, and how often a unit pays it.
    price: Price,
    rounds_max: u32,
    keys: bool,
}

/// Which price a row tests.
enum Price {
    Call,
    Passed(u32),
    Returned(u32),
    Other(&'static str),
}

impl Row {
    /// Calls of `function` with these arguments, in the text format.
    fn new(function: &'static str, about: impl Into<String>, arguments: &str) -> Self {
        let about = about.into();
        Self::doing(function, about, &call(function, arguments))
    }

    /// `step` each round, in which `function` is called.
    fn doing(function: &'static str, about: impl Into<String>, step: &str) -> Self {
        let guest = Guest {
            locals: COUNT_LOCALS.to_owned(),
            body: step.to_owned(),
            ..Guest::default()
        };
        Self {
            function,
            about: about.into(),
            guest,
            units: 1,
            price: Price::Call,
            rounds_max: 100_000,
            keys: false,
        }
    }

    fn with(mut self, at: u32, bytes: &[u8]) -> Self {
        self.guest.items += &data(at, bytes);
        self
    }

    /// Does this once, before.
    fn after(mut self, setup: &str) -> Self {
        self.guest.setup += setup;
        self
    }

    fn tests(mut self, price: Price) -> Self {
        self.price = price;
        self
    }

    fn each_of(mut self, units: u32) -> Self {
        self.units = units;
        self
    }

    fn at_most(mut self, rounds: u32) -> Self {
        self.rounds_max = rounds;
        self
    }

    /// On a state with [`KEYS`] keys.
    fn on_keys(mut self) -> Self {
        self.keys = true;
        self
    }

    fn bench(mut self) -> Bench {
        let text = format!("{} {}", self.guest.setup, self.guest.body);
        self.guest.imports = imports(&text);
        self.guest.items += &data(KEY, &key(0));
        self.guest.items += &data(VALUE, &[0xab; VALUE_BYTES as usize]);
        self.guest.items += &data(CHILD, b"child");
        let name = if self.about.is_empty() {
            self.function.to_owned()
        } else {
            format!("{}, {}", self.function, self.about)
        };
        let host = |part| format!("host {} {part}", import_name(self.function));
        let (price, times) = match self.price {
            Price::Call => (host("call"), 1),
            Price::Passed(bytes) => (host("passed"), bytes / BYTES),
            Price::Returned(bytes) => (host("returned"), bytes / BYTES),
            Price::Other(name) => (name.to_owned(), 1),
        };
        let bench = Bench::guest(name, &self.guest)
            .units(self.units)
            .at_most(self.rounds_max)
            .tests(price, f64::from(times));
        if self.keys {
            bench.with_keys((0..KEYS).map(|number| (key(number), vec![0xcd; 32])).collect())
        } else {
            bench
        }
    }
}

/// The name a function is imported by.
fn import_name(function: &str) -> String {
    format!("ext_{function}_version_1")
}

/// Imports of all functions that `text` calls.
fn imports(text: &str) -> String {
    let types = |letters: &str| {
        let types = letters.chars().map(|letter| if letter == 'i' { "i32 " } else { "i64 " });
        types.collect::<String>()
    };
    let called = |name: &str| {
        let calls = text.match_indices(&format!("$ext_{name}")).map(|(at, found)| at + found.len());
        calls.into_iter().any(|end| !text[end..].starts_with(|next: char| next == '_' || next.is_alphanumeric()))
    };
    let functions = SIGNATURES.iter().filter(|(name, ..)| called(name));
    let import = |(name, parameters, results): &(&str, &str, &str)| {
        format!(
            "(import \"env\" \"{}\" (func $ext_{name} (param {}) (result {})))\n",
            import_name(name),
            types(parameters),
            types(results)
        )
    };
    functions.map(import).collect()
}

/// A call whose result, if it has one, is dropped.
fn call(function: &str, arguments: &str) -> String {
    let signature = SIGNATURES.iter().find(|(name, ..)| *name == function);
    let call = format!("(call $ext_{function} {arguments})");
    match signature {
        Some((_, _, "")) | None => call,
        Some(_) => format!("(drop {call})"),
    }
}

/// An argument: a pointer and a length in one.
fn fat(at: u32, length: u32) -> String {
    format!("(i64.const {}) ", (u64::from(length) << 32) | u64::from(at))
}

/// An argument: a pointer or a number.
fn thin(value: u32) -> String {
    format!("(i32.const {value}) ")
}

/// The bytes of a key.
fn key(number: u32) -> Vec<u8> {
    let mut key = b"a prefix of 24 characters".get(..24).unwrap_or_default().to_vec();
    key.extend(u64::from(number).to_le_bytes());
    key
}

fn the_key() -> String {
    fat(KEY, KEY_BYTES)
}

fn the_value() -> String {
    fat(VALUE, VALUE_BYTES)
}

/// Makes the key another one of [`KEYS`].
fn next_number() -> String {
    format!(
        "(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (i32.and (local.get $rounds)
            (i32.const {}))))",
        KEYS - 1
    )
}

/// Opens a layer, and writes [`KEYS`] keys in it.
fn changed_keys() -> String {
    let number = format!(
        "(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (local.get $count)))"
    );
    let set = call("storage_set", &(the_key() + &the_value()));
    format!(
        "{} {}",
        call("storage_start_transaction", ""),
        repeated(KEYS, &(number + &set))
    )
}

/// All rows.
pub(super) fn benches() -> Vec<Bench> {
    let mut rows = hashing();
    rows.extend(reading());
    rows.extend(writing());
    rows.extend(walking());
    rows.extend(children());
    rows.extend(signatures());
    rows.extend(tries());
    rows.extend(others());
    rows.into_iter().map(Row::bench).collect()
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

fn reading() -> Vec<Row> {
    let key = the_key();
    let number = next_number();
    let large_value = call("storage_start_transaction", "")
        + &call("storage_set", &(key.clone() + &fat(LARGE, LARGE_BYTES)));
    let read = |bytes| key.clone() + &fat(LARGE, bytes) + &thin(0);
    // Doubled four times: 1 MiB.
    vec![
        Row::new("storage_get", "no such key", &key),
        Row::doing("storage_get", "of the state", &(number.clone() + &call("storage_get", &key)))
            .on_keys(),
        Row::new("storage_get", "64 KiB", &key)
            .after(&large_value)
            .tests(Price::Returned(LARGE_BYTES))
            .at_most(LARGE_RESULTS_MAX),
        Row::new("storage_read", "32 bytes of 32", &read(32)).on_keys(),
        Row::new("storage_read", "32 bytes of 64 KiB", &read(32)).after(&large_value),
        Row::new("storage_read", "64 KiB", &read(LARGE_BYTES))
            .after(&large_value)
            .tests(Price::Passed(LARGE_BYTES)),
        Row::doing(
            "storage_exists",
            "of the state",
            &(number + &call("storage_exists", &key)),
        )
        .on_keys(),
        Row::new("storage_exists", "64 KiB", &key).after(&large_value),
    ]
}

fn writing() -> Vec<Row> {
    let (key, value) = (the_key(), the_value());
    let start = call("storage_start_transaction", "");
    let rollback = call("storage_rollback_transaction", "");
    let commit = call("storage_commit_transaction", "");
    let set = call("storage_set", &(key.clone() + &value));
    let other_key = format!(
        "(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (local.get $rounds)))"
    );
    let large = key.clone() + &fat(LARGE, LARGE_BYTES);
    let append = key.clone() + &value;
    let begin_large = start.clone() + &call("storage_set", &(key.clone() + &fat(LIST, 4)));
    let grown = repeated(1_000, &call("storage_append", &large));
    vec![
        Row::new("storage_set", "the same key", &append).after(&start),
        Row::doing("storage_set", "another key", &(other_key + &set)).after(&start),
        Row::new("storage_set", "64 KiB", &large)
            .after(&start)
            .tests(Price::Passed(LARGE_BYTES)),
        Row::doing(
            "storage_clear",
            "of the state",
            &(next_number() + &call("storage_clear", &key)),
        )
        .after(&start)
        .on_keys(),
        Row::new("storage_append", "32 bytes", &append).after(&start),
        Row::new("storage_append", "64 KiB", &large)
            .after(&start)
            .tests(Price::Passed(LARGE_BYTES))
            .at_most(4_000),
        Row::doing(
            "storage_append",
            "to 64 MB, in a layer rolled back",
            &(start.clone() + &call("storage_append", &append) + &rollback),
        )
        .after(&(begin_large + &grown)),
        Row::doing(
            "storage_start_transaction",
            "and rolled back",
            &(start.clone() + &rollback),
        ),
        Row::doing(
            "storage_rollback_transaction",
            "of one key",
            &(start.clone() + &set + &rollback),
        ),
        Row::doing(
            "storage_commit_transaction",
            "of one key",
            &(start.clone() + &set + &commit),
        )
        .after(&start),
    ]
}

/// Keys stepped over, and roots.
fn walking() -> Vec<Row> {
    let key = the_key();
    let prefix = fat(KEY, 24);
    let start = call("storage_start_transaction", "");
    let rollback = call("storage_rollback_transaction", "");
    let clear_all = call("storage_clear_prefix", &prefix);
    let set = call("storage_set", &(the_key() + &the_value()));
    let change = format!(
        "(i32.store (i32.const {VALUE}) (local.get $rounds)) {set}"
    );
    let root = call("storage_root", "");
    vec![
        Row::doing(
            "storage_next_key",
            "of the state",
            &(next_number() + &call("storage_next_key", &key)),
        )
        .on_keys(),
        Row::new("storage_next_key", "behind 4,096 removed, each", &prefix)
            .after(&(start.clone() + &clear_all))
            .on_keys()
            .each_of(KEYS)
            .tests(Price::Other("keys walked")),
        Row::new("storage_next_key", "behind 4,096 removed in layers", &prefix)
            .after(&(changed_keys() + &clear_all)),
        Row::new("storage_clear_prefix", "of nothing", &prefix).after(&start),
        Row::doing(
            "storage_clear_prefix",
            "4,096 keys, each",
            &(start.clone() + &clear_all + &rollback),
        )
        .on_keys()
        .each_of(KEYS)
        .tests(Price::Other("keys walked")),
        Row::new("storage_clear_prefix", "4,096 keys of layers", &prefix).after(&changed_keys()),
        Row::doing("storage_root", "one key changed", &(change.clone() + &root))
            .after(&start)
            .on_keys(),
        Row::new("storage_root", "unchanged", "").after(&(start + &change + &root)),
        Row::doing("storage_root", "4,096 keys changed, each", &(change + &root))
            .after(&changed_keys())
            .on_keys()
            .each_of(KEYS)
            .tests(Price::Other("keys rooted")),
    ]
}

fn children() -> Vec<Row> {
    let child = fat(CHILD, 5);
    let child_key = child.clone() + &the_key();
    let pair = child_key.clone() + &the_value();
    let start = call("storage_start_transaction", "");
    let set = call("default_child_storage_set", &pair);
    let begin = start.clone() + &set;
    let root = call("default_child_storage_root", &child);
    vec![
        Row::new("default_child_storage_get", "", &child_key).after(&begin),
        Row::new(
            "default_child_storage_read",
            "32 bytes",
            &(child_key.clone() + &fat(LARGE, 32) + &thin(0)),
        )
        .after(&begin),
        Row::new("default_child_storage_exists", "", &child_key).after(&begin),
        Row::new("default_child_storage_set", "", &pair).after(&start),
        Row::new("default_child_storage_clear", "", &child_key).after(&begin),
        Row::new("default_child_storage_next_key", "", &child_key).after(&begin),
        Row::new("default_child_storage_clear_prefix", "", &child_key).after(&begin),
        Row::new("default_child_storage_storage_kill", "", &child).after(&begin),
        Row::doing("default_child_storage_root", "one key changed", &(set + &root)).after(&begin),
    ]
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
            ("crypto_ed25519_verify", ed.sign(message).0.to_vec(), ed.public().0.to_vec()),
            ("crypto_sr25519_verify", sr.sign(message).0.to_vec(), sr.public().0.to_vec()),
            ("crypto_ecdsa_verify", ec.sign(message).0.to_vec(), ec.public().0.to_vec()),
        ];
        for (function, signature, public) in keys {
            let price = if length > BYTES { Price::Passed(length) } else { Price::Call };
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
        ("crypto_ecdsa_verify_prehashed", prehashed.clone() + &thin(PUBLIC)),
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
