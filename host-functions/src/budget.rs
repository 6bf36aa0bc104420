//! Memory that guests running at the same time may use together.
//!
//! A running guest is charged for what its code begins with, and for the heap behind that as far as it has been allocated
//! or grown, in steps of 1 MiB. Heap that a configuration makes room for and nobody allocates costs addresses, no memory,
//! and is not charged. Invariant: what guests are charged with is the sum of what they hold, and goes with them.
//! Cost: one comparison for each allocation, an addition that all threads see for each step.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::state::HostOutOfMemory;

/// What is charged at a time.
const STEP_BYTES: u64 = 1 << 20;

/// A budget, shared by all instances of an executor.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// Of so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            used: AtomicU64::new(0),
        }
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
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if self.enforced && before.saturating_add(more) > self.budget.bytes_max {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(HostOutOfMemory {
                reason: format!(
                    "the budget of {} bytes for all that run at the same time is used up",
                    self.budget.bytes_max
                ),
                budget: Some(self.budget.bytes_max),
            });
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_add_up_and_go_with_their_guests() {
        let budget = Arc::new(MemoryBudget::new(3 * STEP_BYTES));
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
        drop((one, other, counted));
        assert_eq!(budget.used(), 0);
    }
}
