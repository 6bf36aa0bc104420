//! Block fixtures: a parent state, the blocks on top of it and what executing them must write.
//!
//! `NAME.json` holds state and blocks, `NAME.changes.jsonl` beside it one line of writes a block.
//! Invariant: saving and loading again gives an equal [`BlockFixture`], and the state holds
//! `:code`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sp_core::storage::Storage;

use crate::cursor::{Cursor, parse_file};
use crate::error::FixtureError;
use crate::fixture_json::{changes_line, fixture_to_json, read_changes, read_fixture};
use crate::offered::Offered;
use crate::refused::RefusedBlock;

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
    /// Blocks attempted on the same parent that must be refused.
    pub refused: Vec<RefusedBlock>,
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

    /// Writes `NAME.json`, and before it `NAME.changes.jsonl` if the blocks state their writes; if
    /// they do not, a file of writes that is there already is deleted. Each file is there whole or
    /// not at all. The same fixture always gives the same bytes.
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
        let changes = changes_path(path);
        if stated == 0 {
            remove_file(&changes)?;
        } else {
            let lines: String = self.blocks.iter().map(changes_line).collect();
            write_file(&changes, &lines)?;
        }
        write_file(path, &format!("{:#}\n", fixture_to_json(self)))
    }
}

/// Writes a file beside the place, and puts it there when it is whole.
fn write_file(path: &Path, text: &str) -> Result<(), FixtureError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{name}.partial-{}", std::process::id()));
    let written = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|source| {
        // What is left of it helps nobody; the fault that counts is the first.
        let _gone = std::fs::remove_file(&partial);
        unwritable(path, source)
    })
}

fn remove_file(path: &Path) -> Result<(), FixtureError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, error)),
        _ => Ok(()),
    }
}

fn unwritable(path: &Path, source: std::io::Error) -> FixtureError {
    FixtureError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::real_fixtures_or_skip;
    use crate::offered::OfferedOutcome;
    use crate::refused::Refusal;
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
                ExpectedWrite {
                    child: Some(b":child_storage:default:ab".to_vec()),
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
            refused: Refusal::ALL
                .iter()
                .map(|refusal| RefusedBlock {
                    case: format!("case {}", refusal.name()),
                    refusal: *refusal,
                    header: vec![9],
                    extrinsics: vec![vec![], vec![10]],
                })
                .collect(),
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
            block.refused = Vec::new();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain.json");
        // What an earlier one left there is not believed.
        sample().save(&path).unwrap();
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
        assert!(message("\"import\"", "\"oops\"").contains("blocks[0].refused[3].refusal"));
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
