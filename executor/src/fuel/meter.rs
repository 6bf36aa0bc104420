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
    /// Nobody. Guests run as they are, and none can be limited.
    #[default]
    Off,
    /// Guests count, and compare with their limit themselves wherever they publish the count.
    Checked,
    /// The engine counts, by wasmtime's `consume_fuel`: for comparison. It forgets what a run that
    /// traps had used since its last call, and a limit is looked at only when the run has ended.
    Engine,
}
