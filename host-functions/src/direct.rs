//! The functions of [`crate::frequent`] in guests of ours: they read their arguments where they are in the guest's
//! memory, and write their answers where they allocate them, in one go.
//!
//! Invariant: a guest sees the same answers, memory, heap and faults as by the interfaces; the tests compare them. Only a
//! store with a [`HostState`] has what this needs, see [`is_possible`]. Cost: no copy of what is hashed or looked up, one
//! look at the store for a call that allocates.

use std::{
    any::TypeId,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Error;
use codec::{Compact, Encode};
use sp_externalities::{Externalities, with_externalities};
use sp_wasm_interface::{HostFunctionRegistry, Pointer};
use wasmtime::{AsContextMut, Caller};

use crate::{
    context::{
        allocate_growing, allocate_in_guest, deallocate_in_guest, in_place, memory_of,
        out_of_bounds,
    },
    frequent::twox,
    state::HostState,
};

/// What a function hands to the engine.
type Returned<T> = Result<T, Error>;

/// What it comes to, or what went wrong, as the interfaces say it.
type Answered<T> = Result<T, String>;

/// Where something is in the guest's memory: its length in the upper half, its address in the lower.
type FatPointer = u64;

/// Whether stores with such data are of guests of ours.
pub(crate) fn is_possible<S: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<HostState>()
}

/// Registers all functions of [`crate::frequent`].
pub(crate) fn register<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
    register_heap(registry)?;
    register_hashing(registry)?;
    register_storage(registry)
}

fn register_heap<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
    registry.register_static(
        "ext_allocator_malloc_version_1",
        |mut caller: Caller<'_, T::State>, size: u32| -> Returned<u32> {
            let allocated = allocate_in_guest(&mut caller, size);
            allocated.map_err(|error| {
                Error::msg(panicked(&format!("Failed to allocate memory: {error:?}")))
            })
        },
    )?;
    registry.register_static(
        "ext_allocator_free_version_1",
        |mut caller: Caller<'_, T::State>, pointer: u32| -> Returned<()> {
            let freed = deallocate_in_guest(&mut caller, Pointer::new(pointer));
            freed.map_err(|error| {
                Error::msg(panicked(&format!("Failed to deallocate memory: {error:?}")))
            })
        },
    )
}

fn register_hashing<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
    register_hash(registry, "keccak_256", sp_crypto_hashing::keccak_256)?;
    register_hash(registry, "sha2_256", sp_crypto_hashing::sha2_256)?;
    register_hash(registry, "blake2_128", sp_crypto_hashing::blake2_128)?;
    register_hash(registry, "blake2_256", sp_crypto_hashing::blake2_256)?;
    register_hash(registry, "twox_256", twox::<32>)?;
    register_hash(registry, "twox_128", twox::<16>)?;
    register_hash(registry, "twox_64", twox::<8>)
}

fn register_hash<T: HostFunctionRegistry, const BYTES: usize>(
    registry: &mut T,
    function: &'static str,
    hash: impl Fn(&[u8]) -> [u8; BYTES] + Send + Sync + 'static,
) -> Result<(), T::Error> {
    let place = Place {
        argument: "data",
        function,
        interface: "Hashing",
    };
    registry.register_static(
        &format!("ext_hashing_{function}_version_1"),
        move |mut caller: Caller<'_, T::State>, data: FatPointer| -> Returned<u32> {
            let answer = answer(&mut caller, |bytes| {
                let data = range(bytes, data).map_err(|error| place.error(&error))?;
                Ok(Answer::short(&hash(data)))
            });
            answer.map(address).map_err(Error::msg)
        },
    )
}

fn register_storage<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
    registry.register_static(
        "ext_storage_get_version_1",
        |mut caller: Caller<'_, T::State>, key: FatPointer| -> Returned<FatPointer> {
            answer(&mut caller, |bytes| {
                let key = storage_argument(bytes, key, "key", "get")?;
                let value = ask_state("get", |state| state.storage(key))?;
                Ok(Answer::value(value))
            })
            .map_err(Error::msg)
        },
    )?;
    registry.register_static(
        "ext_storage_read_version_1",
        |mut caller: Caller<'_, T::State>, key: FatPointer, out: FatPointer, offset: u32| {
            read(&mut caller, key, out, offset).map_err(Error::msg)
        },
    )?;
    registry.register_static(
        "ext_storage_exists_version_1",
        |mut caller: Caller<'_, T::State>, key: FatPointer| -> Returned<u32> {
            look(&mut caller, |bytes| {
                let key = storage_argument(bytes, key, "key", "exists")?;
                let exists = ask_state("exists", |state| state.exists_storage(key))?;
                Ok(u32::from(exists))
            })
            .map_err(Error::msg)
        },
    )?;
    registry.register_static(
        "ext_storage_clear_version_1",
        |mut caller: Caller<'_, T::State>, key: FatPointer| -> Returned<()> {
            look(&mut caller, |bytes| {
                let key = storage_argument(bytes, key, "key", "clear")?;
                ask_state("clear", |state| state.clear_storage(key))
            })
            .map_err(Error::msg)
        },
    )?;
    register_write(registry, "set", |state, key, value| {
        state.set_storage(key, value);
    })?;
    register_write(registry, "append", |state, key, value| {
        state.storage_append(key, value);
    })
}

/// A function that does something with a key and a value.
fn register_write<T: HostFunctionRegistry>(
    registry: &mut T,
    function: &'static str,
    write: impl Fn(&mut dyn Externalities, Vec<u8>, Vec<u8>) + Send + Sync + 'static,
) -> Result<(), T::Error> {
    registry.register_static(
        &format!("ext_storage_{function}_version_1"),
        move |mut caller: Caller<'_, T::State>,
              key: FatPointer,
              value: FatPointer|
              -> Returned<()> {
            look(&mut caller, |bytes| {
                let key = storage_argument(bytes, key, "key", function)?.to_vec();
                let value = storage_argument(bytes, value, "value", function)?.to_vec();
                ask_state(function, |state| write(state, key, value))
            })
            .map_err(Error::msg)
        },
    )
}

/// Copies the value under a key, from an offset on, as far as there is room.
fn read<C: AsContextMut<Data: 'static>>(
    context: &mut C,
    key: FatPointer,
    out: FatPointer,
    offset: u32,
) -> Answered<FatPointer> {
    let left = look(context, |bytes| {
        let key = storage_argument(bytes, key, "key", "read")?;
        storage_argument(bytes, out, "value_out", "read")?;
        let value = ask_state("read", |state| state.storage(key))?;
        let Some(value) = value else { return Ok(None) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let data = value.get(offset..).unwrap_or_default();
        let out = range_mut(bytes, out)?;
        let copied = data.len().min(out.len());
        out[..copied].copy_from_slice(&data[..copied]);
        // A value is no longer than the guest's memory could be.
        Ok(Some(u32::try_from(data.len()).unwrap_or(u32::MAX)))
    })?;
    answer(context, |_bytes| Ok(Answer::short(&left.encode())))
}

/// What a function puts on the guest's heap: a few bytes, and more.
struct Answer {
    head: [u8; 32],
    head_length: usize,
    rest: Vec<u8>,
}

impl Answer {
    /// At most 32 bytes.
    fn short(bytes: &[u8]) -> Self {
        let mut head = [0; 32];
        head[..bytes.len()].copy_from_slice(bytes);
        Self {
            head,
            head_length: bytes.len(),
            rest: Vec::new(),
        }
    }

    /// An optional value, encoded.
    fn value(value: Option<Vec<u8>>) -> Self {
        let Some(value) = value else {
            return Self::short(&[0]);
        };
        // A value is no longer than the guest's memory could be.
        let length = Compact(u32::try_from(value.len()).unwrap_or(u32::MAX));
        Self {
            rest: value,
            ..length.using_encoded(|length| {
                let mut head = Self::short(&[1]);
                head.head_length = 1 + length.len();
                head.head[1..head.head_length].copy_from_slice(length);
                head
            })
        }
    }

    fn length(&self) -> Result<u32, String> {
        let length = self.head_length + self.rest.len();
        u32::try_from(length).map_err(|error| error.to_string())
    }

    /// Writes it to where it has room.
    fn write(&self, room: &mut [u8]) {
        let (head, rest) = room.split_at_mut(self.head_length);
        head.copy_from_slice(&self.head[..self.head_length]);
        rest.copy_from_slice(&self.rest);
    }
}

/// Puts on the guest's heap what `make` makes of its memory; where it is.
fn answer<C: AsContextMut<Data: 'static>>(
    context: &mut C,
    make: impl FnOnce(&[u8]) -> Answered<Answer>,
) -> Answered<FatPointer> {
    let placed = in_place(context, |heap, bytes| {
        let answer = make(bytes)?;
        let length = answer.length()?;
        let Some(allocated) = heap.allocate_in(bytes, length) else {
            return Ok(Placed::Not(answer, length));
        };
        let at = fat(allocated?, length);
        answer.write(range_mut(bytes, at)?);
        Ok::<_, String>(Placed::At(at))
    });
    match placed?? {
        Placed::At(at) => Ok(at),
        Placed::Not(answer, length) => {
            let at = fat(allocate_growing(context, length)?, length);
            look(context, |bytes| {
                answer.write(range_mut(bytes, at)?);
                Ok(at)
            })
        }
    }
}

/// Whether an answer of so many bytes has its place.
enum Placed {
    At(FatPointer),
    Not(Answer, u32),
}

/// Lets `operation` look at the guest's memory.
fn look<C: AsContextMut<Data: 'static>, R>(
    context: &mut C,
    operation: impl FnOnce(&mut [u8]) -> Answered<R>,
) -> Answered<R> {
    let memory = memory_of(context)?;
    operation(memory.data_mut(context))
}

fn fat(address: u32, length: u32) -> FatPointer {
    (u64::from(length) << 32) | u64::from(address)
}

fn address(pointer: FatPointer) -> u32 {
    let [a, b, c, d, ..] = pointer.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The bytes of the guest's memory that are pointed to.
fn range(bytes: &[u8], pointer: FatPointer) -> Result<&[u8], String> {
    Ok(&bytes[bounds(bytes, pointer)?])
}

fn range_mut(bytes: &mut [u8], pointer: FatPointer) -> Result<&mut [u8], String> {
    let bounds = bounds(bytes, pointer)?;
    Ok(&mut bytes[bounds])
}

/// Where they are, which is within the memory.
fn bounds(bytes: &[u8], pointer: FatPointer) -> Result<Range<usize>, String> {
    let address = address(pointer);
    let length = usize::try_from(pointer >> 32).unwrap_or(usize::MAX);
    let from = usize::try_from(address).unwrap_or(usize::MAX);
    let end = from.checked_add(length).filter(|end| *end <= bytes.len());
    end.map(|end| from..end)
        .ok_or_else(|| out_of_bounds(address, length))
}

/// What could not be read, as the interfaces say it.
#[derive(Clone, Copy)]
struct Place {
    argument: &'static str,
    function: &'static str,
    interface: &'static str,
}

impl Place {
    fn error(self, error: &str) -> String {
        let Self {
            argument,
            function,
            interface,
        } = self;
        format!(
            "{error}: could not marshal the '{argument}' argument through the WASM FFI boundary while executing '{function}' from interface '{interface}'"
        )
    }
}

/// An argument of a function of the interface for values.
fn storage_argument<'b>(
    bytes: &'b [u8],
    pointer: FatPointer,
    argument: &'static str,
    function: &'static str,
) -> Answered<&'b [u8]> {
    let place = Place {
        argument,
        function,
        interface: "Storage",
    };
    range(bytes, pointer).map_err(|error| place.error(&error))
}

/// Asks the state that the guest runs on. It may panic: Substrate's does where it cannot be read.
fn ask_state<R>(function: &str, ask: impl FnOnce(&mut dyn Externalities) -> R) -> Answered<R> {
    let asked = catch_unwind(AssertUnwindSafe(|| with_externalities(ask)));
    let outside = || {
        panicked(&format!(
            "`{function}_version_1` called outside of an Externalities-provided environment."
        ))
    };
    match asked {
        Ok(answer) => answer.ok_or_else(outside),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            match message.or_else(|| panic.downcast_ref::<&'static str>().copied()) {
                Some(message) => Err(panicked(message)),
                None => Err(PANICKED.to_owned()),
            }
        }
    }
}

const PANICKED: &str = "host code panicked while being called by the runtime";

/// The error of a function that panicked so by its interface.
fn panicked(message: &str) -> String {
    format!("{PANICKED}: {message}")
}

#[cfg(test)]
mod tests {
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
}
