//! A Bloom filter over hashes of keys: which of some sets of keys are worth a search.
//!
//! Invariant: what it was made of, it may have. Cost: two to four bytes a key, two looks for a question; of a hundred other keys
//! one or two pass.

/// Bits for each key, at least.
const BITS: usize = 16;

/// A filter; the one of nothing has nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// As many as a power of two, or none.
    words: Box<[u64]>,
}

impl Filter {
    /// One of these hashes, which are `count`.
    pub(super) fn new(count: usize, hashes: impl Iterator<Item = u64>) -> Self {
        if count == 0 {
            return Self::default();
        }
        let words = count.saturating_mul(BITS).div_ceil(64).next_power_of_two();
        let mut filter = Self {
            words: vec![0; words].into(),
        };
        for hash in hashes {
            for half in halves(hash) {
                let (word, bit) = filter.place(half);
                if let Some(word) = filter.words.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        filter
    }

    /// Whether a key of this hash may be among those it was made of.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        halves(hash).into_iter().all(|half| {
            let (word, bit) = self.place(half);
            self.words.get(word).is_some_and(|word| word & bit != 0)
        })
    }

    fn place(&self, half: u32) -> (usize, u64) {
        let word = usize::try_from(half >> 6).unwrap_or_default();
        // Of nothing, any place is outside.
        let mask = self.words.len().wrapping_sub(1);
        (word & mask, 1 << (half & 63))
    }
}

fn halves(hash: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_made_of_passes_and_little_else() {
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        for count in [0, 1, 2, 100, 5_000] {
            let own = (0..count).map(|number| hash(number as u64));
            let filter = Filter::new(count, own.clone());
            assert!(own.into_iter().all(|hash| filter.may_have(hash)));
            let others = (count..count + 10_000).map(|number| hash(number as u64));
            let passed = others.filter(|hash| filter.may_have(*hash)).count();
            assert!(passed < 300, "{passed} of 10,000 beside {count}");
        }
        assert!(!Filter::default().may_have(0));
    }
}
