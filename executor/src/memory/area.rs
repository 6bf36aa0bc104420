//! A guest's memory that can be put back in place: addresses reserved once, of which the beginning can be
//! touched, with the image mapped over it.
//!
//! Invariant: what lies beyond the current length, and the guards before and behind, cannot be touched.
//! While it is *sealed*, only the pages that were named can be written; the first store elsewhere
//! faults, and [`Area::fault`] unseals it. That function is all a signal handler does here, and it is
//! safe there: it loads and stores atomically and changes protections by one system call.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use wasmtime::LinearMemory;

use super::{
    image::Image,
    sys::{Access, Reservation, Scanner, page_bytes},
};

/// Bytes before a memory that nobody may touch.
const GUARD_BEFORE: usize = 1 << 16;

/// A page of zeros.
static ZEROS: [u8; 4_096] = [0; 4_096];

/// One guest memory.
#[derive(Debug)]
pub(crate) struct Area {
    reservation: Reservation,
    /// Bytes it can grow to.
    capacity: usize,
    /// Bytes that can be touched.
    length: AtomicUsize,
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
            sealed: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            image: OnceLock::new(),
            mapped: AtomicBool::new(false),
        };
        area.grow_to(length)?;
        Ok(area)
    }

    /// Bytes that can be touched.
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation.at(GUARD_BEFORE)
    }

    /// A range of memory as the reservation knows it.
    fn own(range: &Range<usize>) -> Range<usize> {
        let shift = |offset: usize| offset.saturating_add(GUARD_BEFORE);
        shift(range.start)..shift(range.end)
    }

    /// Makes more of it touchable; what is new is zero.
    pub(crate) fn grow_to(&self, length: usize) -> io::Result<()> {
        if length > self.capacity {
            return Err(io::Error::other("more than was reserved"));
        }
        let new = Self::own(&(self.length()..length));
        self.reservation.protect(new, Access::Write)?;
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Makes it `length` bytes; whatever was or will be beyond is zero.
    pub(crate) fn set_length(&self, length: usize) -> io::Result<()> {
        let now = self.length();
        if length >= now {
            return self.grow_to(length);
        }
        let gone = Self::own(&(length..now));
        self.reservation.discard(gone.clone())?;
        self.reservation.protect(gone, Access::None)?;
        self.length.store(length, Ordering::Relaxed);
        Ok(())
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
        // Within the length only a seal can be the reason.
        let unsealed = self.sealed.load(Ordering::Relaxed) && self.unseal().is_ok();
        if !unsealed {
            self.broken.store(true, Ordering::Relaxed);
        }
        unsealed
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
        let all = Self::own(&(0..self.length()));
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
        let pieces = range.clone().step_by(ZEROS.len());
        pieces.into_iter().try_for_each(|start| {
            let bytes = (range.end - start).min(ZEROS.len());
            let zeros = ZEROS.get(..bytes).unwrap_or_default();
            self.reservation
                .mend(Self::own(&(start..start)).start, zeros)
        })
    }

    /// Whether `range`, of one page at most, holds what was there at first.
    pub(super) fn is_pristine(&self, range: &Range<usize>) -> io::Result<bool> {
        let part = self.image.get().and_then(|image| image.part(range));
        if let Some((part, bytes)) = part
            && part == *range
        {
            return self.reservation.is_equal(Self::own(range).start, bytes);
        }
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + ZEROS.len());
            let zeros = ZEROS.get(..end - start).unwrap_or_default();
            if !self
                .reservation
                .is_equal(Self::own(&(start..end)).start, zeros)?
            {
                return Ok(false);
            }
            start = end;
        }
        Ok(true)
    }

    /// The pages that have been written to, as [`Scanner::written`] finds them.
    pub(super) fn written(
        &self,
        scanner: &Scanner,
        found: &mut Vec<Range<usize>>,
    ) -> io::Result<bool> {
        let all = Self::own(&(0..self.length()));
        let complete = scanner.written(&self.reservation, all, found)?;
        for range in found {
            *range = range.start - GUARD_BEFORE..range.end - GUARD_BEFORE;
        }
        Ok(complete.is_some())
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
}

impl Area {
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

/// Whole pages that contain `range`.
pub(super) fn whole_pages(range: &Range<usize>) -> Range<usize> {
    let page = page_bytes();
    range.start / page * page..range.end.next_multiple_of(page)
}
