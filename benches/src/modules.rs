//! Runtimes with more in them: functions that nobody calls, or one that writes to memory.
//!
//! Invariant: what was there keeps its indices, so the runtime does what it did. Cost: one pass over the module.

use wasm_encoder::{Encode, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, Parser, Payload, TypeRef};

/// The function that [`with_dirtying`] adds: it takes a number of pages of 4 KiB (u32), and writes to each.
pub const DIRTY: &str = "bench_dirty";

/// It. Memory begins to be written where no runtime of the benches has put anything yet.
const DIRTY_TEXT: &str = r#"(module (memory 1)
    (func (param $at i32) (param i32) (result i64)
        (local $left i32)
        (local.set $left (i32.load (local.get $at)))
        (local.set $at (i32.const 0x800000))
        (block $done
            (loop $next
                (br_if $done (i32.eqz (local.get $left)))
                (i32.store (local.get $at) (i32.const 7))
                (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br $next)))
        (i64.const 0)))"#;

/// What [`DIRTY`] takes.
#[must_use]
pub fn dirty_input(pages: u32) -> [u8; 4] {
    pages.to_le_bytes()
}

/// The runtime with [`DIRTY`] among its methods.
///
/// # Panics
/// If `wasm` is no runtime.
#[must_use]
pub fn with_dirtying(wasm: &[u8]) -> Vec<u8> {
    let there = Functions::of(wasm);
    let text = wat::parse_str(DIRTY_TEXT).expect("a module");
    let [body] = Functions::of(&text).bodies[..] else {
        unreachable!("one function")
    };
    let mut export = Vec::new();
    DIRTY.encode(&mut export);
    export.push(0);
    there.count().encode(&mut export);
    // (i32, i32) -> i64.
    let ty = vec![0x60, 2, 0x7f, 0x7f, 1, 0x7e];
    let more = [
        (SectionId::Type, vec![ty]),
        (SectionId::Function, vec![encoded(&there.type_count)]),
        (SectionId::Export, vec![export]),
        (SectionId::Code, vec![encoded(body)]),
    ];
    with_more(wasm, &more)
}

/// The runtime with copies of its own functions behind them, which nobody calls, until it has so many bytes.
///
/// # Panics
/// If `wasm` is no runtime.
#[must_use]
pub fn of_bytes(wasm: &[u8], bytes: usize) -> Vec<u8> {
    let there = Functions::of(wasm);
    let (mut types, mut bodies, mut length) = (Vec::new(), Vec::new(), wasm.len());
    for (ty, body) in there.types.iter().zip(&there.bodies).cycle() {
        if length >= bytes {
            break;
        }
        let (ty, body) = (encoded(ty), encoded(*body));
        length += ty.len() + body.len();
        types.push(ty);
        bodies.push(body);
    }
    with_more(
        wasm,
        &[(SectionId::Function, types), (SectionId::Code, bodies)],
    )
}

/// The functions of a module.
#[derive(Default)]
struct Functions<'a> {
    type_count: u32,
    imported: u32,
    /// Of those that it defines.
    types: Vec<u32>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Functions<'a> {
    fn of(wasm: &'a [u8]) -> Self {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.expect("a module") {
                Payload::TypeSection(types) => found.type_count = types.count(),
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let ty = import.expect("an import").ty;
                        found.imported += u32::from(matches!(ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(types) => {
                    let types = types.into_iter().map(|ty| ty.expect("a type"));
                    found.types.extend(types);
                }
                Payload::CodeSectionEntry(body) => found.bodies.push(body.as_bytes()),
                _ => {}
            }
        }
        found
    }

    fn count(&self) -> u32 {
        let defined = u32::try_from(self.types.len()).expect("a module has fewer");
        self.imported + defined
    }
}

fn encoded(item: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    bytes
}

/// The module with more items at the end of sections.
fn with_more(wasm: &[u8], more: &[(SectionId, Vec<Vec<u8>>)]) -> Vec<u8> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("a module");
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        let section = &wasm[range];
        let added = more.iter().find(|(section, _)| u8::from(*section) == id);
        let data = added.map(|(_, items)| longer(section, items));
        let data = data.as_deref().unwrap_or(section);
        module.section(&RawSection { id, data });
    }
    module.finish()
}

/// A section, which begins with the number of its items, with more of them.
fn longer(section: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32().expect("a number");
    let added = u32::try_from(more.len()).expect("few");
    let mut data = encoded(&(count + added));
    data.extend_from_slice(&section[reader.current_position()..]);
    data.extend(more.iter().flatten());
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use slackwater_runtime_fixtures::guest::GUEST_WASM;

    #[test]
    fn a_longer_guest_is_valid_and_has_its_functions_again() {
        let wasm = of_bytes(GUEST_WASM, 200_000);
        assert!((200_000..210_000).contains(&wasm.len()));
        wasmparser::validate(&wasm).unwrap();
        let (there, longer) = (Functions::of(GUEST_WASM), Functions::of(&wasm));
        assert_eq!(longer.bodies[..there.bodies.len()], there.bodies);
        assert_eq!(longer.bodies[there.bodies.len()], there.bodies[0]);
        assert_eq!(of_bytes(GUEST_WASM, 0), GUEST_WASM);
    }

    #[test]
    fn a_guest_that_dirties_memory_is_valid() {
        let wasm = with_dirtying(GUEST_WASM);
        wasmparser::validate(&wasm).unwrap();
        let more = Functions::of(&wasm).count() - Functions::of(GUEST_WASM).count();
        assert_eq!(more, 1);
    }
}
