//! Random modules of a general generator. They use everything there is, but do little; so all get
//! functions that call theirs in a loop.

use arbitrary::Unstructured;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction,
    RawSection, TypeSection,
    reencode::{Reencode, RoundtripReencoder},
};
use wasm_smith::{Config, Module};
use wasmparser::{FuncType, Parser, Payload, TypeRef, ValType};

/// Iterations and calls a random module makes before it traps.
const PATIENCE: u32 = 100_000;
/// Turns of a driving loop are its argument by this mask, and one.
const TURNS_MASK: i32 = 1_023;
/// Functions of a module that are driven.
const DRIVEN: usize = 6;

/// Random bytes of a number, the same everywhere.
pub(crate) fn bytes(number: usize) -> Vec<u8> {
    let number = u64::try_from(number).expect("64 bits");
    let length = 32 << (number % 6);
    let blocks = (0..length).map(|block: u64| {
        let mut seed = number.to_le_bytes().to_vec();
        seed.extend(block.to_le_bytes());
        sp_crypto_hashing::blake2_256(&seed)
    });
    blocks.flatten().collect()
}

/// What all random modules have in common; every third may trap.
pub(crate) fn config(number: usize) -> Config {
    Config {
        allow_start_export: false,
        bulk_memory_enabled: false,
        reference_types_enabled: false,
        simd_enabled: number.is_multiple_of(4),
        relaxed_simd_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        extended_const_enabled: false,
        max_imports: 0,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1_000,
        disallow_traps: !number.is_multiple_of(3),
        canonicalize_nans: false,
        ..Config::default()
    }
}

/// The random module of this number, that ends; every third one may trap.
pub fn smith_module(number: usize) -> Option<Vec<u8>> {
    let bytes = bytes(number);
    let mut random = Unstructured::new(&bytes);
    let config = Config {
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        min_funcs: 1,
        min_exports: 4,
        max_exports: 20,
        ..config(number)
    };
    let mut module = Module::new(config, &mut random).ok()?;
    module.ensure_termination(PATIENCE).ok()?;
    Some(driven(&module.to_bytes()))
}

/// What has to be known to call a module's functions.
#[derive(Default)]
struct Functions {
    types: Vec<FuncType>,
    /// The type of each function; these modules import none.
    of: Vec<u32>,
    driven: Vec<u32>,
}

impl Functions {
    fn read(wasm: &[u8]) -> Self {
        let mut functions = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.expect("valid") {
                Payload::TypeSection(types) => {
                    let types = types.into_iter_err_on_gc_types();
                    functions.types = types.map(|ty| ty.expect("plain")).collect();
                }
                Payload::ImportSection(imports) => {
                    let mut imports = imports.into_iter();
                    let none = imports.all(|i| !matches!(i.expect("valid").ty, TypeRef::Func(_)));
                    assert!(none, "functions are not imported");
                }
                Payload::FunctionSection(of) => {
                    functions.of = of.into_iter().map(|ty| ty.expect("valid")).collect();
                }
                _ => {}
            }
        }
        let indices = 0..u32::try_from(functions.of.len()).expect("few");
        functions.driven = indices.take(DRIVEN).collect();
        functions
    }

    /// A function that calls another as often as its argument says, and forgets what that returns.
    fn driver(&self, callee: u32) -> Function {
        let ty = &self.types[self.of[callee as usize] as usize];
        let mut function = Function::new([]);
        function.instruction(&Instruction::LocalGet(0));
        call_repeatedly(&mut function, callee, ty, TURNS_MASK);
        function.instruction(&Instruction::End);
        function
    }
}

/// Calls `callee` as often as the number on the stack says, by this mask and at least once, and forgets
/// what that returns. Counts in local 0.
pub(crate) fn call_repeatedly(function: &mut Function, callee: u32, ty: &FuncType, mask: i32) {
    for instruction in [
        Instruction::I32Const(mask),
        Instruction::I32And,
        Instruction::LocalSet(0),
        Instruction::Loop(BlockType::Empty),
    ] {
        function.instruction(&instruction);
    }
    for parameter in ty.params() {
        for instruction in argument(*parameter) {
            function.instruction(&instruction);
        }
    }
    function.instruction(&Instruction::Call(callee));
    for _ in ty.results() {
        function.instruction(&Instruction::Drop);
    }
    for instruction in [
        Instruction::LocalGet(0),
        Instruction::I32Const(1),
        Instruction::I32Sub,
        Instruction::LocalTee(0),
        Instruction::I32Const(0),
        Instruction::I32GtS,
        Instruction::BrIf(0),
        Instruction::End,
    ] {
        function.instruction(&instruction);
    }
}

/// What makes an argument of a type out of the number of turns left.
fn argument(ty: ValType) -> Vec<Instruction<'static>> {
    let turns = Instruction::LocalGet(0);
    match ty {
        ValType::I32 => vec![turns],
        ValType::I64 => vec![turns, Instruction::I64ExtendI32S],
        ValType::F32 => vec![turns, Instruction::F32ConvertI32S],
        ValType::F64 => vec![turns, Instruction::F64ConvertI32S],
        ValType::V128 => vec![turns, Instruction::I32x4Splat],
        ValType::Ref(ty) => {
            let ty = RoundtripReencoder.heap_type(ty.heap_type());
            vec![Instruction::RefNull(ty.expect("a plain reference"))]
        }
    }
}

/// The module with drivers for some of its functions.
fn driven(wasm: &[u8]) -> Vec<u8> {
    let functions = Functions::read(wasm);
    if functions.driven.is_empty() {
        return wasm.to_vec();
    }
    let count = |list: &[u32]| u32::try_from(list.len()).expect("few");
    let mut module = wasm_encoder::Module::new();
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::TypeSection(types) => {
                let mut section = TypeSection::new();
                let copied = RoundtripReencoder.parse_type_section(&mut section, types);
                copied.expect("copies");
                section.ty().function([wasm_encoder::ValType::I32], []);
                module.section(&section);
            }
            Payload::FunctionSection(_) => {
                let mut section = FunctionSection::new();
                let driver = u32::try_from(functions.types.len()).expect("few");
                let drivers = functions.driven.iter().map(|_| driver);
                for ty in functions.of.iter().copied().chain(drivers) {
                    section.function(ty);
                }
                module.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                let copied = RoundtripReencoder.parse_export_section(&mut section, exports);
                copied.expect("copies");
                let drivers = count(&functions.of)..;
                for (driver, callee) in drivers.zip(&functions.driven) {
                    section.export(
                        &format!("drive {callee} {driver}"),
                        ExportKind::Func,
                        driver,
                    );
                }
                module.section(&section);
            }
            Payload::CodeSectionStart { .. } => {}
            Payload::CodeSectionEntry(body) => {
                code.raw(body.as_bytes());
                if code.len() == count(&functions.of) {
                    for callee in &functions.driven {
                        code.function(&functions.driver(*callee));
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
    module.finish()
}
