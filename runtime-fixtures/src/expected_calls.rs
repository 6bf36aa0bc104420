//! Runtime API calls with the results an independent executor computed, one JSON value a line.
//!
//! Invariant: a loaded success states both the length and the digest of its output, and if the
//! output itself is given it has that length.

use std::path::Path;

use crate::cursor::{Cursor, parse_lines};
use crate::error::FixtureError;

/// One call on the genesis state of a chain spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedCall {
    /// File name of the chain spec, for example `polkadot.json`.
    pub spec: String,
    /// The exported function, for example `Core_version`.
    pub function: String,
    /// SCALE-encoded arguments.
    pub param: Vec<u8>,
    /// What must come of it.
    pub result: ExpectedResult,
}

/// What a call must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedResult {
    /// The call returns.
    Returned {
        /// Length of the output in bytes.
        len: u64,
        /// The output; `None` where it is too long to be kept.
        output: Option<Vec<u8>>,
        /// BLAKE2b-256 of the output.
        output_blake2_256: [u8; 32],
        /// Number of storage keys written or deleted.
        changes: u64,
    },
    /// The call fails.
    Failed {
        /// The other executor's words, for people.
        error: String,
    },
}

impl ExpectedResult {
    /// Whether the call fails because the runtime does not export the function.
    #[must_use]
    pub fn is_absent_function(&self) -> bool {
        matches!(self, Self::Failed { error } if error.contains("Function to start was not found"))
    }
}

/// Reads a file such as `genesis/expected-calls.jsonl`.
///
/// # Errors
/// Unreadable file, a line that is no JSON, absent or misshapen fields; fields are named
/// `line N.result.len` and so on.
pub fn load(path: &Path) -> Result<Vec<ExpectedCall>, FixtureError> {
    parse_lines(path)?
        .iter()
        .map(|(line, json)| call(&Cursor::root(path, format!("line {line}"), json)))
        .collect()
}

fn call(cursor: &Cursor) -> Result<ExpectedCall, FixtureError> {
    Ok(ExpectedCall {
        spec: cursor.required("spec")?.text()?.to_owned(),
        function: cursor.required("function")?.text()?.to_owned(),
        param: cursor.required("param")?.bare_bytes()?,
        result: result(&cursor.required("result")?)?,
    })
}

fn result(cursor: &Cursor) -> Result<ExpectedResult, FixtureError> {
    if !cursor.required("ok")?.truth()? {
        let error = cursor.required("error")?.text()?.to_owned();
        return Ok(ExpectedResult::Failed { error });
    }
    let len = cursor.required("len")?.number()?;
    Ok(ExpectedResult::Returned {
        len,
        output: output(cursor, len)?,
        output_blake2_256: cursor.required("output_blake2_256")?.bare_hash()?,
        changes: cursor.required("changes")?.number()?,
    })
}

fn output(cursor: &Cursor, len: u64) -> Result<Option<Vec<u8>>, FixtureError> {
    let Some(output) = cursor.optional("output")? else {
        return Ok(None);
    };
    let bytes = output.bare_bytes()?;
    if bytes.len() as u64 == len {
        Ok(Some(bytes))
    } else {
        Err(output.shape("as many bytes as `len` states"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::real_fixtures_or_skip;
    use std::io::Write;

    fn load_text(text: &str) -> Result<Vec<ExpectedCall>, FixtureError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(file.path())
    }

    #[test]
    fn successes_and_failures() {
        let hash = "07".repeat(32);
        let text = format!(
            r#"{{"spec":"a.json","function":"f","param":"0102","result":{{"ok":true,"len":2,"output":"aabb","output_blake2_256":"{hash}","changes":3}}}}
{{"spec":"a.json","function":"g","param":"","result":{{"ok":true,"len":9,"output":null,"output_blake2_256":"{hash}","changes":0}}}}

{{"spec":"b.json","function":"h","param":"","result":{{"ok":false,"error":"start: Function to start was not found."}}}}
"#
        );
        let calls = load_text(&text).unwrap();
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0].param, [1, 2]);
        let expected = ExpectedResult::Returned {
            len: 2,
            output: Some(vec![0xaa, 0xbb]),
            output_blake2_256: [7; 32],
            changes: 3,
        };
        assert_eq!(calls[0].result, expected);
        assert!(matches!(
            &calls[1].result,
            ExpectedResult::Returned {
                output: None,
                len: 9,
                ..
            }
        ));
        assert!(calls[2].result.is_absent_function());
    }

    #[test]
    fn bad_lines_are_named() {
        let missing = load_text("\n{\"spec\":\"a\"}").unwrap_err();
        assert!(
            matches!(&missing, FixtureError::Missing { field, .. } if field == "line 2.function")
        );
        let syntax = load_text("{}\n{").map(|_| ()).unwrap_err();
        assert!(
            matches!(syntax, FixtureError::Syntax { line: 2, .. }),
            "{syntax}"
        );
        let hash = "07".repeat(32);
        let length = load_text(&format!(
            r#"{{"spec":"a","function":"f","param":"","result":{{"ok":true,"len":1,"output":"aabb","output_blake2_256":"{hash}","changes":0}}}}"#
        ))
        .unwrap_err();
        assert!(
            matches!(&length, FixtureError::Shape { field, .. } if field == "line 1.result.output")
        );
    }

    #[test]
    fn all_expected_calls_of_the_real_fixtures() {
        let Some(dir) = real_fixtures_or_skip("expected calls of the real fixtures") else {
            return;
        };
        for name in ["expected-calls", "expected-calls-crate-polkadot-service-31"] {
            let calls = load(&dir.join(format!("genesis/{name}.jsonl"))).unwrap();
            let returned = calls
                .iter()
                .filter(|call| matches!(call.result, ExpectedResult::Returned { .. }));
            assert!(returned.count() > 10, "{name}");
            assert!(
                calls.iter().any(|call| call.result.is_absent_function()),
                "{name}"
            );
        }
    }
}
