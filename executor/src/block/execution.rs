//! The phases of a block: initialize, apply each extrinsic, finalize. Every call runs in an
//! instance of its own; all that lives between calls is storage.
//!
//! Invariant: between calls no layer is open but the block's own, and what a rolled back extrinsic
//! did is gone. Policy is not decided here: see [`super::build`] and [`super::replay`].

use std::{any::TypeId, time::Instant};

use codec::{DecodeAll, Encode};
use slackwater_host_functions::{HostFunctions, VerdictMemoryExt};
use sp_externalities::Extensions;

use super::{
    BlockFuel, BlockFuelReceipt, ExecutionError, ExtrinsicOutcome, Header, fuel::FuelAccount,
};
use crate::{
    calls::RuntimeCalls,
    fuel::{CallLimits, CancelToken, FuelUsed, LocalLimit},
    instance::{CallOutcome, Called, Trap, TrapKind},
    metrics::{self, BlockRun},
    runtime::{CallContext, Runtime},
    span::{self, Span},
    state::{Access, BlockChanges, BlockLayers, BlockState},
    timing::{self, BlockCall},
    wasm_executor::WasmExecutor,
};

pub(super) const INITIALIZE: &str = "Core_initialize_block";
pub(super) const APPLY: &str = "BlockBuilder_apply_extrinsic";
const FINALIZE: &str = "BlockBuilder_finalize_block";
/// Spelling of [`FINALIZE`] before version 3 of the API.
const FINALIZE_OLD: &str = "BlockBuilder_finalise_block";
const EXECUTE: &str = "Core_execute_block";

/// What a runtime lets into the block, as `Core_initialize_block` says since version 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InclusionMode {
    /// Inherents and transactions.
    AllExtrinsics,
    /// Inherents only, because a migration needs the room.
    OnlyInherents,
}

/// The result of a phase: its value, or the fault that ended it and with it the block.
pub type Phase<T> = Result<T, Trap>;

/// An extrinsic that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtrinsicRun {
    /// What became of it.
    pub outcome: ExtrinsicOutcome,
    /// Fuel used, where it is counted.
    pub fuel: Option<FuelUsed>,
    /// What it asked for and changed, if that is noted.
    pub access: Option<Access>,
}

/// One block being executed on `state`.
pub struct BlockExecution<'s, S, H> {
    calls: RuntimeCalls<H>,
    layers: BlockLayers<'s, S>,
    fuel: FuelAccount,
    run: BlockRun,
    span: Span,
    /// Extrinsics that were tried.
    tried: u32,
}

impl<S, H> std::fmt::Debug for BlockExecution<'_, S, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockExecution")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl<'s, S: BlockState, H: HostFunctions> BlockExecution<'s, S, H> {
    /// Loads the runtime of `state`. `extensions` are what host functions find beside the storage;
    /// reading the version of other code is added, and verdicts about signatures that are known.
    ///
    /// # Errors
    /// [`ExecutionError`] when the runtime cannot be loaded.
    pub fn new(
        executor: &WasmExecutor<H>,
        state: &'s S,
        context: CallContext,
        mut extensions: Extensions,
    ) -> Result<Self, ExecutionError> {
        let calls = RuntimeCalls::new(executor, state, context, &mut extensions)?;
        let asks = extensions
            .get_mut(TypeId::of::<VerdictMemoryExt>())
            .is_some();
        if let Some(verdicts) = executor.verdicts().filter(|_| !asks) {
            extensions.register(VerdictMemoryExt::ask(verdicts));
        }
        let mut layers = BlockLayers::new(state, extensions);
        if executor.fuel_rules().is_some() {
            layers.forget_roots();
        }
        let local = executor.config().local_limit;
        Ok(Self {
            calls,
            layers,
            fuel: FuelAccount::new(executor.fuel_rules(), local),
            run: BlockRun::begin(),
            span: Span::block(),
            tried: 0,
        })
    }

    /// Gives each extrinsic from now on no more than this on this machine, instead of what the
    /// executor's configuration says.
    pub fn limit_extrinsics(&mut self, limit: LocalLimit) {
        self.fuel.extrinsic_local = Some(limit);
    }

    /// Cancels an extrinsic that runs when `token` is cancelled, and every one after it.
    pub fn cancel_extrinsics_by(&mut self, token: CancelToken) {
        self.fuel.extrinsic_cancel = Some(token);
    }

    /// Notes what each extrinsic asks for and changes, from now on: see [`ExtrinsicRun::access`].
    pub fn record_access(&mut self) {
        self.layers.record_access();
    }

    /// What was asked for and changed since the last extrinsic, or since notes are taken: by beginning the block, or by ending
    /// it. `None` if no notes are taken.
    pub fn take_access(&mut self) -> Option<Access> {
        self.layers.settle_access();
        self.layers.take_access()
    }

    /// Fuel used so far, where it is counted and the block is not executed whole.
    pub fn fuel(&self) -> Option<&BlockFuel> {
        self.fuel.used()
    }

    /// What receipts say of fuel; `None` where it is not in consensus.
    pub fn fuel_receipt(&self) -> Option<BlockFuelReceipt> {
        self.fuel.receipt()
    }

    /// The runtime the block runs.
    pub fn runtime(&self) -> &Runtime {
        self.calls.runtime()
    }

    /// Begins the block described by `header`.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome.
    pub fn initialize(&mut self, header: &Header) -> Result<Phase<InclusionMode>, ExecutionError> {
        self.span.record_number(header.number);
        let _block = self.span.enter();
        let limits = self.fuel.of_initialize();
        let call = || self.call(INITIALIZE, &header.encode(), &limits);
        let Called { outcome, fuel, .. } = timing::call(BlockCall::Initialize, call)?;
        self.fuel.initialized(fuel);
        Ok(decoded(INITIALIZE, outcome, |output| match output {
            [] | [0] => Some(InclusionMode::AllExtrinsics),
            [1] => Some(InclusionMode::OnlyInherents),
            _ => None,
        }))
    }

    /// Applies one extrinsic in a layer of its own, which is committed if the extrinsic is included
    /// and rolled back otherwise.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome; the layer is rolled back then.
    pub fn apply(&mut self, extrinsic: &[u8]) -> Result<ExtrinsicRun, ExecutionError> {
        let _block = self.span.enter();
        let _extrinsic = span::extrinsic(self.tried);
        self.tried += 1;
        let Self {
            calls,
            layers,
            fuel: account,
            ..
        } = self;
        let limits = account.of_extrinsic();
        let mut apply = |layers: &mut BlockLayers<'s, S>| {
            layers.layered(
                |layers| {
                    let called = calls.call(layers, APPLY, extrinsic, &limits)?;
                    Ok::<_, ExecutionError>(account.extrinsic(called))
                },
                |run| run.as_ref().is_ok_and(|(outcome, _)| outcome.is_included()),
            )
        };
        let (outcome, fuel) = timing::call(BlockCall::Extrinsic, || apply(layers))?;
        metrics::extrinsic(outcome.name());
        Ok(ExtrinsicRun {
            outcome,
            fuel,
            access: layers.take_access(),
        })
    }

    /// Asks the runtime something within the block, under the limits of this machine. Nothing of what it does stays.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome.
    pub fn ask(&mut self, method: &str, input: &[u8]) -> Result<CallOutcome, ExecutionError> {
        let Self {
            calls,
            layers,
            fuel: account,
            span,
            ..
        } = self;
        let _block = span.enter();
        let limits = account.of_question();
        let called = layers.layered(
            |layers| calls.call(layers, method, input, &limits),
            |_| false,
        );
        Ok(called?.outcome)
    }

    /// Ends the block and returns the header the runtime makes of it.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome.
    pub fn finalize(&mut self) -> Result<Phase<Header>, ExecutionError> {
        let old = !self.runtime().has_method(FINALIZE) && self.runtime().has_method(FINALIZE_OLD);
        let method = if old { FINALIZE_OLD } else { FINALIZE };
        let _block = self.span.enter();
        let limits = self.fuel.of_finalize();
        let call = || self.call(method, &[], &limits);
        let Called { outcome, fuel, .. } = timing::call(BlockCall::Finalize, call)?;
        self.fuel.finalized(fuel);
        Ok(decoded(method, outcome, |mut output| {
            Header::decode_all(&mut output).ok()
        }))
    }

    /// Executes a whole encoded, unsealed block in one call, with all of the runtime's checks.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome.
    pub fn execute_whole(&mut self, block: &[u8]) -> Result<Phase<()>, ExecutionError> {
        self.span.record_number_of(block);
        let _block = self.span.enter();
        let limits = self.fuel.of_whole();
        let call = || self.call(EXECUTE, block, &limits);
        let Called { outcome, .. } = timing::call(BlockCall::Whole, call)?;
        Ok(decoded(EXECUTE, outcome, |_| Some(())))
    }

    /// The changes made, with the new root.
    ///
    /// # Errors
    /// [`ExecutionError::State`] when calculating the root failed.
    pub fn finish(self) -> Result<BlockChanges, ExecutionError> {
        let state_version = self.runtime().version().state_version();
        let _block = self.span.enter();
        let begun = Instant::now();
        let changes = self.layers.finish(state_version)?;
        metrics::root(begun);
        self.run.executed();
        Ok(changes)
    }

    fn call(
        &mut self,
        method: &str,
        input: &[u8],
        limits: &CallLimits,
    ) -> Result<Called, ExecutionError> {
        self.calls.call(&mut self.layers, method, input, limits)
    }
}

fn decoded<T>(
    method: &str,
    outcome: CallOutcome,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Phase<T> {
    match outcome {
        CallOutcome::Returned(output) => decode(&output).ok_or_else(|| {
            let message = format!("the answer of `{method}` does not decode");
            Trap::new(TrapKind::UndecodableOutput, message)
        }),
        CallOutcome::Trapped(trap) => Err(trap),
    }
}
