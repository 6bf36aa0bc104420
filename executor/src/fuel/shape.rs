//! What of a module decides how its functions are instrumented: types, imports, the meter's index.
//!
//! It also knows where what is added stands. Every function takes the counter behind its parameters and
//! returns it behind its results, so each type has a *counting* twin behind the guest's own types; behind
//! the guest's functions stand a shim for each import, and a function of the original type for the start
//! function and for each one that is exported. Invariant: no index of the guest's own changes.

use wasm_encoder::BlockType;
use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, Operator, Parser, Payload, TypeRef, ValType,
};

use super::{
    InstrumentError,
    calls::Callee,
    instrument::local_type,
    layout::{METER_EXPORT, START_EXPORT},
};

/// An imported function.
pub(super) struct Import {
    pub(super) name: String,
    /// Index of its type.
    pub(super) ty: u32,
}

/// Most parameters, and most results, a function can have beside the counter: one less than the engine
/// allows.
const VALUES_MAX: usize = 999;

/// A function that hosts call instead of another.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The other.
    pub(super) function: u32,
    /// Its type.
    pub(super) ty: u32,
    /// Whether it is called to start an instance.
    pub(super) starts: bool,
}

/// The module at a glance.
#[derive(Default)]
pub(super) struct Shape {
    /// Each type, all of functions.
    types: Vec<FuncType>,
    /// Types with several results, in order: blocks with these results need a type of their own.
    several: Vec<u32>,
    /// Imported functions, whose indices come first.
    pub(super) imports: Vec<Import>,
    /// Type of each function with a body.
    pub(super) functions: Vec<u32>,
    /// Memories of the guest; the meter's index is behind theirs.
    memories: u32,
    /// The start function.
    pub(super) start: Option<u32>,
    /// Functions that are exported, once each, in order.
    exported: Vec<u32>,
}

impl Shape {
    pub(super) fn read(wasm: &[u8]) -> Result<Self, InstrumentError> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        let group = group?;
                        for (offset, ty) in group.into_types_and_offsets() {
                            let CompositeInnerType::Func(ty) = ty.composite_type.inner else {
                                return Err(InstrumentError::Feature {
                                    proposal: "gc",
                                    offset,
                                });
                            };
                            shape.add_type(ty, offset)?;
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(ty) if shape.gives_references(ty) => {
                                return Err(foreign_functions(&import));
                            }
                            TypeRef::Func(ty) => shape.imports.push(Import {
                                name: import.name.to_owned(),
                                ty,
                            }),
                            TypeRef::Memory(_) => shape.memories += 1,
                            // What is called through it may not count, or elsewhere.
                            TypeRef::Table(_) => {
                                return Err(foreign_functions(&import));
                            }
                            TypeRef::Global(global)
                                if matches!(global.content_type, ValType::Ref(_)) =>
                            {
                                return Err(foreign_functions(&import));
                            }
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        shape.functions.push(ty?);
                    }
                }
                Payload::MemorySection(memories) => shape.memories += memories.count(),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        for name in [METER_EXPORT, START_EXPORT] {
                            if export.name == name {
                                return Err(InstrumentError::ReservedName { name });
                            }
                        }
                        if export.kind == ExternalKind::Func {
                            shape.exported.push(export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => shape.start = Some(func),
                _ => {}
            }
        }
        if shape.memories > 1 {
            let memories = shape.memories;
            return Err(InstrumentError::Memories { memories });
        }
        shape.exported.sort_unstable();
        shape.exported.dedup();
        Ok(shape)
    }

    fn add_type(&mut self, ty: FuncType, offset: usize) -> Result<(), InstrumentError> {
        if ty.params().len().max(ty.results().len()) > VALUES_MAX {
            return Err(InstrumentError::Signature { offset });
        }
        if ty.results().len() > 1 {
            self.several.push(self.types_own());
        }
        self.types.push(ty);
        Ok(())
    }

    /// Number of the guest's types.
    fn types_own(&self) -> u32 {
        // A valid module has at most a million types.
        u32::try_from(self.types.len()).unwrap_or(u32::MAX)
    }

    /// Whether functions of a type return references.
    fn gives_references(&self, ty: u32) -> bool {
        let results = self.signature(ty).map(FuncType::results);
        let mut results = results.unwrap_or_default().iter();
        results.any(|ty| matches!(ty, ValType::Ref(ty) if ty.is_func_ref()))
    }

    /// A type of functions, by its index.
    pub(super) fn signature(&self, ty: u32) -> Option<&FuncType> {
        self.types.get(ty as usize)
    }

    /// Index of the type of a function that counts, whose own type is `ty`.
    pub(super) fn counting(&self, ty: u32) -> u32 {
        self.types_own() + ty
    }

    /// Index of the type of a block without parameters and with the several results of `ty`.
    pub(super) fn block(&self, ty: u32) -> Option<u32> {
        let number = self.several.binary_search(&ty).ok()?;
        Some(2 * self.types_own() + u32::try_from(number).ok()?)
    }

    /// The types behind the guest's own.
    pub(super) fn added_types(&self) -> impl Iterator<Item = (Vec<ValType>, Vec<ValType>)> + '_ {
        let with_counter = |values: &[ValType]| {
            let counter = [ValType::I64];
            values.iter().chain(&counter).copied().collect()
        };
        let counting = self.types.iter();
        let counting =
            counting.map(move |ty| (with_counter(ty.params()), with_counter(ty.results())));
        let blocks = self.several.iter();
        let blocks = blocks.map(|ty| (Vec::new(), self.types[*ty as usize].results().to_vec()));
        counting.chain(blocks)
    }

    /// Number of imported functions.
    pub(super) fn imported(&self) -> u32 {
        // A valid module has at most a million functions.
        u32::try_from(self.imports.len()).unwrap_or(u32::MAX)
    }

    /// Number of functions with a body.
    fn bodies(&self) -> u32 {
        u32::try_from(self.functions.len()).unwrap_or(u32::MAX)
    }

    /// Index of the type of a function.
    pub(super) fn type_of(&self, function: u32) -> Option<u32> {
        match function.checked_sub(self.imported()) {
            Some(body) => self.functions.get(body as usize).copied(),
            None => self.imports.get(function as usize).map(|import| import.ty),
        }
    }

    /// The function to be called instead of `function`: the shim of one that is imported.
    pub(super) fn callee(&self, function: u32) -> u32 {
        if function < self.imported() {
            self.imported() + self.bodies() + function
        } else {
            function
        }
    }

    /// Whether hosts call a function.
    pub(super) fn is_exported(&self, function: u32) -> bool {
        self.start == Some(function) || self.exported.binary_search(&function).is_ok()
    }

    /// What a call calls.
    pub(super) fn called(&self, operator: &Operator<'_>) -> Callee {
        match operator {
            Operator::Call { function_index } => {
                match function_index.checked_sub(self.imported()) {
                    Some(body) if body < self.bodies() => Callee::Body(body as usize),
                    // The module is not valid.
                    Some(_) => Callee::Never,
                    None => Callee::Import,
                }
            }
            _ => Callee::Indirect,
        }
    }

    /// Number of parameters of a function.
    pub(super) fn parameters(&self, function: u32) -> u32 {
        let signature = self.type_of(function).and_then(|ty| self.signature(ty));
        // A valid type has at most 1,000 parameters.
        signature.map_or(0, |ty| u32::try_from(ty.params().len()).unwrap_or(u32::MAX))
    }

    /// The results of a function, as the type of a block.
    pub(super) fn results(&self, function: u32) -> BlockType {
        let ty = self.type_of(function);
        let results = ty.and_then(|ty| self.signature(ty)).map(FuncType::results);
        match (results, ty.and_then(|ty| self.block(ty))) {
            (Some([result]), _) => BlockType::Result(local_type(*result)),
            (_, Some(block)) => BlockType::FunctionType(block),
            _ => BlockType::Empty,
        }
    }

    /// The functions that hosts call instead of others, behind the shims, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let start = self.start.iter().map(|function| (*function, true));
        let exported = self.exported.iter().map(|function| (*function, false));
        start.chain(exported).filter_map(|(function, starts)| {
            Some(Entry {
                function,
                ty: self.type_of(function)?,
                starts,
            })
        })
    }

    fn first_entry(&self) -> u32 {
        self.bodies() + 2 * self.imported()
    }

    /// Index of the function that is exported instead of the start function.
    pub(super) fn start_entry(&self) -> Option<u32> {
        self.start.map(|_| self.first_entry())
    }

    /// Index of the function that is exported instead of `function`.
    pub(super) fn entry(&self, function: u32) -> Option<u32> {
        let number = self.exported.binary_search(&function).ok()?;
        let number = u32::try_from(number).ok()?;
        Some(self.first_entry() + u32::from(self.start.is_some()) + number)
    }

    /// Index of the meter among the memories.
    pub(super) fn meter(&self) -> u32 {
        self.memories
    }
}

fn foreign_functions(import: &wasmparser::Import<'_>) -> InstrumentError {
    InstrumentError::ForeignFunctions {
        name: format!("{}.{}", import.module, import.name),
    }
}
