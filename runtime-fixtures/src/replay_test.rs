//! Replay tests: a fixture, and beside it a text of what executing it does.
//!
//! ```no_run
//! // In a test; the path is one in the package of the test.
//! slackwater_runtime_fixtures::replay_fixture!("tests/fixtures/my-chain.json");
//! ```
//!
//! `NAME.json` is a block fixture, `NAME.expect.txt` beside it says of each block and each call the outcome, the fuel, and
//! every key with the value it leaves. Where something else comes, the test fails with the first line that differs, and
//! with `UPDATE_EXPECT=1` in the environment it writes the text anew: look at the change before you commit it. A folder in the place
//! of a file stands for all fixtures in it.
//!
//! Invariant: the text is a function of the fixture and of the rules of the executor, not of the machine, and a test that
//! passes has executed every block in both modes of instances. Cost: two compilations and two executions of every block.

use std::{
    collections::BTreeMap,
    fmt::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

pub use slackwater_executor::ExecutorConfig;
use slackwater_executor::{
    InstanceMode, WasmExecutor,
    host_functions::{HostFunctions, SlackwaterHostFunctions},
    recording::{
        RecordedBlock, RecordedCall, Recording, RecordingError, Spliced, Verifier, VerifyError,
        Writes,
    },
    runtime::EngineError,
    state::{HistoryError, Place, StateError, StateView, value_at},
};
use sp_core::H256;

use crate::{BlockFixture, ChainError, FixtureChain, FixtureError, StateNames, hexadecimal};

/// The variable that, set to `1`, has expectations written anew.
pub const UPDATE_VARIABLE: &str = "UPDATE_EXPECT";

/// The ending of expectations, in the place of `json`.
const EXPECTED: &str = "expect.txt";

/// Values up to so many bytes stand in an expectation; of longer ones the first and last, their length and a hash.
const VALUE_BYTES_MAX: usize = 48;
const ENDS_BYTES: usize = 12;

/// Replays a fixture, or all of a folder, and panics where it does not do what is expected: see
/// [`replay_test`](crate::replay_test). The path is taken from the package that is tested; a configuration may stand behind it.
#[macro_export]
macro_rules! replay_fixture {
    ($path:expr) => {
        $crate::replay_fixture!($path, $crate::replay_test::ExecutorConfig::default())
    };
    ($path:expr, $config:expr) => {{
        let path = ::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join($path);
        match $crate::replay_test::replay_fixture(&path, $config) {
            Ok(replayed) => replayed,
            Err(error) => ::std::panic!("{error}"),
        }
    }};
}

/// Fixtures that did what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayedFixtures {
    /// Fixtures.
    pub fixtures: usize,
    /// Their blocks.
    pub blocks: usize,
    /// Expectations that were written, because that was asked for.
    pub updated: usize,
}

/// Why a replay test fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayTestError {
    /// Something else came.
    #[error(
        "{}: line {line}, {context}:\n  expected  {}\n  came      {}\n\
         {differing} lines differ. If that is right, set {UPDATE_VARIABLE}=1 and run the test again.",
        path.display(), shown(expected.as_ref()), shown(found.as_ref())
    )]
    Differs {
        /// The expectation.
        path: PathBuf,
        /// The first line that differs, counted from 1.
        line: usize,
        /// The block and the call it is of.
        context: String,
        /// The line there; `None` behind its end.
        expected: Option<String>,
        /// The line that came; `None` if there is none more.
        found: Option<String>,
        /// How many lines differ.
        differing: usize,
    },
    /// There is no expectation yet.
    #[error("{}: there is no expectation; set {UPDATE_VARIABLE}=1 and run the test again to write it", .0.display())]
    NoExpectation(PathBuf),
    /// There is no fixture in the folder.
    #[error("{}: there is no fixture in this folder", .0.display())]
    NoFixture(PathBuf),
    /// The other mode of instances gives something else: an error of the executor.
    #[error("{}: in the other mode of instances: {source}", path.display())]
    Modes {
        /// The fixture.
        path: PathBuf,
        /// What differs.
        source: VerifyError,
    },
    /// The fixture cannot be read.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// The fixture cannot be executed, or is not what its headers say.
    #[error("{}: {source}", path.display())]
    Chain {
        /// The fixture.
        path: PathBuf,
        /// Why.
        source: ChainError,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The machine failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The machine failed.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The runtime cannot be asked for names.
    #[error(transparent)]
    Names(#[from] slackwater_executor::ExecutionError),
    /// The machine failed.
    #[error(transparent)]
    History(#[from] HistoryError),
}

fn shown(line: Option<&String>) -> &str {
    line.map_or("(nothing)", |line| line.trim())
}

/// Replays the fixture at `path`, or all in the folder there, with the host functions of this project.
///
/// # Errors
/// [`ReplayTestError`].
pub fn replay_fixture(
    path: &Path,
    config: ExecutorConfig,
) -> Result<ReplayedFixtures, ReplayTestError> {
    let is_updating = std::env::var_os(UPDATE_VARIABLE).is_some_and(|value| value == "1");
    replay_with::<SlackwaterHostFunctions>(path, config, is_updating)
}

/// As [`replay_fixture()`], with host functions of one's own, and told whether to write expectations.
///
/// # Errors
/// [`ReplayTestError`].
pub fn replay_with<H: HostFunctions>(
    path: &Path,
    config: ExecutorConfig,
    is_updating: bool,
) -> Result<ReplayedFixtures, ReplayTestError> {
    let other = match config.onchain_instances {
        InstanceMode::Snapshot => InstanceMode::Fresh,
        InstanceMode::Fresh => InstanceMode::Snapshot,
    };
    let executors = [
        WasmExecutor::<H>::new(config.clone())?,
        WasmExecutor::<H>::new(config.with_instances(other))?,
    ];
    let mut replayed = ReplayedFixtures::default();
    for file in fixtures(path)? {
        let (text, blocks) = text_of(&file, &executors)?;
        let expectation = file.with_extension(EXPECTED);
        replayed.fixtures += 1;
        replayed.blocks += blocks;
        if is_updating {
            let written = std::fs::write(&expectation, &text);
            written.map_err(|source| io(&expectation, source))?;
            replayed.updated += 1;
        } else {
            compare(&expectation, &text)?;
        }
    }
    Ok(replayed)
}

fn io(path: &Path, source: std::io::Error) -> ReplayTestError {
    ReplayTestError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The fixture, or all in a folder, by name.
fn fixtures(path: &Path) -> Result<Vec<PathBuf>, ReplayTestError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|source| io(path, source))? {
        let file = entry.map_err(|source| io(path, source))?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(file);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(ReplayTestError::NoFixture(path.to_owned())),
        false => Ok(found),
    }
}

/// What executing a fixture does, in both modes, and how many blocks it has.
fn text_of<H: HostFunctions>(
    file: &Path,
    [executor, other]: &[WasmExecutor<H>; 2],
) -> Result<(String, usize), ReplayTestError> {
    let fixture = BlockFixture::load(file)?;
    let chain_error = |source| ReplayTestError::Chain {
        path: file.to_owned(),
        source,
    };
    let chain = FixtureChain::open(executor, &fixture).map_err(chain_error)?;
    let recording = chain.record(executor, &fixture.name).map_err(chain_error)?;
    let parent = chain.parent_state().map_err(chain_error)?;
    let verifier =
        Verifier::new(other, &recording).with_threads(NonZeroUsize::MIN.saturating_add(1));
    let verified = verifier.verify(parent.clone(), chain.blocks(), &|_block| {});
    verified.map_err(|source| ReplayTestError::Modes {
        path: file.to_owned(),
        source,
    })?;
    let view = parent.view()?;
    let names = StateNames::of_state(executor, &view)?;
    let text = Text::new(&view, &names).of(&recording)?;
    Ok((text, recording.len()))
}

/// Writes down what was recorded.
struct Text<'a, 'db> {
    view: &'a StateView<'db>,
    names: &'a StateNames,
    /// The code that the names are of.
    code: Option<H256>,
    /// Whether the block at hand has it.
    is_named: bool,
    /// What the calls so far have left.
    values: BTreeMap<Place, Option<Vec<u8>>>,
    text: String,
}

impl<'a, 'db> Text<'a, 'db> {
    fn new(view: &'a StateView<'db>, names: &'a StateNames) -> Self {
        Self {
            view,
            names,
            code: None,
            is_named: true,
            values: BTreeMap::new(),
            text: String::new(),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.text, "{line}");
    }

    fn of(mut self, recording: &Recording) -> Result<String, ReplayTestError> {
        let head = recording.head();
        self.line(format_args!(
            "# What executing {} does; written with {UPDATE_VARIABLE}=1.",
            head.name
        ));
        match head.rules.schedule {
            Some(schedule) => self.line(format_args!("fuel by schedule {schedule:?}")),
            None => self.line(format_args!("fuel is not counted")),
        }
        self.line(format_args!("state before {:?}", head.parent.state_root));
        for index in 0..recording.len() {
            self.block(&recording.block(index)?)?;
        }
        Ok(self.text)
    }

    fn block(&mut self, block: &RecordedBlock) -> Result<(), ReplayTestError> {
        // Behind an upgrade there are other names.
        self.is_named = *self.code.get_or_insert(block.code) == block.code;
        self.line(format_args!("\nblock {} {:?}", block.number, block.hash));
        self.line(format_args!(
            "  code {:?}, tries of version {}",
            block.code, block.state_version
        ));
        self.call("initialize", &block.initialize)?;
        for (index, extrinsic) in block.extrinsics.iter().enumerate() {
            let name = format!("extrinsic {index} {:?}", extrinsic.hash);
            self.call(&name, &extrinsic.call)?;
        }
        if let Some(finalize) = &block.finalize {
            self.call("finalize", finalize)?;
        }
        self.line(format_args!("  also touched"));
        self.writes(&block.rest)?;
        self.line(format_args!("  root {:?}", block.state_root));
        Ok(())
    }

    fn call(&mut self, name: &str, call: &RecordedCall) -> Result<(), ReplayTestError> {
        let mut outcome = call.outcome.to_string();
        if let Some(error) = &call.outcome.error
            && let Some(error) = self.names.dispatch_error(error).filter(|_| self.is_named)
        {
            let _written = write!(outcome, " {error}");
        }
        match call.fuel {
            Some(fuel) => self.line(format_args!(
                "  {name}: {outcome}, fuel {} wasm, {} sizes, {} host",
                fuel.wasm, fuel.size, fuel.host
            )),
            None => self.line(format_args!("  {name}: {outcome}")),
        }
        self.writes(&call.writes)
    }

    fn writes(&mut self, writes: &Writes) -> Result<(), ReplayTestError> {
        let Some(list) = writes.list() else {
            self.line(format_args!("    writes {:?}", writes.digest()));
            return Ok(());
        };
        for (place, spliced) in list {
            let value = self.left(place, spliced)?;
            let (child, key) = place;
            let mut line = hexadecimal::encode(key);
            if let Some(child) = child {
                let _written = write!(line, " of child trie {}", hexadecimal::encode(child));
            } else if let Some(name) = self.names.key(key).filter(|_| self.is_named) {
                let _written = write!(line, " {name}");
            }
            let value = value
                .as_deref()
                .map_or_else(|| "(removed)".to_owned(), brief);
            self.line(format_args!("    {line} = {value}"));
        }
        Ok(())
    }

    /// The value that a write leaves.
    fn left(&mut self, place: &Place, spliced: &Spliced) -> Result<Option<Vec<u8>>, StateError> {
        let before = match self.values.get(place) {
            Some(value) => value.clone(),
            None => value_at(self.view, place)?,
        };
        // It was recorded over this very value.
        let value = spliced.apply(before.as_deref()).flatten();
        self.values.insert(place.clone(), value.clone());
        Ok(value)
    }
}

/// A value, of which the middle may be left out.
fn brief(value: &[u8]) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return hexadecimal::encode(value);
    }
    let (front, back) = (&value[..ENDS_BYTES], &value[value.len() - ENDS_BYTES..]);
    format!(
        "{}...{} ({} bytes, blake2-128 {})",
        hexadecimal::encode(front),
        hexadecimal::encode(back).trim_start_matches("0x"),
        value.len(),
        hexadecimal::encode(&sp_crypto_hashing::blake2_128(value)),
    )
}

/// Compares an expectation with what came.
fn compare(path: &Path, found: &str) -> Result<(), ReplayTestError> {
    let expected = match std::fs::read_to_string(path) {
        Ok(expected) => expected,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ReplayTestError::NoExpectation(path.to_owned()));
        }
        Err(source) => return Err(io(path, source)),
    };
    let (mut block, mut call) = ("the beginning", "");
    let (mut one, mut other) = (expected.lines(), found.lines());
    let mut first = None;
    let mut differing = 0_usize;
    for line in 1.. {
        let (expected, found) = (one.next(), other.next());
        if (expected, found) == (None, None) {
            break;
        }
        if let (true, Some(line)) = (first.is_none(), expected.or(found)) {
            if line.starts_with("block ") {
                (block, call) = (line, "");
            } else if line.starts_with("  ") && !line.starts_with("    ") {
                call = line.trim_start().split(':').next().unwrap_or_default();
            }
        }
        if expected != found {
            differing += 1;
            first.get_or_insert((line, expected, found, format!("{block}, {call}")));
        }
    }
    match first {
        None => Ok(()),
        Some((line, expected, found, context)) => Err(ReplayTestError::Differs {
            path: path.to_owned(),
            line,
            context: context.trim_end_matches(", ").to_owned(),
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
            differing,
        }),
    }
}
