//! Events: appended in order, cleared when the next block begins.
//!
//! An event is `index of the extrinsic u32, kind u8, payload as byte string`.

use alloc::vec::Vec;

use crate::{block, host, keys, scale};

/// What an event tells.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The extrinsic succeeded; no payload.
    ExtrinsicSuccess = 0,
    /// The extrinsic failed; payload: encoded `DispatchError`.
    ExtrinsicFailed = 1,
    /// Made on demand; payload: as long as demanded.
    Custom = 2,
    /// Keys were removed; payload: encoded removal result.
    Removed = 3,
    /// The code was set; payload: new spec version.
    CodeSet = 4,
    /// A new runtime took over; payload: its spec version.
    Upgraded = 5,
    /// A note was taken; payload: the note.
    #[cfg(feature = "upgraded")]
    Note = 6,
}

/// Appends an event.
pub fn deposit(kind: Kind, payload: &[u8]) {
    let mut event = Vec::with_capacity(payload.len() + 9);
    event.extend_from_slice(&block::extrinsic_index().to_le_bytes());
    event.push(kind as u8);
    scale::put_bytes(&mut event, payload);
    host::append(keys::EVENTS, &event);
}
