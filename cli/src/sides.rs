//! Both sides of a difference as files that can be compared by any program: what was recorded of a block, and what came.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use slackwater_executor::{
    block::Block,
    recording::{Mismatch, RecordedBlock, RecordedCall, Writes},
    state::Place,
};
use slackwater_runtime_fixtures::StateNames;

use crate::{error::CliError, output::hex};

/// Values under keys, as the calls so far have left them.
type Values = BTreeMap<Place, Option<Vec<u8>>>;

/// Writes what was recorded and what came, or what was given, beside each other; gives the files.
pub(crate) fn write_sides(
    folder: &Path,
    name: &str,
    mismatch: &Mismatch,
    names: &StateNames,
) -> Result<Vec<PathBuf>, CliError> {
    let write = |side: &str, json: Json| {
        let path = folder.join(format!("{name}.block-{}.{side}.json", mismatch.block));
        let text = serde_json::to_string_pretty(&json)?;
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(CliError::Write { path, source }),
        }
    };
    let told = |block: &RecordedBlock| {
        let values = mismatch.before.clone();
        Side { names, values }.block(block)
    };
    let mut files = vec![write("recorded", told(&mismatch.recorded))?];
    if let Some(computed) = &mismatch.computed {
        files.push(write("computed", told(computed))?);
    }
    if let Some(given) = &mismatch.given {
        files.push(write("given", given_json(given))?);
    }
    Ok(files)
}

fn given_json(block: &Block) -> Json {
    let extrinsics = block.extrinsics.iter().map(|extrinsic| {
        json!({
            "hash": hex(sp_crypto_hashing::blake2_256(extrinsic)),
            "bytes": hex(extrinsic),
        })
    });
    json!({
        "number": block.header.number,
        "hash": hex(block.hash()),
        "parent_hash": hex(block.header.parent_hash),
        "state_root": hex(block.header.state_root),
        "extrinsics": extrinsics.collect::<Vec<_>>(),
    })
}

/// One side, as far as it was told.
struct Side<'n> {
    names: &'n StateNames,
    values: Values,
}

impl Side<'_> {
    fn block(mut self, block: &RecordedBlock) -> Json {
        let initialize = self.call(&block.initialize);
        let mut extrinsics = Vec::with_capacity(block.extrinsics.len());
        for (index, extrinsic) in block.extrinsics.iter().enumerate() {
            let mut call = self.call(&extrinsic.call);
            call["index"] = json!(index);
            call["hash"] = json!(hex(extrinsic.hash));
            extrinsics.push(call);
        }
        let finalize = block.finalize.as_ref().map(|call| self.call(call));
        json!({
            "number": block.number,
            "hash": hex(block.hash),
            "code": hex(block.code),
            "state_version": block.state_version,
            "initialize": initialize,
            "extrinsics": extrinsics,
            "finalize": finalize,
            "touched_beside": self.writes(&block.rest),
            "state_root": hex(block.state_root),
        })
    }

    fn call(&mut self, call: &RecordedCall) -> Json {
        let error = call.outcome.error.as_deref();
        json!({
            "outcome": call.outcome.name,
            "error": error.map(hex),
            "error_decoded": error.and_then(|error| self.names.dispatch_error(error)),
            "fuel": call.fuel.as_ref().map(|fuel| json!({
                "wasm": fuel.wasm,
                "sizes": fuel.size,
                "host": fuel.host,
            })),
            "writes": self.writes(&call.writes),
        })
    }

    fn writes(&mut self, writes: &Writes) -> Json {
        let Some(list) = writes.list() else {
            return json!({ "digest": hex(writes.digest()) });
        };
        let entries = list.iter().map(|(place, spliced)| {
            let before = self.values.get(place).cloned().flatten();
            // What cannot be applied is none, and the other side shows what it should be.
            let value = spliced.apply(before.as_deref()).flatten();
            self.values.insert(place.clone(), value.clone());
            let (child, key) = place;
            let names = child.is_none().then_some(self.names);
            json!({
                "child": child.as_ref().map(hex),
                "key": hex(key),
                "name": names.and_then(|names| names.key(key)),
                "decoded": names.zip(value.as_deref()).and_then(|(names, value)| names.value(key, value)),
                "value": value.map(hex),
            })
        });
        entries.collect()
    }
}
