//! What is recorded of a run: for each block and each of its calls the outcome, the fuel, and what was written.
//!
//! Invariant: nothing here depends on the machine, on the mode of instances, or on threads; so two runs of one block under
//! the same [`Rules`] are equal, or one of the machines is wrong.

#![expect(
    trivial_numeric_casts,
    clippy::cast_possible_truncation,
    reason = "the derived encoder casts the index of each variant"
)]

use std::collections::BTreeMap;

use codec::{Decode, DecodeWithMemTracking, Encode};
use sp_core::{Blake2Hasher, H256, Hasher};

use super::Spliced;
use crate::{
    ExecutorConfig, GuestProfile, HeapPages,
    block::{ExtrinsicOutcome, FuelReceipt},
    state::{Access, Place, StateError, WriteSet},
};

/// Reads a value of the state before a block.
pub(super) type ReadBefore<'r> = dyn FnMut(&Place) -> Result<Option<Vec<u8>>, StateError> + 'r;

/// All that decides what is computed beside blocks and state. Runs under different rules are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct Rules {
    /// Hash of the schedule by which fuel was counted; `None` where it was not.
    pub schedule: Option<H256>,
    /// Hash of the chain's rules of fuel, if it has any.
    pub fuel_rules: Option<H256>,
    /// Whether NaNs have one bit pattern.
    pub canonical_nans: bool,
    /// Whether guests may use more of WebAssembly than runtimes of Substrate do.
    pub extended_profile: bool,
    /// The heap of calls for blocks where the state does not say it: whether it is had from the beginning, and wasm pages.
    pub heap: (bool, Option<u32>),
    /// Whether what the state says of it is ignored.
    pub heap_of_state_ignored: bool,
}

impl Rules {
    /// Those of an executor, whose rules of fuel have this hash.
    pub(super) fn of(config: &ExecutorConfig, fuel_rules: Option<H256>) -> Self {
        Self {
            schedule: config.meter.is_guest().then(|| config.schedule.hash()),
            fuel_rules,
            canonical_nans: config.canonicalize_nans,
            extended_profile: config.profile != GuestProfile::Substrate,
            heap: match config.onchain_heap {
                HeapPages::Static { extra } => (true, Some(extra)),
                HeapPages::Dynamic { maximum } => (false, maximum),
            },
            heap_of_state_ignored: config.ignore_onchain_heap_pages,
        }
    }

    /// Whether runs under both count fuel.
    pub(super) fn both_count(&self, here: &Self) -> bool {
        self.schedule.is_some() && here.schedule.is_some()
    }

    /// The first rule that differs, by name, unless it is only that `here` does not count fuel.
    pub(super) fn difference(&self, here: &Self) -> Option<&'static str> {
        if self.both_count(here) && self.schedule != here.schedule {
            Some("the schedule of fuel")
        } else if self.fuel_rules != here.fuel_rules {
            Some("the chain's rules of fuel")
        } else if self.canonical_nans != here.canonical_nans {
            Some("the bit patterns of NaNs (`--compat`)")
        } else if self.extended_profile != here.extended_profile {
            Some("the profile of guests")
        } else if self.heap != here.heap || self.heap_of_state_ignored != here.heap_of_state_ignored
        {
            Some("the heap of guests")
        } else {
            None
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct RecordedOutcome {
    /// `returned` for beginning and ending a block; for extrinsics, see [`ExtrinsicOutcome::name`].
    pub name: String,
    /// SCALE of the error, if there is one: a `DispatchError`, or a `TransactionValidityError`.
    pub error: Option<Vec<u8>>,
}

impl RecordedOutcome {
    /// Of a call that returned.
    pub fn returned() -> Self {
        Self {
            name: "returned".to_owned(),
            error: None,
        }
    }

    /// Of a call that trapped.
    pub(super) fn trapped(trap: &crate::Trap) -> Self {
        Self {
            name: trap.outcome_name().to_owned(),
            error: None,
        }
    }
}

impl From<&ExtrinsicOutcome> for RecordedOutcome {
    fn from(outcome: &ExtrinsicOutcome) -> Self {
        let error = match outcome {
            ExtrinsicOutcome::DispatchError { error } => Some(error.clone()),
            ExtrinsicOutcome::Invalid(reason) => Some(reason.encoded()),
            ExtrinsicOutcome::Applied
            | ExtrinsicOutcome::Trapped(_)
            | ExtrinsicOutcome::NoFuelLeft => None,
        };
        Self {
            name: outcome.name().to_owned(),
            error,
        }
    }
}

impl std::fmt::Display for RecordedOutcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name)?;
        match &self.error {
            Some(error) => write!(
                formatter,
                " 0x{}",
                sp_core::hexdisplay::HexDisplay::from(error)
            ),
            None => Ok(()),
        }
    }
}

/// What a call, or a block beside its calls, wrote.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub enum Writes {
    /// Each key with another value than before, in order.
    Listed(Vec<(Place, Spliced)>),
    /// BLAKE2b-256 of the SCALE encoding of such a list.
    Digest(H256),
}

impl Writes {
    /// What `access` says was changed.
    pub(super) fn of_access(access: &Access) -> Self {
        let writes = access.writes.iter().map(|(place, change)| {
            let spliced = Spliced::new(change.before.as_deref(), change.after.as_deref());
            (place.clone(), spliced)
        });
        Self::Listed(writes.collect())
    }

    /// Their digest.
    pub fn digest(&self) -> H256 {
        match self {
            Self::Listed(writes) => writes.using_encoded(Blake2Hasher::hash),
            Self::Digest(digest) => *digest,
        }
    }

    /// The list, if there is one.
    pub fn list(&self) -> Option<&[(Place, Spliced)]> {
        match self {
            Self::Listed(writes) => Some(writes),
            Self::Digest(_) => None,
        }
    }

    /// Whether both are the same, as far as can be told.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listed(one), Self::Listed(other)) => one == other,
            (one, other) => one.digest() == other.digest(),
        }
    }
}

/// A call of a block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct RecordedCall {
    /// How it ended.
    pub outcome: RecordedOutcome,
    /// Fuel used, where it is counted.
    pub fuel: Option<FuelReceipt>,
    /// What it changed.
    pub writes: Writes,
}

/// An extrinsic of a block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct RecordedExtrinsic {
    /// BLAKE2b-256 of its bytes, length prefix included.
    pub hash: H256,
    /// Its call.
    pub call: RecordedCall,
}

/// A block, executed extrinsic by extrinsic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct RecordedBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: H256,
    /// Hash of the runtime's code that executed it: BLAKE2b-256 of what stands under `:code`.
    pub code: H256,
    /// Version of the tries: 0 or 1.
    pub state_version: u8,
    /// Beginning it.
    pub initialize: RecordedCall,
    /// Its extrinsics, in order.
    pub extrinsics: Vec<RecordedExtrinsic>,
    /// Ending it; `None` where it did not come so far.
    pub finalize: Option<RecordedCall>,
    /// What the block touched beside what its calls changed: keys whose value is as before, and roots of child tries.
    pub rest: Writes,
    /// Root of the state after it, as calculated here.
    pub state_root: H256,
}

impl RecordedBlock {
    /// Its calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = &RecordedCall> {
        let extrinsics = self.extrinsics.iter().map(|extrinsic| &extrinsic.call);
        std::iter::once(&self.initialize)
            .chain(extrinsics)
            .chain(&self.finalize)
    }

    /// What its calls wrote, in order, and what it touched beside them.
    pub fn all_writes(&self) -> impl Iterator<Item = &Writes> {
        self.calls().map(|call| &call.writes).chain([&self.rest])
    }

    /// Whether all writes are there as digests, or all as lists.
    pub(super) fn is_kept(&self, digest_only: bool) -> bool {
        let mut writes = self.all_writes();
        writes.all(|writes| writes.list().is_none() == digest_only)
    }

    /// The same with digests in the place of lists.
    #[must_use]
    pub fn digested(mut self) -> Self {
        let extrinsics = self
            .extrinsics
            .iter_mut()
            .map(|extrinsic| &mut extrinsic.call);
        let calls = std::iter::once(&mut self.initialize)
            .chain(extrinsics)
            .chain(&mut self.finalize);
        let writes = calls.map(|call| &mut call.writes);
        for writes in writes.chain(std::iter::once(&mut self.rest)) {
            *writes = Writes::Digest(writes.digest());
        }
        self
    }

    /// Adds all that the block wrote to `writes`, which holds what blocks before it wrote; `before` gives values beneath
    /// those. `None` where only digests are there, or where they are of other values.
    pub(super) fn apply(
        &self,
        writes: &mut WriteSet,
        before: &mut ReadBefore<'_>,
    ) -> Result<Option<()>, StateError> {
        for listed in self.all_writes() {
            let Some(listed) = listed.list() else {
                return Ok(None);
            };
            for (place, spliced) in listed {
                let (child, key) = place;
                let found = writes.get(child).and_then(|entries| entries.get(key));
                let value = match (found, spliced) {
                    (Some(value), _) => spliced.apply(value.as_deref()),
                    (None, Spliced::Kept { .. }) => spliced.apply(before(place)?.as_deref()),
                    (None, _) => spliced.apply(None),
                };
                let Some(value) = value else {
                    return Ok(None);
                };
                let entries = writes.entry(child.clone()).or_default();
                entries.insert(key.clone(), value);
            }
        }
        Ok(Some(()))
    }
}

/// What stands in `whole`, and is not what `calls` leave: see [`RecordedBlock::rest`]. `before` gives values beneath the
/// block.
pub(super) fn rest(whole: &WriteSet, left: &BTreeMap<Place, Option<Vec<u8>>>) -> Writes {
    let mut rest = Vec::new();
    for (child, entries) in whole {
        for (key, value) in entries {
            let place = (child.clone(), key.clone());
            if left.get(&place) != Some(value) {
                rest.push((place, Spliced::new(None, value.as_deref())));
            }
        }
    }
    Writes::Listed(rest)
}
