//! A runtime's code on its way to be compiled, unpacked when somebody needs it.
//!
//! Invariant: what [`Code::wasm`] gives is valid within the profile, and defines its memory. Cost: nothing until it is
//! asked, then unpacking, validation and one copy, once.

use std::sync::{Arc, OnceLock};

use sp_core::H256;

use super::{
    GuestProfile, RuntimeBlob, RuntimeError, blob::code_hash, own_memory::own_memory, version,
};

/// Code as it stands in state.
pub(crate) struct Code {
    packed: Vec<u8>,
    hash: H256,
    bytes_max: usize,
    profile: GuestProfile,
    unpacked: OnceLock<Unpacked>,
}

/// What is in it.
#[derive(Clone)]
pub(super) struct Unpacked {
    /// A module with a memory of its own.
    pub(super) wasm: Arc<[u8]>,
    pub(super) version: Option<Vec<u8>>,
    pub(super) apis: Option<Vec<u8>>,
}

impl Code {
    /// Code that is to unpack to at most so many bytes.
    pub(crate) fn new(packed: &[u8], bytes_max: usize, profile: GuestProfile) -> Self {
        Self {
            hash: code_hash(packed),
            packed: packed.to_vec(),
            bytes_max,
            profile,
            unpacked: OnceLock::new(),
        }
    }

    /// BLAKE2b-256 of the code as given.
    pub(crate) fn hash(&self) -> H256 {
        self.hash
    }

    /// By what it is accepted or refused.
    pub(super) fn terms(&self) -> (usize, GuestProfile) {
        (self.bytes_max, self.profile)
    }

    /// What is in it.
    pub(super) fn unpacked(&self) -> Result<&Unpacked, RuntimeError> {
        if let Some(unpacked) = self.unpacked.get() {
            return Ok(unpacked);
        }
        let blob = RuntimeBlob::new(&self.packed, self.bytes_max, self.profile)?;
        let section = |name| blob.custom_section(name).map(<[u8]>::to_vec);
        let unpacked = Unpacked {
            wasm: own_memory(blob.wasm(), 0)?.into(),
            version: section(version::VERSION_SECTION),
            apis: section(version::APIS_SECTION),
        };
        Ok(self.unpacked.get_or_init(|| unpacked))
    }
}
