//! Fuel of a block: what each call may use, what is left, what was used.
//!
//! Invariant: what an extrinsic may use under the chain's rules follows from those rules and from the
//! included extrinsics before it, never from limits of this machine.

use codec::{Decode, DecodeWithMemTracking, Encode};
use sp_core::H256;

use super::ExtrinsicOutcome;
use crate::{
    fuel::{CallLimits, CancelToken, ConsensusFuel, Fuel, FuelUsed, LocalLimit},
    instance::{CallOutcome, Called, TrapKind},
};

/// Fuel used by the calls of a block, where it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockFuel {
    /// Used by beginning the block.
    pub initialize: FuelUsed,
    /// Used by each included extrinsic, in order.
    pub extrinsics: Vec<FuelUsed>,
    /// Used by ending the block.
    pub finalize: FuelUsed,
}

impl BlockFuel {
    /// Used by all calls together.
    pub fn total(&self) -> Fuel {
        let calls = [&self.initialize, &self.finalize];
        let calls = calls.into_iter().chain(&self.extrinsics);
        Fuel(calls.fold(0, |sum, used| sum.saturating_add(used.total.0)))
    }
}

/// Fuel in a receipt: by what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct FuelReceipt {
    /// See [`FuelUsed::wasm`].
    pub wasm: u64,
    /// See [`FuelUsed::size`].
    pub size: u64,
    /// See [`FuelUsed::host`].
    pub host: u64,
}

impl From<&FuelUsed> for FuelReceipt {
    fn from(used: &FuelUsed) -> Self {
        Self {
            wasm: used.wasm,
            size: used.size,
            host: used.host,
        }
    }
}

/// Fuel in the receipts of a block, where it is a rule of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlockFuelReceipt {
    /// [`ConsensusFuel::hash`]: limits and prices.
    pub rules: H256,
    /// Used by beginning the block.
    pub initialize: FuelReceipt,
    /// Used by each extrinsic of the body.
    pub extrinsics: Vec<FuelReceipt>,
    /// Used by ending the block.
    pub finalize: FuelReceipt,
}

/// The account of a block being executed.
#[derive(Debug, Clone)]
pub(super) struct FuelAccount {
    rules: Option<(ConsensusFuel, H256)>,
    local: Option<LocalLimit>,
    /// For extrinsics alone.
    pub(super) extrinsic_local: Option<LocalLimit>,
    pub(super) extrinsic_cancel: Option<CancelToken>,
    counted: bool,
    used: BlockFuel,
    /// Used by the included extrinsics together.
    extrinsics_used: u64,
}

impl FuelAccount {
    pub(super) fn new(rules: Option<(ConsensusFuel, H256)>, local: Option<Fuel>) -> Self {
        let local: Option<LocalLimit> = local.map(Into::into);
        Self {
            rules,
            extrinsic_local: local.clone(),
            local,
            extrinsic_cancel: None,
            counted: false,
            used: BlockFuel::default(),
            extrinsics_used: 0,
        }
    }

    fn limits(&self, consensus: Option<Fuel>) -> CallLimits {
        CallLimits {
            consensus,
            local: self.local.clone(),
            ..CallLimits::default()
        }
    }

    /// The limits of beginning the block.
    pub(super) fn of_initialize(&self) -> CallLimits {
        self.limits(self.rules.map(|(rules, _)| rules.initialize))
    }

    /// The limits of ending the block.
    pub(super) fn of_finalize(&self) -> CallLimits {
        self.limits(self.rules.map(|(rules, _)| rules.finalize))
    }

    /// The limits of a block executed in one call: the chain's rules, which tell calls apart, are
    /// another run's.
    pub(super) fn of_whole(&self) -> CallLimits {
        CallLimits {
            // An extrinsic stands deeper there than by itself.
            deeper: self.rules.map_or(0, |(rules, _)| rules.depth_bytes_max),
            ..self.limits(None)
        }
    }

    /// The limits of the next extrinsic.
    pub(super) fn of_extrinsic(&self) -> CallLimits {
        let consensus = self.rules.map(|(rules, _)| {
            let left = rules.block.0.saturating_sub(self.extrinsics_used);
            rules.extrinsic.min(Fuel(left))
        });
        CallLimits {
            consensus,
            local: self.extrinsic_local.clone(),
            cancel: self.extrinsic_cancel.clone(),
            ..CallLimits::default()
        }
    }

    /// The limits of a call of which nothing stays.
    pub(super) fn of_question(&self) -> CallLimits {
        CallLimits {
            consensus: None,
            ..self.of_extrinsic()
        }
    }

    /// The outcome of an extrinsic, and its fuel put down if it is included. One that would have stayed
    /// within its own limit, for all that is known, did not fit into the block.
    pub(super) fn extrinsic(&mut self, called: Called) -> (ExtrinsicOutcome, Option<FuelUsed>) {
        let Called { outcome, fuel, .. } = called;
        let over = matches!(
            &outcome,
            CallOutcome::Trapped(trap) if trap.kind == TrapKind::OutOfFuel
        );
        let own = self.rules.map(|(rules, _)| rules.extrinsic);
        let limit = fuel.and_then(|fuel| fuel.limit);
        if over && limit < own {
            return (ExtrinsicOutcome::NoFuelLeft, fuel);
        }
        let outcome = ExtrinsicOutcome::of_call(outcome);
        if let Some(fuel) = fuel.filter(|_| outcome.is_included()) {
            self.extrinsics_used = self.extrinsics_used.saturating_add(fuel.total.0);
            self.used.extrinsics.push(fuel);
        }
        (outcome, fuel)
    }

    /// Puts down what beginning the block used.
    pub(super) fn initialized(&mut self, fuel: Option<FuelUsed>) {
        self.counted = fuel.is_some();
        self.used.initialize = fuel.unwrap_or_default();
    }

    /// Puts down what ending the block used.
    pub(super) fn finalized(&mut self, fuel: Option<FuelUsed>) {
        self.used.finalize = fuel.unwrap_or_default();
    }

    /// What was used, where it is counted.
    pub(super) fn used(&self) -> Option<&BlockFuel> {
        self.counted.then_some(&self.used)
    }

    /// What the receipts say of it.
    pub(super) fn receipt(&self) -> Option<BlockFuelReceipt> {
        let (_, rules) = self.rules?;
        let BlockFuel {
            initialize,
            extrinsics,
            finalize,
        } = &self.used;
        Some(BlockFuelReceipt {
            rules,
            initialize: initialize.into(),
            extrinsics: extrinsics.iter().map(Into::into).collect(),
            finalize: finalize.into(),
        })
    }
}
