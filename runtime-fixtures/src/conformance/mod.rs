//! One call per fixture: runs it by every way there is, under every configuration given, and
//! compares everything.
//!
//! The ways are replaying it by either path, and building it anew from what a builder was offered.
//! Each must give what the fixture states (outcomes and errors, headers, roots, writes, refusals),
//! and all must leave the same receipts and the same state. Invariant: a check that returns `Ok` has
//! executed every block at least twice under each configuration. Cost: a temporary database for each
//! run, and time for as many executions as there are runs.

mod building;
mod refusing;

use std::num::NonZeroU32;

use codec::{DecodeAll, Encode};
use slackwater_executor::{
    ConsensusFuel, Durability, ExecutionPath, ExecutorConfig, Fuel, InstanceMode, Meter,
    WasmExecutor,
    block::{BlockReceipts, BuildError, ExecutionError, ExtrinsicReceipt, WriteDifference},
    host_functions::HostFunctions,
    runtime::EngineError,
    state::{Database, Head, OpenError, StateError},
};
use sp_core::H256;
use sp_state_machine::Backend;

use crate::{BlockFixture, FixtureReplay, FixtureReplayError, Offered, Refusal, hexadecimal};

/// Settings of an executor under a name.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// For messages.
    pub name: &'static str,
    /// The settings.
    pub executor: ExecutorConfig,
}

/// Fuel as a rule of a chain that lets everything pass.
const GENEROUS: ConsensusFuel = ConsensusFuel {
    extrinsic: Fuel(1 << 50),
    block: Fuel(1 << 50),
    initialize: Fuel(1 << 50),
    finalize: Fuel(1 << 52),
    depth_bytes_max: 64 << 20,
};

impl Configuration {
    /// Every configuration that must give the same results.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self {
                name: "default",
                executor: ExecutorConfig::default(),
            },
            Self {
                name: "compat",
                executor: ExecutorConfig::compat(),
            },
            Self {
                name: "checked",
                executor: ExecutorConfig::default().with_meter(Meter::Checked),
            },
            Self {
                name: "consensus",
                executor: ExecutorConfig::default().with_consensus_fuel(GENEROUS),
            },
            Self {
                name: "fresh",
                executor: ExecutorConfig::default()
                    .with_consensus_fuel(GENEROUS)
                    .with_instances(InstanceMode::Fresh),
            },
            Self {
                name: "verified",
                executor: ExecutorConfig::default()
                    .with_consensus_fuel(GENEROUS)
                    .with_meter(Meter::Checked)
                    .with_verify_reset_every(Some(NonZeroU32::MIN)),
            },
        ]
    }
}

/// A way to run a fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Replaying extrinsic by extrinsic.
    Split,
    /// Replaying by `Core_execute_block`.
    Whole,
    /// Building from what was offered; only where every block states it.
    Build,
}

impl Way {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Whole => "whole",
            Self::Build => "build",
        }
    }
}

/// A run that gave what the fixture states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of the configuration.
    pub configuration: &'static str,
    /// The way.
    pub way: Way,
    /// Blocks executed.
    pub blocks: usize,
    /// Extrinsics executed, those left out by a builder among them.
    pub extrinsics: usize,
    /// Blocks attempted and refused; they are, between the blocks of a split run.
    pub refused: usize,
    /// The database's head in the end.
    pub head: Head,
    /// BLAKE2b-256 of the top trie's keys and values in the end; roots of child tries are among
    /// them.
    pub state_digest: H256,
    /// BLAKE2b-256 of the stored receipts of all extrinsics; `None` where they are not told apart.
    pub receipts_digest: Option<H256>,
    /// BLAKE2b-256 of the stored receipts' fuel, which is the same where the rules of fuel are.
    pub fuel_digest: H256,
    /// The rules of fuel, if it is in consensus.
    pub rules: Option<ConsensusFuel>,
}

/// How an extrinsic ended: the outcome's name in fixtures, and the encoded error if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// See [`crate::OfferedOutcome::name`].
    pub outcome: String,
    /// SCALE `DispatchError` or `TransactionValidityError`.
    pub error: Option<Vec<u8>>,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { outcome, error } = self;
        match error {
            None => write!(formatter, "{outcome}"),
            Some(error) => write!(formatter, "{outcome} {}", hexadecimal::encode(error)),
        }
    }
}

impl Ended {
    fn stated(offered: &Offered) -> Self {
        Self {
            outcome: offered.outcome.name().to_owned(),
            error: offered.error.clone(),
        }
    }
}

fn shown(ended: Option<&Ended>) -> String {
    ended.map_or_else(|| "nothing".to_owned(), Ended::to_string)
}

/// What a fixture states and what came, as far as it is no divergence of a replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// Replaying stopped.
    #[error(transparent)]
    Replay(Box<FixtureReplayError>),
    /// Only some blocks state what was offered, so the chain can neither be built nor be taken for
    /// one that nothing is known of.
    #[error("{offered} of {blocks} blocks state what was offered")]
    PartlyOffered {
        /// Blocks that do.
        offered: usize,
        /// Blocks in all.
        blocks: usize,
    },
    /// Instances differed from new ones after they had been put back.
    #[error("{differing} instances differed from a new one after they had been put back")]
    Instances {
        /// How many.
        differing: u64,
    },
    /// Stored receipts do not decode.
    #[error("block {block}: its stored receipts do not decode: {error}")]
    UndecodableReceipts {
        /// Number of the block.
        block: u64,
        /// What the decoder says.
        error: codec::Error,
    },
    /// The receipts are not those of what was offered and included.
    #[error(
        "block {block}, extrinsic {index} of the body: offered and included is {}, the receipt is {}",
        shown(expected.as_ref()), shown(found.as_ref())
    )]
    Receipts {
        /// Block number.
        block: u64,
        /// The first that differs.
        index: usize,
        /// By the fixture; `None` beyond the last.
        expected: Option<Ended>,
        /// By the receipt; `None` beyond the last.
        found: Option<Ended>,
    },
    /// Something else came of an offered extrinsic.
    #[error("block {block}, offer {offer}: {expected} is stated, {found} came")]
    Offered {
        /// Block number.
        block: u64,
        /// Position among those offered.
        offer: usize,
        /// By the fixture.
        expected: Ended,
        /// What came.
        found: Ended,
    },
    /// The block cannot be built at all.
    #[error("block {block} cannot be built: {source}")]
    Unbuildable {
        /// Block number.
        block: u64,
        /// Why.
        source: Box<BuildError>,
    },
    /// The block built is another one.
    #[error("block {block}: building gives another {part}")]
    Built {
        /// Block number.
        block: u64,
        /// What differs.
        part: &'static str,
    },
    /// The block built writes something else.
    #[error("block {block}: building writes differently, first at {}", hexadecimal::encode(&difference.key))]
    Writes {
        /// Block number.
        block: u64,
        /// The first difference.
        difference: Box<WriteDifference>,
    },
    /// A block that must be refused is not, or elsewhere.
    #[error("block {block}, case `{case}`: {} is stated, but {found}", refusal.name())]
    Refused {
        /// Number of the block beside it.
        block: u64,
        /// The case.
        case: String,
        /// By the fixture.
        refusal: Refusal,
        /// What came.
        found: String,
    },
    /// Two runs leave different things behind.
    #[error("{what} is not that of {other}")]
    Runs {
        /// What differs.
        what: &'static str,
        /// The first run, of configuration and way.
        other: String,
    },
    /// The machine failed.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The machine failed to open a database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no temporary folder.
    #[error("a temporary database cannot be made: {0}")]
    Temporary(std::io::Error),
}

impl From<FixtureReplayError> for Difference {
    fn from(error: FixtureReplayError) -> Self {
        Self::Replay(Box::new(error))
    }
}

impl From<StateError> for Difference {
    fn from(error: StateError) -> Self {
        Self::Execution(error.into())
    }
}

/// A fixture that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{fixture}, {configuration}, {}: {difference}", way.name())]
pub struct ConformanceError {
    /// Name of the fixture.
    pub fixture: String,
    /// Name of the configuration.
    pub configuration: &'static str,
    /// The way it was run.
    pub way: Way,
    /// What is wrong.
    #[source]
    pub difference: Box<Difference>,
}

impl ConformanceError {
    /// Whether the machine or the fixture's files failed, which says nothing about the results.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        match self.difference.as_ref() {
            Difference::Replay(error) => error.divergence().is_none(),
            Difference::Execution(_)
            | Difference::Open(_)
            | Difference::Engine(_)
            | Difference::Temporary(_) => true,
            _ => false,
        }
    }
}

/// Runs `fixture` under each configuration: by both paths, and, where the fixture says what was
/// offered, by building. Returns every run; they agree.
///
/// # Errors
/// The first difference from the fixture, or between two runs.
pub fn check_fixture<H: HostFunctions>(
    fixture: &BlockFixture,
    configurations: &[Configuration],
) -> Result<Vec<Run>, ConformanceError> {
    let offered = fixture.blocks.iter().filter(|b| b.offered.is_some());
    let offered = offered.count();
    let partly = offered != 0 && offered != fixture.blocks.len();
    let built = offered != 0;
    let ways = [
        Some(Way::Split),
        Some(Way::Whole),
        built.then_some(Way::Build),
    ];
    let mut runs: Vec<Run> = Vec::new();
    for configuration in configurations {
        let fault = |way, difference: Difference| ConformanceError {
            fixture: fixture.name.clone(),
            configuration: configuration.name,
            way,
            difference: Box::new(difference),
        };
        // One for all ways, so that each runtime is compiled once.
        let executor = WasmExecutor::<H>::new(configuration.executor.clone())
            .map_err(|error| fault(Way::Split, error.into()))?;
        if partly {
            let blocks = fixture.blocks.len();
            let difference = Difference::PartlyOffered { offered, blocks };
            return Err(fault(Way::Build, difference));
        }
        for way in ways.into_iter().flatten() {
            let run = run(&executor, fixture, configuration.name, way)
                .map_err(|difference| fault(way, difference))?;
            compare(&runs, &run).map_err(|difference| fault(way, difference))?;
            let differing = executor.instances_differing();
            if differing > 0 {
                return Err(fault(way, Difference::Instances { differing }));
            }
            runs.push(run);
        }
    }
    Ok(runs)
}

/// A run must leave behind what those before it did.
fn compare(before: &[Run], run: &Run) -> Result<(), Difference> {
    for other in before {
        let both_tell = other.receipts_digest.is_some() && run.receipts_digest.is_some();
        let what = if other.head != run.head {
            "the head"
        } else if other.state_digest != run.state_digest {
            "the state"
        } else if both_tell && other.receipts_digest != run.receipts_digest {
            "a receipt"
        } else if other.rules == run.rules && other.fuel_digest != run.fuel_digest {
            "the fuel"
        } else {
            continue;
        };
        let other = format!("{}, {}", other.configuration, other.way.name());
        return Err(Difference::Runs { what, other });
    }
    Ok(())
}

fn run<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    fixture: &BlockFixture,
    configuration: &'static str,
    way: Way,
) -> Result<Run, Difference> {
    let folder = tempfile::tempdir().map_err(Difference::Temporary)?;
    let database = Database::open(folder.path(), Durability::Buffered)?;
    let refused = match way {
        Way::Split => fixture.blocks.iter().map(|block| block.refused.len()).sum(),
        _ => 0,
    };
    let extrinsics = match way {
        Way::Split => replay(executor, &database, fixture, ExecutionPath::Split)?,
        Way::Whole => replay(executor, &database, fixture, ExecutionPath::Whole)?,
        Way::Build => building::build(executor, &database, fixture)?,
    };
    let view = database.view()?;
    let (receipts_digest, fuel_digest) = receipts_digests(&database, fixture)?;
    Ok(Run {
        configuration,
        way,
        blocks: fixture.blocks.len(),
        extrinsics,
        refused,
        head: *view.head(),
        state_digest: state_digest(&view)?,
        receipts_digest: match way {
            Way::Whole => None,
            _ => Some(receipts_digest),
        },
        fuel_digest,
        rules: executor.config().consensus_fuel,
    })
}

/// Replays all blocks, on the split path after attempting those that must be refused beside each.
/// Returns the number of extrinsics.
fn replay<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    fixture: &BlockFixture,
    path: ExecutionPath,
) -> Result<usize, Difference> {
    let mut extrinsics = 0;
    let mut replay = FixtureReplay::new(executor, database, fixture, path)?;
    for stated in &fixture.blocks {
        if path == ExecutionPath::Split {
            for attempt in &stated.refused {
                refusing::attempt(executor, database, stated.number, attempt)?;
            }
        }
        let Some(replayed) = replay.next().transpose()? else {
            break;
        };
        extrinsics += replayed.extrinsics;
        let receipts = replayed.imported.receipts.extrinsics;
        if let (Some(receipts), Some(offered)) = (receipts, &stated.offered) {
            compare_receipts(stated.number, &receipts, offered)?;
        }
    }
    Ok(extrinsics)
}

/// The receipts must be those of what was offered and included.
fn compare_receipts(
    block: u64,
    receipts: &[ExtrinsicReceipt],
    offered: &[Offered],
) -> Result<(), Difference> {
    let included = offered.iter().filter(|offer| offer.outcome.is_included());
    let mut expected = included.map(Ended::stated);
    let mut found = receipts
        .iter()
        .map(|receipt| building::included(&receipt.result));
    for index in 0.. {
        let (expected, found) = (expected.next(), found.next());
        if expected != found {
            return Err(Difference::Receipts {
                block,
                index,
                expected,
                found,
            });
        }
        if expected.is_none() {
            break;
        }
    }
    Ok(())
}

fn state_digest(view: &slackwater_executor::state::StateView<'_>) -> Result<H256, Difference> {
    let unreadable = |error: <slackwater_executor::state::StateView<'_> as Backend<
        sp_core::Blake2Hasher,
    >>::Error| Difference::from(error);
    let mut digest = H256::zero();
    for pair in
        Backend::<sp_core::Blake2Hasher>::pairs(view, Default::default()).map_err(unreadable)?
    {
        let (key, value) = pair.map_err(unreadable)?;
        let linked = (digest, key, value).encode();
        digest = H256(sp_crypto_hashing::blake2_256(&linked));
    }
    Ok(digest)
}

/// Of what became of extrinsics, and of their fuel.
fn receipts_digests(
    database: &Database,
    fixture: &BlockFixture,
) -> Result<(H256, H256), Difference> {
    let (mut results, mut fuel) = (Vec::new(), Vec::new());
    for block in &fixture.blocks {
        let record = database.block(block.number)?;
        let receipts = record.map(|record| BlockReceipts::decode_all(&mut &record.receipts[..]));
        let receipts = receipts
            .transpose()
            .map_err(|error| Difference::UndecodableReceipts {
                block: block.number,
                error,
            })?;
        let receipts = receipts.map(|receipts| (receipts.extrinsics, receipts.fuel));
        let (extrinsics, used) = receipts.unzip();
        results.push(extrinsics);
        fuel.push(used);
    }
    let digest = |bytes: Vec<u8>| H256(sp_crypto_hashing::blake2_256(&bytes));
    Ok((digest(results.encode()), digest(fuel.encode())))
}
