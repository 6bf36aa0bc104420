//! The determinism matrix: everything that may be chosen, and must not change what a block does.
//!
//! A fixture is recorded once under the default configuration; in each cell of the matrix it is executed again and compared:
//! outcomes, writes, roots, and fuel where it is counted. Invariant: a fixture that passes has one result in all cells
//! it was executed in. Cost: compiling its runtimes for each configuration, and executing its blocks for each cell.

use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use rand_chacha::{ChaCha8Rng, rand_core::RngCore, rand_core::SeedableRng};
use slackwater_executor::{
    ExecutorConfig, InstanceMode, Meter, WasmExecutor,
    host_functions::HostFunctions,
    recording::{Recording, Verifier, VerifyError},
    runtime::{Compilation, EngineError, Optimisation, Target},
};

use crate::{BlockFixture, ChainError, FixtureChain};

/// Instances.
pub const MODES: [InstanceMode; 2] = [InstanceMode::Snapshot, InstanceMode::Fresh];
/// Threads that execute ranges of blocks at once, by one executor.
pub const THREADS: [usize; 3] = [1, 2, 8];
/// How often running guests are looked at.
pub const ARBITER_PERIODS: [Duration; 3] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
];
/// Who counts fuel.
pub const METERS: [Meter; 3] = [Meter::Off, Meter::Slacked, Meter::Checked];
/// How much is done to make code fast.
pub const OPTIMISATIONS: [Optimisation; 3] = [
    Optimisation::None,
    Optimisation::Speed,
    Optimisation::SpeedAndSize,
];

/// One choice of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    /// How instances come about.
    pub mode: InstanceMode,
    /// Who counts fuel.
    pub meter: Meter,
    /// How code is made.
    pub optimisation: Optimisation,
    /// What it is made for.
    pub target: Target,
    /// How often running guests are looked at.
    pub arbiter_period: Duration,
    /// Threads that execute ranges of blocks at once.
    pub threads: NonZeroUsize,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            mode,
            meter,
            optimisation,
            target,
            arbiter_period,
            threads,
        } = self;
        write!(
            formatter,
            "{mode:?} instances, meter {meter:?}, code {optimisation:?} for {target:?}, \
             arbiter every {arbiter_period:?}, threads {threads}"
        )
    }
}

impl Cell {
    /// The executor it asks for.
    #[must_use]
    pub fn config(&self) -> ExecutorConfig {
        ExecutorConfig::default()
            .with_instances(self.mode)
            .with_meter(self.meter)
            .with_arbiter_period(self.arbiter_period)
            .with_compilation(Compilation {
                optimisation: self.optimisation,
                target: self.target,
                ..Compilation::default()
            })
    }
}

/// Cells to execute fixtures in.
#[derive(Debug, Clone)]
pub struct Matrix {
    cells: Vec<Cell>,
}

impl Matrix {
    /// All cells on this machine's instruction set.
    #[must_use]
    pub fn native() -> Self {
        Self::of_target(Target::Native, &METERS)
    }

    /// All cells on the instruction set of the engine's interpreter, which takes other paths through its compiler. Without the
    /// meter that stops guests by a fault.
    #[must_use]
    pub fn interpreted() -> Self {
        Self::of_target(Target::Pulley, &[Meter::Off, Meter::Checked])
    }

    fn of_target(target: Target, meters: &[Meter]) -> Self {
        let mut cells = Vec::new();
        for mode in MODES {
            for meter in meters {
                for optimisation in OPTIMISATIONS {
                    for arbiter_period in ARBITER_PERIODS {
                        let cell = |threads| Cell {
                            mode,
                            meter: *meter,
                            optimisation,
                            target,
                            arbiter_period,
                            threads,
                        };
                        cells.extend(
                            THREADS
                                .iter()
                                .copied()
                                .filter_map(NonZeroUsize::new)
                                .map(cell),
                        );
                    }
                }
            }
        }
        Self { cells }
    }

    /// At most `count` of the cells, which ones follows from `seed`.
    #[must_use]
    pub fn slice(mut self, seed: u64, count: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut left: Vec<usize> = (0..self.cells.len()).collect();
        let mut kept = BTreeSet::new();
        while kept.len() < count && !left.is_empty() {
            let drawn = random.next_u64() % left.len() as u64;
            kept.insert(left.swap_remove(usize::try_from(drawn).unwrap_or_default()));
        }
        let mut index = 0..;
        self.cells
            .retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
        self
    }

    /// The cells.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Executes a fixture in each cell, and tells `progress` of each that gave the same.
    ///
    /// # Errors
    /// [`MatrixError`], for the first cell that does not.
    pub fn check<H: HostFunctions>(
        &self,
        fixture: &BlockFixture,
        progress: impl FnMut(&Cell),
    ) -> Result<(), MatrixError> {
        let executor = WasmExecutor::<H>::new(ExecutorConfig::default());
        let executor = executor.map_err(MatrixError::Engine)?;
        let chain = FixtureChain::open(&executor, fixture)?;
        let recording = chain.record(&executor, &fixture.name)?;
        self.check_recording::<H>(&chain, &recording, progress)
    }

    /// Verifies a recording of a chain in each cell.
    ///
    /// # Errors
    /// [`MatrixError`], for the first cell in which something else comes.
    pub fn check_recording<H: HostFunctions>(
        &self,
        chain: &FixtureChain,
        recording: &Recording,
        mut progress: impl FnMut(&Cell),
    ) -> Result<(), MatrixError> {
        let engine = |config| WasmExecutor::<H>::new(config).map_err(MatrixError::Engine);
        let mut executor: Option<(ExecutorConfig, WasmExecutor<H>)> = None;
        for cell in &self.cells {
            let config = cell.config();
            // Neighbours differ in the number of threads alone.
            let executor = match executor.take() {
                Some((other, same)) if other == config => executor.insert((other, same)),
                _ => executor.insert((config.clone(), engine(config)?)),
            };
            verify(&executor.1, chain, recording, cell.threads).map_err(|source| {
                MatrixError::Cell {
                    fixture: recording.head().name.clone(),
                    cell: *cell,
                    source: Box::new(source),
                }
            })?;
            progress(cell);
        }
        Ok(())
    }
}

fn verify<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    chain: &FixtureChain,
    recording: &Recording,
    threads: NonZeroUsize,
) -> Result<(), CellError> {
    let verifier = Verifier::new(executor, recording).with_threads(threads);
    verifier.verify(chain.parent_state()?, chain.blocks(), &|_block| {})?;
    Ok(())
}

/// Why a cell did not give the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CellError {
    /// Something differs, or the machine failed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The state cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Why a fixture was not found to have one result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A cell does not give what the default configuration gives.
    #[error("{fixture}, {cell}: {source}")]
    Cell {
        /// Name of the fixture.
        fixture: String,
        /// The cell.
        cell: Cell,
        /// What differs.
        source: Box<CellError>,
    },
    /// The fixture cannot be executed even under the default configuration.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(EngineError),
}
