//! Slots that wait for the next call of one runtime.
//!
//! Any number of calls can run: one that finds no slot waiting gets a new one, which is kept afterwards if
//! there is room. Threads keep to places of their own, so that they do not meet. The slot that was used last is
//! taken first; those that nobody takes give the memory back that they keep for the next call. Nobody waits for
//! a place that is in use, as a thread may be that does not run just now: there are others. Invariant: every slot
//! here is as a new instance. Cost: one lock that hardly anybody else takes, before and after a call.

use std::ops::Range;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use super::{CallError, snapshot::Slot};
use crate::{
    memory::{Image, Resetter},
    metrics::{CallMetrics, InstanceMetrics},
    runtime::{Engine, Form, HeapPages},
};

/// What has become of a runtime's instances that are put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InstanceCounts {
    /// Calls that found one waiting.
    pub reused: u64,
    /// Made.
    pub made: u64,
    /// Dropped because enough were waiting.
    pub surplus: u64,
    /// Dropped because they could not be put back.
    pub failed: u64,
    /// Found to differ from a new one after they had been put back, and dropped. Any is an error of this
    /// executor.
    pub differing: u64,
    /// Waiting now.
    pub waiting: u64,
}

/// Slots of one place. On cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Place(Mutex<Waiting>);

/// A slot that waits.
struct Parked {
    slot: Box<Slot>,
    /// How many had been given back when it was.
    since: u64,
}

#[derive(Default)]
struct Waiting {
    /// Last in, first out: the last one is still in the cache.
    slots: Vec<Parked>,
    /// How many of the first have been idle, and have given their memory back.
    idle: usize,
    /// Given back in all.
    given_back: u64,
    counts: InstanceCounts,
    /// Put back since the last comparison.
    given: u32,
}

/// The slots of one runtime.
pub(crate) struct Pool {
    image: Arc<Image>,
    resetter: Arc<Resetter>,
    places: Box<[Place]>,
    cached_max: Arc<AtomicU32>,
    differing: Arc<AtomicU64>,
    verify_every: u32,
    metrics: Option<Arc<CallMetrics>>,
}

/// Calls that end in a place while a slot waits there, after which it gives its memory back.
const IDLE_CALLS: u64 = 4_096;
/// Calls that end in a place after which those that wait in others have become so much older.
const AGEING_CALLS: u64 = 512;

/// Looks at a place before it is taken to be in use: it is held for some nanoseconds, by a thread that runs.
const LOCK_TRIES: usize = 32;

/// Places, at least and at most: more than threads run at the same time, so that these do not meet.
const PLACES: Range<usize> = 16..64;

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// Counts threads.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    /// With nothing waiting.
    pub(crate) fn new(image: Image, engine: &Engine) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = (0..(2 * cores).clamp(PLACES.start, PLACES.end)).map(|_| Place::default());
        Self {
            image: Arc::new(image),
            resetter: Arc::clone(&engine.resetter),
            places: places.collect(),
            cached_max: Arc::clone(&engine.instances_cached_max),
            differing: Arc::clone(&engine.instances_differing),
            verify_every: engine.verify_reset_every.map_or(0, std::num::NonZero::get),
            metrics: engine.metrics.clone(),
        }
    }

    fn tell(&self, tell: impl FnOnce(&InstanceMetrics)) {
        if let Some(metrics) = &self.metrics {
            tell(&metrics.instances);
        }
    }

    fn tell_reset(&self, slot: &Slot) {
        self.tell(|metrics| {
            let (hot, cold) = slot.last_pages();
            metrics.resets.increment(1);
            metrics.hot_pages.increment(hot as u64);
            metrics.cold_pages.increment(cold as u64);
        });
    }

    /// Places in use, and how many slots may wait in each.
    fn room(&self) -> (&[Place], usize) {
        let cached_max = self.cached_max.load(Ordering::Relaxed) as usize;
        let used = cached_max.clamp(1, self.places.len());
        let (used, _) = self.places.split_at(used);
        (used, cached_max / used.len())
    }

    /// All places in use, beginning with that of this thread.
    fn places(&self) -> impl Iterator<Item = &Place> {
        let (used, _) = self.room();
        let own = THREAD.with(|thread| *thread) % used.len();
        let (others, first) = used.split_at(own);
        first.iter().chain(others)
    }

    /// The first place that nobody uses just now.
    fn free_place(&self) -> (&Place, MutexGuard<'_, Waiting>) {
        let free = |place| Some((place, try_lock(place)?));
        let first = &self.places[0];
        self.places()
            .find_map(free)
            .unwrap_or_else(|| (first, lock(first)))
    }

    fn lock_any(&self) -> MutexGuard<'_, Waiting> {
        self.free_place().1
    }

    /// A slot for a call with this heap: one that waits, or a new one.
    pub(super) fn take(&self, form: &Form, heap: HeapPages) -> Result<Box<Slot>, CallError> {
        let waiting = self
            .places()
            .find_map(|place| take_from(&mut *try_lock(place)?));
        if let Some(mut slot) = waiting {
            self.tell(|metrics| {
                metrics.reused.increment(1);
                metrics.waiting.decrement(1.0);
            });
            if slot.heap() != heap {
                slot.set_heap(form, heap)?;
            }
            return Ok(slot);
        }
        let made = Slot::new(form, &self.image, heap).map(Box::new);
        self.lock_any().counts.made += u64::from(made.is_ok());
        self.tell(|metrics| metrics.made.increment(u64::from(made.is_ok())));
        made
    }

    /// Puts a slot back, and keeps it if there is room.
    pub(super) fn give(&self, mut slot: Box<Slot>) {
        if let Err(error) = slot.reset(&self.resetter) {
            log::warn!(target: "slackwater::instance", "an instance is dropped: {error:#}");
            self.lock_any().counts.failed += 1;
            self.tell(|metrics| metrics.failed.increment(1));
            return;
        }
        self.tell_reset(&slot);
        if self.is_to_be_verified() && !self.verify(&mut slot) {
            return;
        }
        let (place, mut waiting) = self.free_place();
        waiting.given_back += 1;
        let (_, room) = self.room();
        if waiting.slots.len() >= room {
            waiting.counts.surplus += 1;
            drop(waiting);
            self.tell(|metrics| metrics.surplus.increment(1));
            return drop(slot);
        }
        let since = waiting.given_back;
        waiting.slots.push(Parked { slot, since });
        self.tell(|metrics| metrics.waiting.increment(1.0));
        self.release_idle(place, waiting);
        if since.is_multiple_of(AGEING_CALLS) {
            // Where nobody calls any more, slots become idle by the calls elsewhere.
            let others = self.places().filter(|other| !std::ptr::eq(*other, place));
            for (other, mut waiting) in others.filter_map(|other| Some((other, try_lock(other)?))) {
                waiting.given_back += AGEING_CALLS;
                self.release_idle(other, waiting);
            }
        }
    }

    /// Has one that nobody took for long give its memory back, if there is one.
    fn release_idle(&self, place: &Place, mut waiting: MutexGuard<'_, Waiting>) {
        let (number, now) = (waiting.idle, waiting.given_back);
        let is_idle = |parked: &Parked| now - parked.since >= IDLE_CALLS;
        if !waiting.slots.get(number).is_some_and(is_idle) {
            return;
        }
        let mut parked = waiting.slots.remove(number);
        drop(waiting);
        let released = parked.slot.release(&self.resetter);
        let mut waiting = lock(place);
        if let Err(error) = released {
            log::warn!(target: "slackwater::instance", "an instance is dropped: {error:#}");
            waiting.counts.failed += 1;
            self.tell(|metrics| {
                metrics.failed.increment(1);
                metrics.waiting.decrement(1.0);
            });
            return;
        }
        // Those that are idle are the first.
        let number = waiting.idle;
        waiting.slots.insert(number, parked);
        waiting.idle += 1;
    }

    /// Whether it is the turn of one to be compared.
    fn is_to_be_verified(&self) -> bool {
        if self.verify_every == 0 {
            return false;
        }
        let mut waiting = self.lock_any();
        waiting.given = (waiting.given + 1) % self.verify_every;
        waiting.given == 0
    }

    /// Whether a slot that was put back is as a new instance.
    fn verify(&self, slot: &mut Slot) -> bool {
        match slot.difference(&self.resetter) {
            Ok(None) => return true,
            Ok(Some(difference)) => {
                log::error!(
                    target: "slackwater::instance",
                    "an instance differs from a new one after it was put back: {difference}"
                );
                self.lock_any().counts.differing += 1;
                self.tell(|metrics| metrics.differing.increment(1));
                self.differing.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                log::warn!(target: "slackwater::instance", "an instance is dropped: {error:#}");
                self.lock_any().counts.failed += 1;
                self.tell(|metrics| metrics.failed.increment(1));
            }
        }
        false
    }

    /// Drops what waits beyond what is to be kept now.
    pub(crate) fn trim(&self) {
        let (used, room) = self.room();
        for (number, place) in self.places.iter().enumerate() {
            let mut waiting = lock(place);
            let room = if number < used.len() { room } else { 0 };
            let kept = room.min(waiting.slots.len());
            let surplus = waiting.slots.split_off(kept);
            waiting.idle = waiting.idle.min(kept);
            let dropped = surplus.len() as u64;
            waiting.counts.surplus += dropped;
            drop(waiting);
            self.tell(|metrics| {
                metrics.surplus.increment(dropped);
                metrics
                    .waiting
                    .decrement(f64::from(u32::try_from(dropped).unwrap_or(u32::MAX)));
            });
        }
    }

    pub(crate) fn counts(&self) -> InstanceCounts {
        let mut all = InstanceCounts::default();
        for place in &self.places {
            let waiting = lock(place);
            let counts = &waiting.counts;
            all.reused += counts.reused;
            all.made += counts.made;
            all.surplus += counts.surplus;
            all.failed += counts.failed;
            all.differing += counts.differing;
            all.waiting += waiting.slots.len() as u64;
        }
        all
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tell(|metrics| {
            let waiting = self.counts().waiting;
            metrics
                .waiting
                .decrement(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
        });
    }
}

fn take_from(waiting: &mut Waiting) -> Option<Box<Slot>> {
    let slot = waiting.slots.pop()?.slot;
    waiting.idle = waiting.idle.min(waiting.slots.len());
    waiting.counts.reused += 1;
    Some(slot)
}

/// The place, unless somebody uses it for longer than that takes.
fn try_lock(place: &Place) -> Option<MutexGuard<'_, Waiting>> {
    for _ in 0..LOCK_TRIES {
        match place.0.try_lock() {
            Ok(waiting) => return Some(waiting),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// A panic while it is held leaves slots that are as they should be.
fn lock(place: &Place) -> MutexGuard<'_, Waiting> {
    place.0.lock().unwrap_or_else(PoisonError::into_inner)
}
