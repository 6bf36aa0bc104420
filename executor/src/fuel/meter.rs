//! Who counts fuel, in which unit, and what a count means.

/// An amount of fuel. One unit is what the schedule says; by default, one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fuel(pub u64);

impl std::fmt::Display for Fuel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} fuel", self.0)
    }
}

/// Who counts the fuel of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Meter {
    /// Nobody. Guests run as they are, and none can be limited or cancelled.
    Off,
    /// Guests count and never compare in their loops; a thread beside them looks at their counters
    /// and protects the page of one that is over its limit, so that its next store there ends it.
    /// Needs a Unix with pages of at most 32 KiB.
    #[default]
    Slacked,
    /// Guests count, and compare with their limit themselves wherever they publish the count: for
    /// hosts without signals or page protection. Same fuel, verdicts and receipts as `Slacked`.
    Checked,
    /// The engine counts, by wasmtime's `consume_fuel`: for comparison. It forgets what a run that
    /// traps had used since its last call, prices neither sizes nor host functions, and a limit is
    /// looked at only when the run has ended.
    Engine,
}

impl Meter {
    /// Whether guests are instrumented.
    pub fn is_guest(self) -> bool {
        matches!(self, Self::Slacked | Self::Checked)
    }
}

/// Fuel used, by what it was for. Of a run that passed its limit only the total is known, which is
/// the limit then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FuelUsed {
    /// For operators and invocations of functions.
    pub wasm: u64,
    /// For the bytes, elements and pages of bulk operations and growth.
    pub size: u64,
    /// For host functions: calling them, the bytes passed, what they do with the state.
    pub host: u64,
    /// All of it.
    pub total: Fuel,
    /// What there was to use, if that was limited.
    pub limit: Option<Fuel>,
}

impl FuelUsed {
    /// The limit, which was passed.
    pub(crate) fn all_of(limit: Fuel) -> Self {
        Self {
            total: limit,
            limit: Some(limit),
            ..Self::default()
        }
    }
}
