//! The part of the corpus that users bring: calls of real runtimes.
//!
//! A runtime has no call that does nothing, so it is given one: its module with one function more. What
//! a call takes beyond that one is what its code takes.

use std::{path::Path, rc::Rc};

use slackwater_executor::{GuestProfile, RuntimeBlob, RuntimeError, runtime::CODE_BYTES_MAX};
use sp_core::storage::{Storage, well_known_keys::CODE};
use wasm_encoder::{Encode, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, BinaryReaderError, Parser, Payload, TypeRef, ValType};

use super::measure::Bench;
use crate::{
    args::CalibrateArgs,
    error::CliError,
    output::short_name,
    source::{read_file, read_state},
};

/// The export that does nothing.
const EMPTY: &str = "slackwater.calibrate.empty";
/// Methods called where they are exported: one that runs for microseconds, one for milliseconds.
const METHODS: [&str; 2] = ["Core_version", "Metadata_metadata"];

/// Calls of all runtimes that `args` name.
pub(super) fn benches(args: &CalibrateArgs) -> Result<Vec<Bench>, CliError> {
    let mut benches = Vec::new();
    for file in &args.spec {
        benches.extend(runtime(file, read_state(file)?, &args.calls)?);
    }
    for file in &args.runtime {
        let mut storage = Storage::default();
        storage.top.insert(CODE.to_vec(), read_file(file)?);
        benches.extend(runtime(file, storage, &args.calls)?);
    }
    Ok(benches)
}

fn runtime(file: &Path, storage: Storage, more: &[String]) -> Result<Vec<Bench>, CliError> {
    let failed = |source| CliError::Runtime {
        path: file.to_owned(),
        source,
    };
    let code = storage.top.get(CODE).ok_or(RuntimeError::NoCode);
    let code = code.map_err(failed)?;
    let blob = RuntimeBlob::new(code, CODE_BYTES_MAX, GuestProfile::Substrate).map_err(failed)?;
    let exports = blob.facts().map_err(failed)?.exports;
    let code = with_empty(blob.wasm()).map_err(|error| {
        failed(RuntimeError::Invalid {
            offset: error.offset(),
            reason: error.message().to_owned(),
        })
    })?;
    let (storage, code) = (Rc::new(storage), Rc::from(code));
    let usual = METHODS
        .into_iter()
        .filter(|method| exports.iter().any(|export| export == method));
    let methods = usual.chain(more.iter().map(String::as_str));
    let name = short_name(&file.display().to_string());
    let bench =
        |method| Bench::runtime(format!("{name}: {method}"), &storage, &code, method, EMPTY);
    Ok(methods.map(bench).collect())
}

/// `wasm`, which must be a valid runtime, with a function [`EMPTY`] that takes what runtime calls take
/// and answers 0. It gets the type of a function that is there, or none is added.
fn with_empty(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let (mut ty, mut functions) = (None, 0_u32);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(types) => {
                let types = types
                    .into_iter_err_on_gc_types()
                    .collect::<Result<Vec<_>, _>>()?;
                let is_it = |ty: &wasmparser::FuncType| {
                    ty.params() == [ValType::I32; 2] && ty.results() == [ValType::I64]
                };
                ty = types
                    .iter()
                    .position(is_it)
                    .and_then(|index| u32::try_from(index).ok());
            }
            Payload::ImportSection(imports) => {
                for import in imports {
                    functions += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(section) => functions += section.count(),
            _ => {}
        }
    }
    let Some(ty) = ty else {
        return Ok(wasm.to_vec());
    };
    let mut export = Vec::new();
    EMPTY.encode(&mut export);
    // A function, and its number.
    export.push(0);
    functions.encode(&mut export);
    let mut function = Vec::new();
    ty.encode(&mut function);
    // Its length; no locals, `i64.const 0`, `end`.
    let body = vec![4, 0, 0x42, 0, 0x0b];
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Some((id, range)) = payload?.as_section() else {
            continue;
        };
        let item = match id {
            id if id == SectionId::Function as u8 => Some(&function),
            id if id == SectionId::Export as u8 => Some(&export),
            id if id == SectionId::Code as u8 => Some(&body),
            _ => None,
        };
        let section = wasm.get(range).unwrap_or_default();
        let longer = item.map(|item| appended(section, item)).transpose()?;
        let data = longer.as_deref().unwrap_or(section);
        module.section(&RawSection { id, data });
    }
    Ok(module.finish())
}

/// A section that is a list, one item longer.
fn appended(section: &[u8], item: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32()?;
    let items = section.get(reader.current_position()..).unwrap_or_default();
    let mut longer = Vec::with_capacity(section.len() + item.len() + 1);
    count.saturating_add(1).encode(&mut longer);
    longer.extend_from_slice(items);
    longer.extend_from_slice(item);
    Ok(longer)
}

#[cfg(test)]
mod tests {
    use slackwater_runtime_fixtures::guest::GUEST_WASM;

    use super::*;

    #[test]
    fn a_runtime_gets_a_function_that_does_nothing() {
        let wasm = with_empty(GUEST_WASM).expect("it can be read");
        let blob = RuntimeBlob::new(&wasm, CODE_BYTES_MAX, GuestProfile::Substrate);
        let facts = blob.expect("it is valid").facts().expect("it can be read");
        assert!(facts.exports.iter().any(|export| export == EMPTY));
        assert!(facts.exports.iter().any(|export| export == "Core_version"));
    }
}
