//! Whose limit a call is under, and what passing it means.
//!
//! A *consensus* limit is part of the chain's rules: every machine reaches the same verdict, and it is
//! an outcome. A *local* limit protects this machine and decides nothing for others: passing it, or
//! being cancelled, is an operational error.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use blake2b_simd::Params;
use slackwater_host_functions::{MemoryBudget, MemoryCharge};
use sp_core::H256;

use super::{Fuel, Instrumentation, Schedule, StateCost};

/// The limits of one call. Default: none.
#[derive(Debug, Clone, Default)]
pub struct CallLimits {
    /// What the chain allows; more is [`crate::TrapKind::OutOfFuel`].
    pub consensus: Option<Fuel>,
    /// What this machine allows; more is [`crate::CallError::LocalLimit`].
    pub local: Option<LocalLimit>,
    /// What the call can be cancelled by; it is [`crate::CallError::Cancelled`] then.
    pub cancel: Option<CancelToken>,
    /// Bytes of depth beyond the chain's limit, for calls that are judged by others.
    pub(crate) deeper: u32,
    /// What the call's memory is charged to, set by the executor.
    pub(crate) memory: Option<MemoryFor>,
}

/// A budget of memory, and whether a call may be refused by it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryFor {
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) enforced: bool,
}

impl MemoryFor {
    /// What a call is charged by.
    pub(crate) fn charge(&self) -> MemoryCharge {
        MemoryCharge::new(Arc::clone(&self.budget), self.enforced)
    }
}

impl CallLimits {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// A limit of the chain alone.
    pub fn consensus(fuel: Fuel) -> Self {
        Self {
            consensus: Some(fuel),
            ..Self::default()
        }
    }

    /// A limit of this machine alone.
    pub fn local(limit: impl Into<LocalLimit>) -> Self {
        Self {
            local: Some(limit.into()),
            ..Self::default()
        }
    }

    /// Adds a limit of this machine.
    #[must_use]
    pub fn with_local(mut self, limit: impl Into<LocalLimit>) -> Self {
        self.local = Some(limit.into());
        self
    }

    /// Adds what the call can be cancelled by.
    #[must_use]
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// The limit that guest and arbiter compare with by themselves.
    pub(super) fn fixed(&self) -> Option<Fuel> {
        match (self.consensus, self.fixed_local()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The limit of this machine, if it ends what passes it.
    pub(super) fn fixed_local(&self) -> Option<Fuel> {
        let local = self.local.as_ref()?;
        matches!(local.on_overrun, OnOverrun::Trap).then_some(local.fuel)
    }

    /// The limit of this machine, if somebody is asked about what passes it.
    pub(super) fn refuelled(&self) -> Option<(Fuel, &RefuelCallback)> {
        let local = self.local.as_ref()?;
        match &local.on_overrun {
            OnOverrun::Refuel(callback) => Some((local.fuel, callback)),
            OnOverrun::Trap => None,
        }
    }
}

/// A limit of this machine.
#[derive(Debug, Clone)]
pub struct LocalLimit {
    /// How much may be used.
    pub fuel: Fuel,
    /// What happens to a run that uses more.
    pub on_overrun: OnOverrun,
}

impl From<Fuel> for LocalLimit {
    /// A limit that ends what passes it.
    fn from(fuel: Fuel) -> Self {
        Self {
            fuel,
            on_overrun: OnOverrun::Trap,
        }
    }
}

/// What happens to a run that passes a local limit.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OnOverrun {
    /// It ends at its next safepoint.
    #[default]
    Trap,
    /// It pauses at its next safepoint until the callback, called on a thread of its own, has decided.
    /// A run that ended over its limit unnoticed asks from the caller's thread. One whose callback
    /// panics is stopped. Needs [`super::Meter::Slacked`].
    Refuel(RefuelCallback),
}

/// Told what has been used, decides whether a run goes on.
pub type RefuelCallback = Arc<dyn Fn(Fuel) -> Refuel + Send + Sync>;

impl fmt::Debug for OnOverrun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Trap => "Trap",
            Self::Refuel(_) => "Refuel",
        })
    }
}

/// What a callback decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuel {
    /// The run goes on under this limit; it ends if it has used as much already.
    Extend(Fuel),
    /// The run ends.
    Stop,
}

/// Cancels every call it was given to, now or later. Clones share one state.
///
/// A run notices at its next safepoint, within about a period of the arbiter; one inside a host
/// function when that returns.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
    /// When it cancels by itself.
    at: Option<Instant>,
}

impl CancelToken {
    /// Not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not cancelled, and cancelled by itself at `deadline`.
    pub fn at(deadline: Instant) -> Self {
        Self {
            at: Some(deadline),
            ..Self::default()
        }
    }

    /// The same token, which also cancels by itself at `deadline`, unless it does so earlier. Tokens cloned before do not.
    #[must_use]
    pub fn or_at(mut self, deadline: Instant) -> Self {
        self.at = Some(self.at.map_or(deadline, |at| at.min(deadline)));
        self
    }

    /// As [`Self::or_at`], so long from now. What is too far away for a clock is never.
    #[must_use]
    pub fn or_within(self, time: Duration) -> Self {
        match Instant::now().checked_add(time) {
            Some(at) => self.or_at(at),
            None => self,
        }
    }

    /// Cancels.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// Fuel as a rule of a chain: part of its configuration, the same for every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConsensusFuel {
    /// What each extrinsic may use.
    pub extrinsic: Fuel,
    /// What the included extrinsics of a block may use together.
    pub block: Fuel,
    /// What beginning a block may use.
    pub initialize: Fuel,
    /// What ending a block may use.
    pub finalize: Fuel,
    /// The stack a guest may use, in bytes as the instrumentation estimates frames.
    pub depth_bytes_max: u32,
}

/// Stack a guest may use by default where fuel is in consensus, in estimated bytes: half of what the
/// native stack has by default, see `docs/fuel.md`.
pub const DEPTH_BYTES_DEFAULT: u32 = 512 << 10;

/// Depths beyond this are no limit on any stack.
const DEPTH_BYTES_MAX: u32 = 1 << 30;

impl ConsensusFuel {
    /// Whether a chain can live with these rules.
    pub(crate) fn check(&self, schedule: &Schedule) -> Result<(), String> {
        if self.depth_bytes_max > DEPTH_BYTES_MAX {
            let depth = self.depth_bytes_max;
            return Err(format!(
                "a depth of {depth} bytes is more than {DEPTH_BYTES_MAX}"
            ));
        }
        // Ending a block pays for the root of all keys that its beginning and its extrinsics changed.
        let changing = u128::from(self.block.0) + u128::from(self.initialize.0);
        let needed = changing * u128::from(schedule.state().of(StateCost::Rooted))
            / u128::from(schedule.write().max(1));
        if u128::from(self.finalize.0) < needed {
            return Err(format!(
                "a block of {} could write so many keys that it cannot be finalized with {}: that \
                 takes up to {needed} for their root",
                self.block, self.finalize
            ));
        }
        Ok(())
    }

    /// BLAKE2b-256 over limits and schedule: nodes that agree on it agree on every verdict.
    pub fn hash(&self, instrumentation: &Instrumentation) -> H256 {
        let mut state = Params::new().hash_length(32).to_state();
        state.update(instrumentation.schedule.hash().as_bytes());
        for Fuel(limit) in [self.extrinsic, self.block, self.initialize, self.finalize] {
            state.update(&limit.to_le_bytes());
        }
        state.update(&self.depth_bytes_max.to_le_bytes());
        H256::from_slice(state.finalize().as_bytes())
    }
}
