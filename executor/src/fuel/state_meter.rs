//! Charging for the state: host functions that work on it are charged while they run, for each key and
//! for values by their size, and stopped when their guest is over its limit.
//!
//! Invariant: what a stopped host function answers is void, and so is what it did: its guest is out
//! of fuel, and is rolled back.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{
    page::{HostWords, Page},
    schedule::BYTES_SHIFT,
    state_prices::{StateCost, StatePrices},
};

/// Charges the guest that runs on a state for what its host functions do there. Without such a guest,
/// or with one that is not metered, it charges nothing.
#[derive(Debug, Clone, Default)]
pub struct StateMeter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    words: HostWords,
    /// By the number of the cost.
    prices: [AtomicU32; StateCost::ALL.len()],
}

impl StateMeter {
    /// Charges so many times for `cost`. Whether the host function may go on.
    pub(crate) fn charge(&self, cost: StateCost, times: usize) -> bool {
        self.0
            .words
            .charge(self.price(cost).saturating_mul(count(times)))
    }

    /// Charges for so many bytes, 64 of which are paid for together. Whether the host function may go
    /// on.
    pub(crate) fn charge_bytes(&self, cost: StateCost, bytes: usize) -> bool {
        let price = self.price(cost);
        self.0
            .words
            .charge(price.saturating_mul(count(bytes)) >> BYTES_SHIFT)
    }

    fn price(&self, cost: StateCost) -> u64 {
        self.0.prices[cost as usize].load(Ordering::Relaxed).into()
    }

    /// Charges to the guest with this page until the result is dropped.
    pub(super) fn attach(&self, page: Page, prices: StatePrices) -> Attached {
        for cost in StateCost::ALL {
            self.0.prices[cost as usize].store(prices.of(cost), Ordering::Relaxed);
        }
        self.0.words.attach(page);
        Attached(self.clone())
    }
}

fn count(units: usize) -> u64 {
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// While it lives, somebody is charged.
#[derive(Debug)]
pub(super) struct Attached(StateMeter);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.0.words.detach();
    }
}
