//! Executing a block and noting what is recorded of it.
//!
//! Invariant: what is noted changes nothing. Cost: that of executing it, and of looking up what was there before for
//! each key that a call writes.

use std::collections::BTreeMap;

use slackwater_host_functions::HostFunctions;
use sp_core::{Blake2Hasher, H256, Hasher};
use sp_externalities::Extensions;

use super::{
    RecordedBlock, RecordedCall, RecordedExtrinsic, RecordedOutcome, Writes, recorded::rest,
};
use crate::{
    FuelUsed,
    block::{
        Block, BlockExecution, Cause, ExecutionError, ExtrinsicRun, InclusionMode, ReplayError,
        Step, context_of, execute_whole, refused,
    },
    state::{Access, BlockChanges, BlockState, Place},
    wasm_executor::WasmExecutor,
};

/// A block that was executed.
pub(super) struct Observed {
    /// What is recorded of it, as far as it came.
    pub(super) block: RecordedBlock,
    /// Its effects, or where it departs from the chain's.
    pub(super) end: Result<BlockChanges, (Step, Cause)>,
}

/// The last values of what calls changed.
type Left = BTreeMap<Place, Option<Vec<u8>>>;

/// Notes a call.
fn noted(
    outcome: RecordedOutcome,
    fuel: Option<FuelUsed>,
    access: Option<Access>,
    left: &mut Left,
) -> RecordedCall {
    let access = access.unwrap_or_default();
    let call = RecordedCall {
        outcome,
        fuel: fuel.as_ref().map(Into::into),
        writes: Writes::of_access(&access),
    };
    let writes = access.writes.into_iter();
    left.extend(writes.map(|(place, change)| (place, change.after)));
    call
}

/// Executes `block` on the state of its parent, extrinsic by extrinsic.
pub(super) fn observe<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
    block: &Block,
) -> Result<Observed, ExecutionError> {
    let context = context_of(executor, crate::ExecutionPath::Split);
    let mut execution = BlockExecution::new(executor, state, context, Extensions::new())?;
    execution.record_access();
    let runtime = execution.runtime();
    let (code, state_version) = (runtime.code_hash(), runtime.version().state_version());
    let mut left = Left::new();
    let begun = execution.initialize(&block.header_initial())?;
    let outcome = ended(&begun);
    let fuel = execution.fuel().map(|fuel| fuel.initialize);
    let mut recorded = RecordedBlock {
        number: block.header.number,
        hash: block.hash(),
        code,
        state_version: state_version.into(),
        initialize: noted(outcome, fuel, execution.take_access(), &mut left),
        extrinsics: Vec::with_capacity(block.extrinsics.len()),
        finalize: None,
        rest: Writes::Listed(Vec::new()),
        state_root: H256::zero(),
    };
    let stopped = |block, step, cause| {
        Ok(Observed {
            block,
            end: Err((step, cause)),
        })
    };
    let mode = match begun {
        Ok(mode) => mode,
        Err(trap) => return stopped(recorded, Step::Initialize, Cause::Trapped(trap)),
    };
    // Only the runtime can tell inherents from transactions.
    if mode == InclusionMode::OnlyInherents
        && let Err(error) = execute_whole(executor, state, block, Extensions::new())
    {
        return match error {
            ReplayError::Diverged(divergence) => {
                stopped(recorded, divergence.step, divergence.cause)
            }
            ReplayError::Execution(error) => Err(error),
        };
    }
    for (index, extrinsic) in (0_u32..).zip(&block.extrinsics) {
        let ExtrinsicRun {
            outcome,
            fuel,
            access,
        } = execution.apply(extrinsic)?;
        recorded.extrinsics.push(RecordedExtrinsic {
            hash: Blake2Hasher::hash(extrinsic),
            call: noted((&outcome).into(), fuel, access, &mut left),
        });
        if let Some(cause) = refused(&outcome) {
            return stopped(recorded, Step::Extrinsic(index), cause);
        }
    }
    let header = execution.finalize()?;
    let outcome = ended(&header);
    let fuel = execution.fuel().map(|fuel| fuel.finalize);
    let access = execution.take_access();
    recorded.finalize = Some(noted(outcome, fuel, access, &mut left));
    let header = match header {
        Ok(header) => header,
        Err(trap) => return stopped(recorded, Step::Finalize, Cause::Trapped(trap)),
    };
    let changes = execution.finish()?;
    recorded.rest = rest(&changes.writes, &left);
    recorded.state_root = changes.state_root;
    let expected = block.header_unsealed();
    let cause = Cause::of_headers(&expected, &header, changes.state_root);
    Ok(Observed {
        block: recorded,
        end: match cause {
            None => Ok(changes),
            Some(cause) => Err((Step::Finalize, cause)),
        },
    })
}

fn ended<T>(phase: &crate::block::Phase<T>) -> RecordedOutcome {
    match phase {
        Ok(_) => RecordedOutcome::returned(),
        Err(trap) => RecordedOutcome::trapped(trap),
    }
}
