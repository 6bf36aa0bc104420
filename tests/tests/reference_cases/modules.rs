//! Modules that no compiler would make, as text.

use std::fmt::Write;

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a module")
}

/// Counts, from zero, in memory that no data and no section speaks of.
pub(crate) fn counting() -> Vec<u8> {
    module(
        r#"(module
            (memory (export "memory") 17)
            (global (export "__data_end") i32 (i32.const 1048580))
            (global (export "__heap_base") i32 (i32.const 1048592))
            (func $count (export "count") (param i32 i32) (result i64)
                (i64.store (i32.const 1048576)
                    (i64.add (i64.const 1) (i64.load (i32.const 1048576))))
                ;; 8 bytes there
                (i64.const 34360786944)))"#,
    )
}

/// Asks for a page, and says how many there were, or -1. Of its memory it says how large it is and may become.
pub(crate) fn growing((initial, maximum): (u32, u32), imported: bool) -> Vec<u8> {
    let memory = if imported {
        format!(r#"(import "env" "memory" (memory {initial} {maximum}))"#)
    } else {
        format!(r#"(memory (export "memory") {initial} {maximum})"#)
    };
    module(&format!(
        r#"(module
            {memory}
            (global (export "__heap_base") i32 (i32.const 1024))
            (func $main (export "main") (param i32 i32) (result i64)
                (i32.store (i32.const 16) (memory.grow (i32.const 1)))
                ;; 4 bytes there
                (i64.const 17179869200)))"#
    ))
}

/// Calls itself so often.
pub(crate) fn diving(depth: u32) -> Vec<u8> {
    module(&format!(
        r#"(module
            (memory (export "memory") 32)
            (global (export "__heap_base") i32 (i32.const 0))
            (func $dive (param $depth i32)
                (if (i32.lt_u (local.get $depth) (i32.const {depth}))
                    (then (call $dive (i32.add (local.get $depth) (i32.const 1))))))
            (func $main (export "main") (param i32 i32) (result i64)
                (call $dive (i32.const 0))
                (i64.const 0)))"#
    ))
}

/// Calls itself for ever, in a frame of more than two pages: 1,056 locals that are read before and written after.
pub(crate) fn many_locals() -> Vec<u8> {
    const LOCALS: u32 = 1_056;
    let (mut locals, mut reads, mut writes) = (String::new(), String::new(), String::new());
    for local in 0..LOCALS {
        let address = local * 8;
        locals.push_str("i64 ");
        writeln!(
            reads,
            "(local.set {local} (i64.load (i32.const {address})))"
        )
        .expect("a string grows");
        writeln!(
            writes,
            "(i64.store (i32.const {address}) (local.get {local}))"
        )
        .expect("a string grows");
    }
    module(&format!(
        r#"(module
            (import "env" "memory" (memory 1))
            (global (export "__heap_base") i32 (i32.const 8448))
            (func $dive (local {locals}) {reads} (call $dive) {writes})
            (func $main (export "main") (param i32 i32) (result i64)
                (call $dive)
                (i64.const 0)))"#
    ))
}

/// Answers `Core_version` with these bytes.
pub(crate) fn answering_version(answer: &[u8]) -> Vec<u8> {
    let bytes: String = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let length = answer.len();
    module(&format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 4096))
            (data (i32.const 1024) "{bytes}")
            (func $version (export "Core_version") (param i32 i32) (result i64)
                (i64.or (i64.const 1024) (i64.shl (i64.const {length}) (i64.const 32)))))"#
    ))
}

/// Passes a number on to an import, and back.
pub(crate) fn doubling(import: &str) -> Vec<u8> {
    module(&format!(
        r#"(module
            (import "env" "{import}" (func $double (param i32) (result i32)))
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 4096))
            (func $main (export "main") (param i32 i32) (result i64)
                (i32.store (i32.const 16) (call $double (i32.load (local.get 0))))
                ;; 4 bytes there
                (i64.const 17179869200)))"#
    ))
}
