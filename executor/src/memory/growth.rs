//! How a guest's memory grows and shrinks again at the least cost.
//!
//! A guest grows in most calls or in none, and hardly uses what it got: an allocator's header, a few
//! bytes behind a large block. So growth opens what calls have been seen to write to, and that keeps its
//! memory when the guest shrinks: it is cleared, as hot pages are. Growing then costs two changes of
//! protection, and none where nothing is used; the first access elsewhere opens everything, by a fault (5 us).
//!
//! Invariant: what lies behind the length a call begins with is zero when it begins. Cost: at most as much
//! memory as hot pages may have, and four mappings.

use std::{io, ops::Range};

use super::{
    area::Area,
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

/// What is known of how a guest grows.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// What was seen to be written to behind the length a call begins with, and is opened and kept; `None`
    /// if that is not known.
    used: Option<Vec<Range<usize>>>,
    /// Calls yet that have everything opened.
    open_calls: u32,
    /// Calls that grew since it was found out.
    age: u32,
    found: Vec<Range<usize>>,
}

impl Growth {
    /// After a run: gives the memory its first `length` back.
    pub(super) fn shrink(
        &mut self,
        area: &Area,
        length: usize,
        resetter: &Resetter,
    ) -> io::Result<()> {
        self.age += 1;
        if area.is_as_foreseen(length) && self.age < AGE_MAX {
            return area.shrink_as_foreseen(length);
        }
        let foreseen = area.is_as_foreseen(length);
        let known = self.used.clone();
        self.forget(area)?;
        if self.open_calls > 0 {
            self.open_calls -= 1;
        } else if !foreseen {
            self.learn(area, length, &known.unwrap_or_default(), resetter)?;
        }
        area.shrink_to(length)?;
        area.set_ahead(self.used.clone())
    }

    /// Finds out what the last run wrote to behind `length`, beside what is known.
    fn learn(
        &mut self,
        area: &Area,
        length: usize,
        known: &[Range<usize>],
        resetter: &Resetter,
    ) -> io::Result<()> {
        let Some(scanner) = &resetter.scanner else {
            return Ok(());
        };
        self.found.reserve(SCANNED_MAX);
        let complete = area.written(&(length..area.length()), scanner, &mut self.found)?;
        self.found.extend_from_slice(known);
        let ranges = joined(&mut self.found, GAP_PAGES_MAX * page_bytes());
        let pages: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        let few = ranges.len() <= RANGES_MAX && pages / page_bytes() <= resetter.hot_pages_max;
        if complete && few && (ranges != known || ranges.is_empty()) {
            self.used = Some(ranges);
        } else {
            self.open_calls = OPEN_CALLS;
        }
        Ok(())
    }

    /// Between runs, and before it shrinks: gives the memory back that is kept.
    pub(super) fn forget(&mut self, area: &Area) -> io::Result<()> {
        self.age = 0;
        self.used = None;
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
