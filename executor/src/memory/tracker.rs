//! Which pages a guest writes to, and the cheapest way to put them back.
//!
//! A guest that is *learned* has its pages looked up after each call, in the kernel's list of pages
//! (6 us), and those that were written are copied back and stay; such pages are *hot*. When no new ones
//! have come for a few calls, its memory is *sealed*: hot pages are open, a store to any other faults. A
//! call that meets no fault has written to hot pages only, so they are copied back without asking the
//! kernel for anything. One that does meet a fault is unsealed by it (5 us), and is learned again. A
//! guest that writes all over its memory is *wild*: everything is given back to the kernel after each
//! call, which costs it a fault for each page in the next, as with an instance made from scratch.
//!
//! Invariant: after [`Tracker::reset`] every byte is what it was at first. Cost: 0.1 us for each hot
//! page; hot pages are bounded in number, and when sealed in ranges, since each range costs two mappings.

use std::{io, ops::Range};

use super::{
    area::Area,
    growth::Growth,
    strategy::{MemoryStrategy, Resetter},
    sys::{SCANNED_MAX, Scanner, page_bytes},
};

/// Resets in a row without anything new before memory is sealed, at first.
const PATIENCE_MIN: u32 = 3;
/// The same, for a guest whose seals break again and again.
const PATIENCE_MAX: u32 = 64;
/// Ranges open in a sealed memory, by how many are kept behind its length: each costs two mappings, and there
/// are to be sixteen at most in all.
const OPEN_RANGES_MAX: [usize; 3] = [4, 2, 1];
/// Pages between hot ones that are opened with them, in all.
const GAP_PAGES_MAX: usize = 64;
/// Pages that may stay open although nobody writes to them any more.
const UNUSED_PAGES_MAX: usize = 16;
/// Resets without having changed after which a page is given back. One that is written to and does not
/// change looks the same; giving it back costs it a fault, keeping it a comparison a twentieth of that. With 4, a
/// set that drifts by a tenth is put back in three quarters of the time, and one that stays, and that is written to
/// without a change, in four times as much.
const STRIKES_MAX: u8 = 8;
/// Resets in a row in which sealing is put off because pages seem to leave.
const PUT_OFF_MAX: u32 = 16;
/// Sealed resets between two looks at what still changes, at first, and at most.
const RECHECK_CALLS: Range<u32> = 64..16_384;
/// Calls a wild guest is left alone for, at first, and at most.
const WILD_CALLS: Range<u32> = 8..1_024;
/// Ranges given back one by one in a reset.
const DROPS_MAX: usize = 8;

/// A page that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hot {
    /// Its number.
    page: usize,
    /// For how many resets it has not been written to.
    strikes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Pages are looked up.
    Learned,
    /// Only hot pages can be written, for so many calls.
    Sealed(u32),
    /// Everything is given back, for so many calls yet.
    Wild(u32),
}

/// What is known of one guest memory.
#[derive(Debug)]
pub(crate) struct Tracker {
    mode: Mode,
    /// By page.
    hot: Vec<Hot>,
    /// What is open while sealed, in bytes.
    open: Vec<Range<usize>>,
    /// Pages in them that are not hot.
    joined_pages: usize,
    /// Resets in a row that found nothing new.
    quiet: u32,
    /// Resets in a row in which sealing was put off.
    put_off: u32,
    patience: u32,
    wild_calls: u32,
    recheck_calls: u32,
    found: Vec<Range<usize>>,
    kept: Vec<Hot>,
    growth: Growth,
    /// Pages that the last reset met for the first time.
    cold_pages: usize,
}

impl Tracker {
    /// Of a memory that nothing has run on.
    pub(crate) fn new() -> Self {
        Self {
            mode: Mode::Learned,
            hot: Vec::new(),
            open: Vec::new(),
            joined_pages: 0,
            quiet: 0,
            put_off: 0,
            patience: PATIENCE_MIN,
            wild_calls: WILD_CALLS.start,
            recheck_calls: RECHECK_CALLS.start,
            found: Vec::with_capacity(SCANNED_MAX),
            kept: Vec::new(),
            growth: Growth::default(),
            cold_pages: 0,
        }
    }

    /// Pages that the last reset kept, and those that it met for the first time.
    pub(crate) fn last_pages(&self) -> (usize, usize) {
        (self.hot.len(), self.cold_pages)
    }

    /// Before a run: makes sure that `range` can be written where no fault is handled.
    pub(crate) fn open(&self, area: &Area, range: &Range<usize>) -> io::Result<()> {
        area.open(range, &self.open)
    }

    /// Puts everything back, and the memory's length.
    pub(crate) fn reset(
        &mut self,
        area: &Area,
        length: usize,
        resetter: &Resetter,
    ) -> io::Result<()> {
        self.cold_pages = 0;
        if area.length() > length {
            self.growth.shrink(area, length, resetter)?;
            if area.is_sealed() && self.open.len() > self.open_ranges_max() {
                area.unseal()?;
                self.learn_anew();
            }
        }
        match (resetter.strategy, &resetter.scanner) {
            (MemoryStrategy::Plain, _) => area.rebuild(),
            (MemoryStrategy::Auto, Some(scanner)) => {
                self.reset_tracked(area, scanner, resetter.hot_pages_max)
            }
            _ => area.discard(0..area.length()),
        }
    }

    fn reset_tracked(
        &mut self,
        area: &Area,
        scanner: &Scanner,
        hot_pages_max: usize,
    ) -> io::Result<()> {
        match self.mode {
            Mode::Sealed(calls) if area.is_sealed() => {
                if calls >= self.recheck_calls {
                    return self.recheck(area);
                }
                self.mode = Mode::Sealed(calls + 1);
                for range in &self.open {
                    area.restore(range.clone())?;
                }
                return Ok(());
            }
            Mode::Sealed(calls) => {
                // Something new was written to.
                if calls < RECHECK_CALLS.start / 2 {
                    self.patience = (self.patience * 2).min(PATIENCE_MAX);
                }
                self.learn_anew();
            }
            Mode::Wild(calls) => {
                self.mode = match calls {
                    0 => Mode::Learned,
                    _ => Mode::Wild(calls - 1),
                };
                return area.discard(0..area.length());
            }
            Mode::Learned => {}
        }
        let complete = area.written(&(0..area.length()), scanner, &mut self.found)?;
        let pages: usize = self.found.iter().map(ExactSizeIterator::len).sum();
        if !complete || pages / page_bytes() > hot_pages_max {
            self.cold_pages = pages / page_bytes();
            self.mode = Mode::Wild(self.wild_calls);
            self.wild_calls = (self.wild_calls * 2).min(WILD_CALLS.end);
            self.hot.clear();
            self.quiet = 0;
            return area.discard(0..area.length());
        }
        self.put_back(area)?;
        if self.quiet >= self.patience && !self.is_leaving() && self.plan_seal() {
            return self.seal(area);
        }
        Ok(())
    }

    /// Seals what is not open. Where the kernel refuses to split its mappings further, the memory stays
    /// learned, and that is tried again much later.
    fn seal(&mut self, area: &Area) -> io::Result<()> {
        if let Err(error) = area.seal(&self.open) {
            log::debug!(target: "slackwater::memory", "a memory is not sealed: {error}");
            area.unseal()?;
            self.learn_anew();
            self.patience = PATIENCE_MAX;
            return Ok(());
        }
        log::debug!(
            target: "slackwater::memory",
            "sealed: {} pages are hot, open is {:x?}", self.hot.len(), self.open,
        );
        self.mode = Mode::Sealed(0);
        Ok(())
    }

    /// Gives a memory that was put back another length.
    pub(crate) fn set_length(&mut self, area: &Area, length: usize) -> io::Result<()> {
        // A seal knows nothing of what comes or goes.
        if area.is_sealed() {
            area.unseal()?;
        }
        // Nor do calls with another heap need to be as wild as the last ones.
        if !matches!(self.mode, Mode::Learned) {
            self.learn_anew();
        }
        self.growth.forget(area)?;
        if length < area.length() {
            return area.shrink_to(length);
        }
        area.grow_to(length)
    }

    /// Gives all memory back, between runs, and learns from the beginning.
    pub(crate) fn release(&mut self, area: &Area, resetter: &Resetter) -> io::Result<()> {
        if resetter.strategy == MemoryStrategy::Plain {
            return area.rebuild();
        }
        let length = area.length();
        self.set_length(area, length)?;
        *self = Self::new();
        area.discard(0..length)
    }

    fn learn_anew(&mut self) {
        self.mode = Mode::Learned;
        self.quiet = 0;
        self.open.clear();
    }

    /// Copies the pages back that were found and differ, and decides which are kept.
    fn put_back(&mut self, area: &Area) -> io::Result<()> {
        let page_bytes = page_bytes();
        let mut known = self.hot.iter().peekable();
        let mut dropped: Vec<Range<usize>> = Vec::new();
        let mut news = false;
        self.kept.clear();
        for page in self
            .found
            .iter()
            .flat_map(|range| range.start / page_bytes..range.end / page_bytes)
        {
            let range = page * page_bytes..(page + 1) * page_bytes;
            let written = !area.is_pristine(&range)?;
            if written {
                area.restore(range.clone())?;
            }
            while known.next_if(|hot| hot.page < page).is_some() {}
            let strikes = match known.next_if(|hot| hot.page == page) {
                Some(hot) if !written => hot.strikes + 1,
                Some(_) => 0,
                None => {
                    news = true;
                    self.cold_pages += 1;
                    0
                }
            };
            if strikes < STRIKES_MAX {
                self.kept.push(Hot { page, strikes });
                continue;
            }
            if let Some(last) = dropped.last_mut()
                && last.end == range.start
            {
                last.end = range.end;
            } else if dropped.len() < DROPS_MAX {
                dropped.push(range);
            } else {
                let strikes = STRIKES_MAX - 1;
                self.kept.push(Hot { page, strikes });
            }
        }
        std::mem::swap(&mut self.hot, &mut self.kept);
        if !dropped.is_empty() {
            self.patience = PATIENCE_MIN;
        }
        self.quiet = if news || !dropped.is_empty() {
            0
        } else {
            self.quiet + 1
        };
        dropped
            .into_iter()
            .try_for_each(|range| area.discard(range))
    }

    /// Whether most of what is hot was not written to in the last call, as where a heavy one ends a block of light ones.
    /// What is not written to again will be given back, and need not be sealed in. Where calls take turns it may be, so
    /// that sealing is not put off for long.
    fn is_leaving(&mut self) -> bool {
        let unused = self.hot.iter().filter(|hot| hot.strikes > 0).count();
        let leaving = unused > UNUSED_PAGES_MAX && unused > self.hot.len() / 2;
        self.put_off = if leaving { self.put_off + 1 } else { 0 };
        leaving && self.put_off <= PUT_OFF_MAX
    }

    /// Finds the ranges that hold all hot pages, as few as may be open, apart where the gaps are largest.
    /// Whether too much is not between them.
    fn plan_seal(&mut self) -> bool {
        let page_bytes = page_bytes();
        let gap = |pair: &[Hot]| match pair {
            [before, after] => after.page - before.page - 1,
            _ => 0,
        };
        let mut gaps: Vec<usize> = self
            .hot
            .windows(2)
            .map(gap)
            .filter(|gap| *gap > 0)
            .collect();
        gaps.sort_unstable_by(|one, other| other.cmp(one));
        let joined = gaps.split_off(gaps.len().min(self.open_ranges_max() - 1));
        self.joined_pages = joined.iter().sum();
        if self.joined_pages > GAP_PAGES_MAX {
            return false;
        }
        // Smaller gaps than the smallest of these are within ranges; of equal ones, the first are not.
        let mut apart = gaps;
        self.open.clear();
        for hot in &self.hot {
            let range = hot.page * page_bytes..(hot.page + 1) * page_bytes;
            if let Some(last) = self.open.last_mut() {
                let gap = (range.start - last.end) / page_bytes;
                match apart.iter().position(|one| *one == gap) {
                    Some(found) => drop(apart.swap_remove(found)),
                    None => {
                        last.end = range.end;
                        continue;
                    }
                }
            }
            self.open.push(range);
        }
        true
    }

    fn open_ranges_max(&self) -> usize {
        let behind = self.growth.ranges();
        OPEN_RANGES_MAX.get(behind).copied().unwrap_or(1)
    }

    /// After many calls under one seal: whether its pages are still written to.
    fn recheck(&mut self, area: &Area) -> io::Result<()> {
        let page_bytes = page_bytes();
        let (mut pages, mut unused) = (0_usize, 0_usize);
        for range in &self.open {
            for start in range.clone().step_by(page_bytes) {
                let page = start..start + page_bytes;
                pages += 1;
                if area.is_pristine(&page)? {
                    unused += 1;
                } else {
                    area.restore(page)?;
                }
            }
        }
        log::trace!(
            target: "slackwater::memory",
            "{unused} of {pages} pages were not written to, {} are between others",
            self.joined_pages,
        );
        self.patience = PATIENCE_MIN;
        self.wild_calls = WILD_CALLS.start;
        self.mode = Mode::Sealed(0);
        if unused > pages / 2 && unused > self.joined_pages + UNUSED_PAGES_MAX {
            // If they come back, this is not worth doing soon again.
            self.recheck_calls = (self.recheck_calls * 4).min(RECHECK_CALLS.end);
            // Long enough for those pages to be given back.
            self.patience = u32::from(STRIKES_MAX) + 1;
            area.unseal()?;
            self.learn_anew();
        }
        Ok(())
    }
}

/// Where the first page lies that is not what it was at first. `Auto` looks at pages that have memory of
/// their own, the others at all of them.
pub(crate) fn first_difference(area: &Area, resetter: &Resetter) -> io::Result<Option<usize>> {
    if !area.is_zero_ahead()? {
        return Ok(Some(area.length()));
    }
    let page_bytes = page_bytes();
    let mut ranges = Vec::new();
    let found = match &resetter.scanner {
        Some(scanner) => area.written(&(0..area.length()), scanner, &mut ranges)?,
        None => false,
    };
    if !found {
        ranges.clear();
        ranges.push(0..area.length());
    }
    for range in ranges {
        for start in range.step_by(page_bytes) {
            if !area.is_pristine(&(start..start + page_bytes))? {
                return Ok(Some(start));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
