//! The little of SCALE that the guest needs: fixed-width little-endian numbers, compact lengths
//! below 2^30, byte strings and options.
//!
//! Invariant: a reader never reads past its input; every read gives `None` instead.

use alloc::vec::Vec;

/// Takes values off the front of a byte string.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A compact number below 2^30, in its shortest form or not.
    pub fn compact(&mut self) -> Option<u32> {
        let first = *self.rest.first()?;
        match first & 3 {
            0 => self.u8().map(|byte| u32::from(byte) >> 2),
            1 => self
                .array()
                .map(|two| u32::from(u16::from_le_bytes(two)) >> 2),
            2 => self.u32().map(|four| four >> 2),
            _ => None,
        }
    }

    /// A byte string behind its compact length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.compact()?;
        self.take(count as usize)
    }

    /// `Option<u32>`.
    pub fn option_u32(&mut self) -> Option<Option<u32>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.u32().map(Some),
            _ => None,
        }
    }
}

/// Appends a compact number; larger ones than 2^30 - 1 do not occur in a 32-bit guest's lengths.
pub fn put_compact(out: &mut Vec<u8>, number: u32) {
    if number < 1 << 6 {
        out.push((number as u8) << 2);
    } else if number < 1 << 14 {
        out.extend_from_slice(&((number as u16) << 2 | 1).to_le_bytes());
    } else {
        assert!(
            number < 1 << 30,
            "number too large for a compact of four bytes"
        );
        out.extend_from_slice(&(number << 2 | 2).to_le_bytes());
    }
}

/// Appends a byte string behind its compact length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_compact(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// A byte string behind its compact length.
pub fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    put_bytes(&mut out, bytes);
    out
}

/// `Option<u32>`.
pub fn encode_option_u32(number: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(u8::from(number.is_some()));
    out.extend(number.into_iter().flat_map(u32::to_le_bytes));
    out
}
