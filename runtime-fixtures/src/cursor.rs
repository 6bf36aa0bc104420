//! A JSON value together with its file and its JSON path, so that every error can name both.
//!
//! Invariant: `field` always describes how `value` was reached from the root of the document.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::FixtureError;
use crate::hexadecimal;

/// A place inside a JSON document.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    path: &'a Path,
    field: String,
    value: &'a Value,
}

/// Reads and parses a whole JSON file.
pub(crate) fn parse_file(path: &Path) -> Result<Value, FixtureError> {
    parse_text(path, &read_file(path)?, 0)
}

/// Reads a file of one JSON value a line; blank lines are skipped. Gives the values with their
/// line numbers, counted from 1.
pub(crate) fn parse_lines(path: &Path) -> Result<Vec<(usize, Value)>, FixtureError> {
    let text = read_file(path)?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(above, line)| Ok((above + 1, parse_text(path, line, above)?)))
        .collect()
}

/// Reads a whole text file.
pub(crate) fn read_file(path: &Path) -> Result<String, FixtureError> {
    std::fs::read_to_string(path).map_err(|source| FixtureError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse_text(path: &Path, text: &str, lines_above: usize) -> Result<Value, FixtureError> {
    serde_json::from_str(text).map_err(|source| FixtureError::Syntax {
        path: path.to_owned(),
        line: lines_above + source.line(),
        source,
    })
}

impl<'a> Cursor<'a> {
    /// The root of a document; `field` is what the root is called in errors (may be empty).
    pub(crate) fn root(path: &'a Path, field: String, value: &'a Value) -> Self {
        Self { path, field, value }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    fn child(&self, field: String, value: &'a Value) -> Self {
        Self {
            path: self.path,
            field,
            value,
        }
    }

    fn member_name(&self, name: &str) -> String {
        if self.field.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.field)
        }
    }

    pub(crate) fn shape(&self, expected: &'static str) -> FixtureError {
        FixtureError::Shape {
            path: self.path.to_owned(),
            field: self.field.clone(),
            expected,
        }
    }

    pub(crate) fn unknown(&self, found: impl ToString) -> FixtureError {
        FixtureError::UnknownValue {
            path: self.path.to_owned(),
            field: self.field.clone(),
            found: found.to_string(),
        }
    }

    fn object(&self) -> Result<&'a Map<String, Value>, FixtureError> {
        self.value
            .as_object()
            .ok_or_else(|| self.shape("an object"))
    }

    /// A member that may be absent or `null`.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<Self>, FixtureError> {
        let member = self.object()?.get(name).filter(|value| !value.is_null());
        Ok(member.map(|value| self.child(self.member_name(name), value)))
    }

    /// A member that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<Self, FixtureError> {
        self.optional(name)?.ok_or_else(|| FixtureError::Missing {
            path: self.path.to_owned(),
            field: self.member_name(name),
        })
    }

    /// All members, with their names.
    pub(crate) fn members(&self) -> Result<Vec<(&'a str, Self)>, FixtureError> {
        let object = self.object()?;
        Ok(object
            .iter()
            .map(|(name, value)| (name.as_str(), self.child(self.member_name(name), value)))
            .collect())
    }

    /// All elements of an array.
    pub(crate) fn elements(&self) -> Result<Vec<Self>, FixtureError> {
        let array = self
            .value
            .as_array()
            .ok_or_else(|| self.shape("an array"))?;
        Ok(array
            .iter()
            .enumerate()
            .map(|(index, value)| self.child(format!("{}[{index}]", self.field), value))
            .collect())
    }

    /// The value as JSON text.
    pub(crate) fn shown(&self) -> String {
        self.value.to_string()
    }

    pub(crate) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(crate) fn text(&self) -> Result<&'a str, FixtureError> {
        self.value.as_str().ok_or_else(|| self.shape("a text"))
    }

    pub(crate) fn truth(&self) -> Result<bool, FixtureError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.shape("true or false"))
    }

    pub(crate) fn number(&self) -> Result<u64, FixtureError> {
        self.value
            .as_u64()
            .ok_or_else(|| self.shape("a whole number"))
    }

    /// Bytes from `0x` hexadecimal.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, FixtureError> {
        self.hex_result(hexadecimal::decode(&self.field, self.text()?))
    }

    /// Bytes from hexadecimal without a prefix.
    pub(crate) fn bare_bytes(&self) -> Result<Vec<u8>, FixtureError> {
        self.hex_result(hexadecimal::decode_bare(&self.field, self.text()?))
    }

    /// Exactly 32 bytes from `0x` hexadecimal.
    pub(crate) fn hash(&self) -> Result<[u8; 32], FixtureError> {
        self.exactly_32(self.bytes()?)
    }

    /// Exactly 32 bytes from hexadecimal without a prefix.
    pub(crate) fn bare_hash(&self) -> Result<[u8; 32], FixtureError> {
        self.exactly_32(self.bare_bytes()?)
    }

    fn exactly_32(&self, bytes: Vec<u8>) -> Result<[u8; 32], FixtureError> {
        bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| FixtureError::Length {
                path: self.path.to_owned(),
                field: self.field.clone(),
                found: bytes.len(),
                expected: 32,
            })
    }

    /// Attaches the file to a hexadecimal error.
    pub(crate) fn hex_result<T>(
        &self,
        result: Result<T, hexadecimal::HexError>,
    ) -> Result<T, FixtureError> {
        result.map_err(|source| FixtureError::Hex {
            path: self.path.to_owned(),
            source,
        })
    }
}
