//! Reading a runtime's version, from the sections a modern runtime carries or from the answer of
//! `Core_version`, in every encoding since 2019.

use codec::Decode;
use sp_version::{ApisVec, RuntimeVersion, core_version_from_apis};

use super::RuntimeError;

/// Custom section holding a SCALE `RuntimeVersion` whose `apis` are empty.
pub(super) const VERSION_SECTION: &str = "runtime_version";
/// Custom section holding a 12-byte record per API: 8 bytes of identifier, a `u32` LE version.
pub(super) const APIS_SECTION: &str = "runtime_apis";

const API_RECORD_BYTES: usize = 12;

/// BLAKE2b-64 of an API's trait name, as it stands in a version's `apis`.
pub type ApiId = [u8; 8];

/// Identifier of the `Core` API.
pub const CORE_API: ApiId = [0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b];
/// Identifier of the `BlockBuilder` API.
pub const BLOCK_BUILDER_API: ApiId = [0x40, 0xfe, 0x3a, 0xd4, 0x01, 0xf8, 0x95, 0x9a];

/// Decodes the sections; `None` when there is no version section.
pub(super) fn from_sections(
    version: Option<&[u8]>,
    apis: Option<&[u8]>,
) -> Result<Option<RuntimeVersion>, RuntimeError> {
    let Some(mut version) = version else {
        return Ok(None);
    };
    let apis = apis.map(decode_apis).transpose()?;
    // The section's own `apis` are empty, so how much of it there is to read must come from the
    // version of the `Core` API in the other section.
    let core = apis.as_ref().and_then(core_version_from_apis);
    let mut decoded = RuntimeVersion::decode_with_version_hint(&mut version, core)
        .map_err(|error| unreadable(&format!("section `{VERSION_SECTION}`: {error}")))?;
    if let Some(apis) = apis {
        decoded.apis = apis;
    }
    Ok(Some(decoded))
}

/// Decodes what `Core_version` returned.
pub(super) fn from_call(mut output: &[u8]) -> Result<RuntimeVersion, RuntimeError> {
    RuntimeVersion::decode(&mut output)
        .map_err(|error| unreadable(&format!("answer of `Core_version`: {error}")))
}

pub(super) fn unreadable(reason: &str) -> RuntimeError {
    RuntimeError::Version {
        reason: reason.to_owned(),
    }
}

fn decode_apis(section: &[u8]) -> Result<ApisVec, RuntimeError> {
    let records = section.chunks_exact(API_RECORD_BYTES);
    if !records.remainder().is_empty() {
        return Err(unreadable(&format!(
            "section `{APIS_SECTION}`: {} bytes are not a multiple of {API_RECORD_BYTES}",
            section.len(),
        )));
    }
    let apis: Vec<(ApiId, u32)> = records
        .map(|mut record| Decode::decode(&mut record))
        .collect::<Result<_, codec::Error>>()
        .map_err(|error| unreadable(&format!("section `{APIS_SECTION}`: {error}")))?;
    Ok(apis.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;

    fn version() -> RuntimeVersion {
        RuntimeVersion {
            spec_name: "test".into(),
            spec_version: 7,
            transaction_version: 3,
            system_version: 1,
            ..Default::default()
        }
    }

    #[test]
    fn api_identifiers_are_hashes_of_their_names() {
        let id = |name: &[u8]| sp_crypto_hashing::blake2_64(name);
        assert_eq!(id(b"Core"), CORE_API);
        assert_eq!(id(b"BlockBuilder"), BLOCK_BUILDER_API);
    }

    #[test]
    fn sections_are_read_together() {
        let apis = (CORE_API, 5u32).encode();
        let decoded = from_sections(Some(&version().encode()), Some(&apis))
            .unwrap()
            .unwrap();
        assert_eq!(
            (decoded.transaction_version, decoded.system_version),
            (3, 1)
        );
        assert_eq!(decoded.api_version(&CORE_API), Some(5));
    }

    #[test]
    fn clipped_sections_are_named() {
        let apis = (CORE_API, 5u32).encode();
        let error = from_sections(Some(&version().encode()), Some(&apis[..11])).unwrap_err();
        assert!(error.to_string().contains("runtime_apis"), "{error}");
        let error = from_sections(Some(&version().encode()[..3]), None).unwrap_err();
        assert!(error.to_string().contains("runtime_version"), "{error}");
        assert!(from_sections(None, Some(&apis)).unwrap().is_none());
    }
}
