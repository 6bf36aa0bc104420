//! Real runtimes in every variant: what they are asked, and how long the guest itself takes.
//!
//! They are run by the engine alone, without this executor, so that only the counting differs. All calls are made
//! in one instance; its stack and data are put back before the clock starts, so that no call pays for pages that
//! are touched for the first time. What host functions take is measured and left out.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use sc_allocator::FreeingBumpHeapAllocator;
use slackwater_executor::host_functions::SlackwaterHostFunctions;
use slackwater_runtime_fixtures::{ChainSpec, crate_file, dir::real_fixtures_dir};
use slackwater_substrate_path::signed::{Transfers, transfers};
use sp_core::storage::{Storage, well_known_keys::CODE};
use sp_externalities::set_and_run_with_externalities;
use sp_maybe_compressed_blob::{CODE_BLOB_BOMB_LIMIT, decompress};
use sp_state_machine::BasicExternalities;
use sp_wasm_interface::{
    FunctionContext, HostFunctionRegistry, HostFunctions, Pointer, Result, WordSize,
};
use wasm_encoder::{
    ExportKind, ExportSection, ImportSection, MemorySection, MemoryType, Module as Encoder,
    SectionId,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{Parser, TypeRef};
use wasmtime::{AsContextMut, Caller, Instance, IntoFunc, Linker, Memory, Module, Store};

use crate::{
    counting::{Done, counting},
    layout::laid_out,
    variants::Variant,
};

/// Transfers in a block.
const TRANSFERS: u32 = 1_000;

/// A runtime, and what it is asked.
pub(crate) struct Program {
    pub(crate) id: String,
    pub(crate) code: Vec<u8>,
    state: Storage,
    calls: Vec<(&'static str, Vec<u8>)>,
    /// What each of the calls behind the first must answer; nothing in particular if it is empty.
    answer: &'static [u8],
}

/// All that are at hand.
pub(crate) fn all() -> Vec<Program> {
    let service = |chain| {
        crate_file(
            "polkadot-service",
            "31.0.0",
            &format!("chain-specs/{chain}.json"),
        )
    };
    let fixtures = real_fixtures_dir();
    let fixture = |name: &str| Some(fixtures.as_ref()?.join(format!("genesis/{name}.json")));
    let specs = [
        ("node-template", fixture("smoldot-substrate-node-template")),
        ("asset-hub", fixture("chopsticks-asset-hub-kusama-local")),
        ("bulletin", fixture("bulletin-polkadot-raw")),
        ("subtensor", fixture("subtensor-raonet")),
        ("westend", service("westend")),
    ];
    let kusama = crate_file("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let kusama = kusama.and_then(|path| std::fs::read(path).ok());
    let specs = specs.into_iter().filter_map(|(name, path)| {
        let mut spec = ChainSpec::load(&path?).ok()?;
        Some((name, spec.genesis.top.remove(CODE)?))
    });
    let kusama = kusama.into_iter().map(|code| ("kusama-9190", code));
    let mut programs: Vec<_> = kusama
        .chain(specs)
        .map(|(name, code)| Program {
            id: format!("{name}/Metadata_metadata"),
            code: plain(&code),
            state: Storage::default(),
            calls: vec![("Metadata_metadata", Vec::new())],
            answer: &[],
        })
        .collect();
    programs.extend(fixtures.and_then(|fixtures| {
        let block = transfers(&fixtures, TRANSFERS).ok()?;
        Some(of_block(block))
    }));
    programs
}

fn of_block(block: Transfers) -> Program {
    let Transfers {
        state,
        header,
        extrinsics,
    } = block;
    let mut calls = vec![("Core_initialize_block", header)];
    let applied = extrinsics.into_iter();
    calls.extend(applied.map(|extrinsic| ("BlockBuilder_apply_extrinsic", extrinsic)));
    Program {
        id: format!("node-template/{TRANSFERS} transfers"),
        code: plain(state.top.get(CODE).map_or(&[], Vec::as_slice)),
        state,
        calls,
        answer: &[0, 0],
    }
}

/// The code of a runtime, with a memory of its own.
fn plain(code: &[u8]) -> Vec<u8> {
    let plain = decompress(code, CODE_BLOB_BOMB_LIMIT).expect("the code of a runtime");
    let mut own = OwnMemory(None);
    let mut module = Encoder::new();
    own.parse_core_module(&mut module, Parser::new(0), &plain)
        .expect("encoded again");
    module.finish()
}

/// Makes an imported memory the module's own, and exports it.
struct OwnMemory(Option<MemoryType>);

impl Reencode for OwnMemory {
    type Error = Infallible;

    fn parse_import(
        &mut self,
        section: &mut ImportSection,
        import: wasmparser::Import<'_>,
    ) -> std::result::Result<(), Error> {
        match import.ty {
            TypeRef::Memory(memory) => self.0 = Some(self.memory_type(memory)?),
            _ => utils::parse_import(self, section, import)?,
        }
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Encoder,
        after: Option<SectionId>,
        _before: Option<SectionId>,
    ) -> std::result::Result<(), Error> {
        // Runtimes have tables.
        if after == Some(SectionId::Table)
            && let Some(mut memory) = self.0
        {
            let mut section = MemorySection::new();
            // Grown by hosts, as far as it may.
            memory.maximum = None;
            section.memory(memory);
            module.section(&section);
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        section: &mut ExportSection,
        exports: wasmparser::ExportSectionReader<'_>,
    ) -> std::result::Result<(), Error> {
        utils::parse_export_section(self, section, exports)?;
        if self.0.is_some() {
            section.export("memory", ExportKind::Memory, 0);
        }
        Ok(())
    }
}

/// The host's side of an instance.
struct Host {
    memory: Option<Memory>,
    allocator: FreeingBumpHeapAllocator,
    /// How long host functions took.
    took: Duration,
}

/// Gives host functions the guest's memory.
struct Context<'a>(Caller<'a, Host>);

impl Context<'_> {
    fn memory(&self) -> Memory {
        self.0.data().memory.expect("set before any call")
    }

    fn with_allocator<R>(
        &mut self,
        run: impl FnOnce(&mut FreeingBumpHeapAllocator, &mut Heap<'_, Caller<'_, Host>>) -> R,
    ) -> R {
        let memory = self.memory();
        let mut allocator = std::mem::replace(
            &mut self.0.data_mut().allocator,
            FreeingBumpHeapAllocator::new(0),
        );
        let result = run(&mut allocator, &mut Heap(memory, &mut self.0));
        self.0.data_mut().allocator = allocator;
        result
    }
}

impl FunctionContext for Context<'_> {
    fn read_memory_into(&mut self, address: Pointer<u8>, dest: &mut [u8]) -> Result<()> {
        let at = u32::from(address) as usize;
        let read = self.memory().read(&self.0, at, dest);
        read.map_err(|error| error.to_string())
    }

    fn write_memory(&mut self, address: Pointer<u8>, data: &[u8]) -> Result<()> {
        let at = u32::from(address) as usize;
        let wrote = self.memory().write(&mut self.0, at, data);
        wrote.map_err(|error| error.to_string())
    }

    fn allocate_memory(&mut self, size: WordSize) -> Result<Pointer<u8>> {
        let allocated = self.with_allocator(|allocator, heap| allocator.allocate(heap, size));
        allocated.map_err(|error| error.to_string())
    }

    fn deallocate_memory(&mut self, ptr: Pointer<u8>) -> Result<()> {
        let freed = self.with_allocator(|allocator, heap| allocator.deallocate(heap, ptr));
        freed.map_err(|error| error.to_string())
    }

    fn register_panic_error_message(&mut self, message: &str) {
        panic!("the guest panicked: {message}");
    }
}

/// Memory as the allocator sees it.
struct Heap<'a, C>(Memory, &'a mut C);

impl<C: AsContextMut> sc_allocator::Memory for Heap<'_, C> {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(self.0.data_mut(&mut *self.1))
    }

    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.0.data(&*self.1))
    }

    fn grow(&mut self, additional: u32) -> std::result::Result<(), ()> {
        let grown = self.0.grow(&mut *self.1, additional.into());
        grown.map(drop).map_err(drop)
    }

    fn pages(&self) -> u32 {
        u32::try_from(self.0.size(&*self.1)).unwrap_or(u32::MAX)
    }

    fn max_pages(&self) -> Option<u32> {
        let maximum = self.0.ty(&*self.1).maximum()?;
        u32::try_from(maximum).ok()
    }
}

/// Binds host functions, and times them.
struct Registry<'a>(&'a mut Linker<Host>);

impl HostFunctionRegistry for Registry<'_> {
    type State = Host;
    type Error = wasmtime::Error;
    type FunctionContext = Context<'static>;

    fn with_function_context<R>(
        caller: Caller<Host>,
        callback: impl FnOnce(&mut dyn FunctionContext) -> R,
    ) -> R {
        let mut context = Context(caller);
        let began = Instant::now();
        let result = callback(&mut context);
        let took = began.elapsed();
        context.0.data_mut().took += took;
        result
    }

    fn register_static<Params, Results>(
        &mut self,
        name: &str,
        function: impl IntoFunc<Host, Params, Results> + 'static,
    ) -> std::result::Result<(), wasmtime::Error> {
        self.0.func_wrap("env", name, function).map(drop)
    }
}

/// A runtime in one variant.
pub(crate) struct Guest {
    pub(crate) variant: Variant,
    store: Store<Host>,
    instance: Instance,
    memory: Memory,
    heap_base: u32,
    /// Stack and data before any call.
    image: Vec<u8>,
    /// Bytes of machine code.
    pub(crate) code_bytes: usize,
    /// How long it took to make that of wasm, instrumentation included.
    pub(crate) compiled: Duration,
}

/// What the calls of a program came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Within the guest.
    pub(crate) guest: Duration,
    pub(crate) fuel: u64,
    /// What counting it did, where that is counted.
    pub(crate) done: Done,
}

impl Guest {
    pub(crate) fn new(variant: Variant, code: &[u8], layout: usize) -> Self {
        Self::with(variant, || laid_out(&variant.module(code), layout))
    }

    /// A guest of a module that counts as it should, and counts that.
    pub(crate) fn counting(code: &[u8]) -> Self {
        Self::with(Variant::Slacked, || {
            counting(&Variant::Slacked.module(code))
        })
    }

    fn with(variant: Variant, module: impl FnOnce() -> Vec<u8>) -> Self {
        let engine = variant.engine();
        let began = Instant::now();
        let module = Module::new(&engine, module()).expect("it compiles");
        let compiled = began.elapsed();
        let code_bytes = module.text().len();
        let mut linker = Linker::new(&engine);
        SlackwaterHostFunctions::register_static(&mut Registry(&mut linker)).expect("bound");
        linker
            .define_unknown_imports_as_traps(&module)
            .expect("functions");
        let host = Host {
            memory: None,
            allocator: FreeingBumpHeapAllocator::new(0),
            took: Duration::ZERO,
        };
        let mut store = Store::new(&engine, host);
        variant.prepare(&mut store);
        let instance = linker.instantiate(&mut store, &module);
        let instance = instance.expect("it is made");
        let memory = instance.get_memory(&mut store, "memory").expect("its own");
        let heap_base = instance.get_global(&mut store, "__heap_base");
        let heap_base = heap_base.expect("exported").get(&mut store).unwrap_i32();
        let image = memory.data(&store)[..usize::try_from(heap_base).expect("small")].to_vec();
        Self {
            variant,
            store,
            instance,
            memory,
            heap_base: heap_base.cast_unsigned(),
            image,
            code_bytes,
            compiled,
        }
    }

    /// Makes all calls of a program, one after the other on the same state.
    pub(crate) fn run(&mut self, program: &Program) -> Spent {
        let mut state = BasicExternalities::new(program.state.clone());
        let mut guest = Duration::ZERO;
        let before = self.counts();
        for (number, (method, input)) in program.calls.iter().enumerate() {
            let call = || self.call(method, input);
            let (answer, took) = set_and_run_with_externalities(&mut state, call);
            let expected = if number == 0 { &[][..] } else { program.answer };
            assert!(answer.starts_with(expected), "{}: {answer:?}", program.id);
            guest += took;
        }
        let after = self.counts();
        Spent {
            guest,
            fuel: after.0 - before.0,
            done: after.1 - before.1,
        }
    }

    fn counts(&mut self) -> (u64, Done) {
        let counted = self.variant.counted(&mut self.store, &self.instance);
        (
            counted.unwrap_or(0),
            Done::of(&mut self.store, &self.instance),
        )
    }

    fn call(&mut self, method: &str, input: &[u8]) -> (Vec<u8>, Duration) {
        self.variant.begin(&mut self.store, &self.instance);
        let Self { memory, store, .. } = self;
        memory.data_mut(&mut *store)[..self.image.len()].copy_from_slice(&self.image);
        let mut allocator = FreeingBumpHeapAllocator::new(self.heap_base);
        let length = u32::try_from(input.len()).expect("short");
        let at = allocator
            .allocate(&mut Heap(*memory, store), length)
            .expect("room");
        let at = u32::from(at);
        memory
            .write(&mut *store, at as usize, input)
            .expect("within memory");
        *store.data_mut() = Host {
            memory: Some(*memory),
            allocator,
            took: Duration::ZERO,
        };
        let function = self.instance;
        let function = function.get_typed_func::<(u32, u32), u64>(&mut *store, method);
        let function = function.expect("an entry point");
        let began = Instant::now();
        let packed = function.call(&mut *store, (at, length));
        let guest = began.elapsed().saturating_sub(store.data().took);
        let packed = packed.expect("it returns");
        let [at, length] = [packed & 0xffff_ffff, packed >> 32]
            .map(|half| usize::try_from(half).expect("64 bits"));
        (memory.data(&*store)[at..at + length].to_vec(), guest)
    }
}
