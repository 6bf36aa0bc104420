//! Turning an imported memory into an own, exported one: a pure rewriting of wasm to wasm.
//!
//! Most runtimes import `env.memory`; wasmtime's pool serves only memories that a module defines.
//! The memory keeps its index and initial size and loses its maximum, which the heap limit
//! replaces. All other sections are copied byte for byte.

use slackwater_host_functions::state::WASM_PAGES_MAX;
use wasm_encoder::{
    ExportKind, ExportSection, MemorySection, MemoryType, Module, RawSection, SectionId,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReaderError, ExternalKind, Parser, Payload, TypeRef};

use super::{RuntimeError, blob::invalid};

/// The name under which a runtime's memory must be exported.
pub(super) const MEMORY_EXPORT: &str = "memory";

/// Rewrites `wasm`, which must be valid, so that it defines its memory, of `extra` pages more than it
/// says, and exports it. What would be more than a memory can be is not added.
///
/// # Errors
/// [`RuntimeError::Invalid`] when `wasm` cannot be read.
pub(super) fn own_memory(wasm: &[u8], extra: u32) -> Result<Vec<u8>, RuntimeError> {
    rewrite(wasm, extra.into()).map_err(|error| match error {
        Rewrite::Read(error) => invalid(&error),
        Rewrite::Encode(reason) => RuntimeError::Invalid { offset: 0, reason },
    })
}

/// Pages of the memory that `wasm` defines; 0 if it has none.
pub(super) fn initial_pages(wasm: &[u8]) -> Result<u32, RuntimeError> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::MemorySection(memories) = payload.map_err(|error| invalid(&error))? {
            let memory = memories.into_iter().next().transpose();
            let pages = memory
                .map_err(|error| invalid(&error))?
                .map_or(0, |memory| memory.initial);
            return Ok(u32::try_from(pages).unwrap_or(u32::MAX));
        }
    }
    Ok(0)
}

enum Rewrite {
    Read(BinaryReaderError),
    Encode(String),
}

impl From<BinaryReaderError> for Rewrite {
    fn from(error: BinaryReaderError) -> Self {
        Self::Read(error)
    }
}

/// What has to be added because it was imported, in the order of the sections.
struct Pending {
    memory: Option<MemoryType>,
    export: Option<String>,
}

fn rewrite(wasm: &[u8], extra: u64) -> Result<Vec<u8>, Rewrite> {
    let mut module = Module::new();
    let mut pending = Pending {
        memory: None,
        export: None,
    };
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Some((id, _)) = payload.as_section() {
            pending.insert_before(id, &mut module);
        }
        match &payload {
            Payload::ImportSection(imports) => {
                let mut kept = wasm_encoder::ImportSection::new();
                for import in imports.clone() {
                    let import = import?;
                    match import.ty {
                        TypeRef::Memory(memory) => {
                            pending.memory = Some(without_maximum(memory.initial, extra));
                            pending.export = Some(import.name.to_owned());
                        }
                        _ => RoundtripReencoder
                            .parse_import(&mut kept, import)
                            .map_err(|error| Rewrite::Encode(error.to_string()))?,
                    }
                }
                module.section(&kept);
            }
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                for memory in memories.clone() {
                    section.memory(without_maximum(memory?.initial, extra));
                }
                module.section(&section);
            }
            Payload::ExportSection(exports) => {
                module.section(&pending.exports(exports.clone())?);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection {
                        id,
                        data: &wasm[range],
                    });
                }
            }
        }
    }
    pending.insert_before(u8::MAX, &mut module);
    Ok(module.finish())
}

impl Pending {
    /// Emits what belongs before a section with number `id`. Custom sections (number 0) may stand
    /// anywhere; the data count section has number 12 but stands before the code.
    fn insert_before(&mut self, id: u8, module: &mut Module) {
        if id == SectionId::Custom as u8 {
            return;
        }
        if id >= SectionId::Memory as u8
            && let Some(memory) = self.memory.take()
        {
            let mut section = MemorySection::new();
            section.memory(memory);
            module.section(&section);
        }
        if id > SectionId::Export as u8
            && let Some(name) = self.export.take()
        {
            let mut section = ExportSection::new();
            section.export(&name, ExportKind::Memory, 0);
            module.section(&section);
        }
    }

    /// The export section with the memory added, unless it is exported under that name already.
    fn exports(
        &mut self,
        exports: wasmparser::ExportSectionReader<'_>,
    ) -> Result<ExportSection, Rewrite> {
        let added = self.export.take();
        let mut section = ExportSection::new();
        let mut present = false;
        for export in exports {
            let export = export?;
            present |= added.as_deref() == Some(export.name);
            section.export(export.name, export_kind(export.kind), export.index);
        }
        if let Some(name) = added.filter(|_| !present) {
            section.export(&name, ExportKind::Memory, 0);
        }
        Ok(section)
    }
}

fn without_maximum(pages_initial: u64, extra: u64) -> MemoryType {
    let larger = pages_initial + extra;
    MemoryType {
        minimum: if larger > WASM_PAGES_MAX.into() {
            pages_initial
        } else {
            larger
        },
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}

fn export_kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let wasm = own_memory(&wat::parse_str(text).unwrap(), 0).unwrap_or_else(|e| panic!("{e}"));
        super::super::GuestProfile::Substrate
            .validate(&wasm)
            .unwrap();
        wasmprinter::print_bytes(wasm).unwrap()
    }

    #[test]
    fn an_imported_memory_becomes_an_exported_one_of_the_same_size() {
        let text = rewritten(
            r#"(module (import "env" "f" (func)) (import "env" "memory" (memory 3 9))
                (global (export "__heap_base") i32 (i32.const 8)) (func (export "g") call 0)
                (data (i32.const 0) "x"))"#,
        );
        assert!(text.contains("(memory (;0;) 3)"), "{text}");
        assert!(text.contains(r#"(export "memory" (memory 0))"#), "{text}");
        assert!(text.contains(r#"(import "env" "f""#), "{text}");
        assert!(!text.contains(r#"(import "env" "memory""#), "{text}");
    }

    #[test]
    fn an_own_memory_loses_its_maximum_only() {
        let text = rewritten(r#"(module (memory (export "memory") 2 5))"#);
        assert!(text.contains("(memory (;0;) 2)"), "{text}");
        assert_eq!(text.matches("(export").count(), 1, "{text}");
    }

    #[test]
    fn pages_are_added_if_a_memory_can_have_them() {
        let wasm = wat::parse_str(r#"(module (memory (export "memory") 2 5))"#).unwrap();
        for (extra, pages) in [(3, "(memory (;0;) 5)"), (65_535, "(memory (;0;) 2)")] {
            let made = own_memory(&wasm, extra).unwrap_or_else(|error| panic!("{error}"));
            let text = wasmprinter::print_bytes(made).unwrap();
            assert!(text.contains(pages), "{text}");
        }
    }

    #[test]
    fn a_module_without_exports_or_with_the_export_present_works() {
        let text = rewritten(r#"(module (import "env" "memory" (memory 1)) (func nop))"#);
        assert!(text.contains(r#"(export "memory" (memory 0))"#), "{text}");
        let text = rewritten(
            r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0)))"#,
        );
        assert_eq!(text.matches("(export").count(), 1, "{text}");
    }
}
