//! The fuel of one call: its limits set, its count read, the verdict given.
//!
//! Invariant: a call is out of fuel if and only if the count at its end exceeds the consensus limit,
//! however it ended otherwise; then it used the limit, and nothing of how far it got beyond is seen.

use std::sync::Arc;

use wasmtime::{AsContextMut, Extern, Instance, ModuleExport, Store};

use super::{
    Arbiter, CallLimits, FUEL_MAX, Fuel, FuelUsed, StateMeter, StatePrices,
    arbiter::Watch,
    layout::{
        DEPTH_OFFSET, EXHAUSTED_OFFSET, HEADROOM_OFFSET, HOST_OFFSET, SIZE_OFFSET, TOLD_OFFSET,
    },
    page::Page,
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

/// One call's count and limits. Dropping it ends the watch over the call.
pub(crate) struct Gauge {
    source: Source,
    limits: CallLimits,
    watch: Option<Watch>,
    _state: Option<Attached>,
}

enum Source {
    Off,
    Engine,
    Guest(Page),
}

impl Gauge {
    /// Before the instance is made: an engine that counts must have something to count down.
    pub(crate) fn prepare<T>(store: &mut Store<T>, metering: &Metering) -> Result<(), GaugeError> {
        match metering {
            Metering::Engine => store.set_fuel(FUEL_MAX).map_err(|error| unusable(&error)),
            Metering::Off | Metering::Guest { .. } => Ok(()),
        }
    }

    /// Finds the meter of a new instance, sets its limits, and has it watched.
    pub(crate) fn attach<T>(
        store: &mut Store<T>,
        instance: &Instance,
        metering: &Metering,
        limits: &CallLimits,
        state: Option<&StateMeter>,
    ) -> Result<Self, GaugeError> {
        let limits = limits.clone();
        let unwatched = |source, limits| Self {
            source,
            limits,
            watch: None,
            _state: None,
        };
        let (meter, prices, arbiter) = match metering {
            Metering::Off => return Ok(unwatched(Source::Off, limits)),
            Metering::Engine => return Ok(unwatched(Source::Engine, limits)),
            Metering::Guest {
                meter,
                prices,
                arbiter,
                ..
            } => (meter, *prices, arbiter),
        };
        if limits.refuelled().is_some() && !arbiter.can_pause() {
            return Err(GaugeError::NotResumable);
        }
        let meter = instance
            .get_module_export(&mut *store, meter)
            .and_then(Extern::into_memory)
            .ok_or_else(|| unusable(&"it is missing"))?;
        let mut set = |offset: u64, word: u64| {
            let offset = usize::try_from(offset).unwrap_or_default();
            meter
                .write(store.as_context_mut(), offset, &word.to_le_bytes())
                .map_err(|error| unusable(&error))
        };
        if let Some(Fuel(limit)) = limits.fixed() {
            set(HEADROOM_OFFSET, FUEL_MAX.saturating_sub(limit))?;
        }
        if limits.deeper > 0 {
            // The depth, and the half word behind it, which is zero.
            let begin = 0_u32.wrapping_sub(limits.deeper);
            set(DEPTH_OFFSET, begin.into())?;
        }
        if let Some(Fuel(limit)) = limits.consensus {
            set(TOLD_OFFSET, limit.wrapping_add(1))?;
        }
        let page = Page::of(&*store, meter).ok_or_else(|| unusable(&"it is too small"))?;
        let watch = arbiter
            .watch(store, page, &limits)
            .ok_or(GaugeError::NoRoom)?;
        Ok(Self {
            source: Source::Guest(page),
            limits,
            watch: Some(watch),
            _state: state.map(|state| state.attach(page, prices)),
        })
    }

    /// The verdict over a run that trapped or not.
    pub(crate) fn ending<T>(
        mut self,
        store: &Store<T>,
        trapped: bool,
    ) -> Result<Ending, GaugeError> {
        let watched = self.watch.take().map(Watch::end);
        let used = match &self.source {
            Source::Off => return Ok(Ending::Within(None)),
            Source::Engine => {
                let left = store.get_fuel().map_err(|error| unusable(&error))?;
                let total = FUEL_MAX.saturating_sub(left);
                FuelUsed {
                    wasm: total,
                    total: Fuel(total),
                    ..FuelUsed::default()
                }
            }
            Source::Guest(page) => used(page),
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
        if let Source::Guest(page) = &self.source
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
