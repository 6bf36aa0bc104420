//! Random modules as runtimes: entry points that call their functions, and give out everything a later
//! call could find changed.

use arbitrary::Unstructured;
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, Instruction, MemArg, MemorySection, MemoryType, RawSection, SectionId, TypeSection,
    ValType as Encoded,
    reencode::{Reencode, RoundtripReencoder},
};
use wasm_smith::{Config, Module};
use wasmparser::{FuncType, Parser, Payload, ValType};

use crate::random_smith::{bytes, call_repeatedly, config};

/// Iterations and calls a random module makes before it traps.
const PATIENCE: u32 = 20_000;
/// Functions of a module that become entry points.
const ENTRIES: usize = 5;
/// Where the heap begins.
const HEAP_BASE: i32 = 1_024;
/// Rounds an entry point makes are a byte of its input by this mask, and one.
const ROUNDS_MASK: i32 = 31;

/// A runtime, and the names of its entry points.
pub struct RandomRuntime {
    /// The module.
    pub wasm: Vec<u8>,
    /// What can be called.
    pub methods: Vec<String>,
    /// Whether any function stores to memory, or sets a global.
    pub writes: bool,
}

/// The random runtime of this number; every third one may trap.
pub fn random_runtime(number: usize) -> Option<RandomRuntime> {
    let bytes = bytes(number);
    let mut random = Unstructured::new(&bytes);
    let config = Config {
        min_memories: 1,
        min_funcs: 2,
        ..config(number)
    };
    let mut module = Module::new(config, &mut random).ok()?;
    // What counts its patience down is not the module's own writing.
    let writes = Found::read(&module.to_bytes()).writes;
    module.ensure_termination(PATIENCE).ok()?;
    let found = Found::read(&module.to_bytes());
    if found.of.is_empty() {
        return None;
    }
    Some(RandomRuntime {
        writes,
        ..found.runtime(&module.to_bytes())
    })
}

/// What has to be known of a module.
#[derive(Default)]
struct Found {
    types: Vec<FuncType>,
    of: Vec<u32>,
    /// The types of all globals, and whether they are mutable.
    globals: Vec<(ValType, bool)>,
    writes: bool,
}

impl Found {
    fn read(wasm: &[u8]) -> Self {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.expect("valid") {
                Payload::TypeSection(types) => {
                    let types = types.into_iter_err_on_gc_types();
                    found.types = types.map(|ty| ty.expect("plain")).collect();
                }
                Payload::FunctionSection(of) => {
                    found.of = of.into_iter().map(|ty| ty.expect("valid")).collect();
                }
                Payload::GlobalSection(globals) => {
                    let globals = globals.into_iter().map(|global| global.expect("valid").ty);
                    found.globals = globals.map(|ty| (ty.content_type, ty.mutable)).collect();
                }
                Payload::CodeSectionEntry(body) => {
                    let mut operators = body.get_operators_reader().expect("valid").into_iter();
                    found.writes |= operators.any(|operator| {
                        let name = format!("{:?}", operator.expect("valid"));
                        name.contains("Store") || name.starts_with("GlobalSet")
                    });
                }
                _ => {}
            }
        }
        found
    }

    fn entries(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.of.len().min(ENTRIES)).expect("few")
    }

    /// Calls `callee` a few times, stores all globals, and gives out the whole memory.
    fn entry(&self, callee: u32) -> Function {
        let ty = &self.types[self.of[callee as usize] as usize];
        let mut function = Function::new([]);
        let byte = |align| MemArg {
            offset: 0,
            align,
            memory_index: 0,
        };
        function.instruction(&Instruction::LocalGet(0));
        function.instruction(&Instruction::I32Load8U(byte(0)));
        call_repeatedly(&mut function, callee, ty, ROUNDS_MASK);
        for (number, (ty, mutable)) in (0_u32..).zip(&self.globals) {
            let store = match ty {
                ValType::I32 => Instruction::I32Store(byte(2)),
                ValType::I64 => Instruction::I64Store(byte(3)),
                ValType::F32 => Instruction::F32Store(byte(2)),
                ValType::F64 => Instruction::F64Store(byte(3)),
                ValType::V128 => Instruction::V128Store(byte(4)),
                ValType::Ref(_) => continue,
            };
            if *mutable {
                let place = i32::try_from(number).expect("few") * 16;
                function.instruction(&Instruction::I32Const(place));
                function.instruction(&Instruction::GlobalGet(number));
                function.instruction(&store);
            }
        }
        if callee % 2 == 1 {
            // The beginning only, so that nothing is read behind it.
            function.instruction(&Instruction::I64Const(1_024 << 32));
            function.instruction(&Instruction::End);
            return function;
        }
        // Bytes in the upper half, zero in the lower.
        for instruction in [
            Instruction::MemorySize(0),
            Instruction::I64ExtendI32U,
            Instruction::I64Const(48),
            Instruction::I64Shl,
            Instruction::End,
        ] {
            function.instruction(&instruction);
        }
        function
    }

    fn exports(&self) -> (ExportSection, Vec<String>) {
        let mut section = ExportSection::new();
        section.export("memory", ExportKind::Memory, 0);
        let heap_base = u32::try_from(self.globals.len()).expect("few");
        section.export("__heap_base", ExportKind::Global, heap_base);
        let first = u32::try_from(self.of.len()).expect("few");
        let methods: Vec<_> = self
            .entries()
            .map(|entry| format!("entry_{entry}"))
            .collect();
        for (function, method) in (first..).zip(&methods) {
            section.export(method, ExportKind::Func, function);
        }
        (section, methods)
    }

    /// The module with entry points, a heap base, and no other exports.
    fn runtime(&self, wasm: &[u8]) -> RandomRuntime {
        let mut module = wasm_encoder::Module::new();
        let mut code = CodeSection::new();
        let (exports, methods) = self.exports();
        let mut globals = GlobalSection::new();
        let mut pending = (true, true);
        let mut before =
            |id: u8, module: &mut wasm_encoder::Module, globals: &mut GlobalSection| {
                if id == 0 {
                    return;
                }
                if id > SectionId::Global as u8 && std::mem::take(&mut pending.0) {
                    let ty = GlobalType {
                        val_type: Encoded::I32,
                        mutable: false,
                        shared: false,
                    };
                    globals.global(ty, &ConstExpr::i32_const(HEAP_BASE));
                    module.section(globals);
                }
                if id > SectionId::Export as u8 && std::mem::take(&mut pending.1) {
                    module.section(&exports);
                }
            };
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.expect("valid");
            if let Some((id, _)) = payload.as_section() {
                before(id, &mut module, &mut globals);
            }
            match payload {
                Payload::TypeSection(types) => {
                    let mut section = TypeSection::new();
                    let copied = RoundtripReencoder.parse_type_section(&mut section, types);
                    copied.expect("copies");
                    let parameters = [Encoded::I32, Encoded::I32];
                    section.ty().function(parameters, [Encoded::I64]);
                    module.section(&section);
                }
                Payload::FunctionSection(_) => {
                    let mut section = FunctionSection::new();
                    let entry = u32::try_from(self.types.len()).expect("few");
                    let entries = self.entries().map(|_| entry);
                    for ty in self.of.iter().copied().chain(entries) {
                        section.function(ty);
                    }
                    module.section(&section);
                }
                Payload::GlobalSection(section) => {
                    let copied = RoundtripReencoder.parse_global_section(&mut globals, section);
                    copied.expect("copies");
                }
                Payload::MemorySection(memories) => {
                    // One that begins empty would have no place for an input.
                    let memory = memories.into_iter().next().expect("one").expect("valid");
                    let mut section = MemorySection::new();
                    section.memory(MemoryType {
                        minimum: memory.initial.max(1),
                        maximum: memory.maximum.map(|maximum| maximum.max(1)),
                        memory64: false,
                        shared: false,
                        page_size_log2: None,
                    });
                    module.section(&section);
                }
                Payload::ExportSection(_) | Payload::CodeSectionStart { .. } => {}
                Payload::CodeSectionEntry(body) => {
                    code.raw(body.as_bytes());
                    if code.len() as usize == self.of.len() {
                        for callee in self.entries() {
                            code.function(&self.entry(callee));
                        }
                        module.section(&code);
                    }
                }
                other => {
                    if let Some((id, range)) = other.as_section() {
                        let data = &wasm[range];
                        module.section(&RawSection { id, data });
                    }
                }
            }
        }
        RandomRuntime {
            wasm: module.finish(),
            methods,
            writes: self.writes,
        }
    }
}
