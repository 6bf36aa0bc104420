//! Numbers of which only differences are known: points joined into sets within which every difference is fixed.
//!
//! A union-find whose links carry differences. Invariant: a difference once fixed never changes. Cost:
//! nearly constant for each operation.

/// Points, and what is known of their differences.
pub(super) struct Potentials {
    /// For each point another of its set, or itself, and by how much it is above that.
    links: Vec<(u32, i64)>,
    /// Number of points of each set, at the point that has no other.
    sizes: Vec<u32>,
}

impl Potentials {
    /// This many points of which nothing is known.
    pub(super) fn new(points: u32) -> Self {
        Self {
            links: (0..points).map(|point| (point, 0)).collect(),
            sizes: vec![1; points as usize],
        }
    }

    /// One more point.
    pub(super) fn add(&mut self) -> u32 {
        // A valid function has less than 8 million operators.
        let point = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        self.links.push((point, 0));
        self.sizes.push(1);
        point
    }

    /// The point that stands for the set of `point`, and by how much this is above it.
    fn root(&mut self, mut point: u32) -> (u32, i64) {
        let mut above = 0;
        loop {
            let (next, difference) = self.links[point as usize];
            if next == point {
                return (point, above);
            }
            let (further, more) = self.links[next as usize];
            self.links[point as usize] = (further, difference + more);
            above += difference + more;
            point = further;
        }
    }

    /// Fixes that `to` is this much above `from`, unless their difference is fixed; whether it was not.
    pub(super) fn join(&mut self, from: u32, to: u32, difference: i64) -> bool {
        let (one, from_above) = self.root(from);
        let (other, to_above) = self.root(to);
        if one == other {
            return false;
        }
        // What `other` is above `one`.
        let above = from_above + difference - to_above;
        let (small, large, above) = if self.sizes[one as usize] < self.sizes[other as usize] {
            (one, other, -above)
        } else {
            (other, one, above)
        };
        self.links[small as usize] = (large, above);
        self.sizes[large as usize] += self.sizes[small as usize];
        true
    }

    /// What `to` is above `from`, which are in one set.
    pub(super) fn difference(&mut self, from: u32, to: u32) -> i64 {
        let (one, from_above) = self.root(from);
        let (other, to_above) = self.root(to);
        debug_assert_eq!(one, other, "every way was joined");
        to_above - from_above
    }
}

#[cfg(test)]
mod tests {
    use super::Potentials;

    #[test]
    fn differences_follow_from_others() {
        let mut potentials = Potentials::new(4);
        assert!(potentials.join(0, 1, 5));
        assert!(potentials.join(2, 3, 7));
        assert!(potentials.join(1, 3, 1));
        assert!(!potentials.join(2, 0, 100));
        // 3 is 1 above 1, which is 5 above 0.
        assert_eq!(potentials.difference(0, 3), 6);
        assert_eq!(potentials.difference(2, 0), 1);
        let more = potentials.add();
        assert!(potentials.join(more, 2, -3));
        assert_eq!(potentials.difference(0, more), 2);
    }

    #[test]
    fn long_chains_are_followed() {
        let mut potentials = Potentials::new(1);
        for point in 0..100_000 {
            let next = potentials.add();
            assert!(potentials.join(next, point, -1));
        }
        assert_eq!(potentials.difference(0, 100_000), 100_000);
    }
}
