//! Giving an engine areas as its memories, and finding them again.
//!
//! Invariant: while a thread instantiates within [`collect`], the areas made on it are handed to it in the
//! order of the module's memories.

use std::{cell::RefCell, sync::Arc};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::area::{Area, Owned};

thread_local! {
    /// What was made, while somebody wants to know.
    static MADE: RefCell<Option<Vec<Arc<Area>>>> = const { RefCell::new(None) };
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
        MADE.with_borrow_mut(|made| {
            if let Some(made) = made {
                made.push(Arc::clone(&area));
            }
        });
        Ok(Box::new(Owned(area)))
    }
}

/// Does `instantiate`, and returns with it the areas made meanwhile.
pub(crate) fn collect<R>(instantiate: impl FnOnce() -> R) -> (R, Vec<Arc<Area>>) {
    let collecting = Collecting::begin();
    let result = instantiate();
    (result, collecting.end())
}

/// Forgets what was made when it is dropped, also by a panic.
struct Collecting;

impl Collecting {
    fn begin() -> Self {
        MADE.set(Some(Vec::new()));
        Self
    }

    fn end(self) -> Vec<Arc<Area>> {
        MADE.take().unwrap_or_default()
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        MADE.set(None);
    }
}
