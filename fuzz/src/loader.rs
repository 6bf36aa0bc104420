//! Runtime code from outside: unpacked, validated, looked at, and where it is small, compiled.
//!
//! The first byte of an input says how, the others are the code. What must hold: code is taken or refused with an error of
//! a kind that fits it; the limit of bytes is kept; packing changes nothing; the Wide profile takes what the Substrate
//! profile takes; what is valid compiles or is refused for what it lacks.

use std::sync::OnceLock;

use codec::Encode;
use slackwater_executor::{
    ExecutorConfig, GuestProfile, Meter, RuntimeBlob, RuntimeError, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{
    guest::{GUEST_UPGRADED_WASM, GUEST_WASM},
    kernels::KERNELS_WASM,
};
use sp_maybe_compressed_blob::{CODE_BLOB_BOMB_LIMIT, compress_weakly};
use wasm_encoder::{CustomSection, Section};
use wasmparser::Validator;

use crate::smith::{self, Drawn};

type Executor = WasmExecutor<SlackwaterHostFunctions>;

const INPUT_BYTES_MAX: usize = 48 << 10;
/// Limits of unpacked code, for one input or another: all that our own have, and less than many seeds.
const CODE_BYTES_MAX: [usize; 2] = [40 << 10, 200];
/// What is compiled is up to so long.
const COMPILED_BYTES_MAX: usize = 4 << 10;

/// What packed code begins with.
const PACKED: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];

const SHORT: u8 = 1;
const PACK: u8 = 2;
const COMPILE: u8 = 4;

const PROFILES: [GuestProfile; 2] = [GuestProfile::Substrate, GuestProfile::Wide];

/// An executor for each profile, which count in different ways.
fn executors() -> &'static [Executor; 2] {
    static EXECUTORS: OnceLock<[Executor; 2]> = OnceLock::new();
    EXECUTORS.get_or_init(|| {
        let meters = [Meter::Slacked, Meter::Checked];
        [0, 1].map(|number| {
            let config = ExecutorConfig {
                code_bytes_max: CODE_BYTES_MAX[0],
                parallel_compilation: false,
                runtimes_max: 1,
                ..ExecutorConfig::default()
            };
            let config = config
                .with_profile(PROFILES[number])
                .with_meter(meters[number])
                .with_instances_max(4)
                .with_instances_cached_max(1);
            Executor::new(config).expect("the engine can be set up")
        })
    })
}

/// Looks at bytes as runtime code.
pub fn loader(data: &[u8]) {
    let Some((way, code)) = data.split_first() else {
        return;
    };
    if code.len() > INPUT_BYTES_MAX {
        return;
    }
    let limit = CODE_BYTES_MAX[usize::from(way & SHORT)];
    let loaded = PROFILES.map(|profile| RuntimeBlob::new(code, limit, profile));
    for (loaded, profile) in loaded.iter().zip(PROFILES) {
        match loaded {
            Ok(blob) => check_blob(blob, code, limit, profile),
            Err(error) => check_refused(error, code, limit),
        }
    }
    if loaded[0].is_ok() {
        assert!(loaded[1].is_ok(), "Wide takes what Substrate takes");
    }
    let is_packed = code.starts_with(&PACKED);
    if way & PACK != 0
        && !is_packed
        && let Some(packed) = compress_weakly(code, CODE_BLOB_BOMB_LIMIT)
    {
        for (plain, profile) in loaded.iter().zip(PROFILES) {
            check_packed(plain, RuntimeBlob::new(&packed, limit, profile));
        }
    }
    if way & COMPILE != 0 && way & SHORT == 0 {
        for (executor, blob) in executors().iter().zip(&loaded) {
            compile(executor, code, blob.as_ref());
        }
    }
}

/// Code that was taken.
fn check_blob(blob: &RuntimeBlob, code: &[u8], limit: usize, profile: GuestProfile) {
    let wasm = blob.wasm();
    assert!(wasm.len() <= limit, "{} bytes are too many", wasm.len());
    assert_eq!(blob.code_bytes(), code.len());
    let validated = Validator::new_with_features(profile.features()).validate_all(wasm);
    validated.expect("what was taken is valid within its profile");
    let facts = blob.facts().expect("facts of a valid module");
    assert!(facts.data_bytes <= wasm.len());
    match blob.embedded_version() {
        Ok(version) => {
            let section = blob.custom_section("runtime_version");
            assert_eq!(version.is_some(), section.is_some());
        }
        Err(RuntimeError::Version { .. }) => {}
        Err(error) => panic!("no error of a version: {error}"),
    }
    for name in ["runtime_version", "runtime_apis", "name", ""] {
        let bytes = blob.custom_section(name).map_or(0, <[u8]>::len);
        assert!(bytes < wasm.len());
    }
}

/// Code that was refused: for what it is.
fn check_refused(error: &RuntimeError, code: &[u8], limit: usize) {
    let is_packed = code.starts_with(&PACKED);
    let fits = match error {
        RuntimeError::TooLarge { limit_bytes } => {
            *limit_bytes == limit && (is_packed || code.len() > limit)
        }
        RuntimeError::Compression => is_packed,
        RuntimeError::NotWasm { .. } => is_packed || !code.starts_with(b"\0asm"),
        RuntimeError::PolkaVm => is_packed || code.starts_with(b"PVM\0"),
        RuntimeError::Invalid { offset, .. } => {
            is_packed || (*offset <= code.len() && code.starts_with(b"\0asm"))
        }
        _ => false,
    };
    assert!(fits, "not why this code is refused: {error}");
}

/// The same code, packed.
fn check_packed(
    plain: &Result<RuntimeBlob, RuntimeError>,
    packed: Result<RuntimeBlob, RuntimeError>,
) {
    match (plain, packed) {
        (Ok(plain), Ok(packed)) => assert!(plain.wasm() == packed.wasm(), "it unpacks to itself"),
        (Err(plain), Err(packed)) => assert_eq!(plain.to_string(), packed.to_string()),
        (plain, packed) => panic!(
            "plain {:?}, packed {:?}",
            plain.as_ref().err(),
            packed.err()
        ),
    }
}

/// Goes on to a compiled runtime, if there is something to compile.
fn compile(executor: &Executor, code: &[u8], blob: Result<&RuntimeBlob, &RuntimeError>) {
    if blob.is_ok_and(|blob| blob.wasm().len() > COMPILED_BYTES_MAX) {
        return;
    }
    match (executor.runtime(code), blob) {
        (Ok(_), Ok(_)) => {}
        (Ok(_), Err(error)) => panic!("a runtime of what is refused: {error}"),
        (Err(error), Err(refused)) => assert_eq!(error.to_string(), refused.to_string()),
        (
            Err(
                RuntimeError::MissingExport { .. }
                | RuntimeError::Version { .. }
                | RuntimeError::VersionCall { .. }
                | RuntimeError::Imports(_)
                | RuntimeError::Instrument(_)
                | RuntimeError::Compile { .. },
            ),
            Ok(_),
        ) => {}
        (Err(error), Ok(_)) => panic!("no reason to refuse a valid module: {error}"),
    }
}

/// Small modules: whole runtimes, and ones that lack something.
const TEXTS: [&str; 8] = [
    r#"(module (import "env" "memory" (memory 17)) (global (export "__heap_base") i32 (i32.const 1048576))
        (func (export "Core_version") (param i32 i32) (result i64) (i64.const 1048576)))"#,
    r#"(module
        (import "env" "ext_logging_max_level_version_1" (func $level (result i32)))
        (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
        (import "env" "unknown" (func $unknown (param i64) (result f32)))
        (memory (export "memory") 2 9) (global (export "__heap_base") i32 (i32.const 1024))
        (table 3 funcref) (elem (i32.const 0) $level $malloc)
        (global $g (mut i64) (i64.const -1))
        (data (i32.const 65530) "\01\02\03\04\05\06") (data (i32.const 0) "zero")
        (func (export "Core_version") (param i32 i32) (result i64)
            (loop $l (br_if $l (i32.eqz (call $level))))
            (global.set $g (i64.extend_i32_u (call $malloc (local.get 1))))
            (drop (call_indirect (result i32) (i32.const 0)))
            (i64.or (global.get $g) (i64.const 0x100000000))))"#,
    r#"(module (memory (export "memory") 1) (global (export "__heap_base") i32 (i32.const 8))
        (func $start (i32.store (i32.const 0) (memory.grow (i32.const 1)))) (start $start)
        (func (export "f") (param f64 f32) (result f64)
            (f64.add (local.get 0) (f64.promote_f32 (f32.sqrt (local.get 1))))))"#,
    r#"(module (memory (export "memory") 1) (global (export "__heap_base") i32 (i32.const 8))
        (func $two (param i32) (result i32 i64) (local.get 0) (i64.const 1))
        (func (export "f") (result i64) (memory.fill (i32.const 0) (i32.const 1) (i32.const 9))
            (drop (i32.trunc_sat_f64_s (f64.const nan))) (drop (ref.func $two))
            (drop (i8x16.splat (i32.extend8_s (i32.const 200))))
            (call $two (i32.const 1)) (i64.add (i64.extend_i32_u))) (elem declare func $two))"#,
    r#"(module (func (export "f") unreachable))"#,
    r#"(module (memory (export "memory") 65536))"#,
    r#"(module (memory (export "memory") 0 65536) (global (export "__heap_base") i32 (i32.const -1)) (table 0 funcref))"#,
    r#"(module (memory (export "memory") 1) (global (export "__heap_base") (mut i64) (i64.const 1)))"#,
];

/// A module that states its version.
fn versioned(wasm: &[u8]) -> Vec<u8> {
    let apis = Vec::<([u8; 8], u32)>::new();
    let version = ("spec", "impl", 1_u32, 7_u32, 3_u32, apis, 2_u32, 1_u8).encode();
    // Of the `Core` API.
    let core = ([0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b], 5_u32).encode();
    let mut bytes = wasm.to_vec();
    for (name, data) in [("runtime_version", version), ("runtime_apis", core)] {
        let (name, data) = (name.into(), data.into());
        CustomSection { name, data }.append_to(&mut bytes);
    }
    bytes
}

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = TEXTS.map(|text| wat::parse_str(text).expect("a module"));
    let mut seeds = vec![Vec::new(), vec![0], b"\x07\0asm\x01\0\0\0".to_vec()];
    let mut add = |way: u8, code: &[u8]| seeds.push([&[way], code].concat());
    for wasm in &texts {
        add(PACK | COMPILE, wasm);
        add(COMPILE, &versioned(wasm));
    }
    add(SHORT | PACK, &texts[1]);
    for number in 0..8_u8 {
        let drawn = Drawn(number << 2 | number & 1);
        if let Some(wasm) = drawn.module(&smith::bytes(number, 16)) {
            add(PACK | COMPILE, &wasm);
        }
    }
    for wasm in [GUEST_WASM, GUEST_UPGRADED_WASM, KERNELS_WASM] {
        add(0, wasm);
    }
    for wasm in [&texts[0], KERNELS_WASM] {
        let packed = compress_weakly(wasm, CODE_BLOB_BOMB_LIMIT).expect("small");
        add(COMPILE, &packed);
    }
    let zeros = compress_weakly(&vec![0; 1 << 20], CODE_BLOB_BOMB_LIMIT).expect("small");
    add(0, &zeros);
    add(PACK, b"PVM\0 and more");
    seeds
}
