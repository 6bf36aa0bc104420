//! Blocks as people have them in files: lines of hexadecimal, or what a node answered.
//!
//! Three forms are read, and told apart by their first character:
//! - a line of hexadecimal each, with or without `0x`: the SCALE of a block, or of a block with its
//!   justifications; blank lines and lines that begin with `#` are skipped;
//! - answers to the JSON-RPC call `chain_getBlock`, one or several, as they came or as a list;
//! - the bare blocks out of such answers, which is also what `export-blocks` writes.
//!
//! Invariant: every block returned decodes, and its number, parent and roots are in its header only.

use std::path::Path;

use codec::{Decode, Encode};
use serde_json::Value;
use slackwater_executor::{Block, block::Header};
use sp_runtime::{DigestItem, generic::Digest};

use crate::cursor::{Cursor, read_file};
use crate::error::FixtureError;
use crate::hexadecimal;

/// Reads all blocks of a file, in its order.
///
/// # Errors
/// An unreadable file, bad hexadecimal, a block that does not decode, an answer that is an error,
/// no block at all.
pub fn read_blocks(path: &Path) -> Result<Vec<Block>, FixtureError> {
    let text = read_file(path)?;
    let blocks = match text.trim_start().chars().next() {
        Some('{' | '[') => json_blocks(path, &text)?,
        _ => hex_blocks(path, &text)?,
    };
    if blocks.is_empty() {
        return Err(FixtureError::NoBlocks {
            path: path.to_owned(),
        });
    }
    Ok(blocks)
}

fn hex_blocks(path: &Path, text: &str) -> Result<Vec<Block>, FixtureError> {
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| hex_block(path, format!("line {number}"), line))
        .collect()
}

fn hex_block(path: &Path, place: String, line: &str) -> Result<Block, FixtureError> {
    let digits = line.strip_prefix("0x").unwrap_or(line);
    let bytes = hexadecimal::decode_bare(&place, digits).map_err(|source| FixtureError::Hex {
        path: path.to_owned(),
        source,
    })?;
    let path = || path.to_owned();
    let (block, rest) = Block::decode_front(&bytes).map_err(|source| FixtureError::Block {
        path: path(),
        place: place.clone(),
        source,
    })?;
    if rest.is_empty() || are_justifications(rest) {
        Ok(block)
    } else {
        let bytes = rest.len();
        Err(FixtureError::Trailing {
            path: path(),
            place,
            bytes,
        })
    }
}

/// Whether bytes are what a signed block has behind its block: a list of engines with their
/// proofs, if any.
fn are_justifications(mut bytes: &[u8]) -> bool {
    type Justifications = Vec<([u8; 4], Vec<u8>)>;
    Option::<Justifications>::decode(&mut bytes).is_ok() && bytes.is_empty()
}

fn json_blocks(path: &Path, text: &str) -> Result<Vec<Block>, FixtureError> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut blocks = Vec::new();
    for (document, index) in documents.zip(1..) {
        let document = document.map_err(|source| FixtureError::Syntax {
            path: path.to_owned(),
            line: source.line(),
            source,
        })?;
        let root = Cursor::root(path, format!("document {index}"), &document);
        if root.is_array() {
            for answer in root.elements()? {
                blocks.push(json_block(&answer)?);
            }
        } else {
            blocks.push(json_block(&root)?);
        }
    }
    Ok(blocks)
}

/// A block out of an answer, or bare.
fn json_block(answer: &Cursor) -> Result<Block, FixtureError> {
    if let Some(error) = answer.optional("error")? {
        return Err(FixtureError::Answer {
            path: error.path().to_owned(),
            place: answer.field().to_owned(),
            message: error.shown(),
        });
    }
    let is_answer = answer.optional("jsonrpc")?.is_some();
    let result = match answer.optional("result")? {
        Some(result) => result,
        // That is how a node says that it does not know the block.
        None if is_answer => return Err(answer.shape("a block: the node has none")),
        None => answer.clone(),
    };
    let block = result.optional("block")?.unwrap_or(result);
    let extrinsics = block.required("extrinsics")?.elements()?;
    let extrinsics = extrinsics.iter().map(Cursor::bytes);
    let header = json_header(&block.required("header")?)?;
    Block::decode(&header.encode(), extrinsics.collect::<Result<_, _>>()?).map_err(|source| {
        FixtureError::Block {
            path: block.path().to_owned(),
            place: block.field().to_owned(),
            source,
        }
    })
}

fn json_header(header: &Cursor) -> Result<Header, FixtureError> {
    let hash = |name| Ok(header.required(name)?.hash()?.into());
    let logs = header.required("digest")?.required("logs")?.elements()?;
    let logs = logs.iter().map(|log| {
        let bytes = log.bytes()?;
        let mut rest = bytes.as_slice();
        match DigestItem::decode(&mut rest) {
            Ok(item) if rest.is_empty() => Ok(item),
            _ => Err(log.shape("an encoded digest item")),
        }
    });
    Ok(Header {
        parent_hash: hash("parentHash")?,
        number: json_number(&header.required("number")?)?,
        state_root: hash("stateRoot")?,
        extrinsics_root: hash("extrinsicsRoot")?,
        digest: Digest {
            logs: logs.collect::<Result<_, FixtureError>>()?,
        },
    })
}

/// A block number, which nodes write in hexadecimal without leading zeros.
fn json_number(number: &Cursor) -> Result<u64, FixtureError> {
    let Ok(text) = number.text() else {
        return number.number();
    };
    let digits = text.strip_prefix("0x");
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| number.shape("a number in 0x hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockFixture, guest::fixture_chain_path, hexadecimal::encode};
    use serde_json::json;

    fn chain() -> Vec<Block> {
        let fixture = BlockFixture::load(&fixture_chain_path()).unwrap();
        let blocks = fixture.blocks.into_iter().take(4);
        blocks
            .map(|block| Block::decode(&block.header, block.body).unwrap())
            .collect()
    }

    fn scale(block: &Block) -> Vec<u8> {
        let count = codec::Compact(u32::try_from(block.extrinsics.len()).unwrap()).encode();
        [block.header.encode(), count, block.extrinsics.concat()].concat()
    }

    fn rpc(block: &Block) -> Value {
        let header = &block.header;
        let logs = header.digest.logs.iter();
        let logs: Vec<_> = logs.map(|log| encode(&log.encode())).collect();
        let extrinsics: Vec<_> = block.extrinsics.iter().map(|e| encode(e)).collect();
        json!({"jsonrpc": "2.0", "id": 1, "result": {"justifications": null, "block": {
            "extrinsics": extrinsics,
            "header": {
                "parentHash": encode(header.parent_hash.as_bytes()),
                "number": format!("{:#x}", header.number),
                "stateRoot": encode(header.state_root.as_bytes()),
                "extrinsicsRoot": encode(header.extrinsics_root.as_bytes()),
                "digest": {"logs": logs},
            },
        }}})
    }

    fn read(text: &str) -> Result<Vec<Block>, FixtureError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks.txt");
        std::fs::write(&path, text).unwrap();
        read_blocks(&path)
    }

    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn every_form_gives_the_same_blocks() {
        let chain = chain();
        assert!(chain.iter().any(|block| block.extrinsics.len() > 2));
        let line = |block: &Block| encode(&scale(block));
        let lines: Vec<_> = chain.iter().map(line).collect();
        let bare: Vec<_> = lines.iter().map(|line| &line[2..]).collect();
        let signed: Vec<_> = lines.iter().map(|line| format!("{line}00")).collect();
        let justified: Vec<_> = lines
            .iter()
            .map(|line| format!("{line}0104464c4e5b0c010203"))
            .collect();
        let answers: Vec<_> = chain.iter().map(rpc).collect();
        let stream: Vec<_> = answers.iter().map(Value::to_string).collect();
        let pretty: Vec<_> = answers.iter().map(|answer| format!("{answer:#}")).collect();
        let blocks: Vec<_> = answers
            .iter()
            .map(|a| a["result"]["block"].to_string())
            .collect();
        let results: Vec<_> = answers.iter().map(|a| a["result"].to_string()).collect();
        for (form, text) in [
            ("lines", lines.join("\n")),
            ("bare", format!("# a comment\n\n{}\n", bare.join("\r\n"))),
            ("signed", signed.join("\n")),
            ("justified", justified.join("\n")),
            ("answers", stream.join("\n")),
            ("pretty answers", pretty.join("\n")),
            (
                "a list of answers",
                Value::from(answers.clone()).to_string(),
            ),
            ("blocks", blocks.join("\n")),
            ("results", results.join(" ")),
        ] {
            let found = read(&text).unwrap_or_else(|error| panic!("{form}: {error}"));
            assert_eq!(found, chain, "{form}");
        }
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let chain = chain();
        let whole = encode(&scale(&chain[0]));
        let second = |line: &str| message(&format!("{whole}\n{line}"));
        assert!(second("0x12zz").contains("blocks.txt: line 2: "));
        assert!(second("0x123").contains("line 2: odd"));
        assert!(second(&whole[..whole.len() - 2]).contains("line 2: extrinsic"));
        assert!(second("0x00").contains("line 2: the header does not decode"));
        assert!(second(&format!("{whole}07")).contains("line 2: 1 bytes behind"));
        assert!(message("").contains("no blocks"));
        assert!(message("# nothing\n").contains("no blocks"));
        assert!(message("[]").contains("no blocks"));
        let unknown = json!({"jsonrpc": "2.0", "id": 1, "result": null}).to_string();
        assert!(message(&unknown).contains("document 1: expected a block"));
        let error = json!({"error": {"code": 1, "message": "too busy"}}).to_string();
        assert!(
            message(&error)
                .contains("document 1: the node answered: {\"code\":1,\"message\":\"too busy\"}")
        );
        let mut answer = rpc(&chain[0]);
        answer["result"]["block"]["header"]["number"] = "12".into();
        assert!(message(&answer.to_string()).contains("header.number: expected a number"));
        answer["result"]["block"]["header"]["digest"]["logs"] = json!(["0x06"]);
        answer["result"]["block"]["header"]["number"] = 12.into();
        assert!(message(&answer.to_string()).contains("digest.logs[0]: expected an encoded"));
        let text = rpc(&chain[0]).to_string();
        assert!(matches!(
            read(&text[..text.len() - 1]),
            Err(FixtureError::Syntax { .. })
        ));
    }

    /// Cut off anywhere, a block is refused.
    #[test]
    fn truncated_blocks_are_refused_at_every_length() {
        let whole = scale(&chain()[1]);
        for end in 0..whole.len() {
            let refused = Block::decode_front(&whole[..end]);
            assert!(refused.is_err(), "{end}");
        }
        let (block, rest) = Block::decode_front(&whole).unwrap();
        assert!(rest.is_empty());
        assert_eq!(scale(&block), whole);
    }
}
