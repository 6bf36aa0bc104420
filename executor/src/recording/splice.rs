//! A value as a change of the one before it. Blocks append to long values, such as the list of events, once an extrinsic; kept
//! whole each time they would take the square of a block's length.
//!
//! Invariants: applied to the value it was made with, a splice gives the other one back; two splices made of equal values
//! are equal. Cost: values are compared a few times, from either end.

#![expect(
    trivial_numeric_casts,
    clippy::cast_possible_truncation,
    reason = "the derived encoder casts the index of each variant"
)]

use codec::{Decode, DecodeWithMemTracking, Encode};

/// A run of bytes kept is worth its numbers from here on.
const KEPT_MIN: usize = 32;

/// How a list's length may change when it grows: bytes of its compact form before and after.
const LENGTHS: [(usize, usize); 6] = [(0, 0), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4)];

/// What a write leaves under a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub enum Spliced {
    /// Nothing.
    Removed,
    /// This value.
    Whole(Vec<u8>),
    /// A piece of the value before, with something in front and behind.
    Kept {
        /// Before the piece.
        head: Vec<u8>,
        /// Where the piece begins in the value before.
        from: u32,
        /// Bytes of the piece.
        length: u32,
        /// Behind the piece.
        tail: Vec<u8>,
    },
}

impl Spliced {
    /// What makes `after` of `before`.
    pub fn new(before: Option<&[u8]>, after: Option<&[u8]>) -> Self {
        match (before, after) {
            (_, None) => Self::Removed,
            (Some(before), Some(after)) => {
                Self::kept(before, after).unwrap_or_else(|| Self::Whole(after.to_vec()))
            }
            (None, Some(after)) => Self::Whole(after.to_vec()),
        }
    }

    /// By the longest piece that is found, the first of several.
    fn kept(before: &[u8], after: &[u8]) -> Option<Self> {
        let mut best = (0, 0, 0);
        for (from, head) in LENGTHS {
            let length = common(before.get(from..), after.get(head..));
            if length > best.2 {
                best = (from, head, length);
            }
        }
        let suffix = common_end(before, after);
        if suffix > best.2 {
            best = (before.len() - suffix, after.len() - suffix, suffix);
        }
        let (from, head, length) = best;
        if length < KEPT_MIN {
            return None;
        }
        Some(Self::Kept {
            head: after[..head].to_vec(),
            from: u32::try_from(from).ok()?,
            length: u32::try_from(length).ok()?,
            tail: after[head + length..].to_vec(),
        })
    }

    /// The value it leaves, or `None` if it cannot be one of `before`'s.
    pub fn apply(&self, before: Option<&[u8]>) -> Option<Option<Vec<u8>>> {
        match self {
            Self::Removed => Some(None),
            Self::Whole(value) => Some(Some(value.clone())),
            Self::Kept {
                head,
                from,
                length,
                tail,
            } => {
                let from = usize::try_from(*from).ok()?;
                let end = from.checked_add(usize::try_from(*length).ok()?)?;
                let piece = before?.get(from..end)?;
                Some(Some([head, piece, tail].concat()))
            }
        }
    }
}

fn common(one: Option<&[u8]>, other: Option<&[u8]>) -> usize {
    let (Some(one), Some(other)) = (one, other) else {
        return 0;
    };
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

fn common_end(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Compact;

    fn round_trip(before: Option<&[u8]>, after: Option<&[u8]>) -> usize {
        let spliced = Spliced::new(before, after);
        let applied = spliced.apply(before).expect("it fits");
        assert_eq!(applied.as_deref(), after);
        spliced.encoded_size()
    }

    #[test]
    fn a_list_that_grows_is_kept() {
        let list = |length: u32| {
            let mut bytes = Compact(length).encode();
            bytes.extend((0..length).flat_map(|event| [event.to_le_bytes(); 4].concat()));
            bytes
        };
        for (length, most) in [(10, 32), (63, 32), (64, 32), (16_383, 32), (20_000, 32)] {
            let (before, after) = (list(length), list(length + 1));
            assert!(round_trip(Some(&before), Some(&after)) < most, "{length}");
        }
    }

    #[test]
    fn whatever_changes_comes_back() {
        let long = [7; 100];
        let mut changed = long;
        changed[3] = 8;
        type Value<'v> = Option<&'v [u8]>;
        let cases: [(Value<'_>, Value<'_>); 9] = [
            (None, None),
            (None, Some(b"")),
            (Some(b""), None),
            (Some(b"a"), Some(b"b")),
            (Some(&long), Some(&long)),
            (Some(&long), Some(&changed)),
            (Some(&long), Some(&long[..50])),
            (Some(&long[..50]), Some(&long)),
            (Some(&changed), Some(&[])),
        ];
        for (before, after) in cases {
            round_trip(before, after);
        }
    }

    #[test]
    fn what_does_not_fit_is_no_value() {
        let kept = Spliced::Kept {
            head: vec![],
            from: 10,
            length: u32::MAX,
            tail: vec![],
        };
        assert_eq!(kept.apply(Some(&[0; 50])), None);
        assert_eq!(kept.apply(None), None);
    }
}
