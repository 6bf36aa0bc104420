//! Keys whose signatures are the same every time.
//!
//! An sr25519 signature takes randomness; here it is derived from the message, so that authoring
//! twice gives the same bytes. Invariant: the signatures verify under the context `substrate`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use schnorrkel::context::{attach_rng, signing_context};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};

use crate::error::OracleError;

/// A key pair of the fixture chain.
pub struct Key {
    pair: Keypair,
}

impl Key {
    /// The key of a name.
    ///
    /// # Errors
    /// The key library refuses the seed.
    pub fn named(name: &str) -> Result<Self, OracleError> {
        let seed = sp_crypto_hashing::blake2_256(name.as_bytes());
        let secret = MiniSecretKey::from_bytes(&seed)
            .map_err(|refusal| OracleError::Key(refusal.to_string()))?;
        Ok(Self {
            pair: secret.expand_to_keypair(ExpansionMode::Ed25519),
        })
    }

    /// The public key, which is the account.
    #[must_use]
    pub fn account(&self) -> [u8; 32] {
        self.pair.public.to_bytes()
    }

    /// The signature of a message that is a hash.
    #[must_use]
    pub fn sign(&self, message: &[u8; 32]) -> [u8; 64] {
        let transcript = signing_context(b"substrate").bytes(message);
        let rng = ChaCha20Rng::from_seed(*message);
        self.pair.sign(attach_rng(transcript, rng)).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::crypto::Pair as _;
    use sp_core::sr25519;

    #[test]
    fn signatures_are_the_same_every_time_and_right() {
        let key = Key::named("someone").unwrap();
        let message = [7; 32];
        let signature = key.sign(&message);
        assert_eq!(signature, Key::named("someone").unwrap().sign(&message));
        assert_ne!(signature, key.sign(&[8; 32]));
        let public = sr25519::Public::from_raw(key.account());
        let signature = sr25519::Signature::from_raw(signature);
        assert!(sr25519::Pair::verify(&signature, message, &public));
        assert!(!sr25519::Pair::verify(&signature, [8; 32], &public));
    }
}
