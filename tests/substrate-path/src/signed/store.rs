//! Authored chains on disk, so that they are authored once and not by every test.
//!
//! Invariant: what is loaded has the digest that stands here, whoever wrote the files.

use std::path::{Path, PathBuf};

use slackwater_runtime_fixtures::{
    BlockFixture, block_fixture::changes_path, real_fixtures_or_skip,
};

use super::{BLOCKS, SEED, SignedChain, author};
use crate::error::OracleError;

/// Names the folder of authored chains.
pub const FOLDER_VARIABLE: &str = "SLACKWATER_AUTHORED";

impl SignedChain {
    /// BLAKE2b-256 of the chain's two files, one behind the other, in hexadecimal.
    #[must_use]
    pub fn digest(self) -> &'static str {
        match self {
            Self::NodeTemplate => {
                "824ffbf9ff24992d9aacf4d4088e8d72643fda87158fb6bae8a913dee1609a73"
            }
            Self::Subtensor => "87aba818075697446e55a9c69e20a266df7b8537763a3ba581fe9b05ed9cd897",
        }
    }
}

/// The folder of authored chains: `SLACKWATER_AUTHORED`, else `authored` among the build's results.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(stated) = std::env::var_os(FOLDER_VARIABLE) {
        return PathBuf::from(stated);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    target.join("authored")
}

/// The chain of [`SEED`], loaded from [`folder`], or authored into it if it is not there; `None`,
/// with a line saying so, if the real fixtures it begins on are absent and may be.
///
/// # Errors
/// The chain cannot be authored, is not the one it should be, or cannot be written.
pub fn load(chain: SignedChain) -> Result<Option<BlockFixture>, OracleError> {
    path(chain)?
        .map(|path| BlockFixture::load(&path))
        .transpose()
        .map_err(OracleError::from)
}

/// As [`load`], but gives the path of the fixture.
///
/// # Errors
/// See [`load`].
pub fn path(chain: SignedChain) -> Result<Option<PathBuf>, OracleError> {
    let path = folder().join(chain.digest()).join(file_name(chain));
    if digest(&path).is_ok_and(|found| found == chain.digest()) {
        return Ok(Some(path));
    }
    let Some(fixtures) = real_fixtures_or_skip(chain.name()) else {
        return Ok(None);
    };
    let fixture = author(chain, &fixtures, SEED, BLOCKS, |_| {})?;
    // Whoever authors the same at the same time writes the same bytes elsewhere; one of them wins.
    let unwritable = |source| OracleError::Store {
        folder: folder(),
        source,
    };
    std::fs::create_dir_all(folder()).map_err(unwritable)?;
    let making = tempfile::tempdir_in(folder()).map_err(unwritable)?;
    let made = making.path().join(file_name(chain));
    fixture.save(&made)?;
    let found = digest(&made).map_err(unwritable)?;
    if found != chain.digest() {
        return Err(OracleError::OtherChain {
            chain: chain.name(),
            found,
        });
    }
    let last = folder().join(chain.digest());
    if std::fs::rename(making.path(), &last).is_err() {
        // There is something already: files of another process, or damaged ones.
        for file in [made.clone(), changes_path(&made)] {
            let name = file.file_name().unwrap_or_default();
            std::fs::rename(&file, last.join(name)).map_err(unwritable)?;
        }
    }
    Ok(Some(path))
}

fn file_name(chain: SignedChain) -> String {
    format!("{}.json", chain.name())
}

/// BLAKE2b-256 of a fixture's two files, one behind the other, in hexadecimal.
///
/// # Errors
/// A file cannot be read.
pub fn digest(path: &Path) -> std::io::Result<String> {
    let mut bytes = std::fs::read(path)?;
    bytes.extend(std::fs::read(changes_path(path))?);
    let digest = sp_crypto_hashing::blake2_256(&bytes);
    Ok(format!("{:x}", sp_core::H256(digest)))
}
