//! What the host keeps for one running guest, stored as the data of its wasmtime `Store`.
//!
//! Invariant: the allocator belongs to exactly one guest memory and is replaced with it; its state
//! is never carried from one call to the next.

use sc_allocator::FreeingBumpHeapAllocator;
use thiserror::Error;
use wasmtime::{Memory, ResourceLimiter};

use crate::budget::MemoryCharge;

/// Bytes of one wasm page.
pub const WASM_PAGE_BYTES: usize = 65_536;
/// Pages a 32-bit memory can have at most.
pub const WASM_PAGES_MAX: u32 = 65_536;

/// Elements a table can grow to; published runtimes stay below 2,400, and theirs do not grow.
pub const TABLE_ELEMENTS_MAX: usize = 65_536;

/// The host could not give the guest memory that its limits allow. Depends on the machine, so it is
/// an operational error and never part of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the host is out of memory for a guest within its limit: {reason}")]
pub struct HostOutOfMemory {
    /// What the operating system or the engine said.
    pub reason: String,
    /// The budget that is used up, where the operating system had more: see [`crate::MemoryBudget`].
    pub budget: Option<u64>,
}

/// What became of a guest's heap in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct AllocationStats {
    /// Bytes that were allocated when it ended, what the allocator adds to them included.
    pub bytes: u32,
    /// The most that were allocated at a time.
    pub bytes_peak: u32,
    /// All that were ever allocated.
    pub bytes_sum: u128,
    /// Bytes from the heap's base to behind what was ever allocated.
    pub address_space: u32,
}

/// How many pages a guest memory may have in all. `None` means as many as wasm allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapLimit {
    /// Total pages, data and stack included.
    pub pages_max: Option<u32>,
}

impl HeapLimit {
    fn bytes_max(self) -> usize {
        let pages = self.pages_max.unwrap_or(WASM_PAGES_MAX).min(WASM_PAGES_MAX);
        usize::try_from(pages)
            .unwrap_or(usize::MAX)
            .saturating_mul(WASM_PAGE_BYTES)
    }
}

/// A guest's heap: the allocator, and how far it reaches.
pub(crate) struct Heap {
    pub(crate) allocator: FreeingBumpHeapAllocator,
    /// Where the next allocation begins that takes the place of no other, with what the allocator adds to it.
    end: u64,
    /// How far the heap may reach before more has to be charged.
    charged_end: u64,
}

impl Heap {
    /// What the allocator adds to an allocation, the least it allocates, and what it rounds its base up to.
    const UNIT: u64 = 8;

    fn new(base: u32) -> Self {
        Self {
            allocator: FreeingBumpHeapAllocator::new(base),
            end: u64::from(base).next_multiple_of(Self::UNIT),
            charged_end: u64::MAX,
        }
    }

    /// Whether an allocation of so many bytes surely fits into a memory of that length, as far as that is charged. Where
    /// it may have to grow, or is refused, it does not.
    pub(crate) fn fits(&self, size: u32, length: usize) -> bool {
        let end = self.end_with(size);
        u64::try_from(length).is_ok_and(|length| end <= length.min(self.charged_end))
    }

    /// How far the heap reaches with another allocation, at most.
    pub(crate) fn end_with(&self, size: u32) -> u64 {
        self.end + Self::UNIT + Self::taken(size)
    }

    /// So many bytes were allocated there.
    pub(crate) fn reaches(&mut self, pointer: u32, size: u32) {
        self.end = self.end.max(u64::from(pointer) + Self::taken(size));
    }

    /// An allocation is a power of two.
    fn taken(size: u32) -> u64 {
        u64::from(size).next_power_of_two().max(Self::UNIT)
    }
}

/// Per-call host data of a guest: its memory, its heap allocator, and what it reported.
pub struct HostState {
    limit: HeapLimit,
    pub(crate) memory: Option<Memory>,
    /// In a box, because it is taken out where the memory has to grow.
    pub(crate) heap: Option<Box<Heap>>,
    pub(crate) panic_message: Option<String>,
    out_of_memory: Option<HostOutOfMemory>,
    charge: Option<MemoryCharge>,
}

impl std::fmt::Debug for HostState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HostState")
            .field("limit", &self.limit)
            .field("attached", &self.memory.is_some())
            .finish_non_exhaustive()
    }
}

impl HostState {
    /// A state without memory and allocator: they are known only after instantiation, and
    /// [`HostState::attach`] brings them.
    pub fn new(limit: HeapLimit) -> Self {
        Self {
            limit,
            memory: None,
            heap: None,
            panic_message: None,
            out_of_memory: None,
            charge: None,
        }
    }

    /// Charges the call that begins, which has a memory of so many bytes of its own, by `charge`.
    ///
    /// # Errors
    /// [`HostOutOfMemory`] when the budget has no room for it.
    pub fn begin_charge(
        &mut self,
        mut charge: MemoryCharge,
        bytes: u64,
    ) -> Result<(), HostOutOfMemory> {
        charge.cover(bytes)?;
        if let Some(heap) = &mut self.heap {
            heap.charged_end = charge.bytes();
        }
        self.charge = Some(charge);
        Ok(())
    }

    /// Charges for a heap, or a memory, that reaches so far.
    pub(crate) fn charge_up_to(&mut self, end: u64) -> Result<(), HostOutOfMemory> {
        let Some(charge) = &mut self.charge else {
            return Ok(());
        };
        match charge.cover(end) {
            Ok(()) => {
                if let Some(heap) = &mut self.heap {
                    heap.charged_end = charge.bytes();
                }
                Ok(())
            }
            Err(error) => {
                self.out_of_memory = Some(error.clone());
                Err(error)
            }
        }
    }

    /// What became of the guest's heap so far.
    pub fn allocation_stats(&self) -> AllocationStats {
        let stats = self.heap.as_ref().map(|heap| heap.allocator.stats());
        let Some(stats) = stats else {
            return AllocationStats::default();
        };
        AllocationStats {
            bytes: stats.bytes_allocated,
            bytes_peak: stats.bytes_allocated_peak,
            bytes_sum: stats.bytes_allocated_sum,
            address_space: stats.address_space_used,
        }
    }

    /// Gives the state its guest's memory and a new allocator whose heap begins at `heap_base`
    /// (bytes; rounded up to 8 by the allocator).
    pub fn attach(&mut self, memory: Memory, heap_base: u32) {
        self.memory = Some(memory);
        let mut heap = Box::new(Heap::new(heap_base));
        if let Some(charge) = &self.charge {
            heap.charged_end = charge.bytes();
        }
        self.heap = Some(heap);
    }

    /// Forgets everything of the last call, and begins another with `limit` and a new allocator.
    pub fn reset(&mut self, limit: HeapLimit, heap_base: u32) {
        self.limit = limit;
        match &mut self.heap {
            Some(heap) => **heap = Heap::new(heap_base),
            None => self.heap = Some(Box::new(Heap::new(heap_base))),
        }
        self.panic_message = None;
        self.out_of_memory = None;
        self.charge = None;
    }

    /// Current size of the guest memory in bytes, as seen through `store`; 0 before
    /// [`HostState::attach`].
    pub fn memory_bytes(&self, store: impl wasmtime::AsContext<Data = HostState>) -> u64 {
        self.memory.map_or(0, |memory| {
            u64::try_from(memory.data_size(store)).unwrap_or(u64::MAX)
        })
    }

    /// The limit given at creation.
    pub fn limit(&self) -> HeapLimit {
        self.limit
    }

    /// The message the guest left with `ext_panic_handler_abort_on_panic`, if it did. Taken once.
    pub fn take_panic_message(&mut self) -> Option<String> {
        self.panic_message.take()
    }

    /// The failure to provide memory that ended the call, if one did. Taken once.
    pub fn take_out_of_memory(&mut self) -> Option<HostOutOfMemory> {
        self.out_of_memory.take()
    }
}

/// Refusing growth past the limit is deterministic and shows the guest a -1; failing to provide
/// memory within it is not, so that ends the call.
impl ResourceLimiter for HostState {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grows =
            desired <= self.limit.bytes_max() && maximum.is_none_or(|maximum| desired <= maximum);
        // Before that, it is what every heap of this configuration has, used or not.
        if grows && self.memory.is_some() {
            self.charge_up_to(desired as u64)?;
        }
        Ok(grows)
    }

    fn memory_grow_failed(&mut self, error: anyhow::Error) -> wasmtime::Result<()> {
        // What was refused by the budget says so already.
        let error = self
            .out_of_memory
            .clone()
            .unwrap_or_else(|| HostOutOfMemory {
                reason: format!("{error:#}"),
                budget: None,
            });
        self.out_of_memory = Some(error.clone());
        Err(error.into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A table that begins larger may be made, wherever that is possible.
        Ok(current == 0 || desired <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_ends_at_the_limit_and_at_the_declared_maximum() {
        let mut state = HostState::new(HeapLimit { pages_max: Some(2) });
        let grows = |state: &mut HostState, pages: usize, maximum: Option<usize>| {
            state
                .memory_growing(
                    0,
                    pages * WASM_PAGE_BYTES,
                    maximum.map(|m| m * WASM_PAGE_BYTES),
                )
                .unwrap()
        };
        assert!(grows(&mut state, 2, None));
        assert!(!grows(&mut state, 3, None));
        assert!(!grows(&mut state, 2, Some(1)));

        let mut state = HostState::new(HeapLimit { pages_max: None });
        assert!(grows(&mut state, 65_536, None));
        assert!(!grows(&mut state, 65_537, None));
    }

    #[test]
    fn a_failed_growth_is_kept_as_an_operational_error() {
        let mut state = HostState::new(HeapLimit { pages_max: None });
        assert!(
            state
                .memory_grow_failed(anyhow::Error::msg("no pages left"))
                .is_err()
        );
        let error = state.take_out_of_memory().unwrap();
        assert!(error.reason.contains("no pages left"));
        assert_eq!(state.take_out_of_memory(), None);
    }
}
