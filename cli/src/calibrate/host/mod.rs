//! Host functions: what each costs that a guest can call on a state in memory, by itself, on much, and
//! where it has most to do for what is paid.
//!
//! Invariant: what a guest needs beside the call, such as another key for each, costs far less than
//! the call. Results are not freed: they lie in memory never touched before, the dearest there is.

mod pure;
mod storage;

use super::{
    guest::{COUNT_LOCALS, Guest, data},
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
            rounds_max: 400_000,
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
            bench.with_keys(
                (0..KEYS)
                    .map(|number| (key(number), vec![0xcd; 32]))
                    .collect(),
            )
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
        let types = letters
            .chars()
            .map(|letter| if letter == 'i' { "i32 " } else { "i64 " });
        types.collect::<String>()
    };
    // Behind each call come arguments, or its end.
    let called = |name: &str| {
        [' ', ')']
            .iter()
            .any(|end| text.contains(&format!("$ext_{name}{end}")))
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
    let mut key = b"a prefix of 24 characters"
        .get(..24)
        .unwrap_or_default()
        .to_vec();
    key.extend(u64::from(number).to_le_bytes());
    key
}

/// All rows.
pub(super) fn benches() -> Vec<Bench> {
    let rows = pure::rows().into_iter().chain(storage::rows());
    rows.map(Row::bench).collect()
}
