//! How a guest's memory grows and shrinks again at the least cost.
//!
//! A guest grows in most calls or in none, mostly to the same length, and hardly uses what it got: an
//! allocator's header, a few bytes behind a large block. So growth opens what calls have been seen to
//! write to, and that keeps its memory when the guest shrinks: it is cleared, as hot pages are. Growing
//! then costs two changes of protection, and none where nothing is used; the first access elsewhere opens
//! everything, by a fault (5 us), and so does growth to another length, at once.
//!
//! Invariant: what lies behind the length a call begins with is zero when it begins. Opening everything
//! by a fault needs no new mapping, so that it cannot fail for want of one. Cost: at most as much memory as
//! hot pages may have, and up to five mappings.

use std::{io, ops::Range};

use super::{
    area::{Ahead, Area},
    strategy::Resetter,
    sys::{SCANNED_MAX, page_bytes},
};

/// Ranges that are opened. Each costs as much as a few faults.
const RANGES_MAX: usize = 2;
/// Pages between two that were written to that are opened with them.
const GAP_PAGES_MAX: usize = 4;
/// Calls that have everything opened after one that wrote all over it, or read what nobody wrote.
const OPEN_CALLS: u32 = 256;
/// Calls that grow until what is used is found out anew.
const AGE_MAX: u32 = 4_096;
/// Calls in this time that may grow to another length than the last one.
const OTHERS_MAX: u32 = 4;

/// What is known of how a guest grows.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// What is used of it, if that is known; what it is, is opened and kept.
    used: Option<Ahead>,
    /// Calls yet that have everything opened.
    open_calls: u32,
    /// Calls that grew since all was forgotten.
    age: u32,
    /// Those that grew to another length than the last one.
    others: u32,
    found: Vec<Range<usize>>,
}

impl Growth {
    /// Ranges that are kept behind the length a call begins with.
    pub(super) fn ranges(&self) -> usize {
        self.used.as_ref().map_or(0, |used| used.ranges.len())
    }

    /// After a run: gives the memory its first `length` back.
    pub(super) fn shrink(
        &mut self,
        area: &Area,
        length: usize,
        resetter: &Resetter,
    ) -> io::Result<()> {
        self.age += 1;
        let foreseen = area.is_as_foreseen(length);
        if foreseen && self.age < AGE_MAX {
            return area.shrink_as_foreseen(length);
        }
        if self.age >= AGE_MAX {
            (self.age, self.others) = (0, 0);
        }
        let known = self.used.take();
        let mut used = None;
        if self.open_calls > 0 {
            self.open_calls -= 1;
        } else if !foreseen && resetter.grows_lazily {
            used = self.learn(area, length, known, resetter)?;
        }
        area.shrink_to(length)?;
        if let Err(error) = area.set_ahead(used.clone()) {
            // The kernel gives no more mappings, or does not know how to tell them apart.
            log::debug!(target: "slackwater::memory", "growth is not foreseen: {error}");
            self.open_calls = OPEN_CALLS;
            return area.set_ahead(None);
        }
        self.used = used;
        Ok(())
    }

    /// Finds out what the last run wrote to behind `length`, beside what is known.
    fn learn(
        &mut self,
        area: &Area,
        length: usize,
        known: Option<Ahead>,
        resetter: &Resetter,
    ) -> io::Result<Option<Ahead>> {
        let Some(scanner) = &resetter.scanner else {
            return Ok(None);
        };
        self.found.reserve(SCANNED_MAX);
        let complete = area.written(&(length..area.length()), scanner, &mut self.found)?;
        let known_ranges = known.iter().flat_map(|known| known.ranges.iter().cloned());
        let within = known_ranges.filter(|range| range.end <= area.length());
        self.found.extend(within);
        let used = Ahead {
            length: area.length(),
            ranges: joined(&mut self.found, GAP_PAGES_MAX * page_bytes()),
        };
        let pages: usize = used.ranges.iter().map(ExactSizeIterator::len).sum();
        let few = used.ranges.len() <= RANGES_MAX && pages / page_bytes() <= resetter.hot_pages_max;
        let other = known
            .as_ref()
            .is_some_and(|known| known.length != used.length);
        self.others += u32::from(other);
        let settled = self.others <= OTHERS_MAX && known.as_ref() != Some(&used);
        if complete && few && settled {
            return Ok(Some(used));
        }
        self.open_calls = OPEN_CALLS;
        Ok(None)
    }

    /// Between runs: gives the memory back that is kept.
    pub(super) fn forget(&mut self, area: &Area) -> io::Result<()> {
        *self = Self::default();
        area.set_ahead(None)
    }
}

/// Ranges that hold all of these, with gaps of at most so many bytes.
fn joined(ranges: &mut [Range<usize>], gap_max: usize) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges.iter() {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + gap_max => last.end = last.end.max(range.end),
            _ => joined.push(range.clone()),
        }
    }
    joined
}
