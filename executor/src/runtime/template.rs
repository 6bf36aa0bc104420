//! Making a module resettable: a pure rewriting of wasm to wasm, and what it takes to put an instance of the
//! result back to its beginning.
//!
//! What a guest can change is its memory, its mutable globals, and, with features beyond the first
//! version of WebAssembly, tables and segments. Memory is put back by its image, so the data that stands
//! in the module is taken out and becomes the image; mutable globals are exported, so that they can be
//! set. Invariant: a module that can change anything else, or begins otherwise than by its data, is
//! refused by name, and is run from scratch.

use thiserror::Error;
use wasm_encoder::{
    DataSection, ExportKind, ExportSection, Module, RawSection,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{
    BinaryReaderError, ConstExpr, DataKind, Operator, Parser, Payload, TypeRef, ValType,
};

/// Beginning of the names under which mutable globals are exported; their number follows.
const GLOBAL_EXPORT: &str = "slackwater.global.";
/// What no guest's export may begin with.
const RESERVED: &str = "slackwater.";
/// Bytes of one wasm page.
const PAGE_BYTES: u64 = 65_536;

/// A module whose instances can be put back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// The module, without its data.
    pub(crate) wasm: Vec<u8>,
    /// The names of all mutable globals.
    pub(crate) globals: Vec<String>,
    /// The data, in the order it is written: where, and which bytes of the module it was made from.
    pub(crate) segments: Vec<(usize, std::ops::Range<usize>)>,
}

/// Why instances of a module cannot be put back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NotResettable {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("`{0}` changes tables or segments")]
    Operator(&'static str),
    #[error("it has a start function, and nobody meters it")]
    Start,
    #[error("it imports a global, a table or a tag")]
    Import,
    #[error("a global is mutable and holds a reference")]
    Reference,
    #[error("data segment {0} does not lie at a constant place")]
    Place(usize),
    #[error("data segment {0} lies outside the memory")]
    Outside(usize),
    #[error("its export `{0}` has a reserved name")]
    Reserved(String),
}

impl From<BinaryReaderError> for NotResettable {
    fn from(error: BinaryReaderError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The template of `wasm`, which is valid and defines its memory. `starts_itself`: whether a start
/// function is left in place.
pub(crate) fn template(wasm: &[u8], starts_itself: bool) -> Result<Template, NotResettable> {
    let found = survey(wasm, starts_itself)?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                for export in exports.clone() {
                    RoundtripReencoder
                        .parse_export(&mut section, export?)
                        .map_err(|error| NotResettable::Unreadable(error.to_string()))?;
                }
                for global in &found.globals {
                    section.export(&name(*global), ExportKind::Global, *global);
                }
                module.section(&section);
            }
            Payload::DataSection(_) => {
                module.section(&DataSection::new());
            }
            Payload::DataCountSection { .. } => {
                module.section(&wasm_encoder::DataCountSection { count: 0 });
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = wasm.get(range).unwrap_or_default();
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(Template {
        wasm: module.finish(),
        globals: found.globals.into_iter().map(name).collect(),
        segments: found.segments,
    })
}

fn name(global: u32) -> String {
    format!("{GLOBAL_EXPORT}{global}")
}

#[derive(Default)]
struct Found {
    globals: Vec<u32>,
    segments: Vec<(usize, std::ops::Range<usize>)>,
}

/// Looks for everything a guest can change.
fn survey(wasm: &[u8], starts_itself: bool) -> Result<Found, NotResettable> {
    let mut found = Found::default();
    let mut memory_bytes = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports {
                    if !matches!(import?.ty, TypeRef::Func(_)) {
                        return Err(NotResettable::Import);
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    memory_bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                }
            }
            Payload::GlobalSection(globals) => {
                for (number, global) in (0..).zip(globals) {
                    let global = global?.ty;
                    if global.mutable {
                        if matches!(global.content_type, ValType::Ref(_)) {
                            return Err(NotResettable::Reference);
                        }
                        found.globals.push(number);
                    }
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?.name;
                    if export.starts_with(RESERVED) {
                        return Err(NotResettable::Reserved(export.to_owned()));
                    }
                }
            }
            Payload::StartSection { .. } if starts_itself => return Err(NotResettable::Start),
            Payload::DataSection(segments) => {
                for (number, segment) in segments.into_iter().enumerate() {
                    let segment = segment?;
                    let DataKind::Active { offset_expr, .. } = segment.kind else {
                        return Err(NotResettable::Place(number));
                    };
                    let place = constant(&offset_expr).ok_or(NotResettable::Place(number))?;
                    let end = u64::from(place).saturating_add(segment.data.len() as u64);
                    if end > memory_bytes {
                        return Err(NotResettable::Outside(number));
                    }
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    let bytes = segment.range.end - segment.data.len()..segment.range.end;
                    found.segments.push((place, bytes));
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if let Some(name) = lasting(&operator?) {
                        return Err(NotResettable::Operator(name));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The value of an expression that is a constant and nothing else.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    let mut operators = expression.get_operators_reader().into_iter();
    match (operators.next(), operators.next(), operators.next()) {
        (Some(Ok(Operator::I32Const { value })), Some(Ok(Operator::End)), None) => {
            Some(value.cast_unsigned())
        }
        _ => None,
    }
}

/// The name of an operator that changes more than memory and globals.
fn lasting(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::TableSet { .. } => "table.set",
        Operator::TableGrow { .. } => "table.grow",
        Operator::TableFill { .. } => "table.fill",
        Operator::TableCopy { .. } => "table.copy",
        Operator::TableInit { .. } => "table.init",
        Operator::ElemDrop { .. } => "elem.drop",
        Operator::MemoryInit { .. } => "memory.init",
        Operator::DataDrop { .. } => "data.drop",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Template, NotResettable> {
        let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        template(&wasm, true)
    }

    #[test]
    fn data_is_taken_out_and_mutable_globals_are_exported() {
        let text = r#"(module (memory (export "memory") 1)
            (global i32 (i32.const 1)) (global (mut i64) (i64.const 2)) (global (mut f32) (f32.const 3))
            (func (export "f") (global.set 1 (i64.const 5)))
            (data (i32.const 8) "abc") (data (i32.const 65535) "z"))"#;
        let wasm = wat::parse_str(text).expect("wat");
        let made = template(&wasm, true).expect("resettable");
        assert_eq!(made.globals, ["slackwater.global.1", "slackwater.global.2"]);
        let segments: Vec<_> = made
            .segments
            .iter()
            .map(|(place, bytes)| (*place, &wasm[bytes.clone()]))
            .collect();
        assert_eq!(segments, [(8, b"abc".as_slice()), (65_535, b"z")]);
        let printed = wasmprinter::print_bytes(&made.wasm).expect("readable");
        assert!(!printed.contains("(data"), "{printed}");
        assert!(
            printed.contains(r#"(export "slackwater.global.2" (global 2))"#),
            "{printed}"
        );
        super::super::GuestProfile::Wide
            .validate(&made.wasm)
            .expect("valid");
    }

    #[test]
    fn what_cannot_be_put_back_is_refused_by_name() {
        let table = |operator: &str| {
            format!(
                r#"(module (memory 1) (table 4 funcref) (elem $e func 0) (data $d "x")
                    (func {operator}))"#
            )
        };
        for (operator, name) in [
            ("(table.set 0 (i32.const 0) (ref.null func))", "table.set"),
            (
                "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
                "table.grow",
            ),
            (
                "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
                "table.fill",
            ),
            (
                "(table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 1))",
                "table.copy",
            ),
            (
                "(table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 1))",
                "table.init",
            ),
            ("(elem.drop $e)", "elem.drop"),
        ] {
            // Segments come behind the code, so either may be named first.
            let refused = of(&table(operator)).expect_err(name);
            assert_eq!(refused, NotResettable::Operator(name));
        }
        for (text, why) in [
            (r#"(module (memory 1) (data "x"))"#, NotResettable::Place(0)),
            (
                r#"(module (memory 1) (data (i32.const 65535) "xy"))"#,
                NotResettable::Outside(0),
            ),
            (
                r#"(module (memory 1) (global i32 (i32.const 1)) (data (global.get 0) "x"))"#,
                NotResettable::Place(0),
            ),
            (
                r#"(module (memory 1) (func) (start 0))"#,
                NotResettable::Start,
            ),
            (
                r#"(module (memory 1) (global (mut funcref) (ref.null func)))"#,
                NotResettable::Reference,
            ),
            (
                r#"(module (import "env" "g" (global i32)) (memory 1))"#,
                NotResettable::Import,
            ),
            (
                r#"(module (memory (export "slackwater.global.7") 1))"#,
                NotResettable::Reserved("slackwater.global.7".to_owned()),
            ),
        ] {
            assert_eq!(of(text), Err(why), "{text}");
        }
    }
}
