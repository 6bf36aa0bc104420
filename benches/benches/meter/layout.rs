//! The same code elsewhere: how fast a loop is depends on where it lies, by more than what is measured here.
//!
//! A function that nobody calls is put before all others, and made longer for each layout.

use std::convert::Infallible;

use wasm_encoder::{
    CodeSection, Function, FunctionSection, Instruction, MemArg, Module, TypeSection,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{FunctionBody, Parser, Payload, TypeRef};

/// Stores of that function, of some 8 bytes each.
const STORES: [u32; 8] = [0, 3, 9, 14, 23, 30, 37, 44];

/// The module in the layout with this number.
pub(crate) fn laid_out(wasm: &[u8], layout: usize) -> Vec<u8> {
    let mut padding = Padding {
        imported: 0,
        ty: 0,
        stores: Some(STORES[layout % STORES.len()]),
    };
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ImportSection(imports) = payload.expect("valid") {
            for import in imports {
                let ty = import.expect("valid").ty;
                padding.imported += u32::from(matches!(ty, TypeRef::Func(_)));
            }
        }
    }
    let mut module = Module::new();
    let made = padding.parse_core_module(&mut module, Parser::new(0), wasm);
    made.expect("encoded again");
    module.finish()
}

struct Padding {
    imported: u32,
    /// Type of the function.
    ty: u32,
    /// Its stores, until it is written.
    stores: Option<u32>,
}

impl Reencode for Padding {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(function + u32::from(function >= self.imported))
    }

    fn parse_type_section(
        &mut self,
        section: &mut TypeSection,
        types: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, section, types)?;
        self.ty = section.len();
        section.ty().function([], []);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        section: &mut FunctionSection,
        functions: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        section.function(self.ty);
        utils::parse_function_section(self, section, functions)
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        if let Some(stores) = self.stores.take() {
            let mut function = Function::new([]);
            for store in 0..stores {
                let at = MemArg {
                    offset: u64::from(store) * 8,
                    align: 0,
                    memory_index: 0,
                };
                function.instruction(&Instruction::I32Const(0));
                function.instruction(&Instruction::I32Const(store.cast_signed()));
                function.instruction(&Instruction::I32Store(at));
            }
            function.instruction(&Instruction::End);
            code.function(&function);
        }
        utils::parse_function_body(self, code, body)
    }
}
