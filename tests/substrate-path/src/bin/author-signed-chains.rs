//! Writes the chains of signed extrinsics: `author-signed-chains [FOLDER]`, by default where tests
//! look for them. Prints the digest of each; those that tests expect stand in the source of this
//! crate.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use slackwater_runtime_fixtures::dir::{FIXTURES_VARIABLE, real_fixtures_dir};
use slackwater_substrate_path::OracleError;
use slackwater_substrate_path::signed::{BLOCKS, SEED, SignedChain, author, store};

#[expect(
    clippy::print_stderr,
    reason = "a program for the command line says what it does"
)]
fn main() -> ExitCode {
    // Some faults of a guest are panics inside host functions, which the executor catches.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let Some(fixtures) = real_fixtures_dir() else {
        eprintln!("author-signed-chains: the real fixtures are absent: set {FIXTURES_VARIABLE}");
        return ExitCode::FAILURE;
    };
    for chain in SignedChain::ALL {
        match write(chain, &fixtures, folder.as_deref()) {
            Ok((path, digest)) => eprintln!("{digest} {}", path.display()),
            Err(error) => {
                eprintln!("author-signed-chains: {}: {error}", chain.name());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn write(
    chain: SignedChain,
    fixtures: &Path,
    folder: Option<&Path>,
) -> Result<(PathBuf, String), OracleError> {
    let folder = folder.map_or_else(|| store::folder().join(chain.digest()), Path::to_owned);
    let unwritable = |source| OracleError::Store {
        folder: folder.clone(),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(unwritable)?;
    let fixture = author(chain, fixtures, SEED, BLOCKS, |done| show(chain, done))?;
    let path = folder.join(format!("{}.json", chain.name()));
    fixture.save(&path)?;
    let digest = store::digest(&path).map_err(unwritable)?;
    Ok((path, digest))
}

/// Counts blocks on a terminal.
#[expect(clippy::print_stderr, reason = "progress is for the eyes")]
fn show(chain: SignedChain, done: u32) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        let end = if done == BLOCKS { "\n" } else { "" };
        eprint!("\r{}: block {done} of {BLOCKS}{end}", chain.name());
    }
}
