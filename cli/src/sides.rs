//! Both sides of a difference as files that can be compared by any program: what was recorded of a block, and what came.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use slackwater_executor::recording::{Mismatch, RecordedBlock, RecordedCall, Spliced, Writes};
use slackwater_runtime_fixtures::StateNames;

use crate::{error::CliError, output::hex};

/// Writes what was recorded and what came, if anything did, beside each other; gives the files.
pub(crate) fn write_sides(
    folder: &Path,
    name: &str,
    mismatch: &Mismatch,
    names: &StateNames,
) -> Result<Vec<PathBuf>, CliError> {
    let write = |side: &str, block: &RecordedBlock| {
        let path = folder.join(format!("{name}.block-{}.{side}.json", mismatch.block));
        let text = serde_json::to_string_pretty(&block_json(block, names))?;
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(CliError::Write { path, source }),
        }
    };
    let mut files = vec![write("recorded", &mismatch.recorded)?];
    if let Some(computed) = &mismatch.computed {
        files.push(write("computed", computed)?);
    }
    Ok(files)
}

fn block_json(block: &RecordedBlock, names: &StateNames) -> Json {
    let extrinsics = block
        .extrinsics
        .iter()
        .enumerate()
        .map(|(index, extrinsic)| {
            let mut call = call_json(&extrinsic.call, names);
            call["index"] = json!(index);
            call["hash"] = json!(hex(extrinsic.hash));
            call
        });
    json!({
        "number": block.number,
        "hash": hex(block.hash),
        "code": hex(block.code),
        "state_version": block.state_version,
        "initialize": call_json(&block.initialize, names),
        "extrinsics": extrinsics.collect::<Vec<_>>(),
        "finalize": block.finalize.as_ref().map(|call| call_json(call, names)),
        "touched_beside": writes_json(&block.rest, names),
        "state_root": hex(block.state_root),
    })
}

fn call_json(call: &RecordedCall, names: &StateNames) -> Json {
    let error = call.outcome.error.as_deref();
    json!({
        "outcome": call.outcome.name,
        "error": error.map(hex),
        "error_decoded": error.and_then(|error| names.dispatch_error(error)),
        "fuel": call.fuel.as_ref().map(|fuel| json!({
            "wasm": fuel.wasm,
            "sizes": fuel.size,
            "host": fuel.host,
        })),
        "writes": writes_json(&call.writes, names),
    })
}

fn writes_json(writes: &Writes, names: &StateNames) -> Json {
    let Some(list) = writes.list() else {
        return json!({ "digest": hex(writes.digest()) });
    };
    let entries = list.iter().map(|((child, key), spliced)| {
        let top = child.is_none();
        json!({
            "child": child.as_ref().map(hex),
            "key": hex(key),
            "name": top.then(|| names.key(key)).flatten(),
            "value": value_json(spliced),
            "decoded": match spliced {
                Spliced::Whole(value) if top => names.value(key, value),
                _ => None,
            },
        })
    });
    entries.collect()
}

/// A value; of one that was changed in part, what was put around the piece that is left.
fn value_json(spliced: &Spliced) -> Json {
    match spliced {
        Spliced::Removed => Json::Null,
        Spliced::Whole(value) => json!(hex(value)),
        Spliced::Kept {
            head,
            from,
            length,
            tail,
        } => json!({
            "before": hex(head),
            "kept_from": from,
            "kept_bytes": length,
            "behind": hex(tail),
        }),
    }
}
