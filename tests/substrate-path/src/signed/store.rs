//! Authored chains on disk, so that they are authored once and not by every test.
//!
//! Invariant: what is loaded has the digest that stands here, whoever wrote the files.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use slackwater_runtime_fixtures::{
    BlockFixture, block_fixture::changes_path, dir::workspace, real_fixtures_or_skip,
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
                "bdee6fa7f7bac894ca37fbb23929456c47f3448ddc834f08c06187eba11d8c80"
            }
            Self::Subtensor => "cc2a8a9917c38cf31a5d2bc88593d0d86429d4bcd97eb7673ffbf116b4dd7369",
        }
    }
}

/// The folder of authored chains: `SLACKWATER_AUTHORED`, else `authored` among the build's results.
#[must_use]
pub fn folder() -> PathBuf {
    let workspace = workspace();
    let stated = |variable| std::env::var_os(variable).map(PathBuf::from);
    // A relative folder is meant from the workspace, wherever a test is run.
    let target = || {
        stated("CARGO_TARGET_DIR")
            .unwrap_or_else(|| "target".into())
            .join("authored")
    };
    workspace.join(stated(FOLDER_VARIABLE).unwrap_or_else(target))
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
    // Of several threads one authors, the others wait for it.
    static AUTHORING: Mutex<()> = Mutex::new(());
    let _turn = AUTHORING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder().join(chain.digest()).join(file_name(chain));
    if digest(&path).is_ok_and(|found| found == chain.digest()) {
        return Ok(Some(path));
    }
    let Some(fixtures) = real_fixtures_or_skip(chain.name()) else {
        return Ok(None);
    };
    let fixture = author(chain, &fixtures, SEED, BLOCKS, |_| {})?;
    let (path, found) = save(chain, &fixture, &folder())?;
    if found == chain.digest() {
        Ok(Some(path))
    } else {
        Err(OracleError::OtherChain {
            chain: chain.name(),
            found,
        })
    }
}

/// Puts a chain into a folder named by its digest within `folder`, whole or not at all: other
/// processes may do the same at the same time. Returns the fixture's path, and the digest.
///
/// # Errors
/// It cannot be written.
pub fn save(
    chain: SignedChain,
    fixture: &BlockFixture,
    folder: &Path,
) -> Result<(PathBuf, String), OracleError> {
    let unwritable = |source| OracleError::Store {
        folder: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let making = tempfile::tempdir_in(folder).map_err(unwritable)?;
    let made = making.path().join(file_name(chain));
    fixture.save(&made)?;
    let digest = digest(&made).map_err(unwritable)?;
    let last = folder.join(&digest);
    let path = last.join(file_name(chain));
    if std::fs::rename(making.path(), &last).is_err() {
        // There is something already: the same files, or damaged ones.
        for (from, to) in [
            (changes_path(&made), changes_path(&path)),
            (made, path.clone()),
        ] {
            std::fs::rename(from, to).map_err(unwritable)?;
        }
    }
    Ok((path, digest))
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
