//! Cases in which the host does what it is asked to.

use codec::Encode;
use slackwater_runtime_fixtures::cases::CASES_WASM;
use sp_core::{Blake2Hasher, Pair, ed25519, sr25519};
use sp_crypto_hashing::{blake2_128, blake2_256, sha2_256, twox_128, twox_256};
use sp_trie::{LayoutV1, TrieConfiguration};

use super::case::{Case, Special, Step};

const DONE: &[u8] = b"all ok!";
/// Longer than 32 bytes, so that the version of the trie matters.
const LONG: &[u8] = &[7; 60];
const GREETING: &[u8] = b"Hello world!";

pub(crate) fn cases() -> Vec<Case> {
    [plain(), storage(), hashes(), signatures(), numbers()].concat()
}

fn guest(name: &'static str, stands_for: &'static [&'static str], steps: &[Step]) -> Case {
    Case::new(name, stands_for, CASES_WASM, steps)
}

fn plain() -> Vec<Case> {
    vec![
        guest(
            "nothing comes back from a call that returns nothing",
            &["returning_should_work", "call_in_interpreted_wasm_works"],
            &[Step::gives("return_nothing", &[], &[])],
        ),
        guest(
            "a number comes back",
            &["return_value"],
            &[Step::gives("return_number", &[], &1_234_u64.encode())],
        ),
        guest(
            "a negative byte comes back",
            &["return_i8"],
            &[Step::gives("return_small", &[], &(-66_i8).encode())],
        ),
        guest(
            "a negative byte arrives",
            &["take_i8"],
            &[Step::gives("take_small", &(-66_i8).encode(), &[])],
        ),
        guest(
            "the last byte of the memory comes back",
            &["return_max_memory_offset"],
            &[Step::gives("output_at_end", &[], &[u8::MAX])],
        ),
    ]
}

/// More calls than a store of the engine holds instances.
pub(crate) fn repeated() -> Vec<Case> {
    vec![guest(
        "instances are not used up",
        &["test_instances_without_reuse_are_not_leaked"],
        &[Step::gives("return_nothing", &[0], &[]).times(10_001)],
    )]
}

fn storage() -> Vec<Case> {
    vec![
        guest(
            "values are read and written",
            &["storage_should_work"],
            &[Step::gives("store_and_copy", LONG, DONE)],
        )
        .state(
            &[(b"foo", b"bar")],
            &[(b"foo", b"bar"), (b"baz", b"bar"), (b"input", LONG)],
        ),
        guest(
            "keys are deleted by prefix",
            &["clear_prefix_should_work"],
            &[Step::gives("clear_prefix", b"ab", DONE)],
        )
        .state(
            &[
                (b"aaa", b"1"),
                (b"aab", b"2"),
                (b"aba", b"3"),
                (b"abb", b"4"),
                (b"bbb", b"5"),
            ],
            &[(b"aaa", b"1"), (b"aab", b"2"), (b"bbb", b"5")],
        ),
        guest(
            "the root of a list is that of its trie",
            &["ordered_trie_root_should_work"],
            &[{
                let items: Vec<&[u8]> = vec![b"zero", b"one", b"two"];
                let root = LayoutV1::<Blake2Hasher>::ordered_trie_root(&items);
                Step::gives("ordered_root", &items.encode(), root.as_bytes())
            }],
        ),
    ]
}

fn hashes() -> Vec<Case> {
    let hash = |name, stands_for, entry, function: fn(&[u8]) -> Vec<u8>| {
        let step = |data: &[u8]| Step::gives(entry, data, &function(data));
        guest(name, stands_for, &[step(b""), step(GREETING)])
    };
    vec![
        hash(
            "BLAKE2b-256",
            &["blake2_256_should_work"],
            "hash_blake2_256",
            |data| blake2_256(data).to_vec(),
        ),
        hash(
            "BLAKE2b-128",
            &["blake2_128_should_work"],
            "hash_blake2_128",
            |data| blake2_128(data).to_vec(),
        ),
        hash(
            "SHA-256",
            &["sha2_256_should_work"],
            "hash_sha2_256",
            |data| sha2_256(data).to_vec(),
        ),
        hash(
            "XXHash of 256 bits",
            &["twox_256_should_work"],
            "hash_twox_256",
            |data| twox_256(data).to_vec(),
        ),
        hash(
            "XXHash of 128 bits",
            &["twox_128_should_work"],
            "hash_twox_128",
            |data| twox_128(data).to_vec(),
        ),
    ]
}

fn signatures() -> Vec<Case> {
    /// A good signature is good, one of something else is not.
    fn step<P: Pair<Seed = [u8; 32]>>(entry: &'static str, signed: &[u8], verdict: bool) -> Step {
        let pair = P::from_seed(&blake2_256(b"test"));
        let public = pair.public();
        let signature = pair.sign(signed);
        let parts = [public.as_ref(), signature.as_ref(), DONE];
        Step::gives(entry, &parts.concat(), &verdict.encode())
    }
    const OTHER: &[u8] = b"all is not ok!";
    vec![
        guest(
            "ed25519",
            &["ed25519_verify_should_work"],
            &[
                step::<ed25519::Pair>("verify_ed25519", DONE, true),
                step::<ed25519::Pair>("verify_ed25519", OTHER, false),
            ],
        ),
        guest(
            "sr25519",
            &["sr25519_verify_should_work"],
            &[
                step::<sr25519::Pair>("verify_sr25519", DONE, true),
                step::<sr25519::Pair>("verify_sr25519", OTHER, false),
            ],
        ),
    ]
}

/// One more to what is no number, with other bits than usual.
fn numbers() -> Vec<Case> {
    let input = (0x7f81_2345_u32, 1_u32).encode();
    let step = |sum: u32| [Step::gives("add_f32", &input, &sum.encode())];
    vec![
        guest(
            "what is no number has one pattern",
            &["test_nan_canonicalization"],
            &step(0x7fc0_0000),
        )
        .special(Special::CanonicalNans),
        guest(
            "what is no number has the pattern of the processor where that is wanted",
            &[],
            &step(0x7fc1_2345),
        )
        .special(Special::NativeNans),
    ]
}
