//! Where test data lives: the real chain data beside the checkout, and files inside crates that
//! cargo has fetched.
//!
//! Invariant: a path returned from here exists at that moment; nothing here downloads anything.

use std::path::{Path, PathBuf};

/// Names the directory of the real chain data.
pub const FIXTURES_VARIABLE: &str = "SLACKWATER_FIXTURES";

/// Set to `1` to turn a skipped test into a failed one.
pub const REQUIRE_VARIABLE: &str = "SLACKWATER_REQUIRE_FIXTURES";

/// The directory of the real chain data: `SLACKWATER_FIXTURES`, else `../shared/fixtures` beside
/// the checkout; `None` if there is no such directory.
#[must_use]
pub fn real_fixtures_dir() -> Option<PathBuf> {
    let stated = std::env::var_os(FIXTURES_VARIABLE).map(PathBuf::from);
    let dir = stated.unwrap_or_else(beside_the_checkout);
    dir.is_dir().then_some(dir)
}

fn beside_the_checkout() -> PathBuf {
    workspace().join("../shared/fixtures")
}

/// The root of the workspace: the one whose package cargo runs, else the one this was compiled in. They
/// differ where checkouts share a folder of build results.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let above = package.iter().flat_map(|package| package.ancestors());
    let is_root = |dir: &&Path| dir.join("runtime-fixtures/chain").is_dir();
    let running = above.into_iter().find(is_root);
    running.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        Path::to_path_buf,
    )
}

/// As [`real_fixtures_dir`], and says on standard error that `what` is skipped if there is none.
///
/// # Panics
/// If the data is absent while `SLACKWATER_REQUIRE_FIXTURES=1`. For tests only: a release check
/// sets the variable so that no test can pass by being skipped.
#[must_use]
pub fn real_fixtures_or_skip(what: &str) -> Option<PathBuf> {
    let dir = real_fixtures_dir();
    if dir.is_none() {
        skip(&format!(
            "skipped: {what}: real fixtures are absent (set {FIXTURES_VARIABLE})"
        ));
    }
    dir
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped test must be seen to be skipped"
)]
fn skip(message: &str) {
    assert!(!fixtures_are_required(), "{message}");
    eprintln!("{message}");
}

fn fixtures_are_required() -> bool {
    std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1")
}

/// A file inside a crate's source in cargo's registry cache (`$CARGO_HOME`, else `~/.cargo`), for
/// example `crate_file("sc-executor", "0.51.0", "benches/kusama_runtime.wasm")`. `None` unless
/// cargo has fetched and unpacked that version.
#[must_use]
pub fn crate_file(package: &str, version: &str, path: &str) -> Option<PathBuf> {
    let sources = cargo_home()?.join("registry/src");
    let inside = Path::new(&format!("{package}-{version}")).join(path);
    let mut registries: Vec<PathBuf> = std::fs::read_dir(sources)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    registries.sort();
    registries
        .into_iter()
        .map(|registry| registry.join(&inside))
        .find(|candidate| candidate.is_file())
}

/// As [`crate_file`], and says on standard error that it is skipped if there is none.
///
/// # Panics
/// If the file is absent while `SLACKWATER_REQUIRE_FIXTURES=1`, as [`real_fixtures_or_skip`].
#[must_use]
pub fn crate_file_or_skip(package: &str, version: &str, path: &str) -> Option<PathBuf> {
    let found = crate_file(package, version, path);
    if found.is_none() {
        skip(&format!(
            "skipped: {package} {version} is not in cargo's cache: run `cargo info {package}@{version}`"
        ));
    }
    found
}

fn cargo_home() -> Option<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_crate_is_found_by_name_and_version() {
        let manifest = crate_file("sp-core", "43.0.0", "Cargo.toml");
        assert!(manifest.is_some_and(|path| path.is_file()));
    }

    #[test]
    fn absent_crates_versions_and_files_are_none() {
        assert_eq!(crate_file("no-such-crate", "0.0.0", "Cargo.toml"), None);
        assert_eq!(crate_file("sp-core", "0.0.0", "Cargo.toml"), None);
        assert_eq!(crate_file("sp-core", "43.0.0", "no/such/file"), None);
    }

    #[test]
    fn a_fixtures_directory_if_any_holds_blocks_and_genesis() {
        let Some(dir) = real_fixtures_or_skip("layout of the real fixtures") else {
            return;
        };
        assert!(dir.join("blocks").is_dir());
        assert!(dir.join("genesis").is_dir());
    }
}
