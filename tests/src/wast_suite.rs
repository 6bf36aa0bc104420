//! The WebAssembly test suite: its files, unpacked; what they do, step by step; what they link with.

use std::{collections::BTreeMap, fs::File, io::Read};

use slackwater_runtime_fixtures::real_fixtures_or_skip;
use wasmtime::{
    Engine, Extern, Func, FuncType, Global, GlobalType, Instance, Memory, MemoryType, Module,
    Mutability, Ref, RefType, Store, StoreLimits, Table, TableType, Val, ValType,
};
use wast::{
    Wast, WastArg, WastDirective, WastExecute, WastInvoke,
    core::{AbstractHeapType, HeapType, WastArgCore},
    parser::{ParseBuffer, parse},
};

use crate::metered::Outcome;

/// The `.wast` files of the suite, by name; `None` when the real fixtures are absent and may be.
pub fn wast_files() -> Option<BTreeMap<String, String>> {
    let suite = real_fixtures_or_skip("WebAssembly test suite")?.join("spec");
    let folder = std::fs::read_dir(suite).expect("the spec folder is readable");
    let archive = folder
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .expect("the archive of the suite is there");
    let reader = zstd::Decoder::new(File::open(archive).expect("readable")).expect("zstd");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        if name.ends_with(".wast") {
            let mut text = String::new();
            if entry.read_to_string(&mut text).is_ok() {
                files.insert(name, text);
            }
        }
    }
    Some(files)
}

/// What a file of the suite does.
pub enum Step {
    /// It instantiates a module.
    Module {
        /// The name it has from then on, beside being the latest one.
        name: Option<String>,
        /// The module.
        wasm: Vec<u8>,
    },
    /// It calls a function.
    Call {
        /// The name of the instance; empty for the latest one.
        instance: String,
        /// The exported function.
        function: String,
        /// What with; `None` for values that cannot be made here.
        arguments: Option<Vec<Val>>,
    },
}

/// The steps of a file, with their lines; those that neither instantiate nor call are left out, and so
/// are files that cannot be read.
pub fn steps(text: &str) -> Vec<(usize, Step)> {
    let Ok(buffer) = ParseBuffer::new(text) else {
        return Vec::new();
    };
    let Ok(wast) = parse::<Wast<'_>>(&buffer) else {
        return Vec::new();
    };
    let steps = wast.directives.into_iter().filter_map(|directive| {
        let line = directive.span().linecol_in(text).0 + 1;
        Some((line, step(directive)?))
    });
    steps.collect()
}

fn step(directive: WastDirective<'_>) -> Option<Step> {
    match directive {
        WastDirective::Module(mut module) => {
            let name = module.name().map(|id| id.name().to_owned());
            let wasm = module.encode().ok()?;
            Some(Step::Module { name, wasm })
        }
        WastDirective::Invoke(invoke)
        | WastDirective::AssertExhaustion { call: invoke, .. }
        | WastDirective::AssertReturn {
            exec: WastExecute::Invoke(invoke),
            ..
        }
        | WastDirective::AssertTrap {
            exec: WastExecute::Invoke(invoke),
            ..
        } => Some(call(&invoke)),
        _ => None,
    }
}

fn call(invoke: &WastInvoke<'_>) -> Step {
    Step::Call {
        instance: invoke.module.map_or("", |id| id.name()).to_owned(),
        function: invoke.name.to_owned(),
        arguments: values(&invoke.args),
    }
}

fn values(arguments: &[WastArg<'_>]) -> Option<Vec<Val>> {
    let values = arguments.iter().map(|argument| {
        let WastArg::Core(argument) = argument else {
            return None;
        };
        Some(match argument {
            WastArgCore::I32(value) => Val::I32(*value),
            WastArgCore::I64(value) => Val::I64(*value),
            WastArgCore::F32(value) => Val::F32(value.bits),
            WastArgCore::F64(value) => Val::F64(value.bits),
            WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes()).into()),
            WastArgCore::RefNull(HeapType::Abstract {
                ty: AbstractHeapType::Extern,
                ..
            }) => Val::ExternRef(None),
            WastArgCore::RefNull(_) => Val::FuncRef(None),
            _ => return None,
        })
    });
    values.collect()
}

/// A store with the instances of a file in it.
pub struct Stage {
    engine: Engine,
    limits: fn() -> StoreLimits,
    /// The store.
    pub store: Store<StoreLimits>,
    /// Instances by name; the latest one under the empty name.
    instances: BTreeMap<String, Instance>,
}

impl Stage {
    /// An empty one, with limits for what guests may allocate.
    pub fn new(engine: Engine, limits: fn() -> StoreLimits) -> Self {
        let mut store = Store::new(&engine, limits());
        store.limiter(|limits| limits);
        Self {
            engine,
            limits,
            store,
            instances: BTreeMap::new(),
        }
    }

    /// Makes a new store, for a new file.
    pub fn reset(&mut self) {
        *self = Self::new(self.engine.clone(), self.limits);
    }

    /// The instance of this name.
    pub fn instance(&self, name: &str) -> Option<Instance> {
        self.instances.get(name).copied()
    }

    /// Forgets the latest instance, when one that should have followed it was left out.
    pub fn forget_latest(&mut self) {
        self.instances.remove("");
    }

    /// Instantiates a module, and calls what it exports as `start`, if it does; `None` if it cannot be
    /// linked here. The instance is given wherever there is one, and kept if it started.
    pub fn instantiate(
        &mut self,
        name: Option<&str>,
        wasm: &[u8],
        start: Option<&str>,
    ) -> Option<(Outcome, Option<Instance>)> {
        self.forget_latest();
        let module = Module::new(&self.engine, wasm).unwrap_or_else(|error| panic!("{error:#}"));
        let imports = self.imports(&module)?;
        let instance = match Instance::new(&mut self.store, &module, &imports) {
            Ok(instance) => instance,
            Err(error) => return Some((Outcome::trapped(&error), None)),
        };
        let start = start.and_then(|name| instance.get_func(&mut self.store, name));
        if let Some(start) = start
            && let Err(error) = start.call(&mut self.store, &[], &mut [])
        {
            return Some((Outcome::trapped(&error), Some(instance)));
        }
        for name in [Some(""), name].into_iter().flatten() {
            self.instances.insert(name.to_owned(), instance);
        }
        Some((Outcome::Returned(Vec::new()), Some(instance)))
    }

    fn imports(&mut self, module: &Module) -> Option<Vec<Extern>> {
        let imports = module.imports().map(|import| {
            let known = import.module() == "spectest";
            known
                .then(|| spectest(&mut self.store, import.name()))
                .flatten()
        });
        imports.collect()
    }

    /// Calls an exported function; `None` if there is none of this name.
    pub fn call(
        &mut self,
        instance: &Instance,
        function: &str,
        arguments: &[Val],
    ) -> Option<Outcome> {
        let function = instance.get_func(&mut self.store, function)?;
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let called = function.call(&mut self.store, arguments, &mut results);
        Some(Outcome::of(called, &results))
    }
}

/// What the suite's modules may import from `spectest`, by its name.
pub fn spectest(store: &mut Store<StoreLimits>, name: &str) -> Option<Extern> {
    let engine = store.engine().clone();
    let print = |store: &mut Store<StoreLimits>, parameters: &[ValType]| -> Extern {
        let ty = FuncType::new(&engine, parameters.iter().cloned(), []);
        Func::new(store, ty, |_, _, _| Ok(())).into()
    };
    let global = |store: &mut Store<StoreLimits>, ty, value| {
        let ty = GlobalType::new(ty, Mutability::Const);
        Some(Global::new(store, ty, value).expect("a global").into())
    };
    use ValType::{F32, F64, I32, I64};
    Some(match name {
        "print" => print(store, &[]),
        "print_i32" => print(store, &[I32]),
        "print_i64" => print(store, &[I64]),
        "print_f32" => print(store, &[F32]),
        "print_f64" => print(store, &[F64]),
        "print_i32_f32" => print(store, &[I32, F32]),
        "print_f64_f64" => print(store, &[F64, F64]),
        "global_i32" => return global(store, I32, Val::I32(666)),
        "global_i64" => return global(store, I64, Val::I64(666)),
        "global_f32" => return global(store, F32, Val::F32(666.6f32.to_bits())),
        "global_f64" => return global(store, F64, Val::F64(666.6f64.to_bits())),
        "table" => {
            let ty = TableType::new(RefType::FUNCREF, 10, Some(20));
            Table::new(store, ty, Ref::Func(None))
                .expect("a table")
                .into()
        }
        "memory" => {
            let memory = Memory::new(store, MemoryType::new(1, Some(2)));
            memory.expect("a memory").into()
        }
        _ => return None,
    })
}
