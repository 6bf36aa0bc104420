//! How much memory a guest gets beyond its data and stack. The guest sees it through `memory.size`,
//! so the numbers follow the Polkadot SDK's executor exactly.

use slackwater_host_functions::HeapLimit;

/// Heap pages a guest gets by default, as in the Polkadot SDK: 2,048 wasm pages, 128 MiB.
const HEAP_PAGES_DEFAULT: u32 = 2_048;

/// How the memory of a guest is sized. Pages are wasm pages of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeapPages {
    /// Grow by exactly `extra` pages before the call, and never beyond.
    Static {
        /// Pages added to the module's initial size.
        extra: u32,
    },
    /// Start at the module's initial size and grow on demand.
    Dynamic {
        /// Limit of all pages, initial ones included; `None` is wasm's own, 65,536.
        maximum: Option<u32>,
    },
}

impl Default for HeapPages {
    fn default() -> Self {
        Self::Static {
            extra: HEAP_PAGES_DEFAULT,
        }
    }
}

/// What a call is for; decides the heap it gets and which runtime code it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallContext {
    /// Building a block.
    Build,
    /// Executing a block that somebody else built. Gets twice the heap, because a whole block may
    /// run in one instance.
    Import,
    /// Anything outside blocks: queries.
    Offchain,
}

impl HeapPages {
    /// Twice the pages, saturating; a missing maximum stays missing.
    #[must_use]
    pub fn double(self) -> Self {
        match self {
            Self::Static { extra } => Self::Static {
                extra: extra.saturating_mul(2),
            },
            Self::Dynamic { maximum } => Self::Dynamic {
                maximum: maximum.map(|pages| pages.saturating_mul(2)),
            },
        }
    }

    /// The limit of a memory whose module starts at `initial` pages.
    pub(crate) fn limit(self, initial: u32) -> HeapLimit {
        match self {
            Self::Static { extra } => HeapLimit {
                pages_max: Some(initial.saturating_add(extra)),
            },
            Self::Dynamic { maximum } => HeapLimit { pages_max: maximum },
        }
    }

    /// Pages to grow by before the call.
    pub(crate) fn extra(self) -> u32 {
        match self {
            Self::Static { extra } => extra,
            Self::Dynamic { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_and_limits() {
        assert_eq!(
            HeapPages::Static { extra: 3 }.double(),
            HeapPages::Static { extra: 6 }
        );
        assert_eq!(HeapPages::Static { extra: 3 }.limit(20).pages_max, Some(23));
        let unlimited = HeapPages::Dynamic { maximum: None };
        assert_eq!(unlimited.double(), unlimited);
        assert_eq!(unlimited.limit(20).pages_max, None);
        let bounded = HeapPages::Dynamic { maximum: Some(40) };
        assert_eq!(bounded.double().limit(20).pages_max, Some(80));
        assert_eq!(
            (bounded.extra(), HeapPages::Static { extra: 3 }.extra()),
            (0, 3)
        );
    }
}
