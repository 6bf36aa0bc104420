//! Writes the chains of signed extrinsics: `author-signed-chains [FOLDER]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use slackwater_runtime_fixtures::dir::{FIXTURES_VARIABLE, real_fixtures_dir};
use slackwater_substrate_path::OracleError;
use slackwater_substrate_path::signed::{BLOCKS, SEED, SignedChain, author};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let Some(fixtures) = real_fixtures_dir() else {
        eprintln!("author-signed-chains: the real fixtures are absent: set {FIXTURES_VARIABLE}");
        return ExitCode::FAILURE;
    };
    for chain in SignedChain::ALL.into_iter().skip(1) {
        if let Err(error) = write(chain, &fixtures, &folder) {
            eprintln!("author-signed-chains: {}: {error}", chain.name());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn write(chain: SignedChain, fixtures: &Path, folder: &Path) -> Result<(), OracleError> {
    let fixture = author(
        chain,
        fixtures,
        SEED,
        std::env::var("B").map_or(BLOCKS, |b| b.parse().unwrap()),
        |done| eprint!("\r{} {done}", chain.name()),
    )?;
    eprintln!();
    fixture.save(&folder.join(format!("{}.json", chain.name())))?;
    Ok(())
}
