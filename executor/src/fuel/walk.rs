//! Charging for keys: host functions that walk the state are charged for each key while they run, and
//! stopped when their guest is over its limit.
//!
//! Invariant: what a stopped host function answers is void, and so is what it did: its guest is out
//! of fuel, and is rolled back.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{
    page::{HostWords, Page},
    schedule::KeyPrices,
};

/// Charges the guest that runs on a state for the keys its host functions walk. Without such a guest,
/// or with one that is not metered, it charges nothing.
#[derive(Debug, Clone, Default)]
pub struct Walk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    words: HostWords,
    walked: AtomicU32,
    rooted: AtomicU32,
}

impl Walk {
    /// Charges for stepping over so many keys. Whether the walk may go on.
    pub(crate) fn walk(&self, keys: u64) -> bool {
        self.charge(keys, &self.0.walked)
    }

    /// Charges for a root calculated from so many keys. Whether it may be.
    pub(crate) fn root(&self, keys: u64) -> bool {
        self.charge(keys, &self.0.rooted)
    }

    fn charge(&self, keys: u64, price: &AtomicU32) -> bool {
        let price = u64::from(price.load(Ordering::Relaxed));
        // No state has 2^31 keys.
        self.0.words.charge(keys.saturating_mul(price))
    }

    /// Charges to the guest with this page until the result is dropped.
    pub(super) fn attach(&self, page: Page, prices: KeyPrices) -> Attached {
        self.0.walked.store(prices.walked, Ordering::Relaxed);
        self.0.rooted.store(prices.rooted, Ordering::Relaxed);
        self.0.words.attach(page);
        Attached(self.clone())
    }
}

/// While it lives, somebody is charged.
#[derive(Debug)]
pub(super) struct Attached(Walk);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.0.words.detach();
    }
}
