//! Instrumentation, wasm to wasm: a module that counts the fuel it uses.
//!
//! The counter goes from function to function as a parameter and a result, and is published in the first word of the *meter*,
//! a memory of one page behind the guest's own (`layout`). What is charged and published where is
//! said in `placement`, written into functions in `body`, and around imported functions in `shim`.
//! Each flush stores a changing value, so it is also the *safepoint*: where the page is protected,
//! the next flush faults.
//!
//! Invariants: a guest that may name one memory cannot name the meter; an operator whose control flow
//! is not known here is refused, not passed over; no index of the guest changes, but that imported
//! functions are reached through their shims, and exported ones through their entries, which have the types
//! of the originals; the result is a pure function of module and
//! [`Instrumentation`], on however many threads it is made.

use std::collections::BTreeSet;

use blake2b_simd::Params;
use rayon::prelude::*;
use sp_core::H256;
use wasm_encoder::{
    CodeSection, ElementSection, Elements, ExportKind, ExportSection, FunctionSection,
    GlobalSection, MemorySection, MemoryType, Module, RawSection, SectionId, TableSection,
    TypeSection,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{
    BinaryReaderError, FuncToValidate, FunctionBody, Parser, Payload, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use super::{
    Schedule,
    body::{Body, ReadBody},
    calls::plan,
    layout::{METER_EXPORT, START_EXPORT},
    shape::Shape,
    shim,
};

/// Who notices an overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Nobody in the guest, but where it calls the host, grows, or handles bytes in bulk.
    None,
    /// The guest itself: it compares the counter with the limit at every flush, and traps.
    Synchronous,
}

/// Everything that decides what is added to a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrumentation {
    /// What everything costs.
    pub schedule: Schedule,
    /// Who notices an overrun.
    pub check: Check,
    /// The stack a guest may use, in bytes as this crate estimates its frames; `None`: what there is.
    pub depth_bytes_max: Option<u32>,
}

impl Instrumentation {
    /// The default schedule, and no limit of depth.
    pub fn new(check: Check) -> Self {
        Self {
            schedule: Schedule::default(),
            check,
            depth_bytes_max: None,
        }
    }

    /// BLAKE2b-256 over everything: what tells compiled code apart beside the code itself.
    pub fn hash(&self) -> H256 {
        let mut state = Params::new().hash_length(32).to_state();
        state.update(self.schedule.hash().as_bytes());
        state.update(&[u8::from(self.check == Check::Synchronous)]);
        state.update(&[u8::from(self.depth_bytes_max.is_some())]);
        state.update(&self.depth_bytes_max.unwrap_or_default().to_le_bytes());
        H256::from_slice(state.finalize().as_bytes())
    }
}

/// A module that could not be instrumented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentError {
    /// The module cannot be read; not for one that was validated.
    #[error("the module cannot be read, at byte {offset}: {reason}")]
    Read {
        /// Position in the module.
        offset: usize,
        /// What the reader said.
        reason: String,
    },
    /// The module uses a name that only instrumented modules have: it is one already, or pretends
    /// to be.
    #[error("the module exports `{name}`, a name reserved for metering")]
    ReservedName {
        /// The name.
        name: &'static str,
    },
    /// The module has more than one memory, and so could name the meter.
    #[error("the module has {memories} memories; at most one leaves the meter out of reach")]
    Memories {
        /// Number of memories.
        memories: u32,
    },
    /// The module imports a table, or a reference, through which functions that do not take its counter
    /// could be called.
    #[error("the import `{name}` may refer to functions that count elsewhere")]
    ForeignFunctions {
        /// Name of the import.
        name: String,
    },
    /// A function has so many parameters or results that none can be added.
    #[error("a type of functions, at byte {offset}, leaves no room for the counter")]
    Signature {
        /// Position of the type in the module.
        offset: usize,
    },
    /// The module uses an operator whose control flow this version does not know.
    #[error("an operator of the proposal `{proposal}`, at byte {offset}, cannot be metered")]
    Feature {
        /// The proposal, as `wasmparser` names it.
        proposal: &'static str,
        /// Position in the module.
        offset: usize,
    },
    /// A part cannot be encoded again.
    #[error("the module cannot be encoded again: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
}

impl From<BinaryReaderError> for InstrumentError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Read {
            offset: error.offset(),
            reason: error.message().to_owned(),
        }
    }
}

/// An instrumented module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrumented {
    /// The module.
    pub wasm: Vec<u8>,
    /// What was added to each function, in the order of the code section.
    pub functions: Vec<FunctionStats>,
}

/// What was added to a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionStats {
    /// Places that add to the counter.
    pub increments: u32,
    /// Places that publish the counter.
    pub safepoints: u32,
    /// For each of its loops, in order, how many turns are written out: 1 if it publishes the counter whenever it
    /// begins a turn, else it does after so many.
    pub turns: Vec<u32>,
    /// Bytes of the body before.
    pub bytes_before: usize,
    /// Bytes of the body now.
    pub bytes_after: usize,
    /// The estimate of its frame, in bytes; without a limit of depth, of its locals alone.
    pub frame_bytes: u32,
}

/// Instruments `wasm`, which must be valid within a profile of one memory, on the threads of rayon's pool.
///
/// # Errors
/// See [`InstrumentError`].
pub fn instrument(
    wasm: &[u8],
    instrumentation: &Instrumentation,
) -> Result<Instrumented, InstrumentError> {
    instrument_on(wasm, instrumentation, true)
}

/// Instruments `wasm`, all functions at once if `is_parallel`.
pub(crate) fn instrument_on(
    wasm: &[u8],
    instrumentation: &Instrumentation,
    is_parallel: bool,
) -> Result<Instrumented, InstrumentError> {
    let shape = Shape::read(wasm)?;
    let written = written(bodies(wasm)?, &shape, instrumentation, is_parallel)?;
    let referred = written.iter().flat_map(|body| &body.referred).copied();
    let mut writer = Writer::new(&shape, instrumentation, referred.collect(), &written);
    // Imported functions are reached through their shims, by hosts all functions through their entries.
    let mut redirect = Redirect(|function| shape.callee(function));
    let mut exported = Redirect(|function| shape.entry(function).unwrap_or(function));
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Some((id, _)) = payload.as_section() {
            writer.before(id);
        }
        match payload {
            Payload::TypeSection(types) => {
                let mut section = TypeSection::new();
                encoded(redirect.parse_type_section(&mut section, types))?;
                writer.types(section);
            }
            Payload::FunctionSection(_) => writer.functions(),
            Payload::TableSection(tables) => {
                let mut section = TableSection::new();
                encoded(redirect.parse_table_section(&mut section, tables))?;
                writer.module.section(&section);
            }
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                encoded(redirect.parse_memory_section(&mut section, memories))?;
                writer.memories(section);
            }
            Payload::GlobalSection(globals) => {
                let mut section = GlobalSection::new();
                encoded(redirect.parse_global_section(&mut section, globals))?;
                writer.module.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                encoded(exported.parse_export_section(&mut section, exports))?;
                writer.exports(section);
            }
            Payload::TagSection(tags) => {
                return Err(InstrumentError::Feature {
                    proposal: "exceptions",
                    offset: tags.range().start,
                });
            }
            Payload::ElementSection(elements) => {
                let mut section = ElementSection::new();
                encoded(redirect.parse_element_section(&mut section, elements))?;
                writer.elements(section);
            }
            Payload::CodeSectionStart { .. } => writer.code(),
            // Called by its export; written with the others.
            Payload::StartSection { .. } | Payload::CodeSectionEntry(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = &wasm[range];
                    writer.module.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(writer.finish())
}

/// A function, and what is needed to check it.
type Validated<'a> = (FunctionBody<'a>, FuncToValidate<ValidatorResources>);

/// All functions, in a module that is valid but for them.
fn bodies(wasm: &[u8]) -> Result<Vec<Validated<'_>>, InstrumentError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let validated = validator.payload(&payload)?;
        if let (Payload::CodeSectionEntry(body), ValidPayload::Func(function, _)) =
            (payload, validated)
        {
            bodies.push((body, function));
        }
    }
    Ok(bodies)
}

/// A function with what was added to it.
struct Written {
    bytes: Vec<u8>,
    stats: FunctionStats,
    /// Functions it refers to.
    referred: Vec<u32>,
}

fn written(
    bodies: Vec<Validated<'_>>,
    shape: &Shape,
    instrumentation: &Instrumentation,
    is_parallel: bool,
) -> Result<Vec<Written>, InstrumentError> {
    let read = each(bodies, is_parallel, |(body, function)| {
        Body::read(&body, function, shape, instrumentation)
    });
    let (mut bodies, mut calls) = (Vec::new(), Vec::new());
    for read in read {
        // Of several errors, the first.
        let ReadBody {
            body,
            placement,
            calls: called,
        } = read?;
        bodies.push((body, placement));
        calls.push(called);
    }
    let planned = bodies.into_iter().zip(plan(&calls)).collect();
    let written = each(planned, is_parallel, |((body, placement), plan)| {
        let referred = body.referred();
        let (bytes, stats) = body.write(shape, instrumentation, placement, &plan);
        Written {
            bytes,
            stats,
            referred,
        }
    });
    Ok(written)
}

/// What `make` makes of each, in order; at once if `is_parallel`.
fn each<T: Send, U: Send>(
    items: Vec<T>,
    is_parallel: bool,
    make: impl Fn(T) -> U + Sync + Send,
) -> Vec<U> {
    if is_parallel {
        items.into_par_iter().map(make).collect()
    } else {
        items.into_iter().map(make).collect()
    }
}

fn encoded<T>(result: Result<T, wasm_encoder::reencode::Error>) -> Result<T, InstrumentError> {
    result.map_err(|error| InstrumentError::Encode {
        reason: error.to_string(),
    })
}

/// Copies sections, and replaces references to functions.
struct Redirect<F>(F);

impl<F: FnMut(u32) -> u32> Reencode for Redirect<F> {
    type Error = std::convert::Infallible;

    fn function_index(
        &mut self,
        function: u32,
    ) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok((self.0)(function))
    }
}

/// The module in the making, and which of the sections that must be there are.
struct Writer<'a> {
    shape: &'a Shape,
    instrumentation: &'a Instrumentation,
    bodies: &'a [Written],
    /// Functions that are referred to.
    referred: BTreeSet<u32>,
    module: Module,
    has_functions: bool,
    has_memory: bool,
    has_export: bool,
    has_elements: bool,
    has_code: bool,
}

impl<'a> Writer<'a> {
    fn new(
        shape: &'a Shape,
        instrumentation: &'a Instrumentation,
        referred: BTreeSet<u32>,
        bodies: &'a [Written],
    ) -> Self {
        let nothing_to_add = shape.imports.is_empty() && shape.entries().next().is_none();
        Self {
            shape,
            instrumentation,
            bodies,
            referred,
            module: Module::new(),
            has_functions: nothing_to_add,
            has_memory: false,
            has_export: false,
            has_elements: false,
            has_code: nothing_to_add,
        }
    }

    /// The type section with those that count.
    fn types(&mut self, mut section: TypeSection) {
        for (parameters, results) in self.shape.added_types() {
            let encoded = |values: Vec<wasmparser::ValType>| values.into_iter().map(local_type);
            section.ty().function(encoded(parameters), encoded(results));
        }
        self.module.section(&section);
    }

    /// The function section with a shim for each imported function, and the entries.
    fn functions(&mut self) {
        self.has_functions = true;
        let mut section = FunctionSection::new();
        let imported = self.shape.imports.iter().map(|import| &import.ty);
        for ty in self.shape.functions.iter().chain(imported) {
            section.function(self.shape.counting(*ty));
        }
        for entry in self.shape.entries() {
            section.function(entry.ty);
        }
        self.module.section(&section);
    }

    /// The memory section with the meter.
    fn memories(&mut self, mut section: MemorySection) {
        self.has_memory = true;
        section.memory(MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        self.module.section(&section);
    }

    /// The export section with the meter and what was the start function.
    fn exports(&mut self, mut section: ExportSection) {
        self.has_export = true;
        section.export(METER_EXPORT, ExportKind::Memory, self.shape.meter());
        if let Some(start) = self.shape.start_entry() {
            section.export(START_EXPORT, ExportKind::Func, start);
        }
        self.module.section(&section);
    }

    /// The element section, which declares what functions refer to: exported functions are not declared by
    /// their exports any more.
    fn elements(&mut self, mut section: ElementSection) {
        self.has_elements = true;
        if !self.referred.is_empty() {
            let functions: Vec<u32> = self.referred.iter().copied().collect();
            section.declared(Elements::Functions(functions.into()));
        }
        if !section.is_empty() {
            self.module.section(&section);
        }
    }

    /// The code section with the shims and the entries.
    fn code(&mut self) {
        self.has_code = true;
        let mut code = CodeSection::new();
        for body in self.bodies {
            code.raw(&body.bytes);
        }
        for number in 0..self.shape.imports.len() {
            let shim = shim::write(self.shape, number, &self.instrumentation.schedule);
            code.raw(&shim);
        }
        for entry in self.shape.entries() {
            let entry = shim::write_entry(self.shape, entry, self.instrumentation.check);
            code.raw(&entry);
        }
        self.module.section(&code);
    }

    /// Emits what belongs before a section with number `id` and is not there yet. Custom sections
    /// may stand anywhere.
    fn before(&mut self, id: u8) {
        // The data count section has number 12 but stands before the code.
        let id = if id == SectionId::DataCount as u8 {
            SectionId::Code as u8
        } else {
            id
        };
        if id == SectionId::Custom as u8 {
            return;
        }
        if id > SectionId::Function as u8 && !self.has_functions {
            self.functions();
        }
        if id > SectionId::Memory as u8 && !self.has_memory {
            self.memories(MemorySection::new());
        }
        if id > SectionId::Export as u8 && !self.has_export {
            self.exports(ExportSection::new());
        }
        if id > SectionId::Element as u8 && !self.has_elements {
            self.elements(ElementSection::new());
        }
        if id > SectionId::Code as u8 && !self.has_code {
            self.code();
        }
    }

    fn finish(mut self) -> Instrumented {
        self.before(u8::MAX);
        Instrumented {
            wasm: self.module.finish(),
            functions: self.bodies.iter().map(|body| body.stats.clone()).collect(),
        }
    }
}

/// A type of locals within the profiles, which are plain.
pub(super) fn local_type(ty: wasmparser::ValType) -> wasm_encoder::ValType {
    RoundtripReencoder
        .val_type(ty)
        .unwrap_or(wasm_encoder::ValType::I32)
}
