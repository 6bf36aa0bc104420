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
    span::host_call,
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
            let _span = host_call("ext_allocator_malloc_version_1");
            let allocated = allocate_in_guest(&mut caller, size);
            allocated.map_err(|error| {
                Error::msg(panicked(&format!("Failed to allocate memory: {error:?}")))
            })
        },
    )?;
    registry.register_static(
        "ext_allocator_free_version_1",
        |mut caller: Caller<'_, T::State>, pointer: u32| -> Returned<()> {
            let _span = host_call("ext_allocator_free_version_1");
            let freed = deallocate_in_guest(&mut caller, Pointer::new(pointer));
            freed.map_err(|error| {
                Error::msg(panicked(&format!("Failed to deallocate memory: {error:?}")))
            })
        },
    )
}

fn register_hashing<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
    register_hash(
        registry,
        "ext_hashing_keccak_256_version_1",
        sp_crypto_hashing::keccak_256,
    )?;
    register_hash(
        registry,
        "ext_hashing_sha2_256_version_1",
        sp_crypto_hashing::sha2_256,
    )?;
    register_hash(
        registry,
        "ext_hashing_blake2_128_version_1",
        sp_crypto_hashing::blake2_128,
    )?;
    register_hash(
        registry,
        "ext_hashing_blake2_256_version_1",
        sp_crypto_hashing::blake2_256,
    )?;
    register_hash(registry, "ext_hashing_twox_256_version_1", twox::<32>)?;
    register_hash(registry, "ext_hashing_twox_128_version_1", twox::<16>)?;
    register_hash(registry, "ext_hashing_twox_64_version_1", twox::<8>)
}

fn register_hash<T: HostFunctionRegistry, const BYTES: usize>(
    registry: &mut T,
    name: &'static str,
    hash: impl Fn(&[u8]) -> [u8; BYTES] + Send + Sync + 'static,
) -> Result<(), T::Error> {
    let place = Place {
        argument: "data",
        function: function(name, "ext_hashing_"),
        interface: "Hashing",
    };
    registry.register_static(
        name,
        move |mut caller: Caller<'_, T::State>, data: FatPointer| -> Returned<u32> {
            let _span = host_call(name);
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
            let _span = host_call("ext_storage_get_version_1");
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
            let _span = host_call("ext_storage_read_version_1");
            read(&mut caller, key, out, offset).map_err(Error::msg)
        },
    )?;
    registry.register_static(
        "ext_storage_exists_version_1",
        |mut caller: Caller<'_, T::State>, key: FatPointer| -> Returned<u32> {
            let _span = host_call("ext_storage_exists_version_1");
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
            let _span = host_call("ext_storage_clear_version_1");
            look(&mut caller, |bytes| {
                let key = storage_argument(bytes, key, "key", "clear")?;
                ask_state("clear", |state| state.clear_storage(key))
            })
            .map_err(Error::msg)
        },
    )?;
    register_write(
        registry,
        "ext_storage_set_version_1",
        |state, key, value| {
            state.set_storage(key, value);
        },
    )?;
    register_write(
        registry,
        "ext_storage_append_version_1",
        |state, key, value| {
            state.storage_append(key, value);
        },
    )
}

/// What a function is called within its interface.
fn function(name: &'static str, interface: &str) -> &'static str {
    let function = name.strip_prefix(interface);
    function
        .and_then(|function| function.strip_suffix("_version_1"))
        .unwrap_or(name)
}

/// A function that does something with a key and a value.
fn register_write<T: HostFunctionRegistry>(
    registry: &mut T,
    name: &'static str,
    write: impl Fn(&mut dyn Externalities, Vec<u8>, Vec<u8>) + Send + Sync + 'static,
) -> Result<(), T::Error> {
    let function = function(name, "ext_storage_");
    registry.register_static(
        name,
        move |mut caller: Caller<'_, T::State>,
              key: FatPointer,
              value: FatPointer|
              -> Returned<()> {
            let _span = host_call(name);
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
mod tests;
