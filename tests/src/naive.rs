//! A second instrumenter, written to be obvious: the oracle for runs that trap.
//!
//! It shares nothing with the executor's. Before every operator it adds the operator's price to a
//! global, so that the count is right wherever a run stops. Wherever the rules in `docs/fuel.md` say
//! that the count is published, it copies the count to a second global. Which calls publish, which traps, and at
//! which turns loops do, is taken from the module that is judged ([`Publishing`]); that those are enough is for the
//! proof to say. It is slow and large, and may be.

use std::convert::Infallible;

use slackwater_executor::fuel::Instrumented;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, GlobalSection,
    GlobalType, Instruction, Module, RawSection, SectionId, ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};
use wasmtime::{AsContextMut, Instance, Val};

/// The name under which a start function is exported, which does not start by itself any more.
pub const NAIVE_START: &str = "naive.start";

/// The names of the globals, in their order.
const NAMES: [&str; 2] = ["naive.exact", "naive.published"];
const EXACT: u32 = 0;
const PUBLISHED: u32 = 1;

/// What is charged for.
#[derive(Clone, Copy)]
pub struct Prices {
    /// For each invocation of a function.
    pub invocation: i64,
    /// For each operator.
    pub operator: fn(&Operator<'_>) -> i64,
}

/// The prices of wasmtime 36, which are the default ones.
pub const DEFAULT_PRICES: Prices = Prices {
    invocation: 1,
    operator: |operator| match operator {
        Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Unreachable
        | Operator::Return
        | Operator::Else
        | Operator::End => 0,
        _ => 1,
    },
};

/// What a run of a naively instrumented module has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The price of everything that was begun, to the operator.
    pub exact: u64,
    /// The price of everything up to the last place where the count is published.
    pub published: u64,
}

impl Counts {
    /// What `instance` has counted.
    pub fn of(mut store: impl AsContextMut, instance: &Instance) -> Self {
        let [exact, published] = NAMES.map(|name| {
            let global = instance.get_global(&mut store, name);
            let word = global.expect("it is exported").get(&mut store);
            word.unwrap_i64().cast_unsigned()
        });
        Self { exact, published }
    }

    /// Begins to count anew.
    pub fn empty(mut store: impl AsContextMut, instance: &Instance) {
        for name in NAMES {
            let global = instance.get_global(&mut store, name);
            let set = global.expect("it is exported").set(&mut store, Val::I64(0));
            set.expect("it is mutable");
        }
    }
}

/// Where a function publishes, beside its operators with sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publishing {
    /// Of each call, in order.
    calls: Vec<bool>,
    /// Of each `unreachable`; those of loops as often as they are written out.
    traps: Vec<bool>,
    /// At one of how many turns, of each loop.
    turns: Vec<u32>,
}

impl Publishing {
    /// Of each function of a module that was instrumented, without comparing.
    pub fn of(instrumented: &Instrumented) -> Vec<Self> {
        let (mut meter, mut bodies) = (0, Vec::new());
        for payload in Parser::new(0).parse_all(&instrumented.wasm) {
            match payload.expect("the module is valid") {
                Payload::ImportSection(imports) => {
                    let imports = imports.into_iter().map(|import| import.expect("valid").ty);
                    meter += imports
                        .filter(|ty| matches!(ty, TypeRef::Memory(_)))
                        .count();
                }
                Payload::MemorySection(memories) => meter += memories.count() as usize - 1,
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        // Those that were added are behind.
        let functions = bodies.into_iter().zip(&instrumented.functions);
        let publishing = functions.map(|(body, stats)| {
            let operators = body.get_operators_reader().expect("valid").into_iter();
            let operators: Result<Vec<_>, _> = operators.collect();
            Self {
                turns: stats.turns.clone(),
                ..Self::of_function(&operators.expect("valid"), meter)
            }
        });
        publishing.collect()
    }

    fn of_function(operators: &[Operator<'_>], meter: usize) -> Self {
        let is_flush = |at: Option<usize>| {
            let operator = |back: usize| operators.get(at?.checked_sub(back)?);
            // A loop's is not that of the operator behind it.
            matches!(operator(0), Some(Operator::I64Store { memarg })
                if memarg.memory as usize == meter && memarg.offset == 0)
                && !matches!(operator(3), Some(Operator::Loop { .. }))
        };
        // Those that were added compare with the word of the limit.
        let is_added = |at: usize| {
            let load = at.checked_sub(5).and_then(|load| operators.get(load));
            matches!(load, Some(Operator::I64Load { memarg })
                if memarg.memory as usize == meter)
        };
        let mut publishing = Self::default();
        for (at, operator) in operators.iter().enumerate() {
            match operator {
                // Behind the flush, the count is pushed.
                Operator::Call { .. } => publishing.calls.push(is_flush(at.checked_sub(2))),
                Operator::CallIndirect { .. } => publishing.calls.push(is_flush(at.checked_sub(4))),
                Operator::Unreachable if !is_added(at) => {
                    publishing.traps.push(is_flush(at.checked_sub(1)));
                }
                _ => {}
            }
        }
        publishing
    }

    /// Of each `unreachable` of the original, in order; all that stand for one do the same.
    fn traps(&self, original: &[Operator<'_>]) -> Vec<bool> {
        let (mut turns, mut traps) = (self.turns.iter(), self.traps.iter());
        let (mut found, mut open) = (Vec::new(), Vec::new());
        for operator in original {
            match operator {
                Operator::Block { .. } | Operator::If { .. } => open.push(None),
                Operator::Loop { .. } => {
                    let turns = turns.next().copied().unwrap_or(1);
                    open.push(Some((turns, found.len())));
                }
                Operator::End => {
                    if let Some(Some((turns, first))) = open.pop() {
                        for _ in 1..turns {
                            let again: Vec<bool> = found[first..]
                                .iter()
                                .filter_map(|_| traps.next().copied())
                                .collect();
                            assert_eq!(again, found[first..], "each turn is like the first");
                        }
                    }
                }
                Operator::Unreachable => found.push(traps.next() == Some(&true)),
                _ => {}
            }
        }
        found
    }
}

/// Instruments `wasm`, which must be valid within a profile; its functions publish as is said.
pub fn count_every_operator(wasm: &[u8], prices: Prices, publishing: &[Publishing]) -> Vec<u8> {
    let mut naive = Naive {
        prices,
        publishing: publishing.iter(),
        types: Vec::new(),
        functions: Vec::new().into_iter(),
        imported: 0,
        globals: 0,
        start: None,
        has_globals: false,
        has_exports: false,
    };
    let without_start = naive.take_start(wasm);
    let mut module = Module::new();
    let encoded = naive.parse_core_module(&mut module, Parser::new(0), &without_start);
    encoded.unwrap_or_else(|error| panic!("naively instrumented: {error}"));
    module.finish()
}

struct Naive<'a> {
    prices: Prices,
    /// Of the functions that follow.
    publishing: std::slice::Iter<'a, Publishing>,
    /// Number of parameters of each type.
    types: Vec<u32>,
    /// Types of the functions that follow.
    functions: std::vec::IntoIter<u32>,
    /// Number of imported functions.
    imported: u32,
    /// Globals of the guest; the index of the first one that is added.
    globals: u32,
    start: Option<u32>,
    has_globals: bool,
    has_exports: bool,
}

impl Naive<'_> {
    /// Counts the globals, and takes out the start section.
    fn take_start(&mut self, wasm: &[u8]) -> Vec<u8> {
        let mut module = Module::new();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.expect("the module is valid");
            match &payload {
                Payload::ImportSection(imports) => {
                    for import in imports.clone() {
                        let ty = import.expect("the module is valid").ty;
                        self.globals += u32::from(matches!(ty, TypeRef::Global(_)));
                        self.imported += u32::from(matches!(ty, TypeRef::Func(_)));
                    }
                }
                Payload::TypeSection(types) => {
                    let types = types.clone().into_iter_err_on_gc_types();
                    let parameters = types.map(|ty| {
                        let ty = ty.expect("the module is valid");
                        u32::try_from(ty.params().len()).expect("few")
                    });
                    self.types = parameters.collect();
                }
                Payload::FunctionSection(functions) => {
                    let functions: Result<Vec<u32>, _> = functions.clone().into_iter().collect();
                    self.functions = functions.expect("the module is valid").into_iter();
                }
                Payload::GlobalSection(globals) => self.globals += globals.count(),
                Payload::StartSection { func, .. } => {
                    self.start = Some(*func);
                    continue;
                }
                _ => {}
            }
            if let Some((id, range)) = payload.as_section() {
                let data = &wasm[range];
                module.section(&RawSection { id, data });
            }
        }
        module.finish()
    }

    fn add_globals(&mut self, section: &mut GlobalSection) {
        self.has_globals = true;
        for _ in NAMES {
            let ty = GlobalType {
                val_type: ValType::I64,
                mutable: true,
                shared: false,
            };
            section.global(ty, &ConstExpr::i64_const(0));
        }
    }

    fn add_exports(&mut self, section: &mut ExportSection) {
        self.has_exports = true;
        for (name, global) in NAMES.into_iter().zip(self.globals..) {
            section.export(name, ExportKind::Global, global);
        }
        if let Some(start) = self.start {
            section.export(NAIVE_START, ExportKind::Func, start);
        }
    }

    fn charge(&self, price: i64, function: &mut Function) {
        let exact = self.globals + EXACT;
        function.instruction(&Instruction::GlobalGet(exact));
        function.instruction(&Instruction::I64Const(price));
        function.instruction(&Instruction::I64Add);
        function.instruction(&Instruction::GlobalSet(exact));
    }

    fn publish(&self, function: &mut Function) {
        function.instruction(&Instruction::GlobalGet(self.globals + EXACT));
        function.instruction(&Instruction::GlobalSet(self.globals + PUBLISHED));
    }

    /// Publishes after each so many turns.
    fn publish_at(&self, turn: u32, turns: u32, function: &mut Function) {
        function.instruction(&Instruction::LocalGet(turn));
        function.instruction(&Instruction::I32Const(turns.cast_signed()));
        function.instruction(&Instruction::I32Eq);
        function.instruction(&Instruction::If(BlockType::Empty));
        self.publish(function);
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::LocalSet(turn));
        function.instruction(&Instruction::End);
        function.instruction(&Instruction::LocalGet(turn));
        function.instruction(&Instruction::I32Const(1));
        function.instruction(&Instruction::I32Add);
        function.instruction(&Instruction::LocalSet(turn));
    }

    /// Number of parameters of the function that comes next.
    fn parameters(&mut self) -> u32 {
        let ty = self.functions.next().unwrap_or_default();
        self.types.get(ty as usize).copied().unwrap_or_default()
    }
}

impl Reencode for Naive<'_> {
    type Error = Infallible;

    fn parse_global_section(
        &mut self,
        section: &mut GlobalSection,
        globals: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, section, globals)?;
        self.add_globals(section);
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        section: &mut ExportSection,
        exports: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_export_section(self, section, exports)?;
        self.add_exports(section);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error> {
        use SectionId::{Export, Function, Global, Import, Memory, Table, Tag, Type};
        let before_globals = matches!(
            before,
            Some(Type | Import | Function | Table | Memory | Tag | Global)
        );
        if !before_globals && !self.has_globals {
            let mut section = GlobalSection::new();
            self.add_globals(&mut section);
            module.section(&section);
        }
        if !before_globals && before != Some(Export) && !self.has_exports {
            let mut section = ExportSection::new();
            self.add_exports(&mut section);
            module.section(&section);
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error> {
        let mut locals = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.push((count, self.val_type(ty)?));
        }
        // How many turns the innermost loop has made.
        let turn = self.parameters() + locals.iter().map(|(count, _)| count).sum::<u32>();
        locals.push((1, ValType::I32));
        let mut function = Function::new(locals);
        self.charge(self.prices.invocation, &mut function);
        let operators: Result<Vec<_>, _> = body.get_operators_reader()?.into_iter().collect();
        let operators = operators?;
        let publishing = self.publishing.next().cloned().unwrap_or_default();
        let mut traps = publishing.traps(&operators).into_iter();
        let mut calls = publishing.calls.into_iter();
        let mut turns = publishing.turns.into_iter();
        for operator in operators {
            self.charge((self.prices.operator)(&operator), &mut function);
            let publishes = match &operator {
                // The shim of an import does.
                Operator::Call { function_index } => {
                    calls.next() == Some(true) || *function_index < self.imported
                }
                Operator::CallIndirect { .. } => calls.next() == Some(true),
                Operator::Unreachable => traps.next() == Some(true),
                operator => is_sized(operator),
            };
            if publishes {
                self.publish(&mut function);
            }
            let turns =
                matches!(operator, Operator::Loop { .. }).then(|| turns.next().unwrap_or(1));
            if turns.is_some() {
                function.instruction(&Instruction::I32Const(0));
                function.instruction(&Instruction::LocalSet(turn));
            }
            function.instruction(&self.instruction(operator)?);
            match turns {
                Some(1) => self.publish(&mut function),
                Some(turns) => self.publish_at(turn, turns, &mut function),
                None => {}
            }
        }
        code.function(&function);
        Ok(())
    }
}

/// Operators with a size, as the rules list them.
fn is_sized(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryGrow { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableGrow { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. }
    )
}
