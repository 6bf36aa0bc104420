//! Whether the flat values are what the trie says, key by key, and the nodes what their hashes say.
//!
//! Cost: reads the whole state twice, in a memory that does not depend on its size.

use std::collections::BTreeSet;

use sp_core::{Blake2Hasher, hexdisplay::HexDisplay, storage::ChildInfo};
use sp_state_machine::{Backend, IterArgs, TrieBackend, TrieBackendBuilder};
use thiserror::Error;

use super::{
    BlockState, StateError, StateView,
    node_reader::NodeReader,
    schema::{CF_FLAT, FlatSpace},
};

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Keys, those of child tries and their roots included.
    pub keys: u64,
    /// Child tries.
    pub children: u64,
}

/// Why a state is not what it should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A value differs. The first, of the top trie or of a child's.
    #[error("{}", difference(.child.as_deref(), .key, .flat.as_deref(), .trie.as_deref()))]
    Differs {
        /// The child trie, by its storage key without prefix.
        child: Option<Vec<u8>>,
        /// The key.
        key: Vec<u8>,
        /// The flat value.
        flat: Option<Vec<u8>>,
        /// The trie's.
        trie: Option<Vec<u8>>,
    },
    /// Reading failed, or a node is missing or damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

fn difference(
    child: Option<&[u8]>,
    key: &[u8],
    flat: Option<&[u8]>,
    trie: Option<&[u8]>,
) -> String {
    let hex = |bytes: &[u8]| {
        let shown = &bytes[..bytes.len().min(64)];
        let text = HexDisplay::from(&shown);
        let more = bytes.len() - shown.len();
        if more > 0 {
            format!("0x{text}... and {more} bytes more")
        } else {
            format!("0x{text}")
        }
    };
    let value = |value: Option<&[u8]>| value.map_or_else(|| "nothing".to_owned(), hex);
    let trie_name = child.map_or_else(String::new, |child| format!("child trie {}, ", hex(child)));
    format!(
        "{trie_name}key {}: the flat value is {}, the trie's {}",
        hex(key),
        value(flat),
        value(trie)
    )
}

/// A key with its value.
type Pair = (Vec<u8>, Vec<u8>);

impl StateView<'_> {
    /// Compares all flat values with the trie, whose root is the head's; `progress` is told how many keys have been.
    ///
    /// # Errors
    /// [`CheckError`] for the first key that differs, or when reading failed.
    pub fn check_values(&self, mut progress: impl FnMut(u64)) -> Result<Checked, CheckError> {
        let mut checked = Checked::default();
        let trie: TrieBackend<_, Blake2Hasher> =
            TrieBackendBuilder::new(NodeReader::checking(self), self.head().state_root).build();
        let mut children = Vec::new();
        self.check_trie(&trie, None, |key| {
            if let Some(child) = child_of(key) {
                children.push(child);
            }
            checked.keys += 1;
            progress(checked.keys);
        })?;
        for child in &children {
            checked.children += 1;
            self.check_trie(&trie, Some(child), |_key| {
                checked.keys += 1;
                progress(checked.keys);
            })?;
        }
        let known = children.iter().map(ChildInfo::storage_key);
        self.check_strays(&known.collect())?;
        self.check()?;
        Ok(checked)
    }

    /// There are no flat values of child tries that the top trie has no root of.
    fn check_strays(&self, known: &BTreeSet<&[u8]>) -> Result<(), CheckError> {
        let all = FlatSpace::children();
        let mut start = Vec::new();
        while let Some(place) = self.scan(&all, &start, 1)?.pop_front() {
            let place = all.key(&place);
            let Some(child) = FlatSpace::child_of(&place) else {
                return Err(CheckError::State(StateError::Damaged {
                    record: CF_FLAT,
                    reason: "the key of a child trie is cut short".to_owned(),
                }));
            };
            let space = FlatSpace::child(child);
            if !known.contains(child) {
                return Err(CheckError::Differs {
                    child: Some(child.to_vec()),
                    key: space.strip(&place).unwrap_or_default().to_vec(),
                    flat: self.flat(&place)?,
                    trie: None,
                });
            }
            let end = space.end();
            let Some(next) = all.strip(&end) else { break };
            start = next.to_vec();
        }
        Ok(())
    }

    fn check_trie(
        &self,
        trie: &TrieBackend<NodeReader<'_, '_>, Blake2Hasher>,
        child: Option<&ChildInfo>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), CheckError> {
        let args = || {
            let mut args = IterArgs::default();
            args.child_info = child.cloned();
            args
        };
        let broken = |reason: String| StateError::Trie { reason };
        let mut ours = self.pairs(args())?;
        let mut theirs = trie.pairs(args()).map_err(broken)?;
        loop {
            let flat = ours.next().transpose()?;
            let stored = theirs.next().transpose().map_err(|reason| {
                // What the reader said names the node.
                self.check().err().unwrap_or_else(|| broken(reason))
            })?;
            match (flat, stored) {
                (None, None) => return Ok(()),
                (Some(flat), Some(stored)) if flat == stored => each(&flat.0),
                (flat, stored) => return Err(first_of(child, flat, stored)),
            }
        }
    }
}

/// The first difference of two sequences of pairs that go on like this.
fn first_of(child: Option<&ChildInfo>, flat: Option<Pair>, stored: Option<Pair>) -> CheckError {
    let key = match (&flat, &stored) {
        (Some((one, _)), Some((other, _))) => one.min(other).clone(),
        (Some((one, _)), None) | (None, Some((one, _))) => one.clone(),
        (None, None) => Vec::new(),
    };
    let value = |pair: Option<Pair>| pair.filter(|(own, _)| *own == key).map(|(_, value)| value);
    CheckError::Differs {
        child: child.map(|child| child.storage_key().to_vec()),
        flat: value(flat),
        trie: value(stored),
        key,
    }
}

/// The child trie whose root stands under a key.
fn child_of(key: &[u8]) -> Option<ChildInfo> {
    let prefix = sp_core::storage::well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX;
    key.strip_prefix(prefix).map(ChildInfo::new_default)
}
