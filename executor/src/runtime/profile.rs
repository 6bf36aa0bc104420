//! Which WebAssembly features a guest may use. A guest is validated against its profile before
//! anything else is done to it.
//!
//! Invariant: a module that passes [`GuestProfile::validate`] uses no feature outside the profile,
//! whatever the engine would accept.

use wasmparser::{BinaryReader, BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

use super::{RuntimeError, blob::invalid};

/// A set of WebAssembly features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum GuestProfile {
    /// What the Polkadot SDK's executor accepts: the first version of WebAssembly and mutable
    /// exported globals. Its engine would take more, but its parser, built without the features for
    /// them, knows neither sign extension nor saturating float conversions, and reads the flags of
    /// an element segment as the index they were at first.
    ///
    /// One kind of module is accepted there and refused here: a memory whose declared maximum is
    /// below its minimum or beyond 4 GiB, which is not valid WebAssembly.
    #[default]
    Substrate,
    /// For tests against public corpora: `Substrate` with sign extension, saturating float
    /// conversions, multi-value, bulk memory, reference types and SIMD (not relaxed).
    Wide,
}

impl GuestProfile {
    /// The features as the validator names them.
    pub fn features(self) -> WasmFeatures {
        let substrate = WasmFeatures::FLOATS | WasmFeatures::MUTABLE_GLOBAL;
        match self {
            Self::Substrate => substrate,
            Self::Wide => {
                substrate
                    | WasmFeatures::SIGN_EXTENSION
                    | WasmFeatures::SATURATING_FLOAT_TO_INT
                    | WasmFeatures::MULTI_VALUE
                    | WasmFeatures::BULK_MEMORY
                    | WasmFeatures::REFERENCE_TYPES
                    | WasmFeatures::SIMD
                    | WasmFeatures::GC_TYPES
            }
        }
    }

    /// Checks that `wasm` is a valid module within this profile.
    ///
    /// # Errors
    /// [`RuntimeError::Invalid`] with the validator's message and the byte offset.
    pub fn validate(self, wasm: &[u8]) -> Result<(), RuntimeError> {
        if !wasm.starts_with(b"\0asm") {
            return Err(RuntimeError::NotWasm {
                prefix: wasm.iter().take(8).copied().collect(),
            });
        }
        Validator::new_with_features(self.features())
            .validate_all(wasm)
            .map_err(|error| invalid(&error))?;
        match self {
            Self::Substrate => refuse_segment_flags(wasm),
            Self::Wide => Ok(()),
        }
    }

    /// Turns the engine's switches to this profile.
    pub(crate) fn configure(self, config: &mut wasmtime::Config) {
        let wide = self == Self::Wide;
        config.wasm_multi_value(wide);
        config.wasm_bulk_memory(wide);
        config.wasm_reference_types(wide);
        config.wasm_simd(wide);
        config.wasm_relaxed_simd(false);
        config.wasm_multi_memory(false);
        config.wasm_memory64(false);
        config.wasm_tail_call(false);
        config.wasm_extended_const(false);
    }
}

/// Refuses element segments that begin with anything but 0. The validator takes the later
/// spelling, flags and an explicit table index, for what it means; the reference's parser does not.
fn refuse_segment_flags(wasm: &[u8]) -> Result<(), RuntimeError> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ElementSection(segments) = payload.map_err(|error| invalid(&error))? else {
            continue;
        };
        for segment in segments {
            let offset = segment.map_err(|error| invalid(&error))?.range.start;
            let flags = segment_flags(wasm, offset).map_err(|error| invalid(&error))?;
            if flags != 0 {
                let reason = format!("element segment with flags {flags}: only 0 is known");
                return Err(RuntimeError::Invalid { offset, reason });
            }
        }
    }
    Ok(())
}

fn segment_flags(wasm: &[u8], offset: usize) -> Result<u32, BinaryReaderError> {
    BinaryReader::new(wasm.get(offset..).unwrap_or_default(), offset).read_var_u32()
}
