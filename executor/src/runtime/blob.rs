//! Runtime code as bytes: unpacking, validation, and the facts that can be read off without running
//! anything.
//!
//! Invariant: a [`RuntimeBlob`] holds a module valid within its profile. Cost: one pass over the
//! code for validation (about 100 MB/s).

use std::borrow::Cow;

use sp_core::{Blake2Hasher, H256, Hasher};
use sp_maybe_compressed_blob::{CODE_BLOB_BOMB_LIMIT, Error as BlobError, decompress};
use sp_version::RuntimeVersion;
use wasmparser::{BinaryReaderError, ExternalKind, Parser, Payload, TypeRef};

use super::{GuestProfile, RuntimeError, version};

/// Default limit of unpacked code, that of the Polkadot SDK: 50 MiB.
pub const CODE_BYTES_MAX: usize = CODE_BLOB_BOMB_LIMIT;

/// Unpacked, validated runtime code.
#[derive(Debug, Clone)]
pub struct RuntimeBlob {
    wasm: Vec<u8>,
    code_hash: H256,
    code_bytes: usize,
}

/// Facts about a module, as `slackwater inspect` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Imported functions, in the order of the module.
    pub imports: Vec<String>,
    /// Exported functions, in the order of the module.
    pub exports: Vec<String>,
    /// Functions defined in the module.
    pub functions: u32,
    /// Initial size of the memory, in wasm pages.
    pub memory_pages_initial: u64,
    /// Whether the memory is imported (it is turned into an own one before compilation).
    pub memory_imported: bool,
    /// Declared elements of the first table.
    pub table_elements: u64,
    /// Bytes of active and passive data segments.
    pub data_bytes: usize,
    /// Whether the module has a start function.
    pub start_function: bool,
}

impl RuntimeBlob {
    /// Unpacks `code` (plain wasm, or zstd behind the Polkadot SDK's prefix) up to
    /// `code_bytes_max` and validates it within `profile`.
    ///
    /// # Errors
    /// [`RuntimeError::TooLarge`], [`RuntimeError::Compression`], [`RuntimeError::NotWasm`],
    /// [`RuntimeError::PolkaVm`] or [`RuntimeError::Invalid`].
    pub fn new(
        code: &[u8],
        code_bytes_max: usize,
        profile: GuestProfile,
    ) -> Result<Self, RuntimeError> {
        let wasm = unpack_wasm(code, code_bytes_max)?;
        profile.validate(&wasm)?;
        Ok(Self {
            code_hash: code_hash(code),
            code_bytes: code.len(),
            wasm: wasm.into_owned(),
        })
    }

    /// The unpacked module.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// BLAKE2b-256 of the code as given, packed or not: the hash a Substrate client keys it by.
    pub fn code_hash(&self) -> H256 {
        self.code_hash
    }

    /// Bytes of the code as given.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// The version from the `runtime_version` and `runtime_apis` sections, if the module has them.
    ///
    /// # Errors
    /// [`RuntimeError::Version`] when a section is there but does not decode.
    pub fn embedded_version(&self) -> Result<Option<RuntimeVersion>, RuntimeError> {
        sections_version(&self.wasm)
    }

    /// The contents of the first custom section called `name`.
    pub fn custom_section(&self, name: &str) -> Option<&[u8]> {
        custom_section(&self.wasm, name)
    }

    /// Reads the facts off the module.
    ///
    /// # Errors
    /// [`RuntimeError::Invalid`]; not for a blob that was validated.
    pub fn facts(&self) -> Result<ModuleFacts, RuntimeError> {
        read_facts(&self.wasm).map_err(|error| invalid(&error))
    }
}

/// BLAKE2b-256 of runtime code.
pub fn code_hash(code: &[u8]) -> H256 {
    Blake2Hasher::hash(code)
}

/// The version that `code` states in its sections, read from a parse alone. The module's types are
/// not checked; its instructions are decoded, so that code cut off or of another kind is told.
pub(crate) fn blob_version(
    code: &[u8],
    code_bytes_max: usize,
) -> Result<Option<RuntimeVersion>, RuntimeError> {
    let wasm = unpack_wasm(code, code_bytes_max)?;
    parse(&wasm).map_err(|error| invalid(&error))?;
    sections_version(&wasm)
}

fn sections_version(wasm: &[u8]) -> Result<Option<RuntimeVersion>, RuntimeError> {
    version::from_sections(
        custom_section(wasm, version::VERSION_SECTION),
        custom_section(wasm, version::APIS_SECTION),
    )
}

/// Reads every section header and every instruction.
fn parse(wasm: &[u8]) -> Result<(), BinaryReaderError> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            for operator in body.get_operators_reader()? {
                operator?;
            }
        }
    }
    Ok(())
}

/// The contents of the first custom section called `name`.
fn custom_section<'a>(wasm: &'a [u8], name: &str) -> Option<&'a [u8]> {
    Parser::new(0)
        .parse_all(wasm)
        .find_map(|payload| match payload {
            Ok(Payload::CustomSection(section)) if section.name() == name => Some(section.data()),
            _ => None,
        })
}

pub(super) fn invalid(error: &BinaryReaderError) -> RuntimeError {
    RuntimeError::Invalid {
        offset: error.offset(),
        reason: error.message().to_owned(),
    }
}

/// The module in `code`; code for another kind of machine is refused.
fn unpack_wasm(code: &[u8], code_bytes_max: usize) -> Result<Cow<'_, [u8]>, RuntimeError> {
    let wasm = unpack(code, code_bytes_max)?;
    if wasm.starts_with(b"PVM\0") {
        return Err(RuntimeError::PolkaVm);
    }
    Ok(wasm)
}

fn unpack(code: &[u8], code_bytes_max: usize) -> Result<Cow<'_, [u8]>, RuntimeError> {
    let too_large = RuntimeError::TooLarge {
        limit_bytes: code_bytes_max,
    };
    // It counts one byte more than it may return.
    let wasm = match decompress(code, code_bytes_max.min(usize::MAX - 1)) {
        Ok(wasm) => wasm,
        Err(BlobError::PossibleBomb) => return Err(too_large),
        Err(BlobError::Invalid) => return Err(RuntimeError::Compression),
    };
    if wasm.len() > code_bytes_max {
        Err(too_large)
    } else {
        Ok(wasm)
    }
}

fn read_facts(wasm: &[u8]) -> Result<ModuleFacts, BinaryReaderError> {
    let mut facts = ModuleFacts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    match import.ty {
                        TypeRef::Func(_) => facts.imports.push(import.name.to_owned()),
                        TypeRef::Memory(memory) => {
                            facts.memory_imported = true;
                            facts.memory_pages_initial = memory.initial;
                        }
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(functions) => facts.functions = functions.count(),
            Payload::MemorySection(memories) => {
                for memory in memories {
                    facts.memory_pages_initial = memory?.initial;
                }
            }
            Payload::TableSection(tables) => {
                if let Some(table) = tables.into_iter().next() {
                    facts.table_elements = table?.ty.initial;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        facts.exports.push(export.name.to_owned());
                    }
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    facts.data_bytes = facts.data_bytes.saturating_add(segment?.data.len());
                }
            }
            Payload::StartSection { .. } => facts.start_function = true,
            _ => {}
        }
    }
    Ok(facts)
}
