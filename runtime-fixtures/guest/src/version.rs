//! The runtime version: in two custom sections for hosts that only look, and as a call.
//!
//! Invariant: sections and call say the same.

use alloc::vec::Vec;

use crate::scale;

/// Name of the runtime and of its implementation.
pub const SPEC_NAME: &[u8; 16] = b"slackwater-guest";
/// Version of the runtime's behaviour.
pub const SPEC_VERSION: u32 = if cfg!(feature = "upgraded") { 2 } else { 1 };

/// Identifier (BLAKE2b-64 of the name) and version of each runtime API.
const APIS: [([u8; 8], u32); 3] = [
    // Core
    ([0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b], 5),
    // BlockBuilder
    ([0x40, 0xfe, 0x3a, 0xd4, 0x01, 0xf8, 0x95, 0x9a], 6),
    // AccountNonceApi
    ([0xbc, 0x9d, 0x89, 0x90, 0x4f, 0x5b, 0x92, 0x3f], 1),
];

/// Two names, three versions, an empty list of APIs, transaction version, system version.
const VERSION_LEN: usize = 17 + 17 + 12 + 1 + 4 + 1;
const APIS_LEN: usize = 12 * APIS.len();

/// Where the list of APIs stands in the encoded version.
const APIS_OFFSET: usize = 17 + 17 + 12;

const VERSION: [u8; VERSION_LEN] = {
    let mut out = [0; VERSION_LEN];
    let mut at = 0;
    while at < 16 {
        out[1 + at] = SPEC_NAME[at];
        out[18 + at] = SPEC_NAME[at];
        at += 1;
    }
    // Compact length of the names.
    out[0] = 16 << 2;
    out[17] = 16 << 2;
    // Authoring version, spec version, implementation version, all below 256.
    out[34] = 1;
    out[38] = SPEC_VERSION as u8;
    out[42] = 1;
    // Transaction version, system version.
    out[APIS_OFFSET + 1] = 1;
    out[APIS_OFFSET + 5] = 1;
    out
};

const API_RECORDS: [u8; APIS_LEN] = {
    let mut out = [0; APIS_LEN];
    let mut at = 0;
    while at < APIS_LEN {
        let (id, version) = APIS[at / 12];
        let byte = at % 12;
        out[at] = if byte < 8 {
            id[byte]
        } else {
            version.to_le_bytes()[byte - 8]
        };
        at += 1;
    }
    out
};

#[used]
#[unsafe(link_section = "runtime_version")]
static VERSION_SECTION: [u8; VERSION_LEN] = VERSION;

#[used]
#[unsafe(link_section = "runtime_apis")]
static APIS_SECTION: [u8; APIS_LEN] = API_RECORDS;

/// `Core_version`: no arguments, to a `RuntimeVersion` with its APIs.
pub fn core_version(_: &[u8]) -> Vec<u8> {
    let mut out = VERSION[..APIS_OFFSET].to_vec();
    scale::put_compact(&mut out, APIS.len() as u32);
    out.extend_from_slice(&API_RECORDS);
    out.extend_from_slice(&VERSION[APIS_OFFSET + 1..]);
    out
}
