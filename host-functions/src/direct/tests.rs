//! What is done in place, compared with the interfaces: answers, memory, heap, faults.

use sp_io::TestExternalities;
use sp_wasm_interface::{Function, HostFunctions};
use wasmtime::{Engine, Instance, Linker, Module, Store, Val};

use super::*;
use crate::{
    frequent::{self, Interfaces},
    register,
    state::HeapLimit,
};

const PAGES: u32 = 2;
const HEAP_BASE: u32 = 60_000;

/// A guest that exports what it imports: every function, and its memory.
fn guest() -> String {
    let mut imports = String::new();
    for function in Interfaces::host_functions() {
        let name = function.name();
        let signature = function.signature();
        let words = |types: &[sp_wasm_interface::ValueType]| {
            let words = types.iter().map(|it| format!("{it:?}").to_lowercase());
            words.collect::<Vec<_>>().join(" ")
        };
        let params = words(&signature.args);
        let result = words(signature.return_value.as_slice());
        imports.push_str(&format!(
            "(import \"env\" \"{name}\" (func ${name} (param {params}) (result {result})))
             (export \"{name}\" (func ${name}))\n"
        ));
    }
    format!("(module {imports} (memory (export \"memory\") {PAGES}))")
}

struct Guest {
    store: Store<HostState>,
    instance: Instance,
}

impl Guest {
    fn new<H: HostFunctions>(module: &Module, pages_max: u32) -> Self {
        let mut linker = Linker::new(module.engine());
        let missing = register::<H>(&mut linker, module).expect("registers");
        assert!(missing.is_empty());
        let limit = HeapLimit {
            pages_max: Some(pages_max),
        };
        let mut store = Store::new(module.engine(), HostState::new(limit));
        store.limiter(|state| state);
        let instance = linker.instantiate(&mut store, module).expect("links");
        let memory = instance.get_memory(&mut store, "memory").expect("exported");
        store.data_mut().attach(memory, HEAP_BASE);
        for (number, byte) in (0..).zip(&mut memory.data_mut(&mut store)[..4_096]) {
            *byte = u8::try_from(number % 251).expect("small");
        }
        Self { store, instance }
    }

    /// What a function answers, or the error a guest would end with.
    fn call(&mut self, function: &str, arguments: &[Val]) -> Result<Option<i64>, String> {
        let function = self.instance.get_func(&mut self.store, function);
        let function = function.expect("exported");
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let called = function.call(&mut self.store, arguments, &mut results);
        called.map_err(|error| error.root_cause().to_string())?;
        let number = |result: &Val| match result {
            Val::I32(number) => i64::from(*number),
            Val::I64(number) => *number,
            other => panic!("{other:?}"),
        };
        Ok(results.first().map(number))
    }

    fn memory(&self) -> &[u8] {
        self.store
            .data()
            .memory
            .expect("attached")
            .data(&self.store)
    }
}

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn index(&mut self, length: usize) -> usize {
        let length = u32::try_from(length).expect("small");
        usize::try_from(self.below(length)).expect("small")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Mostly some bytes of the guest's; sometimes none of its, or at an end of its memory.
    fn pointer(&mut self) -> Val {
        let size = PAGES << 16;
        let (address, length) = match self.below(60) {
            0 => (size - self.below(10), self.below(20)),
            1 => (size + self.below(4) - 2, 0),
            2 => (self.below(100), size + self.below(4) - 2),
            3 => (u32::MAX, u32::MAX),
            _ => (self.below(8), self.of(&[0, 1, 3, 32, 700, 20_000])),
        };
        Val::I64(fat(address, length).cast_signed())
    }

    fn arguments(&mut self, function: &dyn Function, live: &mut Vec<i64>) -> Vec<Val> {
        match function.name() {
            "ext_allocator_malloc_version_1" => {
                let large = [70_000, u32::MAX];
                let size = match self.below(20) {
                    0 => self.of(&large),
                    _ => self.of(&[0, 5, 100, 30_000]),
                };
                vec![Val::I32(size.cast_signed())]
            }
            "ext_allocator_free_version_1" => {
                let pointer = match self.below(20) {
                    1.. if !live.is_empty() => live.swap_remove(self.index(live.len())),
                    _ => self.below(PAGES << 16).into(),
                };
                vec![Val::I32(i32::try_from(pointer).expect("an address"))]
            }
            "ext_storage_read_version_1" => {
                let offset = self.of(&[0, 1, 30, -1]);
                vec![self.pointer(), self.pointer(), Val::I32(offset)]
            }
            _ => {
                let arguments = function.signature().args;
                arguments.iter().map(|_| self.pointer()).collect()
            }
        }
    }
}

#[test]
fn guests_see_what_they_see_by_the_interfaces() {
    let module = wat::parse_str(guest()).expect("a module");
    let module = Module::new(&Engine::default(), module).expect("compiles");
    let functions = Interfaces::host_functions();
    let (mut answered, mut failed) = (0, std::collections::BTreeSet::new());
    for seed in 0..150 {
        let mut draw = Draw(seed);
        let pages_max = PAGES + draw.below(3);
        let [mut direct, mut reference] = [
            Guest::new::<frequent::HostFunctions>(&module, pages_max),
            Guest::new::<Interfaces>(&module, pages_max),
        ];
        let [mut state, mut reference_state] = [(); 2].map(|()| TestExternalities::default());
        let mut live: Vec<i64> = Vec::new();
        for _ in 0..80 {
            let function = draw.of(&functions);
            let name = function.name();
            let arguments = draw.arguments(function, &mut live);
            let ours = state.execute_with(|| direct.call(name, &arguments));
            let theirs = reference_state.execute_with(|| reference.call(name, &arguments));
            assert_eq!(ours, theirs, "seed {seed}, {name}, {arguments:?}");
            match ours {
                Ok(result) => {
                    answered += 1;
                    let allocates = name.starts_with("ext_allocator_malloc");
                    live.extend(result.filter(|_| allocates));
                }
                Err(_) => {
                    failed.insert(name.to_owned());
                }
            }
        }
        assert!(direct.memory() == reference.memory(), "seed {seed}");
        assert!(state.eq(&mut reference_state), "seed {seed}");
    }
    assert!(answered > 5_000, "{answered}");
    assert_eq!(failed.len(), functions.len(), "{failed:?}");
}

#[test]
fn a_state_that_panics_ends_the_call() {
    let said = |error: Result<(), String>| error.expect_err("it panicked");
    TestExternalities::default().execute_with(|| {
        let error = said(ask_state("get", |_state| panic!("block {}", 7)));
        assert_eq!(error, format!("{PANICKED}: block 7"));
        let error = said(ask_state("get", |_state| panic!("no disk")));
        assert_eq!(error, format!("{PANICKED}: no disk"));
        let other = |_state: &mut dyn Externalities| std::panic::panic_any(7);
        assert_eq!(said(ask_state("get", other)), PANICKED);
    });
}

#[test]
fn outside_of_a_state_a_function_says_so() {
    let module = wat::parse_str(guest()).expect("a module");
    let module = Module::new(&Engine::default(), module).expect("compiles");
    let mut direct = Guest::new::<frequent::HostFunctions>(&module, PAGES);
    let mut reference = Guest::new::<Interfaces>(&module, PAGES);
    for function in Interfaces::host_functions() {
        let name = function.name();
        if name.starts_with("ext_storage_") {
            let arguments = function.signature().args;
            let arguments = arguments.iter().map(|kind| match kind {
                sp_wasm_interface::ValueType::I32 => Val::I32(0),
                _ => Val::I64(0),
            });
            let arguments: Vec<_> = arguments.collect();
            let ours = direct.call(name, &arguments);
            assert!(ours.is_err(), "{name}");
            assert_eq!(ours, reference.call(name, &arguments), "{name}");
        }
    }
}
