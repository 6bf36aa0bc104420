//! The building policy: whatever does not belong into the block is rolled back, left out and
//! reported, and the block goes on. Only a failing mandatory extrinsic, or a fault in initialize or
//! finalize, abandons the block.

use std::collections::BTreeMap;

use codec::{Compact, CompactLen, DecodeAll, Encode};
use slackwater_host_functions::HostFunctions;
use sp_core::H256;
use sp_externalities::Extensions;
use sp_runtime::{DigestItem, generic::Digest};
use thiserror::Error;

use super::{
    Block, BlockExecution, BlockFuel, BlockReceipts, ExecutionError, ExtrinsicOutcome,
    ExtrinsicReceipt, Header, Included, InclusionMode, Invalidity,
};
use crate::{
    fuel::{CancelToken, Fuel, FuelUsed, LocalLimit},
    instance::{CallError, CallOutcome, Trap, TrapKind},
    runtime::CallContext,
    state::{BlockChanges, BlockRecord, BlockState, Head},
    wasm_executor::WasmExecutor,
};

const INHERENTS: &str = "BlockBuilder_inherent_extrinsics";

/// What inherents are made of: identifiers and their SCALE values, such as `timstap0` and a u64.
pub type InherentData = BTreeMap<[u8; 8], Vec<u8>>;

/// What became of one extrinsic offered to a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is in the block, at this position.
    Included {
        /// Position in the body.
        index: u32,
        /// How its call ended.
        result: Included,
        /// Fuel used, where it is counted.
        fuel: Option<FuelUsed>,
    },
    /// It is not, and nothing of it is left.
    LeftOut(LeftOut),
}

/// Why an extrinsic was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// The runtime refused it.
    Invalid(Invalidity),
    /// The guest faulted, or used more fuel than the chain allows.
    Trapped(Trap),
    /// It needs more fuel than the block has left; it may fit into another.
    NoFuelLeft,
    /// It used more fuel than this machine allows.
    LocalLimit {
        /// The limit.
        limit: Fuel,
    },
    /// It was cancelled.
    Cancelled,
    /// The guest ran out of native stack. Another machine might have had enough; leaving it out
    /// is safe on all of them.
    NativeStack,
    /// The runtime takes only inherents in this block.
    OnlyInherents,
    /// With it the block would have too many bytes: see [`super::ProducerConfig::block_bytes_max`].
    NoBytesLeft {
        /// The limit.
        bytes_max: usize,
    },
}

impl Offered {
    /// The name used in reports and fixtures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Included { result, .. } => result.name(),
            Self::LeftOut(LeftOut::Invalid(_)) => "invalid",
            Self::LeftOut(LeftOut::Trapped(trap)) => trap.outcome_name(),
            Self::LeftOut(LeftOut::NoFuelLeft) => "no_fuel_left",
            Self::LeftOut(LeftOut::LocalLimit { .. }) => "local_limit",
            Self::LeftOut(LeftOut::Cancelled) => "cancelled",
            Self::LeftOut(LeftOut::NativeStack) => "native_stack",
            Self::LeftOut(LeftOut::OnlyInherents) => "only_inherents",
            Self::LeftOut(LeftOut::NoBytesLeft { .. }) => "no_bytes_left",
        }
    }
}

/// Why a block could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The guest faulted outside of extrinsics.
    #[error("the runtime faulted in {phase}: {trap}")]
    Trapped {
        /// `initialize`, `inherents` or `finalize`.
        phase: &'static str,
        /// The fault.
        trap: Trap,
    },
    /// A mandatory extrinsic failed; the block must be abandoned.
    #[error("mandatory extrinsic {index} failed")]
    MandatoryFailed {
        /// The position it would have had.
        index: u32,
    },
    /// The machine failed, not the block.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

/// A finished block.
#[derive(Debug)]
pub struct BuiltBlock {
    /// The block, not sealed.
    pub block: Block,
    /// Receipts of its extrinsics.
    pub receipts: BlockReceipts,
    /// Its effects.
    pub changes: BlockChanges,
    /// Fuel used, where it is counted.
    pub fuel: Option<BlockFuel>,
}

impl BuiltBlock {
    /// What the database stores of it.
    pub fn record(&self) -> BlockRecord {
        self.block.record(&self.receipts)
    }
}

/// Builds one block on a state.
#[derive(Debug)]
pub struct BlockBuilder<'s, S, H> {
    execution: BlockExecution<'s, S, H>,
    mode: InclusionMode,
    header_bytes: usize,
    extrinsics: Vec<Vec<u8>>,
    extrinsics_bytes: usize,
    receipts: Vec<ExtrinsicReceipt>,
}

impl<'s, S: BlockState, H: HostFunctions> BlockBuilder<'s, S, H> {
    /// Begins a block after `parent`, whose state is `state`. `digest` holds the pre-runtime items
    /// of the consensus engine.
    ///
    /// # Errors
    /// [`BuildError::Trapped`] when the runtime faults in initialize.
    pub fn new(
        executor: &WasmExecutor<H>,
        state: &'s S,
        parent: &Head,
        digest: Vec<DigestItem>,
        extensions: Extensions,
    ) -> Result<Self, BuildError> {
        let mut execution = BlockExecution::new(executor, state, CallContext::Build, extensions)?;
        let header = initial_header(parent, digest);
        let mode = execution
            .initialize(&header)?
            .map_err(|trap| BuildError::Trapped {
                phase: "initialize",
                trap,
            })?;
        Ok(Self {
            execution,
            mode,
            header_bytes: header.encoded_size(),
            extrinsics: Vec::new(),
            extrinsics_bytes: 0,
            receipts: Vec::new(),
        })
    }

    /// Gives each extrinsic from now on no more than `limit`. One that uses more is rolled back and
    /// left out. Default: [`crate::ExecutorConfig::local_limit`]. Without a meter in
    /// [`crate::ExecutorConfig::meter`] it does nothing.
    #[must_use]
    pub fn with_extrinsic_limit(mut self, limit: impl Into<LocalLimit>) -> Self {
        self.limit_extrinsics(limit);
        self
    }

    /// As [`Self::with_extrinsic_limit`].
    pub fn limit_extrinsics(&mut self, limit: impl Into<LocalLimit>) {
        self.execution.limit_extrinsics(limit.into());
    }

    /// Cancels the extrinsic that runs when `token` is cancelled, and every one after it: they are
    /// rolled back and left out, and the block can be finished. Needs a meter that guests carry.
    #[must_use]
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel_extrinsics_by(token);
        self
    }

    /// As [`Self::with_cancel`].
    pub fn cancel_extrinsics_by(&mut self, token: CancelToken) {
        self.execution.cancel_extrinsics_by(token);
    }

    /// The inherents that the runtime makes of `data`, SCALE with length prefix, to be offered by
    /// [`Self::push_inherent`].
    ///
    /// # Errors
    /// [`BuildError::Trapped`] when the runtime faults, or answers something else.
    pub fn inherents(&mut self, data: &InherentData) -> Result<Vec<Vec<u8>>, BuildError> {
        let inherents = match self.ask(INHERENTS, &data.encode())? {
            CallOutcome::Returned(output) => inherents_of(&output),
            CallOutcome::Trapped(trap) => Err(trap),
        };
        inherents.map_err(|trap| BuildError::Trapped {
            phase: "inherents",
            trap,
        })
    }

    /// Asks the runtime something within the block. Nothing of what it does stays.
    ///
    /// # Errors
    /// [`ExecutionError`] when the call has no outcome.
    pub fn ask(&mut self, method: &str, input: &[u8]) -> Result<CallOutcome, ExecutionError> {
        self.execution.ask(method, input)
    }

    /// Bytes of the encoded block if this extrinsic came next, with the header as it was at first.
    pub fn bytes_with(&self, extrinsic: &[u8]) -> usize {
        let count = u32::try_from(self.extrinsics.len() + 1).unwrap_or(u32::MAX);
        let prefix = Compact::<u32>::compact_len(&count);
        self.header_bytes + prefix + self.extrinsics_bytes + extrinsic.len()
    }

    /// What the runtime lets into this block.
    pub fn mode(&self) -> InclusionMode {
        self.mode
    }

    /// Offers a transaction: SCALE with length prefix.
    ///
    /// # Errors
    /// [`BuildError`]; the block must be abandoned then.
    pub fn push(&mut self, extrinsic: &[u8]) -> Result<Offered, BuildError> {
        match self.mode {
            InclusionMode::AllExtrinsics => match self.push_inherent(extrinsic) {
                // What anybody may offer abandons no block.
                Err(BuildError::MandatoryFailed { .. }) => {
                    Ok(Offered::LeftOut(LeftOut::Invalid(Invalidity::BadMandatory)))
                }
                offered => offered,
            },
            InclusionMode::OnlyInherents => Ok(Offered::LeftOut(LeftOut::OnlyInherents)),
        }
    }

    /// Offers an inherent, which every mode lets in.
    ///
    /// # Errors
    /// [`BuildError`]; the block must be abandoned then.
    pub fn push_inherent(&mut self, extrinsic: &[u8]) -> Result<Offered, BuildError> {
        // A body of more than 2^32 extrinsics does not fit in memory.
        let index = u32::try_from(self.extrinsics.len()).unwrap_or(u32::MAX);
        let run = match self.execution.apply(extrinsic) {
            Ok(run) => run,
            Err(error) => return left_out(error).map(Offered::LeftOut),
        };
        let fuel = run.fuel;
        match run.outcome {
            ExtrinsicOutcome::Invalid(Invalidity::BadMandatory) => {
                Err(BuildError::MandatoryFailed { index })
            }
            ExtrinsicOutcome::Invalid(reason) => Ok(Offered::LeftOut(LeftOut::Invalid(reason))),
            ExtrinsicOutcome::Trapped(trap) => Ok(Offered::LeftOut(LeftOut::Trapped(trap))),
            ExtrinsicOutcome::NoFuelLeft => Ok(Offered::LeftOut(LeftOut::NoFuelLeft)),
            ExtrinsicOutcome::Applied => {
                Ok(self.include(index, extrinsic, Included::Applied, fuel))
            }
            ExtrinsicOutcome::DispatchError { error } => {
                Ok(self.include(index, extrinsic, Included::DispatchError(error), fuel))
            }
        }
    }

    fn include(
        &mut self,
        index: u32,
        extrinsic: &[u8],
        result: Included,
        fuel: Option<FuelUsed>,
    ) -> Offered {
        self.extrinsics_bytes += extrinsic.len();
        self.extrinsics.push(extrinsic.to_vec());
        self.receipts.push(ExtrinsicReceipt {
            index,
            result: result.clone(),
        });
        Offered::Included {
            index,
            result,
            fuel,
        }
    }

    /// Ends the block.
    ///
    /// # Errors
    /// [`BuildError::Trapped`] when the runtime faults in finalize.
    pub fn finish(mut self) -> Result<BuiltBlock, BuildError> {
        let header = self
            .execution
            .finalize()?
            .map_err(|trap| BuildError::Trapped {
                phase: "finalize",
                trap,
            })?;
        let fuel = self.execution.fuel().cloned();
        let fuel_receipt = self.execution.fuel_receipt();
        let changes = self.execution.finish()?;
        Ok(BuiltBlock {
            block: Block {
                header,
                extrinsics: self.extrinsics,
            },
            receipts: BlockReceipts::split(self.receipts, fuel_receipt, &changes),
            changes,
            fuel,
        })
    }
}

/// The header that a block after `parent` begins with.
pub(super) fn initial_header(parent: &Head, digest: Vec<DigestItem>) -> Header {
    Header {
        parent_hash: parent.hash,
        number: parent.number + 1,
        state_root: H256::zero(),
        extrinsics_root: H256::zero(),
        digest: Digest { logs: digest },
    }
}

/// The inherents in the answer of a runtime, with length prefix.
fn inherents_of(output: &[u8]) -> Result<Vec<Vec<u8>>, Trap> {
    let inherents = Vec::<Vec<u8>>::decode_all(&mut &*output).map_err(|error| {
        let message = format!("the answer of `{INHERENTS}` does not decode: {error}");
        Trap::new(TrapKind::UndecodableOutput, message)
    })?;
    Ok(inherents.iter().map(Encode::encode).collect())
}

/// A call that could not be run to its end here is left out, if that is safe everywhere.
pub(super) fn left_out(error: ExecutionError) -> Result<LeftOut, BuildError> {
    Ok(match error.call_error() {
        Some(CallError::NativeStack) => LeftOut::NativeStack,
        Some(CallError::LocalLimit { limit }) => LeftOut::LocalLimit { limit: *limit },
        Some(CallError::Cancelled) => LeftOut::Cancelled,
        _ => return Err(error.into()),
    })
}
