//! Public keys of sr25519, unpacked: who signs once signs again, and unpacking a key is a tenth of a verification.
//!
//! Invariant: what is kept of a key depends on the key alone, and verdicts are those of `sp-core`, by the same library.
//! Cost: some two megabytes for the process; a look costs less than a hundredth of a verification.

use std::sync::OnceLock;

use quick_cache::sync::Cache;
use schnorrkel::PublicKey;
use sp_core::sr25519::{Public, Signature};

/// Keys that are kept, of 200 bytes each.
const KEYS_MAX: usize = 1 << 13;

/// What `sp-core` has signatures be made for.
const CONTEXT: &[u8] = b"substrate";

/// The key, if it is one.
fn unpacked(key: &Public) -> Option<PublicKey> {
    static KEYS: OnceLock<Cache<[u8; 32], PublicKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Cache::new(KEYS_MAX));
    if let Some(known) = keys.get(&key.0) {
        return Some(known);
    }
    let unpacked = PublicKey::from_bytes(&key.0).ok()?;
    keys.insert(key.0, unpacked);
    Some(unpacked)
}

/// Whether `signature` of `message` is by the owner of `key`.
pub(crate) fn verify(signature: &Signature, message: &[u8], key: &Public) -> bool {
    let signature = schnorrkel::Signature::from_bytes(&signature.0);
    let (Ok(signature), Some(key)) = (signature, unpacked(key)) else {
        return false;
    };
    key.verify_simple(CONTEXT, message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use sp_core::{Pair as _, sr25519::Pair};

    use super::*;

    #[test]
    fn verdicts_are_those_of_the_original() {
        let mut right = 0;
        for number in 0..600_u16 {
            let mut seed = [0; 32];
            seed[0] = u8::try_from(number % 5).expect("small");
            let pair = Pair::from_seed(&seed);
            let message = number.to_le_bytes();
            let (mut signature, mut key) = (pair.sign(&message), pair.public());
            let bit = 1 << (number % 8);
            let byte = usize::from(number / 8);
            match number % 3 {
                1 => signature.0[byte % 64] ^= bit,
                2 => key.0[byte % 32] ^= bit,
                _ => {}
            }
            let expected = sp_io::crypto::sr25519_verify(&signature, &message, &key);
            right += usize::from(expected);
            // The second time the key is known.
            assert_eq!(verify(&signature, &message, &key), expected, "{number}");
            assert_eq!(verify(&signature, &message, &key), expected, "{number}");
        }
        assert_eq!(right, 200);
    }
}
