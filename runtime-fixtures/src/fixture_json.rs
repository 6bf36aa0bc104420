//! Block fixtures as JSON: every field of `NAME.json` and of a line of `NAME.changes.jsonl`, by name.
//!
//! Invariant: what is written is read back as the same, and the same fixture gives the same text.

use std::path::Path;

use serde_json::{Map, Value};
use sp_core::storage::well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX;

use crate::block_fixture::{BlockFixture, ExpectedWrite, FixtureBlock};
use crate::cursor::{Cursor, parse_lines};
use crate::error::FixtureError;
use crate::offered::{Offered, OfferedOutcome};
use crate::refused::{Refusal, RefusedBlock};
use crate::state_map::{self, hex_value, unprefixed_child_key};

pub(crate) fn read_fixture(root: &Cursor) -> Result<BlockFixture, FixtureError> {
    let children = root.optional("children")?;
    let blocks = root.required("blocks")?.elements()?;
    let parent_state_root = root.optional("parent_state_root")?;
    let state_version = root.optional("state_version")?;
    Ok(BlockFixture {
        name: root.required("name")?.text()?.to_owned(),
        state: state_map::storage(&root.required("state")?, children.as_ref())?,
        state_version: state_version.as_ref().map(read_state_version).transpose()?,
        parent_state_root: parent_state_root.as_ref().map(Cursor::hash).transpose()?,
        blocks: blocks.iter().map(read_block).collect::<Result<_, _>>()?,
    })
}

fn read_state_version(cursor: &Cursor) -> Result<u8, FixtureError> {
    match cursor.number()? {
        0 => Ok(0),
        1 => Ok(1),
        other => Err(cursor.unknown(other)),
    }
}

fn read_block(cursor: &Cursor) -> Result<FixtureBlock, FixtureError> {
    let body = cursor.required("body")?.elements()?;
    let offered = cursor.optional("offered")?;
    let refused = cursor.optional("refused")?;
    let refused = refused.as_ref().map(Cursor::elements).transpose()?;
    Ok(FixtureBlock {
        number: cursor.required("number")?.number()?,
        hash: cursor.required("hash")?.hash()?,
        parent_hash: cursor.required("parent_hash")?.hash()?,
        state_root: cursor.required("state_root")?.hash()?,
        extrinsics_root: cursor.required("extrinsics_root")?.hash()?,
        header: cursor.required("header")?.bytes()?,
        header_unsealed: cursor.required("header_unsealed")?.bytes()?,
        body: body.iter().map(Cursor::bytes).collect::<Result<_, _>>()?,
        expected_writes: None,
        offered: offered.as_ref().map(read_offered_list).transpose()?,
        refused: refused
            .unwrap_or_default()
            .iter()
            .map(read_refused)
            .collect::<Result<_, _>>()?,
    })
}

fn read_offered_list(cursor: &Cursor) -> Result<Vec<Offered>, FixtureError> {
    cursor.elements()?.iter().map(read_offered).collect()
}

fn read_offered(cursor: &Cursor) -> Result<Offered, FixtureError> {
    let outcome = cursor.required("outcome")?;
    let name = outcome.text()?;
    let error = cursor.optional("error")?;
    Ok(Offered {
        extrinsic: cursor.required("extrinsic")?.bytes()?,
        outcome: OfferedOutcome::from_name(name).ok_or_else(|| outcome.unknown(name))?,
        error: error.as_ref().map(Cursor::bytes).transpose()?,
    })
}

fn read_refused(cursor: &Cursor) -> Result<RefusedBlock, FixtureError> {
    let refusal = cursor.required("refusal")?;
    let name = refusal.text()?;
    let extrinsics = cursor.required("extrinsics")?.elements()?;
    Ok(RefusedBlock {
        case: cursor.required("case")?.text()?.to_owned(),
        refusal: Refusal::from_name(name).ok_or_else(|| refusal.unknown(name))?,
        header: cursor.required("header")?.bytes()?,
        extrinsics: extrinsics
            .iter()
            .map(Cursor::bytes)
            .collect::<Result<_, _>>()?,
    })
}

/// Reads `NAME.changes.jsonl`, one line for each block.
pub(crate) fn read_changes(path: &Path, blocks: &mut [FixtureBlock]) -> Result<(), FixtureError> {
    let lines = parse_lines(path)?;
    if lines.len() != blocks.len() {
        return Err(FixtureError::ChangesCount {
            path: path.to_owned(),
            lines: lines.len(),
            blocks: blocks.len(),
        });
    }
    for ((line, json), block) in lines.iter().zip(blocks) {
        let cursor = Cursor::root(path, format!("line {line}"), json);
        check_number(&cursor, block.number)?;
        let changes = cursor.required("changes")?.elements()?;
        block.expected_writes = Some(changes.iter().map(read_change).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn check_number(line: &Cursor, number: u64) -> Result<(), FixtureError> {
    let Some(stated) = line.optional("number")? else {
        return Ok(());
    };
    if stated.number()? == number {
        Ok(())
    } else {
        Err(stated.shape("the number of the block on the same line"))
    }
}

fn read_change(cursor: &Cursor) -> Result<ExpectedWrite, FixtureError> {
    let elements = cursor.elements()?;
    let [child, key, value] = elements.as_slice() else {
        return Err(cursor.shape("[child or null, key, value or null]"));
    };
    let child = bytes_or_null(child)?;
    Ok(ExpectedWrite {
        child: child.map(|key| unprefixed_child_key(&key).to_vec()),
        key: key.bytes()?,
        value: bytes_or_null(value)?,
    })
}

fn bytes_or_null(cursor: &Cursor) -> Result<Option<Vec<u8>>, FixtureError> {
    if cursor.is_null() {
        Ok(None)
    } else {
        cursor.bytes().map(Some)
    }
}

/// `NAME.json`.
pub(crate) fn fixture_to_json(fixture: &BlockFixture) -> Value {
    let blocks = fixture.blocks.iter().map(block_to_json).collect();
    let mut members = vec![
        ("blocks", Value::Array(blocks)),
        ("children", state_map::children_to_json(&fixture.state)),
        ("name", Value::from(fixture.name.as_str())),
    ];
    if let Some(root) = &fixture.parent_state_root {
        members.push(("parent_state_root", hex_value(root)));
    }
    members.push(("state", state_map::trie_to_json(&fixture.state.top)));
    if let Some(version) = fixture.state_version {
        members.push(("state_version", Value::from(version)));
    }
    object(members)
}

fn block_to_json(block: &FixtureBlock) -> Value {
    let body = block.body.iter().map(|extrinsic| hex_value(extrinsic));
    let mut members = vec![
        ("body", Value::Array(body.collect())),
        ("extrinsics_root", hex_value(&block.extrinsics_root)),
        ("hash", hex_value(&block.hash)),
        ("header", hex_value(&block.header)),
        ("header_unsealed", hex_value(&block.header_unsealed)),
        ("number", Value::from(block.number)),
    ];
    if let Some(offered) = &block.offered {
        let offered = offered.iter().map(offered_to_json).collect();
        members.push(("offered", Value::Array(offered)));
    }
    members.push(("parent_hash", hex_value(&block.parent_hash)));
    if !block.refused.is_empty() {
        let refused = block.refused.iter().map(refused_to_json).collect();
        members.push(("refused", Value::Array(refused)));
    }
    members.push(("state_root", hex_value(&block.state_root)));
    object(members)
}

fn offered_to_json(offered: &Offered) -> Value {
    let mut members = Vec::new();
    if let Some(error) = &offered.error {
        members.push(("error", hex_value(error)));
    }
    members.push(("extrinsic", hex_value(&offered.extrinsic)));
    members.push(("outcome", Value::from(offered.outcome.name())));
    object(members)
}

fn refused_to_json(refused: &RefusedBlock) -> Value {
    let extrinsics = refused.extrinsics.iter();
    object(vec![
        ("case", Value::from(refused.case.as_str())),
        (
            "extrinsics",
            extrinsics.map(|bytes| hex_value(bytes)).collect(),
        ),
        ("header", hex_value(&refused.header)),
        ("refusal", Value::from(refused.refusal.name())),
    ])
}

/// The line of `NAME.changes.jsonl` for a block.
pub(crate) fn changes_line(block: &FixtureBlock) -> String {
    let writes = block.expected_writes.iter().flatten();
    let line = object(vec![
        ("changes", writes.map(write_to_json).collect()),
        ("hash", hex_value(&block.hash)),
        ("number", Value::from(block.number)),
        ("state_root", hex_value(&block.state_root)),
    ]);
    format!("{line}\n")
}

fn write_to_json(write: &ExpectedWrite) -> Value {
    let optional = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or(Value::Null, hex_value);
    // Reading takes one prefix off, so a key that begins with it by itself gets another.
    let child = write.child.as_ref().map(|child| {
        let prefix = DEFAULT_CHILD_STORAGE_KEY_PREFIX;
        let prefixed = child.starts_with(prefix);
        [if prefixed { prefix } else { &[] }, child].concat()
    });
    Value::Array(vec![
        optional(&child),
        hex_value(&write.key),
        optional(&write.value),
    ])
}

/// Members are given in the order of their names, so the text does not depend on whether the map
/// type keeps the order of insertion.
fn object(members: Vec<(&str, Value)>) -> Value {
    let members = members.into_iter();
    Value::Object(
        members
            .map(|(k, v)| (k.to_owned(), v))
            .collect::<Map<_, _>>(),
    )
}
