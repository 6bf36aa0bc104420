//! Instrumented modules with a flush left out, to see that it is noticed.

use std::convert::Infallible;

use wasm_encoder::{
    CodeSection, Instruction, Module,
    reencode::{Error, Reencode},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// The flush of each function that is left out, to see that it is noticed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forgotten {
    /// That of this number.
    Number(usize),
    /// Those before `unreachable`, which only runs that trap go through.
    BeforeUnreachable,
}

/// The same module with a flush left out of each function.
pub(crate) fn without_flush(wasm: &[u8], forgotten: Forgotten) -> Vec<u8> {
    let mut memories = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::ImportSection(imports) => {
                for import in imports {
                    let ty = import.expect("valid").ty;
                    memories += u32::from(matches!(ty, wasmparser::TypeRef::Memory(_)));
                }
            }
            Payload::MemorySection(section) => memories += section.count(),
            _ => {}
        }
    }
    let meter = memories - 1;
    let mut module = Module::new();
    let mut forgetful = Forgetful { meter, forgotten };
    let made = forgetful.parse_core_module(&mut module, Parser::new(0), wasm);
    made.expect("it can be encoded again");
    module.finish()
}

/// Leaves out a flush of each function.
struct Forgetful {
    meter: u32,
    forgotten: Forgotten,
}

impl Reencode for Forgetful {
    type Error = Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let operators: Result<Vec<_>, _> = body.get_operators_reader()?.into_iter().collect();
        let mut operators = operators?.into_iter().peekable();
        let mut flushes = 0;
        while let Some(operator) = operators.next() {
            let is_flush = matches!(operator, Operator::I64Store { memarg }
                if memarg.memory == self.meter && memarg.offset == 0);
            flushes += usize::from(is_flush);
            let forgotten = match self.forgotten {
                Forgotten::Number(number) => flushes == number,
                Forgotten::BeforeUnreachable => {
                    matches!(operators.peek(), Some(Operator::Unreachable))
                }
            };
            if is_flush && forgotten {
                function.instruction(&Instruction::Drop);
                function.instruction(&Instruction::Drop);
            } else {
                function.instruction(&self.instruction(operator)?);
            }
        }
        code.function(&function);
        Ok(())
    }
}
