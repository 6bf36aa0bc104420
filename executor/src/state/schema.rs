//! The bytes of the database: column families, keys, records.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `flat` | `00` ++ key | value of the top trie |
//! | `flat` | `01` ++ length of child (u32 BE) ++ child ++ key | value of a child trie |
//! | `nodes` | trie path prefix ++ node hash | trie node, or a value of more than 32 bytes (V1) |
//! | `blocks` | number (u64 BE) | SCALE (hash, header, extrinsics) |
//! | `receipts` | number (u64 BE) | SCALE receipts, with their own version |
//! | `journal` | number (u64 BE) | SCALE ([`Head`], what is to be written to `flat`, and to `nodes`), of blocks after `stored` |
//! | `undo` | number (u64 BE) | SCALE (parent [`Head`], what was in `flat`, what was in `nodes`): what undoes a block |
//! | `meta` | `format` | magic ++ format version (u32 LE) |
//! | `meta` | `head` | SCALE [`Head`] |
//! | `meta` | `stored` | SCALE [`Head`]: the block whose state `flat` and `nodes` hold |
//!
//! `child` is the child trie's storage key without `:child_storage:default:`. The roots of child
//! tries are values of the top trie, under their prefixed keys. Order of bytes is order of keys, so
//! iteration in `flat` is iteration in the trie.

use codec::{Decode, DecodeWithMemTracking, Encode};
use sp_core::H256;

/// The version of everything in this module. A database with another one is refused.
pub const FORMAT_VERSION: u32 = 3;

/// The version without the column `undo`; it can be migrated.
pub(super) const FORMAT_WITHOUT_UNDO: u32 = 1;

/// The version without the column `journal`; it can be migrated, too.
pub(super) const FORMAT_WITHOUT_JOURNAL: u32 = 2;

pub(super) const FORMAT_MAGIC: &[u8; 12] = b"slackwater\0\0";

pub(super) const CF_FLAT: &str = "flat";
pub(super) const CF_NODES: &str = "nodes";
pub(super) const CF_BLOCKS: &str = "blocks";
pub(super) const CF_RECEIPTS: &str = "receipts";
pub(super) const CF_UNDO: &str = "undo";
pub(super) const CF_JOURNAL: &str = "journal";
pub(super) const CF_META: &str = "meta";

pub(super) const META_FORMAT: &[u8] = b"format";
pub(super) const META_HEAD: &[u8] = b"head";
pub(super) const META_STORED: &[u8] = b"stored";

const TAG_TOP: u8 = 0;
const TAG_CHILD: u8 = 1;

/// The block whose state the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct Head {
    /// Number of the block.
    pub number: u64,
    /// Hash of its header.
    pub hash: H256,
    /// Root of the state after it.
    pub state_root: H256,
}

/// A trie within the flat column: the top one, or a child by its unprefixed storage key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FlatSpace {
    prefix: Vec<u8>,
}

impl FlatSpace {
    pub(super) fn top() -> Self {
        Self {
            prefix: vec![TAG_TOP],
        }
    }

    pub(super) fn child(child: &[u8]) -> Self {
        let length = u32::try_from(child.len()).unwrap_or(u32::MAX);
        let mut prefix = Vec::with_capacity(5 + child.len());
        prefix.push(TAG_CHILD);
        prefix.extend_from_slice(&length.to_be_bytes());
        prefix.extend_from_slice(child);
        Self { prefix }
    }

    pub(super) fn of(child: Option<&[u8]>) -> Self {
        child.map_or_else(Self::top, Self::child)
    }

    /// All child tries together; keys within begin with length and key of theirs.
    pub(super) fn children() -> Self {
        Self {
            prefix: vec![TAG_CHILD],
        }
    }

    /// The child trie that a database key is of, if it is one's.
    pub(super) fn child_of(database_key: &[u8]) -> Option<&[u8]> {
        let (tag, rest) = database_key.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (*tag == TAG_CHILD).then(|| rest.get(..length)).flatten()
    }

    /// Where the value under a database key stands in its trie, as keys of `nodes` begin. Those of child tries begin with
    /// the child.
    pub(super) fn path(database_key: &[u8]) -> &[u8] {
        let before = match database_key.first() {
            Some(&TAG_CHILD) => 1 + size_of::<u32>(),
            _ => 1,
        };
        database_key.get(before..).unwrap_or_default()
    }

    /// The first database key behind all of this space.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.prefix.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end
    }

    /// The database key of `key`.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }

    /// The state key within a database key of this space.
    pub(super) fn strip<'a>(&self, database_key: &'a [u8]) -> Option<&'a [u8]> {
        database_key.strip_prefix(self.prefix.as_slice())
    }
}

/// The key of a record that belongs to a block.
pub(super) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number in such a key.
pub(super) fn parse_number_key(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The format record.
pub(super) fn format_record() -> Vec<u8> {
    [FORMAT_MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes()].concat()
}

/// The version in a format record; `None` when it is not one of ours.
pub(super) fn parse_format_record(record: &[u8]) -> Option<u32> {
    let version = record.strip_prefix(FORMAT_MAGIC.as_slice())?;
    version.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_do_not_overlap_and_keep_order() {
        let top = FlatSpace::top();
        let a = FlatSpace::child(b"a");
        let ab = FlatSpace::child(b"ab");
        assert_eq!(a.strip(&a.key(b"key")), Some(b"key".as_slice()));
        assert_eq!(a.strip(&ab.key(b"key")), None);
        assert_eq!(ab.strip(&a.key(b"b")), None);
        assert_eq!(top.strip(&a.key(b"key")), None);
        assert_eq!(FlatSpace::child_of(&ab.key(b"key")), Some(b"ab".as_slice()));
        assert_eq!(FlatSpace::child_of(&top.key(b"key")), None);
        assert_eq!(FlatSpace::child_of(&[1, 0, 0, 0, 9, 7]), None);
        let last = FlatSpace::child(&[0xff, 0xff]);
        for space in [&a, &ab, &last] {
            assert!(space.end() > space.key(&[0xff; 40]));
        }
        assert!(a.end() <= FlatSpace::child(b"b").key(b"") && a.end() <= ab.key(b""));
        assert!(a.key(b"") < a.key(b"\0") && a.key(b"\0") < a.key(b"\x01"));
        assert!(top.key(&[0xff; 40]) < a.key(b""));
    }

    #[test]
    fn format_record_round_trips_and_foreign_ones_are_refused() {
        assert_eq!(parse_format_record(&format_record()), Some(FORMAT_VERSION));
        assert_eq!(parse_format_record(b"other"), None);
        assert_eq!(parse_format_record(&format_record()[..15]), None);
    }
}
