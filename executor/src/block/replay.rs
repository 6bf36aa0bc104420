//! The replaying policy: the block is given, so anything that would be left out when building makes
//! it invalid.
//!
//! Two paths lead to the same state. *Split* runs initialize, each extrinsic, and finalize, and
//! tells what became of each extrinsic; *whole* runs `Core_execute_block`, which also makes the
//! runtime's own checks, such as the position of inherents. So the whole path decides whether a block
//! from elsewhere is valid; the split path tells what happened in one that is. Where the runtime
//! takes only inherents, which cannot be told from outside, the split path runs the whole one first.

use std::borrow::Cow;

use codec::Encode;
use slackwater_host_functions::HostFunctions;
use sp_externalities::Extensions;
use thiserror::Error;

use super::{
    Block, BlockExecution, BlockFuel, BlockReceipts, Divergence, ExecutionError, ExtrinsicOutcome,
    InclusionMode, Step,
    ahead::{Beginning, is_dalek, with_ahead},
    divergence::Cause,
};
use crate::{
    runtime::CallContext,
    state::{BlockChanges, BlockState},
    wasm_executor::WasmExecutor,
};

/// How a block is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExecutionPath {
    /// Initialize, apply each extrinsic in an instance and a layer of its own, finalize.
    #[default]
    Split,
    /// `Core_execute_block` in one instance.
    Whole,
}

/// A block executed to its end. That it equals the chain's has been checked as far as the runtime
/// tells: header, digest and both roots.
#[derive(Debug)]
pub struct Executed {
    /// Receipts of the extrinsics.
    pub receipts: BlockReceipts,
    /// Its effects.
    pub changes: BlockChanges,
    /// Fuel used, where it is counted and calls were told apart.
    pub fuel: Option<BlockFuel>,
}

/// Why a block was not replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The block is not valid on this state, or the state is not the one it was made on.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// The machine failed, not the block.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

impl From<Divergence> for ReplayError {
    fn from(divergence: Divergence) -> Self {
        Self::Diverged(Box::new(divergence))
    }
}

/// Executes `block` along `path` on the state of its parent.
///
/// `extensions` makes what host functions find beside the storage, anew for each run: where the
/// runtime takes only inherents, the split path runs the block twice.
///
/// # Errors
/// [`ReplayError::Diverged`] naming the step that departs from the block, or
/// [`ReplayError::Execution`].
pub fn execute<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: &Block,
    path: ExecutionPath,
    extensions: &dyn Fn() -> Extensions,
) -> Result<Executed, ReplayError> {
    let beginning = || Beginning {
        header: block.header_initial(),
        // An instance that a whole block was executed in is slow to put back after small calls, so another heap is asked
        // for, with which it begins anew.
        context: match path {
            ExecutionPath::Whole => CallContext::Build,
            ExecutionPath::Split => context_of(executor, path),
        },
        dalek: is_dalek(&mut extensions()),
    };
    with_ahead(executor, state, beginning, |feed| {
        let Some(feed) = feed else {
            return execute_along(executor, state, block, path, extensions);
        };
        for extrinsic in &block.extrinsics {
            feed.push(Cow::Borrowed(extrinsic));
        }
        execute_along(executor, state, block, path, &|| {
            let mut extensions = extensions();
            extensions.register(feed.extension());
            extensions
        })
    })
}

/// Twice the heap is for a whole block in one instance, and where fuel is in consensus a guest must find what it found
/// when the block was built.
pub(crate) fn context_of<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    path: ExecutionPath,
) -> CallContext {
    match (path, executor.fuel_rules()) {
        (ExecutionPath::Split, Some(_)) => CallContext::Build,
        _ => CallContext::Import,
    }
}

fn execute_along<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: &Block,
    path: ExecutionPath,
    extensions: &dyn Fn() -> Extensions,
) -> Result<Executed, ReplayError> {
    match path {
        ExecutionPath::Split => execute_split(executor, state, block, extensions),
        ExecutionPath::Whole => {
            // Only the split path can tell what each extrinsic uses.
            let limited = match executor.fuel_rules() {
                Some(_) => Some(execute_split(executor, state, block, extensions)?),
                None => None,
            };
            let mut executed = execute_whole(executor, state, block, extensions())?;
            if let Some(limited) = limited {
                executed.receipts.fuel = limited.receipts.fuel;
                executed.fuel = limited.fuel;
            }
            Ok(executed)
        }
    }
}

/// Extrinsic by extrinsic.
fn execute_split<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: &Block,
    extensions: &dyn Fn() -> Extensions,
) -> Result<Executed, ReplayError> {
    let number = block.header.number;
    let diverged = |step, cause| Divergence::new(number, step, cause);
    let ruled = executor.fuel_rules().is_some();
    let context = context_of(executor, ExecutionPath::Split);
    let mut execution = BlockExecution::new(executor, state, context, extensions())?;
    let only_inherents = match execution.initialize(&block.header_initial())? {
        Ok(mode) => mode == InclusionMode::OnlyInherents,
        Err(trap) => return Err(diverged(Step::Initialize, Cause::Trapped(trap)).into()),
    };
    // Only the runtime can tell inherents from transactions. Where each has a limit, that comes first.
    if only_inherents && !ruled {
        execute_whole(executor, state, block, extensions())?;
    }
    let mut outcomes = Vec::with_capacity(block.extrinsics.len());
    for (index, extrinsic) in (0u32..).zip(&block.extrinsics) {
        let outcome = execution.apply(extrinsic)?.outcome;
        let refused = refused(&outcome);
        outcomes.push(outcome);
        if let Some(cause) = refused {
            let divergence = diverged(Step::Extrinsic(index), cause);
            return Err(divergence.with_outcomes(outcomes).into());
        }
    }
    let header = match execution.finalize()? {
        Ok(header) => header,
        Err(trap) => {
            let divergence = diverged(Step::Finalize, Cause::Trapped(trap));
            return Err(divergence.with_outcomes(outcomes).into());
        }
    };
    let fuel = execution.fuel().cloned();
    let fuel_receipt = execution.fuel_receipt();
    let changes = execution.finish()?;
    let expected = block.header_unsealed();
    if let Some(cause) = Cause::of_headers(&expected, &header, changes.state_root) {
        let divergence = diverged(Step::Finalize, cause).with_outcomes(outcomes);
        return Err(divergence.with_changes(changes).into());
    }
    if only_inherents && ruled {
        execute_whole(executor, state, block, extensions())?;
    }
    Ok(Executed {
        receipts: BlockReceipts::of_outcomes(&outcomes, fuel_receipt, &changes),
        changes,
        fuel,
    })
}

/// By one call of `Core_execute_block`: it faults to refuse a block.
pub(crate) fn execute_whole<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: &Block,
    extensions: Extensions,
) -> Result<Executed, ReplayError> {
    let mut execution = BlockExecution::new(executor, state, CallContext::Import, extensions)?;
    let result = execution.execute_whole(&block.encode_unsealed())?;
    let diverged = |cause| Divergence::new(block.header.number, Step::ExecuteBlock, cause);
    if let Err(trap) = result {
        let divergence = diverged(Cause::Trapped(trap));
        // What was computed by then is for the report; without it there is still the fault.
        return Err(match execution.finish() {
            Ok(changes) => divergence.with_changes(changes),
            Err(_no_root) => divergence,
        }
        .into());
    }
    let changes = execution.finish()?;
    let expected = block.header.state_root;
    if changes.state_root != expected {
        let computed = changes.state_root;
        let cause = Cause::StateRoot { expected, computed };
        return Err(diverged(cause).with_changes(changes).into());
    }
    Ok(Executed {
        receipts: BlockReceipts::whole(&changes),
        changes,
        fuel: None,
    })
}

/// Why an extrinsic of the body does not belong there; `None` if it does.
pub(crate) fn refused(outcome: &ExtrinsicOutcome) -> Option<Cause> {
    match outcome {
        ExtrinsicOutcome::Applied | ExtrinsicOutcome::DispatchError { .. } => None,
        ExtrinsicOutcome::Invalid(reason) => Some(Cause::Refused(*reason)),
        ExtrinsicOutcome::Trapped(trap) => Some(Cause::Trapped(trap.clone())),
        ExtrinsicOutcome::NoFuelLeft => Some(Cause::NoFuelLeft),
    }
}

impl Cause {
    /// The first difference between the block's header and the one the runtime made.
    pub(crate) fn of_headers(
        expected: &super::Header,
        computed: &super::Header,
        state_root: sp_core::H256,
    ) -> Option<Self> {
        if expected.state_root != computed.state_root || expected.state_root != state_root {
            // The root in the header was calculated inside the guest; a later change would show in
            // the other one.
            let computed = if computed.state_root == expected.state_root {
                state_root
            } else {
                computed.state_root
            };
            return Some(Self::StateRoot {
                expected: expected.state_root,
                computed,
            });
        }
        let fields = [
            (
                "extrinsics root",
                expected.extrinsics_root.encode(),
                computed.extrinsics_root.encode(),
            ),
            ("digest", expected.digest.encode(), computed.digest.encode()),
            (
                "parent hash",
                expected.parent_hash.encode(),
                computed.parent_hash.encode(),
            ),
            ("number", expected.number.encode(), computed.number.encode()),
        ];
        fields
            .into_iter()
            .find(|(_, expected, computed)| expected != computed)
            .map(|(field, expected, computed)| Self::HeaderField {
                field,
                expected,
                computed,
            })
    }
}
