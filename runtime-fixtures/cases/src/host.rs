//! The host functions the cases import, each behind a safe wrapper.
//!
//! Fat arguments are `ptr | len << 32`. Invariant: what the host allocates for an answer is owned by the `Vec` made of
//! it here.

use alloc::vec::Vec;

mod imports {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub fn ext_allocator_malloc_version_1(size: u32) -> u32;
        pub fn ext_allocator_free_version_1(ptr: u32);
        pub fn ext_panic_handler_abort_on_panic_version_1(message: u64);
        pub fn ext_storage_get_version_1(key: u64) -> u64;
        pub fn ext_storage_set_version_1(key: u64, value: u64);
        pub fn ext_storage_clear_prefix_version_1(prefix: u64);
        pub fn ext_trie_blake2_256_ordered_root_version_2(items: u64, version: u32) -> u32;
        pub fn ext_hashing_blake2_256_version_1(data: u64) -> u32;
        pub fn ext_hashing_blake2_128_version_1(data: u64) -> u32;
        pub fn ext_hashing_sha2_256_version_1(data: u64) -> u32;
        pub fn ext_hashing_twox_256_version_1(data: u64) -> u32;
        pub fn ext_hashing_twox_128_version_1(data: u64) -> u32;
        pub fn ext_crypto_ed25519_verify_version_1(
            signature: u32,
            message: u64,
            public: u32,
        ) -> u32;
        pub fn ext_crypto_sr25519_verify_version_2(
            signature: u32,
            message: u64,
            public: u32,
        ) -> u32;
        pub fn ext_misc_print_utf8_version_1(text: u64);
        pub fn ext_offchain_index_set_version_1(key: u64, value: u64);
        pub fn ext_offchain_local_storage_get_version_1(kind: u32, key: u64) -> u64;
        pub fn ext_offchain_local_storage_set_version_1(kind: u32, key: u64, value: u64);
        pub fn ext_offchain_local_storage_compare_and_set_version_1(
            kind: u32,
            key: u64,
            old: u64,
            new: u64,
        ) -> u32;
        pub fn ext_offchain_http_request_start_version_1(method: u64, uri: u64, meta: u64) -> u64;
        pub fn ext_offchain_http_request_add_header_version_1(
            id: u32,
            name: u64,
            value: u64,
        ) -> u64;
        pub fn ext_offchain_http_request_write_body_version_1(
            id: u32,
            chunk: u64,
            deadline: u64,
        ) -> u64;
        pub fn ext_offchain_http_response_wait_version_1(ids: u64, deadline: u64) -> u64;
        pub fn ext_offchain_http_response_headers_version_1(id: u32) -> u64;
        pub fn ext_offchain_http_response_read_body_version_1(
            id: u32,
            buffer: u64,
            deadline: u64,
        ) -> u64;
        pub fn ext_wasm_tracing_enter_span_version_1(span: u64) -> u64;
        pub fn ext_wasm_tracing_exit_version_1(span: u64);
        // Nobody offers these two.
        pub fn missing_import();
        pub fn other_missing_import();
    }
}

/// State tries are of this version.
const STATE_VERSION: u32 = 1;
/// The off-chain storage that survives a block that is taken back.
const PERSISTENT: u32 = 0;
/// SCALE `None`: no deadline.
const NONE: &[u8] = &[0];

fn fat(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64 | (bytes.len() as u64) << 32
}

fn thin(bytes: &[u8]) -> u32 {
    bytes.as_ptr() as u32
}

/// Takes ownership of an answer that the host allocated.
fn own(answer: u64) -> Vec<u8> {
    let (ptr, len) = (answer as u32, (answer >> 32) as usize);
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the host returns a fresh allocation of `len` initialised bytes from the same allocator that
    // `GlobalAlloc` uses, which ignores layouts when freeing.
    unsafe { Vec::from_raw_parts(ptr as *mut u8, len, len) }
}

/// As [`own`], for an answer of a known length behind a thin pointer.
fn own_thin(ptr: u32, len: u32) -> Vec<u8> {
    own(u64::from(ptr) | u64::from(len) << 32)
}

/// `size` bytes of the host's allocator.
pub fn malloc(size: u32) -> u32 {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_allocator_malloc_version_1(size) }
}

/// Gives back what [`malloc`] gave.
pub fn free(ptr: u32) {
    // SAFETY: the host checks the pointer.
    unsafe { imports::ext_allocator_free_version_1(ptr) }
}

/// Reports a panic, which is one if the call then traps.
pub fn abort_on_panic(message: &str) {
    // SAFETY: `message` is valid while the host reads it.
    unsafe { imports::ext_panic_handler_abort_on_panic_version_1(fat(message.as_bytes())) }
}

/// Calls what nobody offers.
pub fn missing_import() {
    // SAFETY: no memory is passed.
    unsafe { imports::missing_import() }
}

/// Calls something else that nobody offers.
pub fn other_missing_import() {
    // SAFETY: no memory is passed.
    unsafe { imports::other_missing_import() }
}

/// The SCALE `Option` of the value under a key.
pub fn get(key: &[u8]) -> Vec<u8> {
    // SAFETY: `key` is valid while the host reads it.
    own(unsafe { imports::ext_storage_get_version_1(fat(key)) })
}

/// Writes a value.
pub fn set(key: &[u8], value: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_storage_set_version_1(fat(key), fat(value)) }
}

/// Deletes all keys that begin so.
pub fn clear_prefix(prefix: &[u8]) {
    // SAFETY: `prefix` is valid while the host reads it.
    unsafe { imports::ext_storage_clear_prefix_version_1(fat(prefix)) }
}

/// The root of a trie of a list, given as SCALE `Vec<Vec<u8>>`.
pub fn ordered_root(items: &[u8]) -> Vec<u8> {
    // SAFETY: `items` is valid while the host reads it.
    let root =
        unsafe { imports::ext_trie_blake2_256_ordered_root_version_2(fat(items), STATE_VERSION) };
    own_thin(root, 32)
}

/// BLAKE2b-256.
pub fn blake2_256(data: &[u8]) -> Vec<u8> {
    // SAFETY: `data` is valid while the host reads it.
    own_thin(
        unsafe { imports::ext_hashing_blake2_256_version_1(fat(data)) },
        32,
    )
}

/// BLAKE2b-128.
pub fn blake2_128(data: &[u8]) -> Vec<u8> {
    // SAFETY: `data` is valid while the host reads it.
    own_thin(
        unsafe { imports::ext_hashing_blake2_128_version_1(fat(data)) },
        16,
    )
}

/// SHA-256.
pub fn sha2_256(data: &[u8]) -> Vec<u8> {
    // SAFETY: `data` is valid while the host reads it.
    own_thin(
        unsafe { imports::ext_hashing_sha2_256_version_1(fat(data)) },
        32,
    )
}

/// XXHash64 with four seeds.
pub fn twox_256(data: &[u8]) -> Vec<u8> {
    // SAFETY: `data` is valid while the host reads it.
    own_thin(
        unsafe { imports::ext_hashing_twox_256_version_1(fat(data)) },
        32,
    )
}

/// XXHash64 with two seeds.
pub fn twox_128(data: &[u8]) -> Vec<u8> {
    // SAFETY: `data` is valid while the host reads it.
    own_thin(
        unsafe { imports::ext_hashing_twox_128_version_1(fat(data)) },
        16,
    )
}

/// Whether an ed25519 signature is right.
pub fn ed25519_verify(signature: &[u8; 64], message: &[u8], public: &[u8; 32]) -> bool {
    // SAFETY: all are valid while the host reads them, and of the lengths it expects.
    unsafe {
        imports::ext_crypto_ed25519_verify_version_1(thin(signature), fat(message), thin(public))
            != 0
    }
}

/// Whether an sr25519 signature is right.
pub fn sr25519_verify(signature: &[u8; 64], message: &[u8], public: &[u8; 32]) -> bool {
    // SAFETY: all are valid while the host reads them, and of the lengths it expects.
    unsafe {
        imports::ext_crypto_sr25519_verify_version_2(thin(signature), fat(message), thin(public))
            != 0
    }
}

/// Prints.
pub fn print(text: &str) {
    // SAFETY: `text` is valid while the host reads it.
    unsafe { imports::ext_misc_print_utf8_version_1(fat(text.as_bytes())) }
}

/// Writes into the off-chain index.
pub fn offchain_index_set(key: &[u8], value: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_offchain_index_set_version_1(fat(key), fat(value)) }
}

/// The SCALE `Option` of a value off chain.
pub fn offchain_get(key: &[u8]) -> Vec<u8> {
    // SAFETY: `key` is valid while the host reads it.
    own(unsafe { imports::ext_offchain_local_storage_get_version_1(PERSISTENT, fat(key)) })
}

/// Writes a value off chain.
pub fn offchain_set(key: &[u8], value: &[u8]) {
    // SAFETY: both are valid while the host reads them.
    unsafe { imports::ext_offchain_local_storage_set_version_1(PERSISTENT, fat(key), fat(value)) }
}

/// Writes a value off chain if the present one is `old`, a SCALE `Option`; says whether it did.
pub fn offchain_compare_and_set(key: &[u8], old: &[u8], new: &[u8]) -> bool {
    let (key, old, new) = (fat(key), fat(old), fat(new));
    // SAFETY: all are valid while the host reads them.
    unsafe {
        imports::ext_offchain_local_storage_compare_and_set_version_1(PERSISTENT, key, old, new)
            != 0
    }
}

/// Begins a request; SCALE `Result` of its number.
pub fn http_start(method: &str, uri: &str) -> Vec<u8> {
    let (method, uri) = (fat(method.as_bytes()), fat(uri.as_bytes()));
    // SAFETY: all are valid while the host reads them.
    own(unsafe { imports::ext_offchain_http_request_start_version_1(method, uri, fat(&[])) })
}

/// Adds a header to a request; SCALE `Result`.
pub fn http_add_header(id: u16, name: &str, value: &str) -> Vec<u8> {
    let (name, value) = (fat(name.as_bytes()), fat(value.as_bytes()));
    // SAFETY: both are valid while the host reads them.
    own(unsafe { imports::ext_offchain_http_request_add_header_version_1(id.into(), name, value) })
}

/// Adds to the body of a request, or ends it if there is nothing to add; SCALE `Result`.
pub fn http_write_body(id: u16, chunk: &[u8]) -> Vec<u8> {
    // SAFETY: both are valid while the host reads them.
    own(unsafe {
        imports::ext_offchain_http_request_write_body_version_1(id.into(), fat(chunk), fat(NONE))
    })
}

/// Waits for an answer; SCALE list of its status.
pub fn http_wait(id: u16) -> Vec<u8> {
    // A list of one number.
    let [low, high] = id.to_le_bytes();
    let ids = [4, low, high];
    // SAFETY: both are valid while the host reads them.
    own(unsafe { imports::ext_offchain_http_response_wait_version_1(fat(&ids), fat(NONE)) })
}

/// The headers of an answer; SCALE list of pairs.
pub fn http_headers(id: u16) -> Vec<u8> {
    // SAFETY: no memory is passed.
    own(unsafe { imports::ext_offchain_http_response_headers_version_1(id.into()) })
}

/// Reads from the body of an answer; SCALE `Result` of how much.
pub fn http_read_body(id: u16, buffer: &mut [u8]) -> Vec<u8> {
    let into = buffer.as_mut_ptr() as u64 | (buffer.len() as u64) << 32;
    // SAFETY: the buffer is valid and nobody else's while the host writes to it.
    own(unsafe {
        imports::ext_offchain_http_response_read_body_version_1(id.into(), into, fat(NONE))
    })
}

/// Opens a span with these SCALE attributes; its number, 0 if nobody traces.
pub fn span_enter(attributes: &[u8]) -> u64 {
    // SAFETY: `attributes` is valid while the host reads it.
    unsafe { imports::ext_wasm_tracing_enter_span_version_1(fat(attributes)) }
}

/// Closes a span.
pub fn span_exit(span: u64) {
    // SAFETY: no memory is passed.
    unsafe { imports::ext_wasm_tracing_exit_version_1(span) }
}
