//! The `substrate` profile accepts exactly the modules that the Polkadot SDK's executor accepts,
//! judged on every module of the WebAssembly test suite.

use sc_executor_common::{runtime_blob::RuntimeBlob, wasm_runtime::HeapAllocStrategy};
use sc_executor_wasmtime::{InstantiationStrategy, Semantics, prepare_runtime_artifact};
use slackwater_executor::{ExecutorConfig, GuestProfile, RuntimeError};
use slackwater_tests::{executor, executor_with, wast_suite::wast_files};
use wast::{
    QuoteWat, Wast, WastDirective,
    parser::{ParseBuffer, parse},
};

/// Modules judged at least, so that a suite read in part is noticed.
const MODULES_MIN: usize = 2_000;

/// The reference drops the maximum of a memory before it validates.
const MAXIMUM_ERRORS: [&str; 2] = [
    "size minimum must not be greater than maximum",
    "memory size must be at most",
];
/// Modules of the suite whose only fault is that maximum.
const INVALID_MAXIMUMS: usize = 8;

/// Every module in a file that can be encoded, valid or not, with its line.
fn modules(text: &str) -> Vec<(usize, Vec<u8>)> {
    let Ok(buffer) = ParseBuffer::new(text) else {
        return Vec::new();
    };
    let Ok(wast) = parse::<Wast<'_>>(&buffer) else {
        return Vec::new();
    };
    let mut modules = Vec::new();
    for directive in wast.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        let module = match directive {
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => module,
            WastDirective::AssertInvalid { module, .. }
            | WastDirective::AssertMalformed { module, .. } => module,
            WastDirective::AssertUnlinkable { module, .. } => QuoteWat::Wat(module),
            _ => continue,
        };
        let mut module = module;
        if let Ok(bytes) = module.encode() {
            modules.push((line, bytes));
        }
    }
    modules
}

/// What the Polkadot SDK's executor says, with the settings it has for runtimes.
fn reference_accepts(wasm: &[u8]) -> Result<(), String> {
    let semantics = Semantics {
        instantiation_strategy: InstantiationStrategy::RecreateInstance,
        deterministic_stack_limit: None,
        canonicalize_nans: false,
        parallel_compilation: false,
        heap_alloc_strategy: HeapAllocStrategy::Static { extra_pages: 2048 },
        wasm_multi_value: false,
        wasm_bulk_memory: false,
        wasm_reference_types: false,
        wasm_simd: false,
    };
    let blob = RuntimeBlob::new(wasm).map_err(|error| error.to_string())?;
    prepare_runtime_artifact(blob, &semantics)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn substrate_accepts_what_the_reference_accepts() {
    let Some(files) = wast_files() else { return };
    let (mut judged, mut accepted, mut memories) = (0, 0, 0);
    let mut differences = Vec::new();
    for (name, text) in &files {
        for (line, wasm) in modules(text) {
            let ours = GuestProfile::Substrate.validate(&wasm);
            let reference = reference_accepts(&wasm);
            judged += 1;
            accepted += usize::from(reference.is_ok());
            let maximum_ignored = ours.as_ref().is_err_and(|error| {
                MAXIMUM_ERRORS
                    .iter()
                    .any(|text| error.to_string().contains(text))
            });
            if reference.is_ok() && maximum_ignored {
                memories += 1;
            } else if ours.is_ok() != reference.is_ok() {
                differences.push(format!(
                    "{name}:{line}: reference {reference:?}, ours {ours:?}"
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {judged}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert_eq!(
        memories, INVALID_MAXIMUMS,
        "modules with an invalid maximum of their memory"
    );
    assert!(judged >= MODULES_MIN, "only {judged} modules were judged");
    assert!(accepted >= 300, "only {accepted} modules were accepted");
}

/// Each feature of the wide profile: refused by default, run by an executor set to it.
#[test]
fn the_wide_profile_runs_what_substrate_refuses() {
    let features = [
        (
            "sign extension",
            "(func (result i32) (i32.extend8_s (i32.const 200)))",
        ),
        (
            "saturating conversion",
            "(func (result i32) (i32.trunc_sat_f32_s (f32.const 1e20)))",
        ),
        (
            "multi-value",
            "(func (result i32 i32) (i32.const 1) (i32.const 2))",
        ),
        (
            "bulk memory",
            "(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))",
        ),
        (
            "reference types",
            "(table 1 externref) (func (result i32) (table.size 0))",
        ),
        ("SIMD", "(func (result v128) (i32x4.splat (i32.const 7)))"),
    ];
    let wide = ExecutorConfig::default().with_profile(GuestProfile::Wide);
    let (wide, default) = (executor_with(wide), executor());
    let module = |body: &str| {
        wat::parse_str(format!(
            r#"(module (memory (export "memory") 17)
                (global (export "__heap_base") i32 (i32.const 65536)) {body})"#
        ))
        .expect("wat")
    };
    for (feature, body) in features {
        let code = module(body);
        let refused = default.runtime(&code);
        assert!(
            matches!(refused, Err(RuntimeError::Invalid { .. })),
            "{feature}: {refused:?}"
        );
        wide.runtime(&code)
            .unwrap_or_else(|error| panic!("{feature}: {error}"));
    }
    for (feature, body) in [
        ("threads", "(func (atomic.fence))"),
        ("tail calls", "(func $f (return_call $f))"),
        (
            "relaxed SIMD",
            "(func (param v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))",
        ),
        ("second memory", "(memory 1)"),
        ("64-bit memory", "(memory i64 1)"),
        ("exceptions", "(tag)"),
        ("function references", "(func (param (ref func)))"),
        (
            "extended constants",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        ),
    ] {
        let refused = wide.runtime(&module(body));
        assert!(
            matches!(refused, Err(RuntimeError::Invalid { .. })),
            "{feature}: {refused:?}"
        );
    }
}
