//! How often what was added to a module is executed: the same on every machine.
//!
//! The instrumented module is rewritten once more: beside each addition to the counter and each flush, a global
//! is counted up. A run of it says how many of each there were.

use std::convert::Infallible;

use slackwater_executor::fuel::COUNTER_OFFSET;
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, GlobalSection, GlobalType,
    Instruction, Module, ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload};
use wasmtime::{Instance, Store};

/// Names of the globals.
const NAMES: [&str; 2] = ["bench.increments", "bench.flushes"];

/// How much counting was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) increments: u64,
    pub(crate) flushes: u64,
}

impl Done {
    /// What an instance has done.
    pub(crate) fn of<T: 'static>(store: &mut Store<T>, instance: &Instance) -> Self {
        let [increments, flushes] = NAMES.map(|name| {
            let global = instance.get_global(&mut *store, name);
            global.map_or(0, |global| {
                global.get(&mut *store).unwrap_i64().cast_unsigned()
            })
        });
        Self {
            increments,
            flushes,
        }
    }
}

impl std::ops::Sub for Done {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            increments: self.increments - before.increments,
            flushes: self.flushes - before.flushes,
        }
    }
}

/// The instrumented module, which counts what counting it does.
pub(crate) fn counting(wasm: &[u8]) -> Vec<u8> {
    let mut counting = Counting {
        globals: 0,
        meter: 0,
    };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::GlobalSection(globals) => counting.globals = globals.count(),
            Payload::MemorySection(memories) => counting.meter = memories.count() - 1,
            _ => {}
        }
    }
    let mut module = Module::new();
    counting
        .parse_core_module(&mut module, Parser::new(0), wasm)
        .expect("encoded again");
    module.finish()
}

struct Counting {
    /// Globals of the module, none of them imported.
    globals: u32,
    meter: u32,
}

impl Counting {
    fn count(&self, global: u32, function: &mut Function) {
        let global = self.globals + global;
        function.instruction(&Instruction::GlobalGet(global));
        function.instruction(&Instruction::I64Const(1));
        function.instruction(&Instruction::I64Add);
        function.instruction(&Instruction::GlobalSet(global));
    }
}

impl Reencode for Counting {
    type Error = Infallible;

    fn parse_global_section(
        &mut self,
        section: &mut GlobalSection,
        globals: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, section, globals)?;
        for _ in NAMES {
            let ty = GlobalType {
                val_type: ValType::I64,
                mutable: true,
                shared: false,
            };
            section.global(ty, &ConstExpr::i64_const(0));
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        section: &mut ExportSection,
        exports: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_export_section(self, section, exports)?;
        for (name, global) in NAMES.into_iter().zip(self.globals..) {
            section.export(name, ExportKind::Global, global);
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let operators: Result<Vec<_>, _> = body.get_operators_reader()?.into_iter().collect();
        let operators = operators?;
        for (at, operator) in operators.iter().enumerate() {
            function.instruction(&self.instruction(operator.clone())?);
            let flush = matches!(operator, Operator::I64Store { memarg }
                if memarg.memory == self.meter && memarg.offset == COUNTER_OFFSET);
            if flush {
                self.count(1, &mut function);
            }
            // Guests hardly add constants to locals of 64 bits; those that do are counted as well.
            if let [
                Operator::LocalGet { local_index: read },
                Operator::I64Const { .. },
                Operator::I64Add,
                Operator::LocalSet { local_index: set },
            ] = &operators[at.saturating_sub(3)..=at]
                && read == set
            {
                self.count(0, &mut function);
            }
        }
        code.function(&function);
        Ok(())
    }
}
