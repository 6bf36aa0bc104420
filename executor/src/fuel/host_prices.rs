//! What host functions cost by default: fuel for the call, for what is passed, for what comes back.
//!
//! The figures are nanoseconds measured by `slackwater calibrate`, times the five operators that a guest
//! executes in one, times two, rounded up generously: a price too high costs a guest a little, one too
//! low lets it stop a node. What reads the state is priced for a disk.

/// What a host function costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPrice {
    /// Fuel for a call.
    pub base: u32,
    /// Fuel for each 64 bytes its arguments point to.
    pub passed: u16,
    /// Fuel for each 64 bytes its result points to.
    pub returned: u16,
}

const fn price(base: u32, passed: u16, returned: u16) -> HostPrice {
    HostPrice {
        base,
        passed,
        returned,
    }
}

/// What a function costs that is not in [`PRICES`].
pub(super) const OTHERWISE: HostPrice = price(1_000, 16, 0);

/// Beginnings of names, without `ext_`; of several that fit, the longest counts.
const PRICES: &[(&str, HostPrice)] = &[
    ("allocator_", price(600, 0, 0)),
    ("logging_", price(500, 64, 0)),
    ("misc_print_", price(1_000, 64, 0)),
    // Reads the sections of a module; one without them is compiled.
    ("misc_runtime_version_", price(20_000, u16::MAX, 16)),
    ("storage_get_", price(10_000, 16, 256)),
    ("storage_read_", price(10_000, 64, 0)),
    ("storage_exists_", price(10_000, 16, 0)),
    // What is written is hashed at the end of the block.
    ("storage_set_", price(25_000, 320, 0)),
    ("storage_clear_version", price(25_000, 32, 0)),
    ("storage_append_", price(25_000, 320, 0)),
    ("storage_clear_prefix_", price(20_000, 16, 0)),
    ("storage_next_key_", price(20_000, 16, 16)),
    ("storage_root_", price(50_000, 0, 0)),
    ("storage_start_transaction_", price(2_000, 0, 0)),
    ("storage_rollback_transaction_", price(5_000, 0, 0)),
    ("storage_commit_transaction_", price(5_000, 0, 0)),
    ("default_child_storage_get_", price(10_000, 16, 256)),
    ("default_child_storage_read_", price(10_000, 64, 0)),
    ("default_child_storage_exists_", price(10_000, 16, 0)),
    ("default_child_storage_set_", price(25_000, 320, 0)),
    ("default_child_storage_clear_version", price(25_000, 32, 0)),
    ("default_child_storage_clear_prefix_", price(20_000, 16, 0)),
    ("default_child_storage_storage_kill_", price(20_000, 16, 0)),
    ("default_child_storage_next_key_", price(20_000, 16, 16)),
    ("default_child_storage_root_", price(50_000, 16, 0)),
    ("trie_", price(5_000, u16::MAX, 0)),
    ("hashing_twox_", price(1_000, 192, 0)),
    ("hashing_blake2_", price(1_000, 320, 0)),
    ("hashing_keccak_", price(2_000, 2_560, 0)),
    ("hashing_sha2_", price(2_000, 960, 0)),
    ("crypto_ed25519_", price(250_000, 960, 0)),
    ("crypto_sr25519_", price(300_000, 1_640, 0)),
    ("crypto_ecdsa_", price(1_400_000, 320, 0)),
    ("crypto_ecdsa_verify_prehashed_", price(300_000, 0, 0)),
    ("crypto_secp256k1_", price(1_400_000, 0, 0)),
    ("crypto_ecdsa_bls381_", price(5_000_000, 320, 0)),
    ("crypto_bls381_", price(5_000_000, 320, 0)),
    ("crypto_bandersnatch_", price(2_000_000, 320, 0)),
    ("offchain_", price(20_000, 64, 16)),
    ("offchain_index_", price(3_000, 32, 0)),
    ("transaction_index_", price(3_000, 0, 0)),
];

/// Functions with arguments of 64 bits that are numbers, not a pointer and a length.
pub(super) const NUMBERS: &[&str] = &[
    "ext_misc_print_num_version_1",
    "ext_offchain_sleep_until_version_1",
    "ext_wasm_tracing_exit_version_1",
];

/// Functions whose results of 64 bits are numbers.
pub(super) const NUMBER_RESULTS: &[&str] = &[
    "ext_offchain_timestamp_version_1",
    "ext_wasm_tracing_enter_span_version_1",
    "ext_storage_proof_size_storage_proof_size_version_1",
    FUEL_LEFT,
];

/// Functions that change one key. What that costs in the end, to store it and to store its place in
/// the trie, is paid by nobody else.
pub(super) const WRITERS: &[&str] = &[
    "ext_storage_set_version_1",
    "ext_storage_clear_version_1",
    "ext_storage_append_version_1",
    "ext_default_child_storage_set_version_1",
    "ext_default_child_storage_clear_version_1",
];

/// The host function that tells a guest what is left of its limit.
pub const FUEL_LEFT: &str = "ext_fuel_left_version_1";

/// What `name` costs by default.
pub(super) fn of(name: &str) -> HostPrice {
    let short = name.strip_prefix("ext_").unwrap_or(name);
    let fitting = PRICES.iter().filter(|(start, _)| short.starts_with(start));
    let longest = fitting.max_by_key(|(start, _)| start.len());
    longest.map_or(OTHERWISE, |(_, price)| *price)
}

/// Passes everything in this file that decides a price on, piece by piece.
pub(super) fn feed(mut taker: impl FnMut(&[u8])) {
    let prices = PRICES.iter().chain([&("", OTHERWISE)]);
    for (start, price) in prices {
        taker(start.as_bytes());
        taker(&[0]);
        taker(&price.base.to_le_bytes());
        taker(&price.passed.to_le_bytes());
        taker(&price.returned.to_le_bytes());
    }
    for list in [NUMBERS, NUMBER_RESULTS] {
        for name in list {
            taker(name.as_bytes());
            taker(&[0]);
        }
        taker(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_counts() {
        assert_eq!(of("ext_crypto_ecdsa_verify_version_2").base, 1_400_000);
        assert_eq!(
            of("ext_crypto_ecdsa_bls381_generate_version_1").base,
            5_000_000
        );
        assert_eq!(of("ext_offchain_index_set_version_1").base, 3_000);
        assert_eq!(of("ext_of_somebody_version_1"), OTHERWISE);
    }

    /// A beginning that fits no function is a mistake in spelling.
    #[test]
    fn every_price_is_for_some_function() {
        use slackwater_host_functions::{HostFunctions, SlackwaterHostFunctions};
        let functions = SlackwaterHostFunctions::host_functions();
        let names: Vec<_> = functions.iter().map(|function| function.name()).collect();
        // Behind a feature of the Polkadot SDK: a node adds them to its set.
        let experimental = [
            "crypto_ecdsa_bls381_",
            "crypto_bls381_",
            "crypto_bandersnatch_",
        ];
        for (start, _) in PRICES {
            let offered = format!("ext_{start}");
            let offered = names.iter().any(|name| name.starts_with(&offered));
            assert_eq!(offered, !experimental.contains(start), "{start}");
        }
        for name in NUMBERS.iter().chain(NUMBER_RESULTS).chain(WRITERS) {
            assert!(names.contains(name), "{name}");
        }
    }
}
