//! Memory that guests running at the same time may use together.
//!
//! A running guest is charged for what its code begins with, and for the heap behind that as far as it has been allocated
//! or grown, in steps of 1 MiB. Heap that a configuration makes room for and nobody allocates costs addresses, no memory,
//! and is not charged. Invariant: what guests are charged with is the sum of what they hold, and goes with them.
//! Cost: one comparison for each allocation, an addition that all threads see for each step.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::state::HostOutOfMemory;

/// What is charged at a time.
const STEP_BYTES: u64 = 1 << 20;

/// Who is told of bytes that come and go.
type Observer = Box<dyn Fn(MemoryChange) + Send + Sync>;

/// Bytes that a guest is charged with, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryChange {
    /// So many more are used.
    Charged(u64),
    /// So many fewer.
    GivenBack(u64),
}

/// A budget, shared by all instances of an executor.
pub struct MemoryBudget {
    bytes_max: u64,
    used: AtomicU64,
    observer: Option<Observer>,
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryBudget")
            .field("bytes_max", &self.bytes_max)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl MemoryBudget {
    /// Of so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            used: AtomicU64::new(0),
            observer: None,
        }
    }

    /// The same, which tells `observer` of every change. Changes of several threads are told in any order.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Fn(MemoryChange) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    fn tell(&self, change: MemoryChange) {
        if let Some(observer) = &self.observer {
            observer(change);
        }
    }

    /// Charges so many bytes; where it is `enforced`, only if there are as many.
    fn charge(&self, bytes: u64, enforced: bool) -> Result<(), HostOutOfMemory> {
        let charged = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let used = used.saturating_add(bytes);
                (!enforced || used <= self.bytes_max).then_some(used)
            });
        charged.map_err(|_used| HostOutOfMemory {
            reason: format!(
                "the budget of {} bytes for all that run at the same time is used up",
                self.bytes_max
            ),
            budget: Some(self.bytes_max),
        })?;
        self.tell(MemoryChange::Charged(bytes));
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.tell(MemoryChange::GivenBack(bytes));
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes there are.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

/// What one guest is charged with, until it is dropped.
#[derive(Debug)]
pub struct MemoryCharge {
    budget: Arc<MemoryBudget>,
    /// Whether more than there is, is refused; else it is counted only.
    enforced: bool,
    bytes: u64,
}

impl MemoryCharge {
    /// Nothing yet.
    pub fn new(budget: Arc<MemoryBudget>, enforced: bool) -> Self {
        Self {
            budget,
            enforced,
            bytes: 0,
        }
    }

    /// Bytes charged.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges so many bytes in all.
    ///
    /// # Errors
    /// [`HostOutOfMemory`] when there are not as many.
    pub(crate) fn cover(&mut self, bytes: u64) -> Result<(), HostOutOfMemory> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let bytes = bytes.next_multiple_of(STEP_BYTES);
        let more = bytes - self.bytes;
        self.budget.charge(more, self.enforced)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_add_up_and_go_with_their_guests() {
        let told = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&told);
        let budget = MemoryBudget::new(3 * STEP_BYTES).observed_by(move |change| {
            match change {
                MemoryChange::Charged(bytes) => sum.fetch_add(bytes, Ordering::Relaxed),
                MemoryChange::GivenBack(bytes) => sum.fetch_sub(bytes, Ordering::Relaxed),
            };
        });
        let budget = Arc::new(budget);
        let mut one = MemoryCharge::new(Arc::clone(&budget), true);
        let mut other = MemoryCharge::new(Arc::clone(&budget), true);
        one.cover(1).expect("there is enough");
        one.cover(STEP_BYTES).expect("charged already");
        assert_eq!(budget.used(), STEP_BYTES);
        other.cover(2 * STEP_BYTES).expect("there is enough");
        let refused = one.cover(STEP_BYTES + 1).expect_err("there is no more");
        assert_eq!(refused.budget, Some(3 * STEP_BYTES));
        assert_eq!(
            budget.used(),
            3 * STEP_BYTES,
            "what is refused is not charged"
        );
        let mut counted = MemoryCharge::new(Arc::clone(&budget), false);
        counted.cover(5 * STEP_BYTES).expect("it is not enforced");
        assert_eq!(budget.used(), 8 * STEP_BYTES);
        assert_eq!(told.load(Ordering::Relaxed), 8 * STEP_BYTES);
        drop((one, other, counted));
        assert_eq!(budget.used(), 0);
        assert_eq!(told.load(Ordering::Relaxed), 0);
    }
}
