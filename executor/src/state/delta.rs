//! The changes a root is calculated from: what of them the trie is given, and a digest to notice
//! changes made after a calculation.

use std::collections::BTreeMap;

use sp_core::storage::well_known_keys::is_child_storage_key;

/// The last change of each key, without deletions of keys that are not there: asked to remove an
/// absent key that other keys begin with, trie-db (as of 0.32) removes one of those, or panics.
///
/// This is where the root departs from the reference's, on purpose: the state that is committed and
/// its root must belong together.
pub(super) fn effective_delta<'a>(
    delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    exists: impl Fn(&[u8]) -> bool,
) -> BTreeMap<&'a [u8], Option<&'a [u8]>> {
    let mut delta: BTreeMap<_, _> = delta.collect();
    delta.retain(|key, value| value.is_some() || exists(key));
    delta
}

/// BLAKE2b-256 of the changes of the top trie. Roots of child tries do not count, for a calculation
/// adds them itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaDigest([u8; 32]);

/// A digest being made.
pub(super) struct DeltaHasher(blake2b_simd::State);

impl DeltaHasher {
    pub(super) fn new() -> Self {
        Self(blake2b_simd::Params::new().hash_length(32).to_state())
    }

    /// Adds one change; changes come in the order of their keys.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        if is_child_storage_key(key) {
            return;
        }
        self.add_bytes(key);
        self.0.update(&[u8::from(value.is_some())]);
        self.add_bytes(value.unwrap_or_default());
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(super) fn finish(&self) -> DeltaDigest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finalize().as_bytes());
        DeltaDigest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(changes: &[(&[u8], Option<&[u8]>)]) -> DeltaDigest {
        let mut hasher = DeltaHasher::new();
        for (key, value) in changes {
            hasher.add(key, *value);
        }
        hasher.finish()
    }

    #[test]
    fn every_change_changes_the_digest_and_child_roots_do_not() {
        let base = digest(&[(b"a", Some(b"1"))]);
        assert_eq!(base, digest(&[(b"a", Some(b"1"))]));
        for other in [
            [(b"a".as_slice(), Some(b"2".as_slice()))],
            [(b"a", None)],
            [(b"a", Some(b""))],
            [(b"a1", Some(b""))],
        ] {
            assert_ne!(base, digest(&other));
        }
        let child = b":child_storage:default:c".as_slice();
        assert_eq!(base, digest(&[(child, Some(b"r")), (b"a", Some(b"1"))]));
    }

    #[test]
    fn the_last_change_counts_and_absent_keys_stay_away() {
        let changes = [
            (b"new".as_slice(), Some(b"1".as_slice())),
            (b"new", None),
            (b"old", None),
        ];
        let delta = effective_delta(changes.into_iter(), |key| key == b"old");
        assert_eq!(delta, BTreeMap::from([(b"old".as_slice(), None)]));
    }
}
