//! The fuel of one instance: its limit set, its count read, the verdict given.
//!
//! Invariant: a call is out of fuel if and only if the count at its end exceeds the limit, however it
//! ended otherwise; then it used the limit, and nothing of how far it got beyond is seen.

use slackwater_host_functions::HostState;
use wasmtime::{Extern, Instance, Memory, Store};

use super::{CallError, CallOutcome, Called, TrapKind};
use crate::{
    fuel::{COUNTER_OFFSET, FUEL_MAX, Fuel, HEADROOM_OFFSET},
    runtime::Metering,
};

/// Where the count of an instance is read.
#[derive(Clone, Copy)]
pub(super) enum Gauge {
    /// It is not counted.
    Off,
    /// In the guest's meter.
    Guest(Memory),
    /// In the engine.
    Engine,
}

impl Gauge {
    /// Before the instance is made: an engine that counts must have something to count down.
    pub(super) fn prepare(
        store: &mut Store<HostState>,
        metering: &Metering,
    ) -> Result<(), CallError> {
        match metering {
            Metering::Engine => store.set_fuel(FUEL_MAX).map_err(|error| unusable(&error)),
            Metering::Off | Metering::Guest { .. } => Ok(()),
        }
    }

    /// Finds the meter of a new instance and sets its limit.
    pub(super) fn attach(
        store: &mut Store<HostState>,
        instance: &Instance,
        metering: &Metering,
        limit: Option<Fuel>,
    ) -> Result<Self, CallError> {
        let meter = match metering {
            Metering::Off => return Ok(Self::Off),
            Metering::Engine => return Ok(Self::Engine),
            Metering::Guest { meter, .. } => instance
                .get_module_export(&mut *store, meter)
                .and_then(Extern::into_memory)
                .ok_or_else(|| unusable(&"it is missing"))?,
        };
        let Fuel(limit) = limit.unwrap_or(Fuel(FUEL_MAX));
        let headroom = FUEL_MAX.saturating_sub(limit).to_le_bytes();
        let offset = usize::try_from(HEADROOM_OFFSET).unwrap_or_default();
        meter
            .write(store, offset, &headroom)
            .map_err(|error| unusable(&error))?;
        Ok(Self::Guest(meter))
    }

    /// What has been used so far.
    fn used(self, store: &Store<HostState>) -> Result<Option<Fuel>, CallError> {
        match self {
            Self::Off => Ok(None),
            Self::Engine => {
                let left = store.get_fuel().map_err(|error| unusable(&error))?;
                Ok(Some(Fuel(FUEL_MAX.saturating_sub(left))))
            }
            Self::Guest(meter) => {
                let mut count = [0; 8];
                let offset = usize::try_from(COUNTER_OFFSET).unwrap_or_default();
                meter
                    .read(store, offset, &mut count)
                    .map_err(|error| unusable(&error))?;
                Ok(Some(Fuel(u64::from_le_bytes(count))))
            }
        }
    }

    /// The verdict over a run that ended in `ended`.
    pub(super) fn verdict(
        self,
        store: &Store<HostState>,
        limit: Option<Fuel>,
        ended: Result<CallOutcome, CallError>,
    ) -> Result<Called, CallError> {
        let used = self.used(store)?;
        match (used, limit) {
            (Some(used), Some(limit)) if used > limit => {
                let message = format!("more than {limit} were used");
                Ok(Called {
                    outcome: CallOutcome::trapped(TrapKind::OutOfFuel, message),
                    fuel: Some(limit),
                })
            }
            _ => Ok(Called {
                outcome: ended?,
                fuel: used,
            }),
        }
    }
}

/// The meter is part of the instrumented module, so this says something about the machine.
fn unusable(reason: &dyn std::fmt::Display) -> CallError {
    CallError::Instantiate {
        reason: format!("the meter: {reason}"),
    }
}
