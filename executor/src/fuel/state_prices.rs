//! What host functions do with the state, and what each of it costs.
//!
//! Invariant: whatever takes time with the number of keys or the size of values has a price by key or
//! by size. How the default prices were found is said with those of host functions.

/// Something that is paid for, each time it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateCost {
    /// A key of the state is stepped over, be it to remove it.
    Walked,
    /// A key is removed because of what it begins with, or because of its trie.
    Removed,
    /// A key that the block has changed is looked at; or changed, for each layer that may have to
    /// hand it on; or a child trie, for each layer opened and closed.
    Changed,
    /// A child trie that nobody has changed in this block is changed.
    Child,
    /// A changed key, or a child trie, goes into a root.
    Rooted,
    /// 64 bytes of a value are read from the state, or copied.
    Value,
    /// 64 bytes of a changed value go into a root.
    Hashed,
}

/// How many there are.
const COSTS: usize = 7;

impl StateCost {
    /// All of them.
    pub const ALL: [Self; COSTS] = [
        Self::Walked,
        Self::Removed,
        Self::Changed,
        Self::Child,
        Self::Rooted,
        Self::Value,
        Self::Hashed,
    ];

    /// The name of its price.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Walked => "state walked",
            Self::Removed => "state removed",
            Self::Changed => "state changed",
            Self::Child => "state child",
            Self::Rooted => "state rooted",
            Self::Value => "state value",
            Self::Hashed => "state hashed",
        }
    }

    fn default_price(self) -> u32 {
        match self {
            Self::Walked => 10_000,
            Self::Removed => 15_000,
            Self::Changed => 600,
            Self::Child => 25_000,
            Self::Rooted => 20_000,
            Self::Value => 320,
            Self::Hashed => 256,
        }
    }
}

/// The price of each [`StateCost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatePrices([u32; COSTS]);

impl Default for StatePrices {
    fn default() -> Self {
        Self(StateCost::ALL.map(StateCost::default_price))
    }
}

impl StatePrices {
    /// The price of one.
    pub fn of(&self, cost: StateCost) -> u32 {
        self.0[cost as usize]
    }

    /// The price with this name.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut u32> {
        let cost = StateCost::ALL.iter().position(|cost| cost.name() == name)?;
        self.0.get_mut(cost)
    }
}
