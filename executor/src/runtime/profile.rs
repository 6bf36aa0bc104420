//! Which WebAssembly features a guest may use. A guest is validated against its profile before
//! anything else is done to it.
//!
//! Invariant: a module that passes [`GuestProfile::validate`] uses no feature outside the profile,
//! whatever the engine would accept.

use wasmparser::{Validator, WasmFeatures};

use super::RuntimeError;

/// A set of WebAssembly features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum GuestProfile {
    /// What the Polkadot SDK's executor accepts: the first version of WebAssembly with mutable
    /// exported globals and sign extension. The executor's parser does not know the saturating
    /// float conversions, so they are outside the profile.
    #[default]
    Substrate,
    /// For tests against public corpora: `Substrate` with saturating float conversions,
    /// multi-value, bulk memory, reference types and SIMD (not relaxed).
    Wide,
}

impl GuestProfile {
    /// The features as the validator names them.
    pub fn features(self) -> WasmFeatures {
        let substrate =
            WasmFeatures::FLOATS | WasmFeatures::MUTABLE_GLOBAL | WasmFeatures::SIGN_EXTENSION;
        match self {
            Self::Substrate => substrate,
            Self::Wide => {
                substrate
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
            .map(drop)
            .map_err(|error| RuntimeError::Invalid {
                offset: error.offset(),
                reason: error.message().to_owned(),
            })
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
