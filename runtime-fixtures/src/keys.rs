//! Keys whose signatures are the same every time.
//!
//! An sr25519 signature takes randomness; here it is derived from the message, so that authoring
//! twice gives the same bytes. Invariant: the signatures verify under the context `substrate`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use schnorrkel::context::{attach_rng, signing_context};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, SecretKey};
use sp_core::crypto::Pair as _;

/// A seed, a path or a secret that the key library refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sr25519: {reason}")]
pub struct KeyError {
    /// What it said.
    pub reason: String,
}

impl KeyError {
    fn new(refusal: impl std::fmt::Display) -> Self {
        let reason = refusal.to_string();
        Self { reason }
    }
}

/// A key pair of an authored chain.
pub struct Key {
    pair: Keypair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let account = sp_core::H256(self.account());
        formatter.debug_tuple("Key").field(&account).finish()
    }
}

impl Key {
    /// The key of a name.
    ///
    /// # Errors
    /// The key library refuses the seed.
    pub fn named(name: &str) -> Result<Self, KeyError> {
        let seed = sp_crypto_hashing::blake2_256(name.as_bytes());
        let secret = MiniSecretKey::from_bytes(&seed).map_err(KeyError::new)?;
        Ok(Self {
            pair: secret.expand_to_keypair(ExpansionMode::Ed25519),
        })
    }

    /// A development key that every Substrate node knows, such as `Alice`.
    ///
    /// # Errors
    /// The key library refuses the path.
    pub fn development(name: &str) -> Result<Self, KeyError> {
        let pair = sp_core::sr25519::Pair::from_string(&format!("//{name}"), None)
            .map_err(KeyError::new)?;
        Ok(Self {
            pair: pair.as_ref().clone(),
        })
    }

    /// The key of account zero, whose secret everybody knows.
    ///
    /// # Errors
    /// The key library refuses the secret.
    pub fn zero() -> Result<Self, KeyError> {
        let secret = SecretKey::from_bytes(&[0; 64]).map_err(KeyError::new)?;
        Ok(Self {
            pair: secret.to_keypair(),
        })
    }

    /// The public key, which is the account.
    #[must_use]
    pub fn account(&self) -> [u8; 32] {
        self.pair.public.to_bytes()
    }

    /// The signature of a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let transcript = signing_context(b"substrate").bytes(message);
        // A hash is as random as what it is made of.
        let seed = message
            .try_into()
            .unwrap_or_else(|_not_32| sp_crypto_hashing::blake2_256(message));
        let rng = ChaCha20Rng::from_seed(seed);
        self.pair.sign(attach_rng(transcript, rng)).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn development_keys_are_the_well_known_ones() {
        let alice = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
        let key = Key::development("Alice").unwrap();
        assert_eq!(
            format!("{:?}", sp_core::H256(key.account())),
            format!("0x{alice}")
        );
        assert_eq!(Key::zero().unwrap().account(), [0; 32]);
    }
}
