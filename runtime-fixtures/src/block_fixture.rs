//! Block fixtures: a parent state, the blocks on top of it and what executing them must write.
//!
//! `NAME.json` holds state and blocks, `NAME.changes.jsonl` beside it one line of writes a block.
//! Invariant: saving and loading again gives an equal [`BlockFixture`], and the state holds
//! `:code`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sp_core::storage::Storage;

use crate::cursor::{Cursor, parse_file, parse_lines};
use crate::error::FixtureError;
use crate::offered::{Offered, OfferedOutcome};
use crate::state_map::{self, hex_value, unprefixed_child_key};

/// A parent state and consecutive blocks on it.
#[derive(Debug, Clone)]
pub struct BlockFixture {
    /// Name for people.
    pub name: String,
    /// The whole state before the first block; child tries are keyed without
    /// `:child_storage:default:`.
    pub state: Storage,
    /// State trie version (0 or 1), where the file states it.
    pub state_version: Option<u8>,
    /// State root before the first block, where the file states it.
    pub parent_state_root: Option<[u8; 32]>,
    /// The blocks, in order.
    pub blocks: Vec<FixtureBlock>,
}

/// One block and what is known about executing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixtureBlock {
    /// Block number.
    pub number: u64,
    /// Block hash: BLAKE2b-256 of `header`.
    pub hash: [u8; 32],
    /// Hash of the parent block.
    pub parent_hash: [u8; 32],
    /// State root after the block.
    pub state_root: [u8; 32],
    /// Root of the trie of the body.
    pub extrinsics_root: [u8; 32],
    /// SCALE-encoded header as on the chain, with its seal.
    pub header: Vec<u8>,
    /// SCALE-encoded header without seal digests: what is executed.
    pub header_unsealed: Vec<u8>,
    /// SCALE-encoded extrinsics, each with its length prefix.
    pub body: Vec<Vec<u8>>,
    /// Every key touched by executing the block whole, sorted, where known.
    pub expected_writes: Option<Vec<ExpectedWrite>>,
    /// What a builder was offered, in order, where known.
    pub offered: Option<Vec<Offered>>,
}

/// A key that a block touches, and its value afterwards. The value may be the one it had before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedWrite {
    /// Unprefixed key of the child trie; `None` for the top trie.
    pub child: Option<Vec<u8>>,
    /// The key.
    pub key: Vec<u8>,
    /// The value after the block; `None` if the key is absent then.
    pub value: Option<Vec<u8>>,
}

impl PartialEq for BlockFixture {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.state.top == other.state.top
            && self.state.children_default == other.state.children_default
            && self.state_version == other.state_version
            && self.parent_state_root == other.parent_state_root
            && self.blocks == other.blocks
    }
}

impl Eq for BlockFixture {}

/// The file of writes that belongs to `NAME.json`: `NAME.changes.jsonl` beside it.
#[must_use]
pub fn changes_path(path: &Path) -> PathBuf {
    path.with_extension("changes.jsonl")
}

impl BlockFixture {
    /// Reads `NAME.json`, and `NAME.changes.jsonl` beside it if there is one. Unknown fields are
    /// ignored.
    ///
    /// # Errors
    /// Unreadable files, no JSON, absent or misshapen fields, hashes that are not 32 bytes, a
    /// state without `:code`, an unknown outcome or state version, writes that do not fit the
    /// blocks.
    pub fn load(path: &Path) -> Result<Self, FixtureError> {
        let json = parse_file(path)?;
        let mut fixture = read_fixture(&Cursor::root(path, String::new(), &json))?;
        let changes = changes_path(path);
        if changes.is_file() {
            read_changes(&changes, &mut fixture.blocks)?;
        }
        Ok(fixture)
    }

    /// Writes `NAME.json`, and `NAME.changes.jsonl` if the blocks state their writes. The same
    /// fixture always gives the same bytes.
    ///
    /// # Errors
    /// Only some blocks state their writes, or a file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FixtureError> {
        let stated = self.blocks.iter().filter(|b| b.expected_writes.is_some());
        let stated = stated.count();
        if stated != 0 && stated != self.blocks.len() {
            return Err(FixtureError::PartialChanges {
                path: changes_path(path),
                stated,
                blocks: self.blocks.len(),
            });
        }
        write_file(path, &format!("{:#}\n", self.to_json()))?;
        if stated == 0 {
            return Ok(());
        }
        let lines: String = self.blocks.iter().map(changes_line).collect();
        write_file(&changes_path(path), &lines)
    }

    fn to_json(&self) -> Value {
        let blocks = self.blocks.iter().map(block_to_json).collect();
        let mut members = vec![
            ("blocks", Value::Array(blocks)),
            ("children", state_map::children_to_json(&self.state)),
            ("name", Value::from(self.name.as_str())),
        ];
        if let Some(root) = &self.parent_state_root {
            members.push(("parent_state_root", hex_value(root)));
        }
        members.push(("state", state_map::trie_to_json(&self.state.top)));
        if let Some(version) = self.state_version {
            members.push(("state_version", Value::from(version)));
        }
        object(members)
    }
}

fn read_fixture(root: &Cursor) -> Result<BlockFixture, FixtureError> {
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

fn read_changes(path: &Path, blocks: &mut [FixtureBlock]) -> Result<(), FixtureError> {
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

fn changes_line(block: &FixtureBlock) -> String {
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
    Value::Array(vec![
        optional(&write.child),
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

fn write_file(path: &Path, text: &str) -> Result<(), FixtureError> {
    std::fs::write(path, text).map_err(|source| FixtureError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::real_fixtures_or_skip;
    use sp_core::storage::{ChildInfo, StorageChild};

    fn sample_block(number: u64) -> FixtureBlock {
        FixtureBlock {
            number,
            hash: [1; 32],
            parent_hash: [2; 32],
            state_root: [3; 32],
            extrinsics_root: [4; 32],
            header: vec![5, 6, 7],
            header_unsealed: vec![5],
            body: vec![vec![], vec![8]],
            expected_writes: Some(vec![
                ExpectedWrite {
                    child: None,
                    key: vec![],
                    value: None,
                },
                ExpectedWrite {
                    child: Some(b"ab".to_vec()),
                    key: vec![1],
                    value: Some(vec![]),
                },
            ]),
            offered: Some(
                OfferedOutcome::ALL
                    .iter()
                    .map(|outcome| Offered {
                        extrinsic: outcome.name().as_bytes().to_vec(),
                        outcome: *outcome,
                        error: (*outcome == OfferedOutcome::Invalid).then(|| vec![0, 3]),
                    })
                    .collect(),
            ),
        }
    }

    fn sample() -> BlockFixture {
        let mut state = Storage::default();
        state.top.insert(b":code".to_vec(), vec![0; 3]);
        for key in [b"ab".as_slice(), b"aa"] {
            let child = StorageChild {
                data: [(vec![1], vec![2])].into(),
                child_info: ChildInfo::new_default(key),
            };
            state.children_default.insert(key.to_vec(), child);
        }
        BlockFixture {
            name: "sample".to_owned(),
            state,
            state_version: Some(1),
            parent_state_root: Some([9; 32]),
            blocks: vec![sample_block(1), sample_block(2)],
        }
    }

    /// Saves the sample, edits the JSON text and loads it again.
    fn load_edited(from: &str, to: &str) -> Result<BlockFixture, FixtureError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.json");
        sample().save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        BlockFixture::load(&path)
    }

    fn message(from: &str, to: &str) -> String {
        load_edited(from, to).unwrap_err().to_string()
    }

    #[test]
    fn saving_and_loading_gives_the_same_and_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("a.b.json"), dir.path().join("c.json"));
        sample().save(&one).unwrap();
        let loaded = BlockFixture::load(&one).unwrap();
        assert_eq!(loaded, sample());
        loaded.save(&two).unwrap();
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!(bytes(&one), bytes(&two));
        assert_eq!(bytes(&changes_path(&one)), bytes(&changes_path(&two)));
    }

    #[test]
    fn optional_parts_may_be_absent() {
        let mut plain = sample();
        plain.state_version = None;
        plain.parent_state_root = None;
        for block in &mut plain.blocks {
            block.expected_writes = None;
            block.offered = None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain.json");
        plain.save(&path).unwrap();
        assert!(!changes_path(&path).exists());
        assert_eq!(BlockFixture::load(&path).unwrap(), plain);
    }

    #[test]
    fn writes_of_some_blocks_only_cannot_be_saved() {
        let mut partial = sample();
        partial.blocks[1].expected_writes = None;
        let dir = tempfile::tempdir().unwrap();
        let error = partial.save(&dir.path().join("p.json")).unwrap_err();
        assert!(matches!(
            error,
            FixtureError::PartialChanges {
                stated: 1,
                blocks: 2,
                ..
            }
        ));
    }

    #[test]
    fn child_keys_are_read_with_and_without_prefix() {
        // `:child_storage:default:ab` becomes `ab`.
        let loaded = load_edited(
            "0x3a6368696c645f73746f726167653a64656661756c743a6162",
            "0x6162",
        );
        assert_eq!(loaded.unwrap(), sample());
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let loaded = load_edited("\"name\":", "\"origin\": [1], \"name\":").unwrap();
        assert_eq!(loaded, sample());
    }

    #[test]
    fn faults_name_the_field() {
        assert!(message("\"0x050607\"", "\"0x5\"").contains("blocks[0].header: odd"));
        assert!(message("\"0x050607\"", "7").contains("blocks[0].header: expected a text"));
        assert!(message("\"header\"", "\"haeder\"").contains("blocks[0].header: missing"));
        assert!(message("0x0909", "0x09").contains("parent_state_root: 31 bytes, expected 32"));
        assert!(message("\"trap\"", "\"oops\"").contains("blocks[0].offered[3].outcome"));
        assert!(message("\"state_version\": 1", "\"state_version\": 2").contains("state_version"));
        assert!(message("\"number\": 1", "\"number\": -1").contains("blocks[0].number"));
    }

    #[test]
    fn a_state_without_code_is_refused() {
        let error = load_edited("0x3a636f6465", "0x3a636f6466").unwrap_err();
        assert!(matches!(error, FixtureError::NoCode { field, .. } if field == "state"));
    }

    #[test]
    fn writes_must_fit_the_blocks() {
        let number = message("\"number\": 2", "\"number\": 3");
        assert!(number.contains("line 2.number"), "{number}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.json");
        sample().save(&path).unwrap();
        std::fs::write(changes_path(&path), "{\"changes\":[]}\n").unwrap();
        let error = BlockFixture::load(&path).unwrap_err();
        assert!(matches!(
            error,
            FixtureError::ChangesCount {
                lines: 1,
                blocks: 2,
                ..
            }
        ));
        std::fs::write(
            changes_path(&path),
            "{\"changes\":[]}\n{\"changes\":[[null,\"0x\"]]}",
        )
        .unwrap();
        let error = BlockFixture::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2.changes[0]"), "{error}");
    }

    #[test]
    fn truncated_text_is_a_syntax_error_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.json");
        sample().save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = text.trim_end().len();
        for end in (0..whole).step_by(37) {
            std::fs::write(&path, &text[..end]).unwrap();
            let error = BlockFixture::load(&path).unwrap_err();
            assert!(
                matches!(error, FixtureError::Syntax { .. }),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = BlockFixture::load(Path::new("no/such.json")).unwrap_err();
        assert!(error.to_string().starts_with("no/such.json: "), "{error}");
    }

    #[test]
    fn the_real_fixtures_survive_a_round_trip() {
        let Some(real) = real_fixtures_or_skip("block fixtures") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        for (name, blocks, keys) in [
            ("westend-blocks-1-128", 128, 93),
            ("kusama-block-1", 1, 3419),
            ("smoldot-child-trie-create-one", 1, 34),
            ("smoldot-runtime-host-2023-06-12", 1, 21),
        ] {
            let loaded = BlockFixture::load(&real.join(format!("blocks/{name}.json"))).unwrap();
            assert_eq!(
                (loaded.blocks.len(), loaded.state.top.len()),
                (blocks, keys)
            );
            assert!(loaded.blocks.iter().all(|block| {
                sp_crypto_hashing::blake2_256(&block.header) == block.hash
                    && block.header.starts_with(&block.parent_hash)
                    && block
                        .expected_writes
                        .as_ref()
                        .is_some_and(|w| !w.is_empty())
            }));
            let copy = dir.path().join(format!("{name}.json"));
            loaded.save(&copy).unwrap();
            assert_eq!(BlockFixture::load(&copy).unwrap(), loaded);
        }
    }
}
