//! Writes the chains of signed extrinsics: `author-signed-chains [FOLDER]`, by default where tests
//! look for them. Each goes into a folder named by its digest; says so where that is not the one
//! that tests expect.

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
        let folder = folder.clone().unwrap_or_else(store::folder);
        match write(chain, &fixtures, &folder) {
            Ok((path, digest)) => {
                eprintln!("{}", path.display());
                if digest != chain.digest() {
                    eprintln!(
                        "  tests expect another: if this one is meant, put {digest} into `signed::store`"
                    );
                }
            }
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
    folder: &Path,
) -> Result<(PathBuf, String), OracleError> {
    let fixture = author(chain, fixtures, SEED, BLOCKS, |done| show(chain, done))?;
    store::save(chain, &fixture, folder)
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
