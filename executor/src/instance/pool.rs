//! Slots that wait for the next call of one runtime.
//!
//! Any number of calls can run: one that finds no slot waiting gets a new one, which is kept afterwards if
//! there is room. Threads keep to places of their own, so that they do not meet. The slot that was used last is
//! taken first; those that nobody takes give the memory back that they keep for the next call. Invariant: every
//! slot here is as a new instance. Cost: one lock that hardly anybody else takes, before and after a call.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use super::{CallError, snapshot::Slot};
use crate::{
    memory::{Image, Resetter},
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
}

/// Calls that end in a place while a slot waits there, after which it gives its memory back.
const IDLE_CALLS: u64 = 4_096;
/// Calls that end in a place after which those that wait in others have become so much older.
const AGEING_CALLS: u64 = 512;

/// Places, at most.
const PLACES_MAX: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// Counts threads.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Pool {
    /// With nothing waiting.
    pub(crate) fn new(image: Image, engine: &Engine) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = (0..cores.min(PLACES_MAX)).map(|_| Place::default());
        Self {
            image: Arc::new(image),
            resetter: Arc::clone(&engine.resetter),
            places: places.collect(),
            cached_max: Arc::clone(&engine.instances_cached_max),
            differing: Arc::clone(&engine.instances_differing),
            verify_every: engine.verify_reset_every.map_or(0, std::num::NonZero::get),
        }
    }

    fn own_place(&self) -> &Place {
        let place = THREAD.with(|thread| *thread) % self.places.len();
        &self.places[place]
    }

    /// A slot for a call with this heap: one that waits, or a new one.
    pub(super) fn take(&self, form: &Form, heap: HeapPages) -> Result<Box<Slot>, CallError> {
        let own = self.own_place();
        let waiting = take_from(own).or_else(|| self.others(own).find_map(take_from));
        if let Some(mut slot) = waiting {
            if slot.heap() != heap {
                slot.set_heap(form, heap)?;
            }
            return Ok(slot);
        }
        let made = Slot::new(form, &self.image, heap).map(Box::new);
        lock(own).counts.made += u64::from(made.is_ok());
        made
    }

    /// Puts a slot back, and keeps it if there is room.
    pub(super) fn give(&self, mut slot: Box<Slot>) {
        let place = self.own_place();
        if let Err(error) = slot.reset(&self.resetter) {
            log::warn!(target: "slackwater::instance", "an instance is dropped: {error:#}");
            lock(place).counts.failed += 1;
            return;
        }
        if self.is_to_be_verified(place) && !self.verify(&mut slot, place) {
            return;
        }
        let mut waiting = lock(place);
        let room = self.cached_max.load(Ordering::Relaxed) as usize;
        waiting.given_back += 1;
        if waiting.slots.len() >= room.div_ceil(self.places.len()) {
            waiting.counts.surplus += 1;
            drop(waiting);
            return drop(slot);
        }
        let since = waiting.given_back;
        waiting.slots.push(Parked { slot, since });
        drop(waiting);
        self.release_idle(place, 0);
        if since.is_multiple_of(AGEING_CALLS) {
            // Where nobody calls any more, slots become idle by the calls elsewhere.
            self.others(place)
                .for_each(|place| self.release_idle(place, AGEING_CALLS));
        }
    }

    /// Lets the slots of a place become older, and has one that nobody took for long give its memory back,
    /// if there is one.
    fn release_idle(&self, place: &Place, older: u64) {
        let mut waiting = lock(place);
        waiting.given_back += older;
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
            return;
        }
        // Those that are idle are the first.
        let number = waiting.idle;
        waiting.slots.insert(number, parked);
        waiting.idle += 1;
    }

    fn others(&self, own: &Place) -> impl Iterator<Item = &Place> {
        let places = self.places.iter();
        places.filter(move |place| !std::ptr::eq(*place, own))
    }

    /// Whether it is the turn of one of this place to be compared.
    fn is_to_be_verified(&self, place: &Place) -> bool {
        if self.verify_every == 0 {
            return false;
        }
        let mut waiting = lock(place);
        waiting.given = (waiting.given + 1) % self.verify_every;
        waiting.given == 0
    }

    /// Whether a slot that was put back is as a new instance.
    fn verify(&self, slot: &mut Slot, place: &Place) -> bool {
        match slot.difference(&self.resetter) {
            Ok(None) => return true,
            Ok(Some(difference)) => {
                log::error!(
                    target: "slackwater::instance",
                    "an instance differs from a new one after it was put back: {difference}"
                );
                lock(place).counts.differing += 1;
                self.differing.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                log::warn!(target: "slackwater::instance", "an instance is dropped: {error:#}");
                lock(place).counts.failed += 1;
            }
        }
        false
    }

    /// Drops what waits beyond what is to be kept now.
    pub(crate) fn trim(&self) {
        let room = self.cached_max.load(Ordering::Relaxed) as usize;
        for place in &self.places {
            let mut waiting = lock(place);
            let kept = room.div_ceil(self.places.len()).min(waiting.slots.len());
            let surplus = waiting.slots.split_off(kept);
            waiting.idle = waiting.idle.min(kept);
            waiting.counts.surplus += surplus.len() as u64;
            drop(waiting);
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

fn take_from(place: &Place) -> Option<Box<Slot>> {
    let mut waiting = lock(place);
    let slot = waiting.slots.pop()?.slot;
    waiting.idle = waiting.idle.min(waiting.slots.len());
    waiting.counts.reused += 1;
    Some(slot)
}

/// A panic while it is held leaves slots that are as they should be.
fn lock(place: &Place) -> MutexGuard<'_, Waiting> {
    place.0.lock().unwrap_or_else(PoisonError::into_inner)
}
