//! The fuel of one call: its limits set, its count read, the verdict given.
//!
//! Invariant: a call is out of fuel if and only if the count at its end exceeds the consensus limit,
//! however it ended otherwise; then it used the limit, and nothing of how far it got beyond is seen.

use std::sync::Arc;

use wasmtime::{Extern, Instance, ModuleExport, Store};

use super::{
    Arbiter, CallLimits, FUEL_MAX, Fuel, FuelUsed, StateMeter, StatePrices,
    arbiter::{SlotNumber, Watch},
    layout::{
        COUNTER_OFFSET, DEPTH_OFFSET, EXHAUSTED_OFFSET, HEADROOM_OFFSET, HOST_OFFSET, SIZE_OFFSET,
        STATE_OFFSET, TOLD_OFFSET,
    },
    page::{Page, on_fault},
    state_meter::Attached,
};

/// Where an instance counts its fuel.
#[derive(Clone)]
pub(crate) enum Metering {
    /// Nowhere.
    Off,
    /// In a memory of its own.
    Guest {
        meter: ModuleExport,
        /// What is to be called before anything else.
        start: Option<ModuleExport>,
        prices: StatePrices,
        arbiter: Arc<Arbiter>,
    },
    /// In the engine.
    Engine,
}

impl Metering {
    /// Whether guests count, and so can be stopped.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self, Self::Guest { .. })
    }
}

/// Why a call cannot be metered here and now.
#[derive(Debug)]
pub(crate) enum GaugeError {
    /// The meter cannot be reached.
    Unusable(String),
    /// There are as many runs as there is room for.
    NoRoom,
    /// A run can be paused only where pages are protected.
    NotResumable,
}

/// What the count says of a call that ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It stayed within its limits.
    Within(Option<FuelUsed>),
    /// It passed this limit of the chain.
    OutOfFuel(Fuel),
    /// It passed the limit of depth.
    StackExhausted(Option<FuelUsed>),
    /// It passed this limit of the machine.
    LocalLimit(Fuel),
    /// It was stopped from outside.
    Cancelled,
}

/// Where one instance counts, found once.
pub(crate) enum Seat {
    /// Nowhere.
    Off,
    /// In the engine.
    Engine,
    /// In its meter.
    Guest {
        page: Page,
        prices: StatePrices,
        arbiter: Arc<Arbiter>,
        /// Which run is watched there.
        run: Arc<SlotNumber>,
    },
}

/// What a signal handler asks besides about memory at an address that could not be accessed: whether to try
/// again.
pub(crate) type MemoryFault = Box<dyn Fn(usize) -> bool + Send + Sync>;

impl Seat {
    /// Before the instance is made: an engine that counts must have something to count down.
    pub(crate) fn prepare<T>(store: &mut Store<T>, metering: &Metering) -> Result<(), GaugeError> {
        match metering {
            Metering::Engine => store.set_fuel(FUEL_MAX).map_err(|error| unusable(&error)),
            Metering::Off | Metering::Guest { .. } => Ok(()),
        }
    }

    /// Finds the meter of a new instance, and has `store` handle faults there, and those that `memory`
    /// is asked about.
    pub(crate) fn find<T>(
        store: &mut Store<T>,
        instance: &Instance,
        metering: &Metering,
        memory: Option<MemoryFault>,
    ) -> Result<Self, GaugeError> {
        let Metering::Guest {
            meter,
            prices,
            arbiter,
            ..
        } = metering
        else {
            if let Some(memory) = memory {
                on_fault(store, memory);
            }
            return Ok(match metering {
                Metering::Engine => Self::Engine,
                Metering::Off | Metering::Guest { .. } => Self::Off,
            });
        };
        let meter = instance
            .get_module_export(&mut *store, meter)
            .and_then(Extern::into_memory)
            .ok_or_else(|| unusable(&"it is missing"))?;
        let page = Page::of(&*store, meter).ok_or_else(|| unusable(&"it is too small"))?;
        let run = Arc::new(SlotNumber::default());
        let stopped = arbiter.fault_handler(Arc::clone(&run));
        match memory {
            Some(memory) => on_fault(store, move |address| {
                if page.is_guests(address) {
                    stopped()
                } else {
                    memory(address)
                }
            }),
            None => on_fault(store, move |address| page.is_guests(address) && stopped()),
        }
        Ok(Self::Guest {
            page,
            prices: *prices,
            arbiter: Arc::clone(arbiter),
            run,
        })
    }

    /// Puts the meter back, between two runs.
    pub(crate) fn clear<T>(&self, store: &mut Store<T>) -> Result<(), GaugeError> {
        match self {
            Self::Off => Ok(()),
            Self::Engine => Self::prepare(store, &Metering::Engine),
            Self::Guest { page, .. } => {
                // The word of the depth holds whether it was exceeded, too.
                for offset in [
                    COUNTER_OFFSET,
                    SIZE_OFFSET,
                    HOST_OFFSET,
                    DEPTH_OFFSET,
                    HEADROOM_OFFSET,
                    STATE_OFFSET,
                    TOLD_OFFSET,
                ] {
                    page.set(offset, 0);
                }
                Ok(())
            }
        }
    }

    /// Sets the limits of a call, and has it watched. The meter is as it was at first.
    pub(crate) fn begin<'s>(
        &'s self,
        limits: &'s CallLimits,
        state: Option<&StateMeter>,
    ) -> Result<Gauge<'s>, GaugeError> {
        let mut gauge = Gauge {
            seat: self,
            limits,
            watch: None,
            _state: None,
        };
        let Self::Guest {
            page,
            prices,
            arbiter,
            run,
        } = self
        else {
            return Ok(gauge);
        };
        if limits.refuelled().is_some() && !arbiter.can_pause() {
            return Err(GaugeError::NotResumable);
        }
        if let Some(Fuel(limit)) = limits.fixed() {
            page.set(HEADROOM_OFFSET, FUEL_MAX.saturating_sub(limit));
        }
        if limits.deeper > 0 {
            // The depth, and the half word behind it, which is zero.
            page.set(DEPTH_OFFSET, 0_u32.wrapping_sub(limits.deeper).into());
        }
        if let Some(Fuel(limit)) = limits.consensus {
            page.set(TOLD_OFFSET, limit.wrapping_add(1));
        }
        let watch = arbiter.watch(*page, limits, run);
        gauge.watch = Some(watch.ok_or(GaugeError::NoRoom)?);
        gauge._state = state.map(|state| state.attach(*page, *prices));
        Ok(gauge)
    }
}

/// One call's count and limits. Dropping it ends the watch over the call.
pub(crate) struct Gauge<'s> {
    seat: &'s Seat,
    limits: &'s CallLimits,
    watch: Option<Watch<'s>>,
    _state: Option<Attached>,
}

impl Gauge<'_> {
    /// The verdict over a run that trapped or not.
    pub(crate) fn ending<T>(
        mut self,
        store: &Store<T>,
        trapped: bool,
    ) -> Result<Ending, GaugeError> {
        let watched = self.watch.take().map(Watch::end);
        let used = match self.seat {
            Seat::Off => return Ok(Ending::Within(None)),
            Seat::Engine => {
                let left = store.get_fuel().map_err(|error| unusable(&error))?;
                let total = FUEL_MAX.saturating_sub(left);
                FuelUsed {
                    wasm: total,
                    total: Fuel(total),
                    ..FuelUsed::default()
                }
            }
            Seat::Guest { page, .. } => used(page),
        };
        let fixed = self.limits.fixed();
        if let Some(limit) = fixed.filter(|limit| used.total > *limit) {
            // How far it got depends on when it was noticed, so it is for people only.
            log::debug!(target: "slackwater::fuel", "counted {} of {limit}", used.total);
        }
        if let Some(local) = self.limits.fixed_local()
            && self.limits.consensus.is_none_or(|limit| local < limit)
            && used.total > local
        {
            // The run was stopped on its way to the chain's limit, and how far it came is chance.
            return Ok(Ending::LocalLimit(local));
        }
        if let Some(limit) = self.limits.consensus.filter(|limit| used.total > *limit) {
            return Ok(Ending::OutOfFuel(limit));
        }
        if used.total > Fuel(FUEL_MAX) {
            return Ok(Ending::OutOfFuel(Fuel(FUEL_MAX)));
        }
        if let Some((first, _)) = self.limits.refuelled() {
            let limit = watched.as_ref().map_or(first, |watched| watched.asked);
            if used.total > limit {
                return Ok(Ending::LocalLimit(limit.max(first)));
            }
        }
        let used = FuelUsed {
            limit: self.limits.consensus,
            ..used
        };
        if let Seat::Guest { page, .. } = self.seat
            && trapped
        {
            if page.small(EXHAUSTED_OFFSET) != 0 {
                return Ok(Ending::StackExhausted(Some(used)));
            }
            if watched.is_some_and(|watched| watched.stopped) {
                return Ok(Ending::Cancelled);
            }
        }
        Ok(Ending::Within(Some(used)))
    }
}

fn used(page: &Page) -> FuelUsed {
    let size = page.read(SIZE_OFFSET);
    let host = page.read(HOST_OFFSET);
    FuelUsed {
        wasm: page.counter().saturating_sub(size).saturating_sub(host),
        size,
        host: host.saturating_add(page.state()),
        total: Fuel(page.used()),
        limit: None,
    }
}

/// The meter is part of the instrumented module, so this says something about the machine.
fn unusable(reason: &dyn std::fmt::Display) -> GaugeError {
    GaugeError::Unusable(format!("the meter: {reason}"))
}
