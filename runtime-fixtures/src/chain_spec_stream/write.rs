//! Writing: as nodes write a raw chain spec, one value a line, in the order of keys.

use std::io::{BufWriter, Write};

use slackwater_executor::state::{BlockState, StateError, StateView};
use sp_core::storage::{
    ChildInfo,
    well_known_keys::{DEFAULT_CHILD_STORAGE_KEY_PREFIX, is_child_storage_key},
};
use sp_state_machine::{Backend, IterArgs};

use super::ChainNames;
use crate::{hexadecimal, state_map::unprefixed_child_key};

/// Why a state was not written as a chain spec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecExportError {
    /// It cannot be written.
    #[error("the chain spec cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// The database cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Writes the state of a view as a raw chain spec; `progress` is told how many values have been written, which is
/// the result too. Roots of child tries are left out: they follow from the values.
///
/// # Errors
/// [`SpecExportError`]; what was written by then is no chain spec.
pub fn export_spec(
    view: &StateView<'_>,
    names: &ChainNames,
    output: impl Write,
    progress: impl FnMut(u64),
) -> Result<u64, SpecExportError> {
    let mut writer = Writer {
        output: BufWriter::with_capacity(1 << 20, output),
        values: 0,
        progress,
    };
    let name = serde_json::Value::from(names.name.as_str());
    let id = serde_json::Value::from(names.id.as_str());
    write!(
        writer.output,
        r#"{{
  "name": {name},
  "id": {id},
  "chainType": "Live",
  "bootNodes": [],
  "telemetryEndpoints": null,
  "protocolId": null,
  "properties": null,
  "codeSubstitutes": {{}},
  "genesis": {{
    "raw": {{
      "top": "#
    )?;
    writer.trie(view, None, "        ")?;
    write!(writer.output, ",\n      \"childrenDefault\": {{")?;
    let mut roots = IterArgs::default();
    roots.prefix = Some(DEFAULT_CHILD_STORAGE_KEY_PREFIX);
    let mut comma = "";
    for key in view.keys(roots)? {
        let child = ChildInfo::new_default(unprefixed_child_key(&key?));
        let name = hexadecimal::encode(child.storage_key());
        write!(writer.output, "{comma}\n        \"{name}\": ")?;
        writer.trie(view, Some(child), "          ")?;
        comma = ",";
    }
    view.check()?;
    writer.output.write_all(b"\n      }\n    }\n  }\n}\n")?;
    writer.output.flush()?;
    Ok(writer.values)
}

struct Writer<W: Write, P> {
    output: BufWriter<W>,
    values: u64,
    progress: P,
}

impl<W: Write, P: FnMut(u64)> Writer<W, P> {
    fn trie(
        &mut self,
        view: &StateView<'_>,
        child: Option<ChildInfo>,
        indent: &str,
    ) -> Result<(), SpecExportError> {
        let is_top = child.is_none();
        let mut args = IterArgs::default();
        args.child_info = child;
        self.output.write_all(b"{")?;
        let mut comma = "";
        for pair in view.pairs(args)? {
            let (key, value) = pair?;
            if is_top && is_child_storage_key(&key) {
                continue;
            }
            let (key, value) = (hexadecimal::encode(&key), hexadecimal::encode(&value));
            write!(self.output, "{comma}\n{indent}\"{key}\": \"{value}\"")?;
            comma = ",";
            self.values += 1;
            (self.progress)(self.values);
        }
        write!(self.output, "\n{}}}", &indent[2..])?;
        Ok(())
    }
}
