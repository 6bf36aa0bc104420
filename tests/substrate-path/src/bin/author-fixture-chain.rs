//! Writes the fixture chain of the guest: `author-fixture-chain [PATH]`, by default into the
//! fixtures crate. Writes nothing unless the whole chain was authored.

use std::path::PathBuf;
use std::process::ExitCode;

use slackwater_runtime_fixtures::guest::fixture_chain_path;
use slackwater_substrate_path::OracleError;
use slackwater_substrate_path::guest_chain::{BLOCKS, SEED, author};

#[expect(
    clippy::print_stderr,
    reason = "a program for the command line says what it did"
)]
fn main() -> ExitCode {
    // Some faults of the guest are panics inside host functions, which the executor catches.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(fixture_chain_path, PathBuf::from);
    match write(&path) {
        Ok(blocks) => {
            eprintln!("{blocks} blocks written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("author-fixture-chain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(path: &std::path::Path) -> Result<usize, OracleError> {
    let fixture = author(SEED, BLOCKS)?;
    fixture.save(path)?;
    Ok(fixture.blocks.len())
}
