//! A form of a runtime as bytes: the machine code the engine made, and what else is known of its wasm.
//!
//! Invariant: the engine is given only bytes it made in this process, or that a [`RuntimeCache`](super::RuntimeCache)
//! found whole; and everything they depend on is in their key. Cost: a copy of the machine code.

use std::hash::{Hash, Hasher};

use blake2b_simd::{Params, State};
use codec::{Decode, Encode};
use sp_core::H256;
use wasmtime::Module;

use super::{Engine, RuntimeError, code::Code, engine::POOL_LIMITS};

/// Raised with every change of what is made of wasm before it is compiled (an own memory, the template, what counts, what
/// tells functions apart), of what guests and host agree on beyond the types of imports, or of [`Facts`].
const PREPARATION: u32 = 1;

/// One of the forms of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FormKind {
    /// What calls use.
    Called,
    /// To be made from scratch in the engine's pool, with so many pages more than the code asks for.
    Scratch {
        /// The pages.
        extra: u32,
    },
    /// To be made from scratch beyond the pool.
    Overflow,
}

/// What is known of a form beside its machine code.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Facts {
    /// Whether it is of the engine with a pool, or of the one whose memories are ours.
    pub(super) pooled: bool,
    /// Whether instances are put back after a call.
    pub(super) snapshot: bool,
    /// Whether instances of this code can be.
    pub(super) resettable: bool,
    /// Names of exported globals that have to be put back.
    pub(super) globals: Vec<String>,
    /// What its memory holds at the beginning, where it is not in the machine code: places and bytes.
    pub(super) image: Vec<(u64, Vec<u8>)>,
    /// Pages of the code's memory at the beginning.
    pub(super) pages: u32,
    /// Its section of that name.
    pub(super) version: Option<Vec<u8>>,
    /// Its section of that name.
    pub(super) apis: Option<Vec<u8>>,
}

/// The name of a form: everything that what is in it depends on.
pub(super) fn key(engine: &Engine, code: &Code, kind: FormKind) -> H256 {
    let mut hasher = KeyHasher(Params::new().hash_length(32).to_state());
    let key = &mut hasher;
    PREPARATION.hash(key);
    env!("CARGO_PKG_VERSION").hash(key);
    code.hash().0.hash(key);
    code.terms().hash(key);
    kind.hash(key);
    engine.wasmtime.precompile_compatibility_hash().hash(key);
    engine.on_demand.precompile_compatibility_hash().hash(key);
    engine.meter.hash(key);
    let instrumentation = engine.instrumentation.as_ref();
    instrumentation.map(|added| added.hash().0).hash(key);
    engine.snapshots.hash(key);
    engine.heap_extra_min.hash(key);
    // What the engine's own hash leaves out, and what forms are chosen by.
    POOL_LIMITS.hash(key);
    H256::from_slice(hasher.0.finalize().as_bytes())
}

/// BLAKE2b behind the standard library's interface, whose own hashes are too short to name anything by.
struct KeyHasher(State);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        let first = hash.as_bytes().first_chunk().copied();
        u64::from_le_bytes(first.unwrap_or_default())
    }
}

/// Machine code as the engine writes it, from a source that may be run.
pub(super) struct MachineCode<'b>(&'b [u8]);

impl<'b> MachineCode<'b> {
    /// What an engine made in this process.
    pub(super) fn made(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// For `engine`, which refuses what was made for others.
    pub(super) fn load(self, engine: &wasmtime::Engine) -> Result<Module, RuntimeError> {
        #[expect(
            unsafe_code,
            reason = "the engine has no other way to take machine code"
        )]
        // SAFETY: the bytes are what `Module::serialize` or `Engine::precompile_module` returned, unchanged: the only makers
        // of a `MachineCode` are `made`, whose callers pass what they have just got from the engine, and `Artifact::split`,
        // whose bytes `RuntimeCache::load` has compared with the checksum written beside them, in a folder that nobody else
        // may write to. They are in memory of this process's own, so they do not change while they are read.
        let module = unsafe { Module::deserialize(engine, self.0) };
        module.map_err(|error| RuntimeError::of_engine(&error))
    }
}

/// A form as the cache keeps it.
pub(super) struct Artifact(Vec<u8>);

impl Artifact {
    /// Bytes of the length that stands in front of the facts.
    const LENGTH_BYTES: usize = 8;

    /// Of what the engine made.
    pub(super) fn new(facts: &Facts, machine_code: &[u8]) -> Self {
        let facts = facts.encode();
        let mut bytes = Vec::with_capacity(Self::LENGTH_BYTES + facts.len() + machine_code.len());
        bytes.extend_from_slice(&(facts.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&facts);
        bytes.extend_from_slice(machine_code);
        Self(bytes)
    }

    /// Of bytes that were found whole.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is in it; `None` if that cannot be read.
    pub(super) fn split(&self) -> Option<(Facts, MachineCode<'_>)> {
        let (length, rest) = self.0.split_first_chunk::<{ Self::LENGTH_BYTES }>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (mut facts, machine_code) = rest.split_at_checked(length)?;
        let read = Facts::decode(&mut facts).ok()?;
        facts
            .is_empty()
            .then_some((read, MachineCode(machine_code)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            pooled: false,
            snapshot: true,
            resettable: true,
            globals: vec!["one".to_owned()],
            image: vec![(8, vec![1, 2])],
            pages: 17,
            version: Some(vec![3]),
            apis: None,
        }
    }

    #[test]
    fn an_artifact_is_split_as_it_was_made_or_not_at_all() {
        let artifact = Artifact::new(&facts(), b"machine code");
        let (read, machine_code) = artifact.split().expect("whole");
        assert_eq!(read, facts());
        assert_eq!(machine_code.0, b"machine code");
        let facts_end = artifact.0.len() - b"machine code".len();
        for cut in 0..facts_end {
            let cut = Artifact::whole(artifact.0[..cut].to_vec());
            assert!(cut.split().is_none());
        }
    }
}
