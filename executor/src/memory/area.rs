//! A guest's memory that can be put back in place: addresses reserved once, of which the beginning can be
//! touched, with the image mapped over it.
//!
//! Invariant: what lies beyond the current length, and the guards before and behind, cannot be touched;
//! what is beyond is zero. While it is *sealed*, only the pages that were named can be written; the first
//! store elsewhere faults, and [`Area::fault`] unseals it. What it grows by in a run is *opened* as far as
//! runs have been seen to need it, and the rest by the first access. That function is all a signal handler
//! does here, and it is safe there: it loads and stores atomically and changes protections by one system
//! call.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use wasmtime::LinearMemory;

use super::{
    image::Image,
    sys::{Access, Apart, Reservation, Scanner},
};

/// Bytes before a memory that nobody may touch.
const GUARD_BEFORE: usize = 1 << 16;

/// A page of zeros.
static ZEROS: [u8; 4_096] = [0; 4_096];

/// What a run is expected to use of what it grows by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ahead {
    /// The length it grows to.
    pub(super) length: usize,
    /// What it writes to, behind the length it begins with.
    pub(super) ranges: Vec<Range<usize>>,
}

/// One guest memory. On cache lines of its own: every call writes here.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Area {
    reservation: Reservation,
    /// Bytes it can grow to.
    capacity: usize,
    /// Bytes a guest has.
    length: AtomicUsize,
    /// Bytes that can be touched; fewer than it has only in a run, and then also what is ahead.
    opened: AtomicUsize,
    /// What is opened by growth in a run; `None` if all is.
    ahead: Mutex<Option<Ahead>>,
    /// Whether a run is under way, in which faults are handled.
    running: AtomicBool,
    sealed: AtomicBool,
    broken: AtomicBool,
    image: OnceLock<Arc<Image>>,
    /// Whether the image is mapped, so that what is discarded shows it again.
    mapped: AtomicBool,
}

impl Area {
    /// A memory of `length` bytes, all zero, that can grow to `capacity` and has `guard` bytes behind.
    pub(crate) fn new(length: usize, capacity: usize, guard: usize) -> io::Result<Self> {
        let bytes = capacity.checked_add(guard);
        let bytes = bytes.and_then(|bytes| bytes.checked_add(GUARD_BEFORE));
        let bytes = bytes.ok_or_else(|| io::Error::other("more than there are addresses"))?;
        let area = Self {
            reservation: Reservation::new(bytes)?,
            capacity,
            length: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            ahead: Mutex::new(None),
            running: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            image: OnceLock::new(),
            mapped: AtomicBool::new(false),
        };
        area.grow_to(length)?;
        Ok(area)
    }

    /// Bytes a guest has.
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation.at(GUARD_BEFORE)
    }

    /// A range of memory as the reservation knows it.
    fn own(range: &Range<usize>) -> Range<usize> {
        let shift = |offset: usize| offset.saturating_add(GUARD_BEFORE);
        shift(range.start)..shift(range.end)
    }

    /// Gives it more; what is new is zero.
    pub(crate) fn grow_to(&self, length: usize) -> io::Result<()> {
        if length > self.capacity {
            return Err(io::Error::other("more than was reserved"));
        }
        let ahead = self.ahead();
        let foreseen = ahead.as_ref().filter(|ahead| {
            let running = self.running.load(Ordering::Relaxed);
            running && ahead.length == length && self.opened() == self.length()
        });
        let grown = match foreseen {
            Some(ahead) => {
                let mut opened = ahead.ranges.iter().map(Self::own);
                opened.try_for_each(|range| self.reservation.protect(range, Access::Write))
            }
            None => self.open_to(length),
        };
        if let Err(error) = grown {
            // Some of it may be open.
            self.broken.store(true, Ordering::Relaxed);
            return Err(error);
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Opens everything before `end`.
    fn open_to(&self, end: usize) -> io::Result<()> {
        let new = Self::own(&(self.opened()..end));
        self.reservation.protect(new, Access::Write)?;
        self.opened.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure that `range`, which lies within its length, can be read where no fault is handled.
    pub(crate) fn open_to_read(&self, range: &Range<usize>) -> io::Result<()> {
        if range.end <= self.opened() {
            return Ok(());
        }
        let holds = |open: &Range<usize>| open.start <= range.start && range.end <= open.end;
        if self
            .ahead()
            .iter()
            .flat_map(|ahead| &ahead.ranges)
            .any(holds)
        {
            return Ok(());
        }
        self.open_to(self.length())
    }

    /// From now on until [`Self::end_run`] faults are handled.
    pub(crate) fn begin_run(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// From now on what is touched must have been opened.
    pub(crate) fn end_run(&self) {
        self.running.store(false, Ordering::Relaxed);
    }

    /// Between runs: what growth in a run opens; the rest is opened by the first access. `None` opens
    /// everything. What is not ahead any more gives its memory back.
    pub(super) fn set_ahead(&self, ahead: Option<Ahead>) -> io::Result<()> {
        let mut own = self.ahead();
        if let Some(before) = own.take() {
            let all = Self::own(&(self.length()..before.length));
            self.reservation.discard(all.clone())?;
            self.reservation.set_apart(all, Apart::Not)?;
        }
        if let Some(ahead) = &ahead {
            // Up to the length it grows to, so that opening all of it splits no mapping: that could fail.
            let all = Self::own(&(self.length()..ahead.length));
            self.reservation.set_apart(all, Apart::Around)?;
            for range in &ahead.ranges {
                self.reservation
                    .set_apart(Self::own(range), Apart::Within)?;
            }
        }
        *own = ahead;
        Ok(())
    }

    /// Whether growth was no more than foreseen: only what is ahead can have been written to.
    pub(super) fn is_as_foreseen(&self, length: usize) -> bool {
        self.opened() <= length && self.ahead().is_some()
    }

    /// Clears what is ahead, and takes away everything behind `length`. What was cleared keeps its memory.
    pub(super) fn shrink_as_foreseen(&self, length: usize) -> io::Result<()> {
        for range in self.ahead().iter().flat_map(|ahead| &ahead.ranges) {
            self.zero(range)?;
            self.reservation.protect(Self::own(range), Access::None)?;
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Takes away everything behind `length`, and its memory, by mapping it anew.
    pub(super) fn shrink_to(&self, length: usize) -> io::Result<()> {
        let behind = length..self.length();
        self.reservation
            .map_zeros(Self::own(&behind), Access::None)?;
        self.opened.store(length, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Between runs: whether what is ahead is zero, as it will be when it grows.
    pub(super) fn is_zero_ahead(&self) -> io::Result<bool> {
        for range in self.ahead().iter().flat_map(|ahead| &ahead.ranges) {
            let own = Self::own(range);
            self.reservation.protect(own.clone(), Access::Read)?;
            let zero = self.is_zero(range);
            self.reservation.protect(own, Access::None)?;
            if !zero? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts `image` over the memory, which is all zero. Only once.
    pub(crate) fn set_image(&self, image: &Arc<Image>) -> io::Result<()> {
        let range = image.range();
        if range.end > self.length() {
            return Err(io::Error::other("an image beyond its memory"));
        }
        let image = self.image.get_or_init(|| Arc::clone(image));
        let mapped = image
            .file()
            .map(|file| self.reservation.map_file(Self::own(&range), file));
        match mapped {
            Some(Ok(())) => {
                self.mapped.store(true, Ordering::Relaxed);
                Ok(())
            }
            // What lies there now is not known.
            Some(Err(error)) => Err(error),
            None => self.restore(range),
        }
    }

    /// What a store's signal handler asks when memory at `address` could not be accessed: whether to
    /// try again.
    pub(crate) fn fault(&self, address: usize) -> bool {
        let offset = self.reservation.offset(address);
        let Some(offset) = offset.and_then(|offset| offset.checked_sub(GUARD_BEFORE)) else {
            return false;
        };
        if offset >= self.length() {
            // The guest's own fault.
            return false;
        }
        // Within the length it was not opened yet, or it is sealed.
        let helped = if offset >= self.opened() {
            self.open_to(self.length()).is_ok()
        } else {
            self.is_sealed() && self.unseal().is_ok()
        };
        if !helped {
            self.broken.store(true, Ordering::Relaxed);
        }
        helped
    }

    /// Whether a fault was seen that was not the guest's, and could not be helped.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Lets only `open` be written, which is sorted and within the length.
    pub(super) fn seal(&self, open: &[Range<usize>]) -> io::Result<()> {
        self.sealed.store(true, Ordering::Relaxed);
        let ends = open.iter().map(|range| range.start).chain([self.length()]);
        let starts = [0].into_iter().chain(open.iter().map(|range| range.end));
        for (start, end) in starts.zip(ends) {
            let closed = Self::own(&(start..end));
            self.reservation.protect(closed, Access::Read)?;
        }
        Ok(())
    }

    /// Lets everything be written.
    pub(super) fn unseal(&self) -> io::Result<()> {
        let all = Self::own(&(0..self.opened()));
        self.reservation.protect(all, Access::Write)?;
        self.sealed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure that `range` can be written where no signal handler would help.
    pub(crate) fn open(&self, range: &Range<usize>, hot: &[Range<usize>]) -> io::Result<()> {
        let is_open = |hot: &Range<usize>| hot.start <= range.start && range.end <= hot.end;
        if self.is_sealed() && !hot.iter().any(is_open) {
            return self.unseal();
        }
        Ok(())
    }

    /// Writes what was there at first to `range`, which must be writable.
    pub(super) fn restore(&self, range: Range<usize>) -> io::Result<()> {
        let part = self.image.get().and_then(|image| image.part(&range));
        let Some((part, bytes)) = part else {
            return self.zero(&range);
        };
        self.zero(&(range.start..part.start))?;
        self.reservation.mend(Self::own(&part).start, bytes)?;
        self.zero(&(part.end..range.end))
    }

    fn zero(&self, range: &Range<usize>) -> io::Result<()> {
        zeros(range)
            .try_for_each(|(start, zeros)| self.reservation.mend(start + GUARD_BEFORE, zeros))
    }

    /// Whether `range`, of one page, holds what was there at first.
    pub(super) fn is_pristine(&self, range: &Range<usize>) -> io::Result<bool> {
        // Images are of whole pages.
        if let Some((part, bytes)) = self.image.get().and_then(|image| image.part(range)) {
            return self.reservation.is_equal(Self::own(&part).start, bytes);
        }
        self.is_zero(range)
    }

    fn is_zero(&self, range: &Range<usize>) -> io::Result<bool> {
        for (start, zeros) in zeros(range) {
            if !self.reservation.is_equal(start + GUARD_BEFORE, zeros)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The pages of `range` that have been written to, as [`Scanner::written`] finds them.
    pub(super) fn written(
        &self,
        range: &Range<usize>,
        scanner: &Scanner,
        found: &mut Vec<Range<usize>>,
    ) -> io::Result<bool> {
        let complete = scanner.written(&self.reservation, Self::own(range), found)?;
        for range in found {
            *range = range.start - GUARD_BEFORE..range.end - GUARD_BEFORE;
        }
        Ok(complete)
    }

    /// Gives the memory of `range` back: it holds what was there at first, and the next access to each
    /// page costs a fault of the kernel's.
    pub(super) fn discard(&self, range: Range<usize>) -> io::Result<()> {
        self.reservation.discard(Self::own(&range))?;
        let mapped = self.mapped.load(Ordering::Relaxed);
        let copied = self.image.get().filter(|_| !mapped);
        match copied.and_then(|image| image.part(&range)) {
            Some((part, bytes)) => self.reservation.write(Self::own(&part).start, bytes),
            None => Ok(()),
        }
    }

    /// Makes all of it anew from new mappings, trusting the kernel with nothing else.
    pub(super) fn rebuild(&self) -> io::Result<()> {
        let all = 0..self.length();
        self.reservation.map_zeros(Self::own(&all), Access::Write)?;
        self.sealed.store(false, Ordering::Relaxed);
        self.mapped.store(false, Ordering::Relaxed);
        let image = self.image.get().map(|image| image.range());
        image.map_or(Ok(()), |range| self.restore(range))
    }

    /// What a faulty reset would do.
    #[cfg(test)]
    pub(super) fn shrink_without_clearing(&self, length: usize) {
        let behind = Self::own(&(length..self.length()));
        let closed = self.reservation.protect(behind, Access::None);
        closed.expect("protections change");
        self.opened.store(length, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
    }

    /// Whether a run opened `offset`, behind the length it began with.
    #[cfg(test)]
    pub(super) fn is_open(&self, offset: usize) -> bool {
        let ahead = self.ahead();
        let mut ahead = ahead.iter().flat_map(|ahead| &ahead.ranges);
        offset < self.opened() || ahead.any(|range| range.contains(&offset))
    }

    /// Writes as a guest would.
    #[cfg(test)]
    pub(super) fn poke(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.reservation.write(offset + GUARD_BEFORE, bytes)
    }

    /// Whether the byte at `offset` can be written, as the kernel sees it.
    pub(super) fn is_writable(&self, offset: usize) -> io::Result<bool> {
        self.reservation
            .is_writable(offset.saturating_add(GUARD_BEFORE))
    }
}

/// An area as the engine owns it.
pub(super) struct Owned(pub(super) Arc<Area>);

// SAFETY: the base never moves, everything below the length can be read, and written or its fault is
// handled, and nothing behind it up to the end of the guard can be touched; the mapping lives until the
// engine drops this. Only whoever runs the instance changes the memory otherwise, between its calls.
unsafe impl LinearMemory for Owned {
    fn byte_size(&self) -> usize {
        self.0.length()
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        Ok(self.0.grow_to(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base()
    }
}

/// Zeros for all of `range`, in pieces with their offsets.
fn zeros(range: &Range<usize>) -> impl Iterator<Item = (usize, &'static [u8])> {
    let end = range.end;
    let pieces = range.clone().step_by(ZEROS.len());
    pieces.map(move |start| {
        let bytes = (end - start).min(ZEROS.len());
        (start, ZEROS.get(..bytes).unwrap_or_default())
    })
}
