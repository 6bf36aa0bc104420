//! A module that counts, made to tell whenever a function begins or ends, and how much was counted by then.
//!
//! Every function that takes and returns the counter gets a *teller* in front: it tells, calls the function, and tells
//! again. Calls and references lead to tellers; what hosts call stays as it is. Invariant: nothing that is counted
//! changes. Cost: two calls of the host for each call within the guest, so this is for finding out where fuel goes only.

use std::collections::BTreeSet;

use wasm_encoder::{
    CodeSection, EntityType, Function, FunctionSection, ImportSection, Instruction, Module,
    SectionId, TypeSection, ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{
    CodeSectionReader, CompositeInnerType, CustomSectionReader, ExternalKind,
    FunctionSectionReader, ImportSectionReader, KnownCustom, Name, Parser, Payload, TypeRef,
    TypeSectionReader,
};

use super::InstrumentError;

/// The module that tellers import from. A guest cannot: it is refused before.
pub(crate) const TELLER_MODULE: &str = "slackwater:profile";
/// Told when a function begins: its number, and the counter.
pub(crate) const ENTER: &str = "enter";
/// Told when a function ends: the counter.
pub(crate) const LEAVE: &str = "leave";

/// A module that tells, and what its functions are called, by the numbers that it tells.
#[derive(Debug)]
pub(crate) struct Profiled {
    pub(crate) wasm: Vec<u8>,
    pub(crate) names: Vec<String>,
}

/// Makes `instrumented`, which was made of `original`, tell.
pub(crate) fn profiled(instrumented: &[u8], original: &[u8]) -> Result<Profiled, InstrumentError> {
    let mut tellers = Tellers::read(instrumented)?;
    let names = names(&tellers, original)?;
    let mut module = Module::new();
    let encoded = tellers.parse_core_module(&mut module, Parser::new(0), instrumented);
    encoded.map_err(|error| InstrumentError::Encode {
        reason: error.to_string(),
    })?;
    Ok(Profiled {
        wasm: module.finish(),
        names,
    })
}

/// The module at a glance.
#[derive(Default)]
struct Tellers {
    /// Parameters and results of each type.
    types: Vec<(usize, usize)>,
    imported: Vec<String>,
    /// Type of each function with a body.
    functions: Vec<u32>,
    /// Functions that hosts call.
    exported: BTreeSet<u32>,
    has_imports: bool,
}

impl Tellers {
    fn read(wasm: &[u8]) -> Result<Self, InstrumentError> {
        let mut read = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        for ty in group?.into_types() {
                            let CompositeInnerType::Func(ty) = &ty.composite_type.inner else {
                                return Err(InstrumentError::Encode {
                                    reason: "a type that is none of functions".to_owned(),
                                });
                            };
                            read.types.push((ty.params().len(), ty.results().len()));
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let import = import?;
                        if let TypeRef::Func(_) = import.ty {
                            read.imported.push(import.name.to_owned());
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        read.functions.push(ty?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            read.exported.insert(export.index);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn imported(&self) -> u32 {
        // A valid module has at most a million functions.
        u32::try_from(self.imported.len()).unwrap_or(u32::MAX)
    }

    fn bodies(&self) -> u32 {
        u32::try_from(self.functions.len()).unwrap_or(u32::MAX)
    }

    fn enter(&self) -> u32 {
        self.imported()
    }

    fn leave(&self) -> u32 {
        self.imported() + 1
    }

    /// Where the body stands that had this index.
    fn body(&self, function: u32) -> u32 {
        function + 2
    }

    /// The functions that get a teller, in order.
    fn told(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let all = (self.imported()..).zip(self.functions.iter().copied());
        all.filter(|(function, _)| !self.exported.contains(function))
    }

    /// The teller of the function at `index`, with type `ty`.
    fn teller(&self, index: u32, ty: u32) -> Function {
        let (parameters, _) = self.types.get(ty as usize).copied().unwrap_or_default();
        let parameters = u32::try_from(parameters).unwrap_or(u32::MAX);
        let counter = parameters.saturating_sub(1);
        let mut body = Function::new([(1, ValType::I64)]);
        let number = index - self.imported();
        body.instruction(&Instruction::I32Const(number.cast_signed()))
            .instruction(&Instruction::LocalGet(counter))
            .instruction(&Instruction::Call(self.enter()));
        for parameter in 0..parameters {
            body.instruction(&Instruction::LocalGet(parameter));
        }
        body.instruction(&Instruction::Call(self.body(index)))
            // The counter is the last of the results.
            .instruction(&Instruction::LocalTee(parameters))
            .instruction(&Instruction::LocalGet(parameters))
            .instruction(&Instruction::Call(self.leave()))
            .instruction(&Instruction::End);
        body
    }

    fn add_imports(&mut self, imports: &mut ImportSection) {
        self.has_imports = true;
        let enter = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        for (name, ty) in [(ENTER, enter), (LEAVE, enter + 1)] {
            imports.import(TELLER_MODULE, name, EntityType::Function(ty));
        }
    }
}

type Encoded = Result<(), Error<std::convert::Infallible>>;

impl Reencode for Tellers {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Self::Error>> {
        if function < self.imported() {
            return Ok(function);
        }
        if self.exported.contains(&function) {
            return Ok(self.body(function));
        }
        // Those before it that have no teller leave no gap.
        let exported = self.exported.range(..function).count();
        let number = function - self.imported() - u32::try_from(exported).unwrap_or(u32::MAX);
        Ok(self.imported() + 2 + self.bodies() + number)
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Encoded {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([ValType::I32, ValType::I64], []);
        types.ty().function([ValType::I64], []);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Encoded {
        utils::parse_import_section(self, imports, section)?;
        self.add_imports(imports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Encoded {
        let _after = after;
        if before == Some(SectionId::Function) && !self.has_imports {
            let mut imports = ImportSection::new();
            self.add_imports(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Encoded {
        utils::parse_function_section(self, functions, section)?;
        for (_, ty) in self.told() {
            functions.function(ty);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Encoded {
        utils::parse_code_section(self, code, section)?;
        for (function, ty) in self.told() {
            code.function(&self.teller(function, ty));
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Encoded {
        // Its names are those of other indices.
        if let KnownCustom::Name(_) = section.as_known() {
            return Ok(());
        }
        utils::parse_custom_section(self, module, section)
    }
}

/// What functions are called, by the numbers told: the guest's own by its names, the shims behind them by what they import.
fn names(tellers: &Tellers, original: &[u8]) -> Result<Vec<String>, InstrumentError> {
    let imported = tellers.imported.len();
    // Behind the guest's own stand a shim for each import, and what hosts call.
    let added = imported + tellers.exported.len();
    let own = tellers.functions.len().saturating_sub(added);
    let mut names: Vec<_> = (0..own)
        .map(|number| format!("function {number}"))
        .collect();
    for payload in Parser::new(0).parse_all(original) {
        let Payload::CustomSection(section) = payload? else {
            continue;
        };
        let KnownCustom::Name(sections) = section.as_known() else {
            continue;
        };
        // Names are for people: broken ones are none.
        for section in sections.into_iter().flatten() {
            let Name::Function(functions) = section else {
                continue;
            };
            for naming in functions.into_iter().flatten() {
                let own = usize::try_from(naming.index).ok();
                let own = own.and_then(|index| index.checked_sub(imported));
                if let Some(name) = own.and_then(|own| names.get_mut(own)) {
                    *name = demangled(naming.name);
                }
            }
        }
    }
    names.extend(tellers.imported.iter().map(|name| format!("host {name}")));
    Ok(names)
}

/// A name as it was written, without the hash that Rust's compiler adds.
fn demangled(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    // Linkers demangle too, and leave the hash.
    match name.rsplit_once("::h") {
        Some((path, hash)) if is_hash(hash) => path.to_owned(),
        _ => name,
    }
}

fn is_hash(text: &str) -> bool {
    const DIGITS: usize = 16;
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuel::{Check, Instrumentation, instrument};

    #[test]
    fn every_function_but_those_hosts_call_tells() {
        let original = wat::parse_str(
            r#"(module
                (import "env" "host" (func $host (param i32) (result i64)))
                (table 1 funcref)
                (elem (i32.const 0) $inner)
                (func $inner (param i32) (result i64 )
                    (call $host (local.get 0)))
                (func $quiet)
                (func (export "entry") (param i32 i32) (result i64)
                    (call $quiet)
                    (i64.add (call $inner (local.get 0))
                             (call_indirect (param i32) (result i64) (local.get 1) (i32.const 0)))))"#,
        )
        .expect("a module");
        let instrumented =
            instrument(&original, &Instrumentation::new(Check::None)).expect("counts");
        let profiled = profiled(&instrumented.wasm, &original).expect("tells");
        wasmparser::Validator::new()
            .validate_all(&profiled.wasm)
            .expect("valid");
        assert_eq!(
            profiled.names,
            ["inner", "quiet", "function 2", "host host"]
        );
    }

    #[test]
    fn a_module_without_imports_tells_too() {
        let original = wat::parse_str(r#"(module (func $own) (func (export "entry") call $own))"#);
        let original = original.expect("a module");
        let instrumented =
            instrument(&original, &Instrumentation::new(Check::None)).expect("counts");
        let profiled = profiled(&instrumented.wasm, &original).expect("tells");
        wasmparser::Validator::new()
            .validate_all(&profiled.wasm)
            .expect("valid");
    }
}
