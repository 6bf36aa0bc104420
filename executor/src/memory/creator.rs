//! Giving an engine areas as its memories, and finding them again.
//!
//! Invariant: while a thread instantiates within [`collect`], the areas made on it are handed to it in the
//! order of the module's memories.

use std::{cell::RefCell, sync::Arc};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::area::{Area, Owned};

thread_local! {
    static MADE: RefCell<Vec<Arc<Area>>> = const { RefCell::new(Vec::new()) };
}

/// Makes every memory of an engine an [`Area`].
pub(crate) struct Areas;

// SAFETY: what it makes keeps the promises of `LinearMemory`; it is zero, and reserves what the engine
// asks for and the guard behind it.
unsafe impl MemoryCreator for Areas {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved_size_in_bytes.unwrap_or(0).max(minimum);
        let area =
            Area::new(minimum, capacity, guard_size_in_bytes).map_err(|error| error.to_string())?;
        let area = Arc::new(area);
        MADE.with_borrow_mut(|made| made.push(Arc::clone(&area)));
        Ok(Box::new(Owned(area)))
    }
}

/// Does `instantiate`, and returns with it the areas made meanwhile.
pub(crate) fn collect<R>(instantiate: impl FnOnce() -> R) -> (R, Vec<Arc<Area>>) {
    MADE.take();
    let result = instantiate();
    (result, MADE.take())
}
