//! What reads bytes from outside, fuzzed: runtime code, chain specs, recordings and blocks in files.
//!
//! A target is a plain function of bytes that panics on a finding, and inputs to begin with, which are made by code.
//! libFuzzer drives it (`fuzz_targets/`, built and run by `scripts/fuzz.sh`); a slice of the same work, with a seed, runs
//! with the other tests (`tests/slice.rs`). Invariant: what a target does follows from its input alone. Cost: an input is
//! bounded so that it takes milliseconds.

#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a panic is how a target tells a finding, as said above"
)]

use std::path::PathBuf;

mod chain_spec;
mod doubles;
mod instrumenter;
mod loader;
mod record_file;
mod record_seeds;
mod scratch;
mod smith;

pub use chain_spec::chain_spec;
pub use instrumenter::instrumenter;
pub use loader::loader;
pub use record_file::record_file;

/// The variable that names a folder for starting inputs: see [`begin`].
pub const SEEDS_VARIABLE: &str = "SLACKWATER_FUZZ_SEEDS";

/// Something that is fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its function and of its program.
    pub name: &'static str,
    /// Looks at one input, and panics on a finding.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "loader",
        run: loader,
        seeds: loader::seeds,
    },
    Target {
        name: "instrumenter",
        run: instrumenter,
        seeds: instrumenter::seeds,
    },
    Target {
        name: "chain_spec",
        run: chain_spec,
        seeds: chain_spec::seeds,
    },
    Target {
        name: "record_file",
        run: record_file,
        seeds: record_seeds::seeds,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Called once by the program of a target. Where [`SEEDS_VARIABLE`] names a folder, it writes the starting inputs there,
/// and the program ends.
pub fn begin(name: &str) {
    let Some(folder) = std::env::var_os(SEEDS_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let target = target(name).expect("a target");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        let path = folder.join(format!("seed-{number:03}"));
        std::fs::write(path, seed).expect("an input can be written");
    }
    std::process::exit(0);
}
