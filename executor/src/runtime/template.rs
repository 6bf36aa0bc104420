//! Making a module resettable: a pure rewriting of wasm to wasm, and what it takes to put an instance of the
//! result back to its beginning.
//!
//! What a guest can change is its memory, its mutable globals, and, with features beyond the first
//! version of WebAssembly, tables and segments. Memory is put back by its image, so the data that stands
//! in the module is taken out and becomes the image; mutable globals are exported, so that they can be
//! set. Invariant: a module that can change anything else, or begins otherwise than by its data, is
//! refused by name, and is run from scratch.

use slackwater_host_functions::state::WASM_PAGE_BYTES;
use thiserror::Error;
use wasm_encoder::{
    DataSection, ExportKind, ExportSection, Module, RawSection,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{
    BinaryReaderError, ConstExpr, DataKind, Element, ElementItems, ElementKind, Operator, Parser,
    Payload, TypeRef, ValType,
};

use super::engine::IMAGE_BYTES_MAX;
use crate::fuel::proposal;

/// Beginning of the names under which mutable globals are exported; their number follows.
const GLOBAL_EXPORT: &str = "slackwater.global.";
/// What no guest's export may begin with.
const RESERVED: &str = "slackwater.";

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
    #[error("`{0}` may change more than memory and globals")]
    Operator(String),
    #[error("it has a start function")]
    Start,
    #[error("it imports a global, a table or a tag")]
    Import,
    #[error("a global is mutable and holds a reference")]
    Reference,
    #[error("data segment {0} does not lie at a constant place")]
    Place(usize),
    #[error("data segment {0} lies outside the memory")]
    Outside(usize),
    #[error("element segment {0} does not lie at a constant place within its table")]
    Elements(usize),
    #[error("its data ends beyond {IMAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its export `{0}` has a reserved name")]
    Reserved(String),
}

impl From<BinaryReaderError> for NotResettable {
    fn from(error: BinaryReaderError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The template of `wasm`, which is valid and defines its memory.
pub(crate) fn template(wasm: &[u8]) -> Result<Template, NotResettable> {
    let found = survey(wasm)?;
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
fn survey(wasm: &[u8]) -> Result<Found, NotResettable> {
    let mut found = Found::default();
    let (mut memory_bytes, mut tables) = (0, Vec::new());
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
                    memory_bytes = memory?.initial.saturating_mul(WASM_PAGE_BYTES as u64);
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
            // It runs before there is a heap; what it leaves is no constant.
            Payload::StartSection { .. } => return Err(NotResettable::Start),
            Payload::TableSection(section) => {
                for table in section {
                    tables.push(table?.ty.initial);
                }
            }
            Payload::ElementSection(segments) => {
                for (number, segment) in segments.into_iter().enumerate() {
                    if !is_within(&segment?, &tables) {
                        return Err(NotResettable::Elements(number));
                    }
                }
            }
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
                    if end > IMAGE_BYTES_MAX {
                        return Err(NotResettable::TooLarge);
                    }
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    let bytes = segment.range.end - segment.data.len()..segment.range.end;
                    found.segments.push((place, bytes));
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    let operator = operator?;
                    if !is_resettable(&operator) {
                        let name = format!("{operator:?}");
                        let name = name.split([' ', '{']).next().unwrap_or_default();
                        return Err(NotResettable::Operator(name.to_owned()));
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

/// Whether a segment is filled in without fail, or not at all.
fn is_within(segment: &Element<'_>, tables: &[u64]) -> bool {
    let count = match &segment.items {
        ElementItems::Functions(functions) => functions.count(),
        ElementItems::Expressions(_, expressions) => expressions.count(),
    };
    match &segment.kind {
        ElementKind::Active {
            table_index,
            offset_expr,
        } => {
            let table = usize::try_from(table_index.unwrap_or(0)).unwrap_or(usize::MAX);
            let elements = tables.get(table).copied().unwrap_or(0);
            constant(offset_expr)
                .is_some_and(|place| u64::from(place) + u64::from(count) <= elements)
        }
        ElementKind::Passive | ElementKind::Declared => true,
    }
}

/// Whether an operator changes memory and globals at most. One that is not known here may change anything.
fn is_resettable(operator: &Operator<'_>) -> bool {
    match proposal(operator) {
        "mvp" | "sign_extension" | "saturating_float_to_int" | "simd" => true,
        _ => matches!(
            operator,
            Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::RefNull { .. }
                | Operator::RefIsNull
                | Operator::RefFunc { .. }
                | Operator::TableGet { .. }
                | Operator::TableSize { .. }
                | Operator::TypedSelect { .. }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Template, NotResettable> {
        let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        template(&wasm)
    }

    #[test]
    fn data_is_taken_out_and_mutable_globals_are_exported() {
        let text = r#"(module (memory (export "memory") 1)
            (global i32 (i32.const 1)) (global (mut i64) (i64.const 2)) (global (mut f32) (f32.const 3))
            (func (export "f") (global.set 1 (i64.const 5)))
            (data (i32.const 8) "abc") (data (i32.const 65535) "z"))"#;
        let wasm = wat::parse_str(text).expect("wat");
        let made = template(&wasm).expect("resettable");
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
            ("(table.set 0 (i32.const 0) (ref.null func))", "TableSet"),
            (
                "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
                "TableGrow",
            ),
            (
                "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
                "TableFill",
            ),
            (
                "(table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 1))",
                "TableCopy",
            ),
            (
                "(table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 1))",
                "TableInit",
            ),
            ("(elem.drop $e)", "ElemDrop"),
        ] {
            // Segments come behind the code, so either may be named first.
            let refused = of(&table(operator)).expect_err(name);
            assert_eq!(refused, NotResettable::Operator(name.to_owned()));
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
                r#"(module (memory 1) (table 1 funcref) (func) (elem (i32.const 1) func 0))"#,
                NotResettable::Elements(0),
            ),
            (
                r#"(module (memory 2000) (data (i32.const 100000000) "x"))"#,
                NotResettable::TooLarge,
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
