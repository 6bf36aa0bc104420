//! What of a module decides how its functions are instrumented: types, imports, the meter's index.

use wasmparser::{CompositeInnerType, FuncType, Parser, Payload, TypeRef};

use super::{
    InstrumentError,
    layout::{METER_EXPORT, START_EXPORT},
};

/// An imported function.
pub(super) struct Import {
    pub(super) name: String,
    /// Index of its type.
    pub(super) ty: u32,
}

/// The module at a glance.
#[derive(Default)]
pub(super) struct Shape {
    /// Each type; `None` for one that is not of functions.
    types: Vec<Option<FuncType>>,
    /// Imported functions, whose indices come first.
    pub(super) imports: Vec<Import>,
    /// Type of each function with a body.
    pub(super) functions: Vec<u32>,
    /// Memories of the guest; the meter's index is behind theirs.
    memories: u32,
    /// The start function.
    pub(super) start: Option<u32>,
}

impl Shape {
    pub(super) fn read(wasm: &[u8]) -> Result<Self, InstrumentError> {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        for ty in group?.into_types() {
                            shape.types.push(match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(ty) => shape.imports.push(Import {
                                name: import.name.to_owned(),
                                ty,
                            }),
                            TypeRef::Memory(_) => shape.memories += 1,
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
        Ok(shape)
    }

    /// A type of functions, by its index.
    pub(super) fn signature(&self, ty: u32) -> Option<&FuncType> {
        self.types.get(ty as usize)?.as_ref()
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
    fn type_of(&self, function: u32) -> Option<u32> {
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

    /// Number of parameters of a function.
    pub(super) fn parameters(&self, function: u32) -> u32 {
        let signature = self.type_of(function).and_then(|ty| self.signature(ty));
        // A valid type has at most 1,000 parameters.
        signature.map_or(0, |ty| u32::try_from(ty.params().len()).unwrap_or(u32::MAX))
    }

    /// Index and type of the function that is exported instead of the start function, which is behind
    /// the shims.
    pub(super) fn start_wrapper(&self) -> Option<(u32, u32)> {
        let start = self.start?;
        Some((self.bodies() + 2 * self.imported(), self.type_of(start)?))
    }

    /// Index of the meter among the memories.
    pub(super) fn meter(&self) -> u32 {
        self.memories
    }
}
