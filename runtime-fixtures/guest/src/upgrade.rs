//! Replacing the runtime by a call, and noticing that it was replaced.
//!
//! Invariant: `:code` only ever becomes a blob of this runtime's name with a higher version.

use alloc::vec::Vec;

use crate::error::{self, DispatchError};
use crate::event::{self, Kind};
use crate::scale::Reader;
use crate::{block, header, host, keys, version};

const NO_RUNTIME: u8 = 0;
const OTHER_NAME: u8 = 1;
const VERSION_NOT_HIGHER: u8 = 2;

/// Sets the code, if the sender may; the new code runs from the next block on.
pub fn set_code(who: &[u8; 32], code: &[u8]) -> Result<(), DispatchError> {
    if host::get(keys::SUDO).as_deref() != Some(who) {
        return Err(error::BAD_ORIGIN.to_vec());
    }
    let found = host::runtime_version(code).ok_or_else(|| error::upgrade(NO_RUNTIME))?;
    let (name, spec_version) = decode(&found).ok_or_else(|| error::upgrade(NO_RUNTIME))?;
    if name != version::SPEC_NAME {
        return Err(error::upgrade(OTHER_NAME));
    }
    if spec_version <= version::SPEC_VERSION {
        return Err(error::upgrade(VERSION_NOT_HIGHER));
    }
    host::set(keys::CODE, code);
    block::deposit_digest(header::DIGEST_ENVIRONMENT_UPDATED);
    event::deposit(Kind::CodeSet, &spec_version.to_le_bytes());
    Ok(())
}

/// Spec name and spec version out of an encoded `RuntimeVersion`.
fn decode(encoded: &[u8]) -> Option<(Vec<u8>, u32)> {
    let mut reader = Reader::new(encoded);
    let name = reader.bytes()?.to_vec();
    let _impl_name = reader.bytes()?;
    let _authoring_version = reader.u32()?;
    Some((name, reader.u32()?))
}

/// Called at the start of every block: records the first block of a new runtime.
pub fn on_initialize() {
    let own = version::SPEC_VERSION.to_le_bytes();
    if host::get(keys::SPEC_VERSION).as_deref() != Some(&own) {
        host::set(keys::SPEC_VERSION, &own);
        event::deposit(Kind::Upgraded, &own);
    }
}
