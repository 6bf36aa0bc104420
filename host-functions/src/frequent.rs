//! The functions that guests call many times in each extrinsic: memory, hashes, values by their keys.
//!
//! They do what the originals in `sp-io` do, without a span of `tracing` around each call, which costs more than most of
//! them do, and without copying what was copied out of the guest already. They are registered over the originals by
//! name, see [`crate::set`]. In guests of ours the module `direct` binds them.
//!
//! Invariant: answers, effects and panics are those of the originals; the tests compare them.

use sp_wasm_interface::{Function, HostFunctionRegistry};
use twox_hash::XxHash64;

use crate::direct;

/// Every function here, to be laid over a set that holds the originals.
#[derive(Debug, Clone, Copy)]
pub struct HostFunctions;

impl sp_wasm_interface::HostFunctions for HostFunctions {
    fn host_functions() -> Vec<&'static dyn Function> {
        Interfaces::host_functions()
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        if direct::is_possible::<T::State>() {
            direct::register(registry)
        } else {
            Interfaces::register_static(registry)
        }
    }
}

/// The same in any guest.
pub(crate) type Interfaces = (
    allocator::HostFunctions,
    hashing::HostFunctions,
    storage::HostFunctions,
);

/// XXH64 with the seeds from 0 on, as many as there is room for, one after the other. Most inputs are names of a few
/// bytes, for which a hasher that takes its input in parts spends most of its time on being set up.
pub(crate) fn twox<const BYTES: usize>(data: &[u8]) -> [u8; BYTES] {
    let mut hash = [0; BYTES];
    for (seed, part) in (0..).zip(hash.chunks_exact_mut(8)) {
        part.copy_from_slice(&XxHash64::oneshot(seed, data).to_le_bytes());
    }
    hash
}

mod interfaces {
    use super::twox;
    use sp_runtime_interface::{
        pass_by::{
            AllocateAndReturnByCodec, AllocateAndReturnPointer, PassFatPointerAndRead,
            PassFatPointerAndReadWrite,
        },
        runtime_interface,
    };
    use sp_wasm_interface::Pointer;

    /// The guest's heap.
    #[runtime_interface(wasm_only, no_tracing)]
    pub trait Allocator {
        /// Allocates so many bytes.
        fn malloc(&mut self, size: u32) -> Pointer<u8> {
            self.allocate_memory(size)
                .expect("Failed to allocate memory")
        }

        /// Frees what was allocated.
        fn free(&mut self, ptr: Pointer<u8>) {
            self.deallocate_memory(ptr)
                .expect("Failed to deallocate memory");
        }
    }

    /// Hashes.
    #[runtime_interface(no_tracing)]
    pub trait Hashing {
        /// Keccak, 256 bits.
        fn keccak_256(
            data: PassFatPointerAndRead<&[u8]>,
        ) -> AllocateAndReturnPointer<[u8; 32], 32> {
            sp_crypto_hashing::keccak_256(data)
        }

        /// SHA-2, 256 bits.
        fn sha2_256(data: PassFatPointerAndRead<&[u8]>) -> AllocateAndReturnPointer<[u8; 32], 32> {
            sp_crypto_hashing::sha2_256(data)
        }

        /// BLAKE2b, 128 bits.
        fn blake2_128(
            data: PassFatPointerAndRead<&[u8]>,
        ) -> AllocateAndReturnPointer<[u8; 16], 16> {
            sp_crypto_hashing::blake2_128(data)
        }

        /// BLAKE2b, 256 bits.
        fn blake2_256(
            data: PassFatPointerAndRead<&[u8]>,
        ) -> AllocateAndReturnPointer<[u8; 32], 32> {
            sp_crypto_hashing::blake2_256(data)
        }

        /// XXH64 with four seeds, 256 bits.
        fn twox_256(data: PassFatPointerAndRead<&[u8]>) -> AllocateAndReturnPointer<[u8; 32], 32> {
            twox::<32>(data)
        }

        /// XXH64 with two seeds, 128 bits.
        fn twox_128(data: PassFatPointerAndRead<&[u8]>) -> AllocateAndReturnPointer<[u8; 16], 16> {
            twox::<16>(data)
        }

        /// XXH64, 64 bits.
        fn twox_64(data: PassFatPointerAndRead<&[u8]>) -> AllocateAndReturnPointer<[u8; 8], 8> {
            twox::<8>(data)
        }
    }

    /// Values of the top trie by their keys.
    #[runtime_interface(no_tracing)]
    pub trait Storage {
        /// The value under a key.
        fn get(
            &mut self,
            key: PassFatPointerAndRead<&[u8]>,
        ) -> AllocateAndReturnByCodec<Option<Vec<u8>>> {
            self.storage(key)
        }

        /// Copies the value under a key, from an offset on, as far as there is room; how many bytes there are from
        /// that offset on.
        fn read(
            &mut self,
            key: PassFatPointerAndRead<&[u8]>,
            value_out: PassFatPointerAndReadWrite<&mut [u8]>,
            value_offset: u32,
        ) -> AllocateAndReturnByCodec<Option<u32>> {
            let value = self.storage(key)?;
            let offset = usize::try_from(value_offset).unwrap_or(usize::MAX);
            let data = value.get(offset..).unwrap_or_default();
            let copied = data.len().min(value_out.len());
            value_out[..copied].copy_from_slice(&data[..copied]);
            // A value is no longer than the guest's memory could be.
            Some(u32::try_from(data.len()).unwrap_or(u32::MAX))
        }

        /// Sets the value under a key.
        fn set(
            &mut self,
            key: PassFatPointerAndRead<Vec<u8>>,
            value: PassFatPointerAndRead<Vec<u8>>,
        ) {
            self.set_storage(key, value);
        }

        /// Removes a key.
        fn clear(&mut self, key: PassFatPointerAndRead<&[u8]>) {
            self.clear_storage(key);
        }

        /// Whether there is a key.
        fn exists(&mut self, key: PassFatPointerAndRead<&[u8]>) -> bool {
            self.exists_storage(key)
        }

        /// Appends an encoded item to the encoded list under a key.
        fn append(
            &mut self,
            key: PassFatPointerAndRead<Vec<u8>>,
            value: PassFatPointerAndRead<Vec<u8>>,
        ) {
            self.storage_append(key, value);
        }
    }
}

pub use interfaces::{allocator, hashing, storage};

#[cfg(test)]
mod tests {
    use sp_io::TestExternalities;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_originals() {
        for length in [0, 1, 31, 32, 33, 127, 128, 129, 1_000] {
            let data: Vec<u8> = (0..=255).cycle().take(length).collect();
            let data = data.as_slice();
            assert_eq!(hashing::keccak_256(data), sp_io::hashing::keccak_256(data));
            assert_eq!(hashing::sha2_256(data), sp_io::hashing::sha2_256(data));
            assert_eq!(hashing::blake2_128(data), sp_io::hashing::blake2_128(data));
            assert_eq!(hashing::blake2_256(data), sp_io::hashing::blake2_256(data));
            assert_eq!(hashing::twox_256(data), sp_io::hashing::twox_256(data));
            assert_eq!(hashing::twox_128(data), sp_io::hashing::twox_128(data));
            assert_eq!(hashing::twox_64(data), sp_io::hashing::twox_64(data));
        }
    }

    /// Writes by the originals where `original`, and reads by both.
    fn storage_program(original: bool) -> Vec<Option<Vec<u8>>> {
        let keys = [b"a".as_slice(), b"b", b"long key of some bytes"];
        let mut seen = Vec::new();
        for (index, key) in (0_u8..).zip(keys.iter().cycle()).take(30) {
            let value = vec![index; usize::from(index)];
            match (index % 4, original) {
                (0 | 1, true) => sp_io::storage::set(key, &value),
                (0 | 1, false) => storage::set(key.to_vec(), value),
                (2, true) => sp_io::storage::append(key, value),
                (2, false) => storage::append(key.to_vec(), value),
                (_, true) => sp_io::storage::clear(key),
                (_, false) => storage::clear(key),
            }
            for key in keys {
                let value = sp_io::storage::get(key).map(|value| value.to_vec());
                assert_eq!(storage::get(key), value);
                assert_eq!(storage::exists(key), sp_io::storage::exists(key));
                for (offset, room) in [(0, 4), (3, 100), (50, 2), (u32::MAX, 1)] {
                    let (mut ours, mut theirs) = (vec![9; room], vec![9; room]);
                    assert_eq!(
                        storage::read(key, &mut ours, offset),
                        sp_io::storage::read(key, &mut theirs, offset)
                    );
                    assert_eq!(ours, theirs);
                }
                seen.push(value);
            }
        }
        seen
    }

    #[test]
    fn values_are_those_of_the_originals() {
        let [ours, theirs] = [false, true].map(|original| {
            TestExternalities::default().execute_with(|| storage_program(original))
        });
        assert!(ours.iter().any(Option::is_some) && ours.iter().any(Option::is_none));
        assert_eq!(ours, theirs);
    }
}
