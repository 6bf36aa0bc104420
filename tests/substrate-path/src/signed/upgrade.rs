//! The same runtime under another spec version: what `set_code` is given.
//!
//! The version is a constant of the runtime, so it is found in four kinds of places: the
//! `runtime_version` section, the constant in the data, and, where the compiler folded it into code,
//! with the transaction version as what transactions sign and alone where blocks are initialized.
//! Invariant: nothing else changes, and the module keeps its length.

use wasmparser::{KnownCustom, Name, Operator, Parser, Payload};

/// A runtime whose version could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The code cannot be unpacked or is no wasm.
    #[error("no runtime code: {0}")]
    Code(String),
    /// Nothing was found in a kind of place that holds the version.
    #[error("spec version {version} was not found in {place}")]
    NotFound {
        /// The version looked for.
        version: u32,
        /// Where.
        place: &'static str,
    },
    /// The new version takes more bytes in code than the old one.
    #[error("versions {from} and {to} have encodings of different lengths")]
    Length {
        /// The old version.
        from: u32,
        /// The new one.
        to: u32,
    },
}

/// Runtime code, packed or not, with spec version `to` in place of `from`, packed.
///
/// # Errors
/// See [`UpgradeError`].
pub fn with_spec_version(code: &[u8], from: u32, to: u32) -> Result<Vec<u8>, UpgradeError> {
    const BYTES_MAX: usize = 64 << 20;
    let fault = |fault: &dyn std::fmt::Debug| UpgradeError::Code(format!("{fault:?}"));
    let wasm = sp_maybe_compressed_blob::decompress(code, BYTES_MAX).map_err(|e| fault(&e))?;
    let mut changed = wasm.to_vec();
    for patch in patches(&wasm, from, to)? {
        changed[patch.at..patch.at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    sp_maybe_compressed_blob::compress_weakly(&changed, BYTES_MAX)
        .ok_or_else(|| fault(&"it is too large to be packed"))
}

/// Bytes to be put over others.
struct Patch {
    at: usize,
    bytes: Vec<u8>,
}

fn patches(wasm: &[u8], from: u32, to: u32) -> Result<Vec<Patch>, UpgradeError> {
    let [folded_from, folded_to] = [from, to].map(with_transaction_version);
    if signed_leb128(i64::from(from)).len() != signed_leb128(i64::from(to)).len()
        || signed_leb128(folded_from).len() != signed_leb128(folded_to).len()
    {
        return Err(UpgradeError::Length { from, to });
    }
    let module = Module::read(wasm).map_err(|fault| UpgradeError::Code(fault.to_string()))?;
    let (mut section, mut data, mut signed, mut initialize) = (vec![], vec![], vec![], vec![]);
    let patch = |at, bytes: &[u8]| Patch {
        at,
        bytes: bytes.to_vec(),
    };
    // Authoring version 1, the spec version, implementation version: fields in a row, both in the
    // section and in memory.
    let fields = |spec: u32| [1_u32.to_le_bytes(), spec.to_le_bytes()].concat();
    for (found, ranges) in [
        (&mut section, &module.version_sections),
        (&mut data, &module.data),
    ] {
        for (start, end) in ranges {
            let bytes = &wasm[*start..*end];
            let hits = bytes.windows(8).enumerate();
            for (at, _) in hits.filter(|(_, window)| *window == fields(from)) {
                found.push(patch(start + at, &fields(to)));
            }
        }
    }
    for constant in &module.constants {
        let at = constant.at + 1;
        match constant.value {
            Value::I64(value) if value == folded_from => {
                signed.push(patch(at, &signed_leb128(folded_to)));
            }
            Value::I32(value) if i64::from(value) == i64::from(from) && constant.initializes => {
                initialize.push(patch(at, &signed_leb128(i64::from(to))));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    for (place, found) in [
        ("the version section", section),
        ("the data", data),
        ("what transactions sign", signed),
        ("what initializes a block", initialize),
    ] {
        if found.is_empty() {
            let version = from;
            return Err(UpgradeError::NotFound { version, place });
        }
        all.extend(found);
    }
    Ok(all)
}

/// Spec and transaction version 1 as neighbouring fields in memory.
fn with_transaction_version(spec: u32) -> i64 {
    i64::from(spec) | 1 << 32
}

/// A constant instruction.
struct Constant {
    /// Position of its opcode.
    at: usize,
    value: Value,
    /// Whether it is in a function that initializes blocks.
    initializes: bool,
}

enum Value {
    I32(i32),
    I64(i64),
}

/// What of a module may hold its version. Ranges are positions of start and end.
#[derive(Default)]
struct Module {
    version_sections: Vec<(usize, usize)>,
    data: Vec<(usize, usize)>,
    constants: Vec<Constant>,
}

impl Module {
    fn read(wasm: &[u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut module = Self::default();
        let names = function_names(wasm)?;
        let mut function = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports {
                        let is_function = matches!(import?.ty, wasmparser::TypeRef::Func(_));
                        function += u32::from(is_function);
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let name = names.get(&function).map_or("", String::as_str);
                    let initializes = name.contains("initialize_block");
                    let mut operators = body.get_operators_reader()?;
                    while !operators.eof() {
                        let at = operators.original_position();
                        let value = match operators.read()? {
                            Operator::I32Const { value } => Value::I32(value),
                            Operator::I64Const { value } => Value::I64(value),
                            _ => continue,
                        };
                        module.constants.push(Constant {
                            at,
                            value,
                            initializes,
                        });
                    }
                    function += 1;
                }
                Payload::DataSection(data) => {
                    for segment in data {
                        let range = segment?.range;
                        module.data.push((range.start, range.end));
                    }
                }
                Payload::CustomSection(section) if section.name() == "runtime_version" => {
                    let end = section.range().end;
                    module
                        .version_sections
                        .push((end - section.data().len(), end));
                }
                _ => {}
            }
        }
        Ok(module)
    }
}

fn function_names(
    wasm: &[u8],
) -> Result<std::collections::BTreeMap<u32, String>, wasmparser::BinaryReaderError> {
    let mut names = std::collections::BTreeMap::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CustomSection(section) = payload? else {
            continue;
        };
        let KnownCustom::Name(subsections) = section.as_known() else {
            continue;
        };
        for subsection in subsections {
            if let Name::Function(functions) = subsection? {
                for naming in functions {
                    let naming = naming?;
                    names.insert(naming.index, naming.name.to_owned());
                }
            }
        }
    }
    Ok(names)
}

/// The form of constants in wasm code.
fn signed_leb128(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        let sign = low & 0x40 != 0;
        if (value == 0 && !sign) || (value == -1 && sign) {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_encoded_as_in_wasm() {
        assert_eq!(signed_leb128(100), [0xe4, 0]);
        assert_eq!(signed_leb128(63), [0x3f]);
        assert_eq!(signed_leb128(-1), [0x7f]);
        let folded = signed_leb128(with_transaction_version(100));
        assert_eq!(folded, [0xe4, 0x80, 0x80, 0x80, 0x10]);
    }

    #[test]
    fn what_is_no_runtime_is_refused() {
        let code = with_spec_version(b"no wasm", 1, 2);
        assert!(matches!(code, Err(UpgradeError::Code(_))), "{code:?}");
        let empty = with_spec_version(b"\0asm\x01\0\0\0", 1, 2);
        assert!(
            matches!(empty, Err(UpgradeError::NotFound { .. })),
            "{empty:?}"
        );
        let longer = with_spec_version(b"\0asm\x01\0\0\0", 1, 200);
        assert_eq!(longer, Err(UpgradeError::Length { from: 1, to: 200 }));
    }
}
