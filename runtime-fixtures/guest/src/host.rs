//! The host functions the guest imports, each behind a safe wrapper.
//!
//! Fat arguments are `ptr | len << 32`. Invariant: every buffer that the host allocates for a
//! result is owned by the `Vec` made of it here, so it goes back through the guest's allocator.

use alloc::vec::Vec;

mod imports {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub fn ext_allocator_malloc_version_1(size: u32) -> u32;
        pub fn ext_allocator_free_version_1(ptr: u32);
        pub fn ext_panic_handler_abort_on_panic_version_1(message: u64);
        pub fn ext_storage_get_version_1(key: u64) -> u64;
        pub fn ext_storage_set_version_1(key: u64, value: u64);
        pub fn ext_storage_clear_version_1(key: u64);
        pub fn ext_storage_exists_version_1(key: u64) -> u32;
        pub fn ext_storage_clear_prefix_version_2(prefix: u64, limit: u64) -> u64;
        pub fn ext_storage_append_version_1(key: u64, item: u64);
        pub fn ext_storage_next_key_version_1(key: u64) -> u64;
        pub fn ext_storage_root_version_2(version: u32) -> u64;
        pub fn ext_storage_start_transaction_version_1();
        pub fn ext_storage_commit_transaction_version_1();
        pub fn ext_storage_rollback_transaction_version_1();
        pub fn ext_default_child_storage_get_version_1(child: u64, key: u64) -> u64;
        pub fn ext_default_child_storage_set_version_1(child: u64, key: u64, value: u64);
        pub fn ext_default_child_storage_clear_version_1(child: u64, key: u64);
        pub fn ext_default_child_storage_storage_kill_version_3(child: u64, limit: u64) -> u64;
        pub fn ext_default_child_storage_clear_prefix_version_2(
            child: u64,
            prefix: u64,
            limit: u64,
        ) -> u64;
        pub fn ext_default_child_storage_next_key_version_1(child: u64, key: u64) -> u64;
        pub fn ext_default_child_storage_root_version_2(child: u64, version: u32) -> u64;
        pub fn ext_trie_blake2_256_ordered_root_version_2(items: u64, version: u32) -> u32;
        pub fn ext_hashing_blake2_256_version_1(data: u64) -> u32;
        pub fn ext_crypto_sr25519_verify_version_2(
            signature: u32,
            message: u64,
            public: u32,
        ) -> u32;
        pub fn ext_misc_runtime_version_version_1(code: u64) -> u64;
        pub fn ext_offchain_index_set_version_1(key: u64, value: u64);
        pub fn ext_transaction_index_index_version_1(extrinsic: u32, size: u32, hash: u32);
        pub fn ext_logging_max_level_version_1() -> u32;
        pub fn ext_wasm_tracing_enabled_version_1(metadata: u64) -> u32;
        pub fn ext_storage_proof_size_storage_proof_size_version_1() -> u64;
    }
}

/// State tries of the guest are of this version.
const STATE_VERSION: u32 = 1;

fn fat(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64 | (bytes.len() as u64) << 32
}

fn thin(bytes: &[u8]) -> u32 {
    bytes.as_ptr() as u32
}

/// Takes ownership of a result that the host allocated.
fn own(result: u64) -> Vec<u8> {
    let (ptr, len) = (result as u32, (result >> 32) as usize);
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the host returns a fresh allocation of `len` initialised bytes from the same
    // allocator that the guest's `GlobalAlloc` uses, which ignores layouts when freeing.
    unsafe { Vec::from_raw_parts(ptr as *mut u8, len, len) }
}

/// Takes ownership of a 32-byte result behind a thin pointer.
fn own_hash(ptr: u32) -> [u8; 32] {
    let bytes = own(u64::from(ptr) | 32 << 32);
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes);
    hash
}

/// The value of a SCALE `Option<Vec<u8>>` that the host returned.
fn own_option(result: u64) -> Option<Vec<u8>> {
    let encoded = own(result);
    let mut reader = crate::scale::Reader::new(&encoded);
    match reader.u8() {
        Some(0) => None,
        _ => Some(reader.bytes().expect("the host encodes an option").to_vec()),
    }
}

/// `size` bytes of the host's allocator.
pub fn malloc(size: u32) -> u32 {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_allocator_malloc_version_1(size) }
}

/// Gives back what [`malloc`] gave; anything else makes the host trap.
pub fn free(ptr: u32) {
    // SAFETY: the host checks the pointer.
    unsafe { imports::ext_allocator_free_version_1(ptr) }
}

/// Reports a panic; the host unwinds the call.
pub fn abort_on_panic(message: &str) {
    // SAFETY: `message` is valid while the host reads it.
    unsafe { imports::ext_panic_handler_abort_on_panic_version_1(fat(message.as_bytes())) }
}

/// The value under a key.
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: `key` is valid while the host reads it.
    own_option(unsafe { imports::ext_storage_get_version_1(fat(key)) })
}

/// Writes a value.
pub fn set(key: &[u8], value: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_storage_set_version_1(fat(key), fat(value)) }
}

/// Deletes a key.
pub fn clear(key: &[u8]) {
    // SAFETY: `key` is valid while the host reads it.
    unsafe { imports::ext_storage_clear_version_1(fat(key)) }
}

/// Whether a key has a value.
pub fn exists(key: &[u8]) -> bool {
    // SAFETY: `key` is valid while the host reads it.
    unsafe { imports::ext_storage_exists_version_1(fat(key)) != 0 }
}

/// Deletes keys by prefix; gives the SCALE-encoded removal result.
pub fn clear_prefix(prefix: &[u8], limit: Option<u32>) -> Vec<u8> {
    let limit = crate::scale::encode_option_u32(limit);
    // SAFETY: both are valid while the host reads them.
    own(unsafe { imports::ext_storage_clear_prefix_version_2(fat(prefix), fat(&limit)) })
}

/// Appends an encoded item to a SCALE vector under a key.
pub fn append(key: &[u8], item: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_storage_append_version_1(fat(key), fat(item)) }
}

/// The first key behind `key`.
pub fn next_key(key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: `key` is valid while the host reads it.
    own_option(unsafe { imports::ext_storage_next_key_version_1(fat(key)) })
}

/// The root of the whole state as it stands now.
pub fn storage_root() -> Vec<u8> {
    // SAFETY: no memory is passed.
    own(unsafe { imports::ext_storage_root_version_2(STATE_VERSION) })
}

/// Opens a storage transaction inside the present one.
pub fn start_transaction() {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_storage_start_transaction_version_1() }
}

/// Closes the innermost storage transaction and keeps its writes.
pub fn commit_transaction() {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_storage_commit_transaction_version_1() }
}

/// Closes the innermost storage transaction and undoes its writes.
pub fn rollback_transaction() {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_storage_rollback_transaction_version_1() }
}

/// The value under a key of a child trie.
pub fn child_get(child: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: both are valid while the host reads them.
    own_option(unsafe { imports::ext_default_child_storage_get_version_1(fat(child), fat(key)) })
}

/// Writes a value into a child trie.
pub fn child_set(child: &[u8], key: &[u8], value: &[u8]) {
    // SAFETY: all are valid while the host reads them.
    unsafe {
        imports::ext_default_child_storage_set_version_1(fat(child), fat(key), fat(value));
    }
}

/// Deletes a key of a child trie.
pub fn child_clear(child: &[u8], key: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_default_child_storage_clear_version_1(fat(child), fat(key)) }
}

/// Deletes a child trie; gives the SCALE-encoded removal result.
pub fn child_kill(child: &[u8], limit: Option<u32>) -> Vec<u8> {
    let limit = crate::scale::encode_option_u32(limit);
    // SAFETY: both are valid while the host reads them.
    own(unsafe {
        imports::ext_default_child_storage_storage_kill_version_3(fat(child), fat(&limit))
    })
}

/// Deletes keys of a child trie by prefix; gives the SCALE-encoded removal result.
pub fn child_clear_prefix(child: &[u8], prefix: &[u8], limit: Option<u32>) -> Vec<u8> {
    let limit = crate::scale::encode_option_u32(limit);
    // SAFETY: all are valid while the host reads them.
    own(unsafe {
        imports::ext_default_child_storage_clear_prefix_version_2(
            fat(child),
            fat(prefix),
            fat(&limit),
        )
    })
}

/// The first key behind `key` in a child trie.
pub fn child_next_key(child: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: both are valid while the host reads them.
    own_option(unsafe {
        imports::ext_default_child_storage_next_key_version_1(fat(child), fat(key))
    })
}

/// The root of a child trie as it stands now.
pub fn child_root(child: &[u8]) -> Vec<u8> {
    // SAFETY: `child` is valid while the host reads it.
    own(unsafe { imports::ext_default_child_storage_root_version_2(fat(child), STATE_VERSION) })
}

/// The root of a trie of a list, given as SCALE `Vec<Vec<u8>>`.
pub fn ordered_root(items: &[u8]) -> [u8; 32] {
    // SAFETY: `items` is valid while the host reads it.
    own_hash(unsafe {
        imports::ext_trie_blake2_256_ordered_root_version_2(fat(items), STATE_VERSION)
    })
}

/// BLAKE2b-256.
pub fn blake2_256(data: &[u8]) -> [u8; 32] {
    // SAFETY: `data` is valid while the host reads it.
    own_hash(unsafe { imports::ext_hashing_blake2_256_version_1(fat(data)) })
}

/// Whether an sr25519 signature is right.
pub fn sr25519_verify(signature: &[u8; 64], message: &[u8], public: &[u8; 32]) -> bool {
    // SAFETY: all are valid while the host reads them, and of the lengths it expects.
    unsafe {
        imports::ext_crypto_sr25519_verify_version_2(thin(signature), fat(message), thin(public))
            != 0
    }
}

/// The encoded `RuntimeVersion` of a wasm blob.
pub fn runtime_version(code: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: `code` is valid while the host reads it.
    own_option(unsafe { imports::ext_misc_runtime_version_version_1(fat(code)) })
}

/// Writes into the off-chain index.
pub fn offchain_index_set(key: &[u8], value: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_offchain_index_set_version_1(fat(key), fat(value)) }
}

/// Indexes the last `size` bytes of an extrinsic.
pub fn transaction_index(extrinsic: u32, size: u32, hash: &[u8; 32]) {
    // SAFETY: `hash` is valid while the host reads it.
    unsafe { imports::ext_transaction_index_index_version_1(extrinsic, size, thin(hash)) }
}

/// The host's log level.
pub fn max_level() -> u32 {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_logging_max_level_version_1() }
}

/// Whether the host traces spans with this SCALE-encoded metadata.
pub fn tracing_enabled(metadata: &[u8]) -> bool {
    // SAFETY: `metadata` is valid while the host reads it.
    unsafe { imports::ext_wasm_tracing_enabled_version_1(fat(metadata)) != 0 }
}

/// The size of the recorded storage proof, all ones if none is recorded.
pub fn proof_size() -> u64 {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_storage_proof_size_storage_proof_size_version_1() }
}
