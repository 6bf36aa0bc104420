//! Address space: what the kernel is asked for, in units of its pages, within one reservation.
//!
//! Invariant: every function checks that the range it is given lies within its reservation and
//! consists of whole pages, so none of them reaches memory of anybody else. What lies in a reservation
//! is never borrowed, only copied to, copied from and compared. Cost: one system call each, unless it
//! says otherwise.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::OnceLock,
};

/// Bytes of a page of the kernel's.
pub(super) fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // SAFETY: asks for a constant of the system.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).unwrap_or(4_096)
    })
}

/// Bytes that are compared, and copied if they differ.
const PIECE_BYTES: usize = 1_024;

/// What may be done with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: touching it faults.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

impl Access {
    fn protection(self) -> libc::c_int {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::Write => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// How a range is told from those beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// As one within others.
    Within,
    /// As what is around those.
    Around,
    /// Not at all.
    Not,
}

/// A range of addresses nobody else has, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is addresses; whoever copies to and from them says why nobody else does meanwhile.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range is a mapping of ours, and nobody uses it any more.
        let failed = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        if failed != 0 {
            let error = io::Error::last_os_error();
            log::error!(target: "slackwater::memory", "addresses stay reserved: {error}");
        }
    }
}

/// Before the kernel is asked: tests have it refuse.
pub(super) fn may_ask() -> io::Result<()> {
    #[cfg(test)]
    if super::refusals::is_refused() {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
    Ok(())
}

impl Reservation {
    /// Reserves addresses that cannot be touched yet. Huge pages are not wanted there: the first byte
    /// written would cost two megabytes.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        may_ask()?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>());
        let base = base.ok_or_else(|| io::Error::other("addresses from zero on"))?;
        let reservation = Self { base, bytes };
        // A kernel without huge pages refuses.
        // SAFETY: advice about a mapping of ours that changes no contents.
        let _advised = unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_NOHUGEPAGE) };
        Ok(reservation)
    }

    /// The address at `offset`.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// The offset of an address, if it is within.
    pub(super) fn offset(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.base.as_ptr().addr());
        (offset < self.bytes).then_some(offset)
    }

    fn check(&self, range: &Range<usize>, unit: usize) -> io::Result<usize> {
        let whole = range.start.is_multiple_of(unit) && range.end.is_multiple_of(unit);
        if !whole || range.start > range.end || range.end > self.bytes {
            return Err(io::Error::other("a range outside its reservation"));
        }
        Ok(range.end - range.start)
    }

    /// Changes what may be done with `range`. Safe in a signal handler.
    pub(super) fn protect(&self, range: Range<usize>, access: Access) -> io::Result<()> {
        let bytes = self.check(&range, page_bytes())?;
        if bytes == 0 {
            return Ok(());
        }
        let start = self.at(range.start).cast();
        may_ask()?;
        // SAFETY: whole pages of this reservation.
        let failed = unsafe { libc::mprotect(start, bytes, access.protection()) };
        result(failed)
    }

    /// Forgets what was written to `range`: it is as it was mapped.
    pub(super) fn discard(&self, range: Range<usize>) -> io::Result<()> {
        let bytes = self.check(&range, page_bytes())?;
        if bytes == 0 {
            return Ok(());
        }
        let start = self.at(range.start).cast();
        may_ask()?;
        // SAFETY: whole pages of this reservation, which nobody borrows.
        let failed = unsafe { libc::madvise(start, bytes, libc::MADV_DONTNEED) };
        result(failed)
    }

    /// Sets `range` apart, so that it is a mapping of its own and need not be made one and joined again
    /// whenever its protection changes; or ends that. What is read ahead when it was swapped out is the
    /// least that can differ between two mappings.
    pub(super) fn set_apart(&self, range: Range<usize>, apart: Apart) -> io::Result<()> {
        let bytes = self.check(&range, page_bytes())?;
        let advice = match apart {
            Apart::Within => libc::MADV_RANDOM,
            Apart::Around => libc::MADV_SEQUENTIAL,
            Apart::Not => libc::MADV_NORMAL,
        };
        let start = self.at(range.start).cast();
        may_ask()?;
        // SAFETY: advice about whole pages of this reservation, that changes no contents.
        result(unsafe { libc::madvise(start, bytes, advice) })
    }

    /// Maps zeros over `range`.
    pub(super) fn map_zeros(&self, range: Range<usize>, access: Access) -> io::Result<()> {
        let flags = libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        self.map(range, access, flags, -1)
    }

    /// Maps a file over `range` from its beginning on, writable; what is written stays here.
    pub(super) fn map_file(&self, range: Range<usize>, file: BorrowedFd<'_>) -> io::Result<()> {
        self.map(range, Access::Write, libc::MAP_NORESERVE, file.as_raw_fd())
    }

    fn map(
        &self,
        range: Range<usize>,
        access: Access,
        flags: libc::c_int,
        file: libc::c_int,
    ) -> io::Result<()> {
        let bytes = self.check(&range, page_bytes())?;
        if bytes == 0 {
            return Ok(());
        }
        let start = self.at(range.start).cast();
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_FIXED;
        may_ask()?;
        // SAFETY: replaces whole pages of this reservation, which nobody borrows.
        let mapped = unsafe { libc::mmap(start, bytes, access.protection(), flags, file, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A new mapping knows nothing of earlier advice.
        // SAFETY: advice about a mapping of ours that changes no contents.
        let _advised = unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
        Ok(())
    }

    /// Copies `bytes` to `offset`, which must be writable.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.check(&(offset..offset.saturating_add(bytes.len())), 1)?;
        // SAFETY: the range lies within this reservation, and no Rust value does.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset), bytes.len()) };
        Ok(())
    }

    /// Makes `bytes` be at `offset`, which must be writable, and writes only where something else is:
    /// most pages that were written to differ in few places.
    pub(super) fn mend(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.check(&(offset..offset.saturating_add(bytes.len())), 1)?;
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let target = self.at(offset + number * PIECE_BYTES);
            // SAFETY: as in `is_equal`; the slice ends before anything is written.
            let same = unsafe { std::slice::from_raw_parts(target, piece.len()) } == piece;
            if !same {
                // SAFETY: as in `write`.
                unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), target, piece.len()) };
            }
        }
        Ok(())
    }

    /// Whether `bytes` are at `offset`, which must be readable.
    pub(super) fn is_equal(&self, offset: usize, bytes: &[u8]) -> io::Result<bool> {
        self.check(&(offset..offset.saturating_add(bytes.len())), 1)?;
        // SAFETY: as in `write`; the slice lives for the comparison, in which nobody runs the guest.
        let found = unsafe { std::slice::from_raw_parts(self.at(offset), bytes.len()) };
        Ok(found == bytes)
    }

    /// Whether the byte at `offset` can be written, as the kernel sees it; it is zero afterwards.
    pub(super) fn is_writable(&self, offset: usize) -> io::Result<bool> {
        self.check(&(offset..offset.saturating_add(1)), 1)?;
        let zeros = File::open("/dev/zero")?;
        // SAFETY: the kernel writes at most one byte, within this reservation, or refuses.
        let count = unsafe { libc::read(zeros.as_raw_fd(), self.at(offset).cast(), 1) };
        if count == 1 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EFAULT) => Ok(false),
            _ => Err(error),
        }
    }
}

fn result(failed: libc::c_int) -> io::Result<()> {
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the kernel merges equal pages of this process, which makes a page that was written to look as if
/// it had not been.
pub(super) fn merges_pages() -> bool {
    // `PR_GET_MEMORY_MERGE` of Linux 6.4; an older one does not know the question.
    const PR_GET_MEMORY_MERGE: libc::c_int = 68;
    // SAFETY: asks for a setting of this process.
    unsafe { libc::prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1 }
}

/// One range the kernel found, as it writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// What the kernel is asked, as it reads it (`struct pm_scan_arg` of Linux 6.7).
#[repr(C)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;
/// Ranges found at once; more are too many to be worth a list.
pub(super) const SCANNED_MAX: usize = 64;

/// The kernel's list of which pages of this process it holds.
#[derive(Debug)]
pub(super) struct Scanner(File);

impl Scanner {
    /// `None` where the kernel has no such list, or does not show it.
    pub(super) fn open() -> Option<Self> {
        File::open("/proc/self/pagemap").ok().map(Self)
    }

    /// The pages of `range` that have memory of their own: written to since they were mapped or
    /// discarded, be they in memory or swapped out. At most [`SCANNED_MAX`] ranges; whether these are
    /// all. Offsets are in bytes from the start of the reservation.
    pub(super) fn written(
        &self,
        reservation: &Reservation,
        range: Range<usize>,
        found: &mut Vec<Range<usize>>,
    ) -> io::Result<bool> {
        found.clear();
        reservation.check(&range, page_bytes())?;
        let mut regions = [PageRegion::default(); SCANNED_MAX];
        let address = |offset: usize| reservation.at(offset).addr() as u64;
        let clean = PAGE_IS_FILE | PAGE_IS_PFNZERO;
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            flags: 0,
            start: address(range.start),
            end: address(range.end),
            walk_end: 0,
            regions: regions.as_mut_ptr().addr() as u64,
            regions_len: SCANNED_MAX as u64,
            pages_max: 0,
            category_inverted: clean,
            category_mask: clean,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT,
        };
        may_ask()?;
        // SAFETY: the kernel reads the arguments and writes at most `regions_len` regions, both of
        // which live until it returns.
        let count = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                PAGEMAP_SCAN,
                std::ptr::from_mut(&mut arguments),
            )
        };
        let count = usize::try_from(count).map_err(|_negative| io::Error::last_os_error())?;
        if arguments.walk_end < arguments.end {
            return Ok(false);
        }
        for region in regions.get(..count).unwrap_or_default() {
            let offset = |address: u64| {
                let address = usize::try_from(address).unwrap_or(usize::MAX);
                address.wrapping_sub(reservation.base.as_ptr().addr())
            };
            let (start, end) = (offset(region.start), offset(region.end));
            match found.last_mut() {
                // Regions of other categories may touch.
                Some(last) if last.end == start => last.end = end,
                _ => found.push(start..end),
            }
        }
        Ok(true)
    }
}
