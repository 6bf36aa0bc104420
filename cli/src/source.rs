//! Reading what a command works on: runtime code or a whole state, told apart by content.

use std::{
    fs,
    path::{Path, PathBuf},
};

use slackwater_executor::runtime::RuntimeError;
use slackwater_runtime_fixtures::{BlockFixture, ChainSpec};
use sp_core::storage::{Storage, well_known_keys::CODE};

use crate::error::CliError;

/// The state of a raw chain spec, or the parent state of a block fixture.
pub(crate) fn read_state(path: &Path) -> Result<Storage, CliError> {
    let spec = match ChainSpec::load(path) {
        Ok(spec) => return Ok(spec.genesis),
        Err(error) => error,
    };
    match BlockFixture::load(path) {
        Ok(fixture) => Ok(fixture.state),
        Err(fixture) => Err(CliError::Unrecognised {
            path: path.to_owned(),
            spec: Box::new(spec),
            fixture: Box::new(fixture),
        }),
    }
}

/// Runtime code: the file itself, or `:code` of the state in it when it is JSON.
pub(crate) fn read_code(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = read_file(path)?;
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(bytes);
    }
    let no_code = || CliError::Runtime {
        path: path.to_owned(),
        source: RuntimeError::NoCode,
    };
    read_state(path)?.top.remove(CODE).ok_or_else(no_code)
}

/// An output must not be one of the files that are read, under whatever name.
pub(crate) fn refuse_input_as_output(inputs: &[&PathBuf], output: &Path) -> Result<(), CliError> {
    let inputs = inputs.iter().filter_map(|input| input.canonicalize().ok());
    let output_file = output.canonicalize().ok();
    if inputs.map(Some).any(|input| input == output_file) {
        return Err(CliError::OutIsInput(output.to_owned()));
    }
    Ok(())
}

/// The bytes of a file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })
}
