//! The meter's memory as the host reaches it beside wasmtime: its words, its protection, the signal
//! handler of a store.
//!
//! Invariant: a [`Page`] is used only while the instance whose meter it is lives. That is so for the
//! three that hold one: a run in its slot, which ends before its store is dropped; a signal handler,
//! which belongs to the store; a [`HostWords`], which is detached with the run.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use wasmtime::{AsContext, Memory, Store, unix::StoreExt};

use super::layout::{COUNTER_OFFSET, FUEL_MAX, HEADROOM_OFFSET, HOST_HALF, STATE_OFFSET};

/// The beginning of a meter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page(*mut u8);

// SAFETY: all access to what it points to is atomic, or a change of protection by the kernel.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// The page of `meter`; `None` if it is not one of ours, being too small.
    pub(super) fn of(store: impl AsContext, meter: Memory) -> Option<Self> {
        let large_enough = meter.data_size(&store) as u64 >= 2 * HOST_HALF;
        large_enough.then(|| Self(meter.data_ptr(&store)))
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset < 2 * HOST_HALF);
        let offset = usize::try_from(offset).unwrap_or_default();
        let word = self.0.wrapping_add(offset);
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the page is aligned, and offsets are multiples of eight"
        )]
        let word = word.cast::<u64>();
        // SAFETY: the offset lies within the meter, which is 64 KiB, aligned to a page, and mapped
        // as long as its instance lives; the guest writes whole words.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// What the guest has published.
    pub(super) fn counter(&self) -> u64 {
        self.read(COUNTER_OFFSET)
    }

    /// What host functions charged by themselves.
    pub(super) fn state(&self) -> u64 {
        self.read(STATE_OFFSET)
    }

    /// Everything that was charged.
    pub(super) fn used(&self) -> u64 {
        self.counter().saturating_add(self.state())
    }

    /// The word at `offset`.
    pub(super) fn read(&self, offset: u64) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    /// The 32 bits at `offset`.
    pub(super) fn small(&self, offset: u64) -> u32 {
        let word = self.read(offset & !7).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = word;
        let half = if offset & 4 == 0 {
            [a, b, c, d]
        } else {
            [e, f, g, h]
        };
        u32::from_le_bytes(half)
    }

    /// Makes the guest's next comparison fail, whatever its limit.
    pub(super) fn use_up(&self) {
        self.word(HEADROOM_OFFSET)
            .store(FUEL_MAX, Ordering::Relaxed);
    }

    /// Charges on behalf of a host function. Whether that is within the limit.
    fn charge(&self, fuel: u64) -> bool {
        self.word(STATE_OFFSET).fetch_add(fuel, Ordering::Relaxed);
        let headroom = self
            .word(HEADROOM_OFFSET)
            .fetch_add(fuel, Ordering::Relaxed);
        let used = headroom.saturating_add(fuel).saturating_add(self.counter());
        used <= FUEL_MAX
    }

    /// Makes the guest's next store to its half fault; it can still be read. Whether that worked: the
    /// kernel refuses to split a mapping when there are too many.
    pub(super) fn protect(&self) -> bool {
        self.set_protection(libc::PROT_READ)
    }

    /// Takes that back.
    pub(super) fn unprotect(&self) {
        if !self.set_protection(libc::PROT_READ | libc::PROT_WRITE) {
            // The engine would fault on it when it empties the slot, or the next guest at its first
            // store; joining mappings cannot run out of them.
            log::error!(target: "slackwater::fuel", "a meter's page stays protected");
            std::process::abort();
        }
    }

    fn set_protection(&self, protection: libc::c_int) -> bool {
        let bytes = usize::try_from(HOST_HALF).unwrap_or_default();
        // SAFETY: the range is the first half of a mapped meter, whole pages by `is_supported`, and
        // stays readable; whoever stores to it is prepared for a fault.
        let failed = unsafe { libc::mprotect(self.0.cast(), bytes, protection) };
        failed == 0
    }

    /// Sets the word at `offset`, which the guest does not write now.
    pub(super) fn set(&self, offset: u64, word: u64) {
        self.word(offset).store(word, Ordering::Relaxed);
    }

    /// Whether `address` is in the half that the guest writes.
    pub(super) fn is_guests(&self, address: usize) -> bool {
        let half = usize::try_from(HOST_HALF).unwrap_or_default();
        address.wrapping_sub(self.0.addr()) < half
    }
}

/// Asks `decide` whenever memory at an address could not be accessed while `store` runs: whether that is to
/// be tried again. `decide` runs in a signal handler: it may neither allocate nor lock.
pub(super) fn on_fault<T>(
    store: &mut Store<T>,
    decide: impl Fn(usize) -> bool + Send + Sync + 'static,
) {
    let handler = move |_signal, information: *const libc::siginfo_t, _context| {
        // SAFETY: the engine passes on what the kernel handed it.
        let information = unsafe { &*information };
        // SAFETY: signals that say where memory was accessed are all the engine handles, but for
        // illegal instructions, for which the kernel says where they stand.
        let address = unsafe { information.si_addr() }.addr();
        decide(address)
    };
    // SAFETY: both that decide, the hand-over and the area, load and store atomically, change
    // protections by a system call, and at most yield or sleep: they neither allocate nor lock.
    unsafe { store.set_signal_handler(handler) };
}

/// Whether pages of this host are small enough to protect one half of a meter.
pub(super) fn is_supported() -> bool {
    // SAFETY: asks for a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).is_ok_and(|bytes| bytes > 0 && HOST_HALF.is_multiple_of(bytes))
}

/// The host's words of the meter of the guest that runs now, for host functions that charge by
/// themselves; nothing while none runs.
#[derive(Debug, Default)]
pub(super) struct HostWords(AtomicPtr<u8>);

impl HostWords {
    pub(super) fn attach(&self, page: Page) {
        self.0.store(page.0, Ordering::Relaxed);
    }

    pub(super) fn detach(&self) {
        self.0.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Charges. Whether that is within the limit; always, while no guest runs that is limited.
    pub(super) fn charge(&self, fuel: u64) -> bool {
        let page = self.0.load(Ordering::Relaxed);
        page.is_null() || Page(page).charge(fuel)
    }
}
