//! The hand-over between the thread that runs a guest and the arbiter, checked by a model checker: under
//! all interleavings and all orders in which stores may become visible, on the very file that the
//! executor compiles.
//!
//! Whoever touches a page says for which run, and fails if the page is not that run's. Protection orders
//! nothing but a fault behind the protection that caused it, as the kernel does: all else that a thread
//! knows of a page follows from the hand-over alone. The cells of the slots are watched by the checker
//! itself. Each model also states all its outcomes, so that none passes by looking away.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, Weak},
};

use handover::{Fault, Handover, Look, Looked, Watched};
use loom::{
    model::Builder,
    sync::atomic::{AtomicBool, AtomicU32, Ordering, fence},
    thread,
};

#[path = "../../executor/src/fuel/handover.rs"]
mod handover;

/// The model checker's counterparts of what the hand-over stands on, under the same names.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

    /// A cell that fails where two accesses are not ordered.
    pub(super) struct Cell<T>(loom::cell::UnsafeCell<T>);

    impl<T> Cell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            self.0.with(read)
        }

        pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            self.0.with_mut(change)
        }
    }

    pub(super) fn pause(_tries: &mut u32) {
        loom::thread::yield_now();
    }

    /// As waiting a little.
    pub(super) fn rest() {
        pause(&mut 0);
    }
}

/// A meter's page, which is used by one run after the other.
struct Page {
    /// The number of the run it belongs to, or 0.
    owner: AtomicU32,
    protected: AtomicBool,
}

impl Page {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            owner: AtomicU32::new(0),
            protected: AtomicBool::new(false),
        })
    }

    fn is_protected(&self) -> bool {
        self.protected.load(Ordering::Relaxed)
    }

    /// Whether a store faults now.
    fn faults(&self) -> bool {
        let faults = self.is_protected();
        if faults {
            fence(Ordering::Acquire);
        }
        faults
    }

    /// Passes the page from one run to another, or to nobody.
    fn pass(&self, from: u32, to: u32) {
        assert!(!self.is_protected(), "{from} to {to}: a protected page");
        assert_eq!(self.owner.load(Ordering::Relaxed), from, "not to {to}");
        self.owner.store(to, Ordering::Relaxed);
    }
}

/// A run, and what it is to be told.
struct Run {
    number: u32,
    handed: Weak<Handover<Run>>,
    page: Arc<Page>,
    look: Look,
    /// What the answer is to a question.
    extended: bool,
    /// How often that was.
    asked: Arc<AtomicU32>,
    /// How often its page cannot be protected.
    refusals: u32,
    /// How often that was tried.
    tries: Arc<AtomicU32>,
}

impl Run {
    fn new(handed: &Handed, number: u32, page: &Arc<Page>, look: Look) -> Self {
        Self {
            number,
            handed: Arc::downgrade(handed),
            page: Arc::clone(page),
            look,
            extended: false,
            asked: Arc::new(AtomicU32::new(0)),
            refusals: 0,
            tries: Arc::new(AtomicU32::new(0)),
        }
    }

    /// Only while it is its page's run.
    fn touch(&self) {
        let owner = self.page.owner.load(Ordering::Relaxed);
        assert_eq!(owner, self.number, "the page was given back");
    }
}

impl Watched for Run {
    fn look(&self) -> Look {
        self.touch();
        let was_extended = self.extended && self.asked.load(Ordering::Relaxed) > 0;
        if was_extended { Look::Fine } else { self.look }
    }

    fn protect(&self) -> bool {
        self.touch();
        if self.tries.fetch_add(1, Ordering::Relaxed) < self.refusals {
            return false;
        }
        self.page.protected.store(true, Ordering::Release);
        true
    }

    fn unprotect(&self) {
        self.touch();
        let handed = self.handed.upgrade().expect("it outlives its runs");
        assert!(handed.is_busy(), "a protected page in a free slot");
        self.page.protected.store(false, Ordering::Relaxed);
    }

    fn ask(&self) -> bool {
        self.touch();
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.extended
    }
}

type Handed = Arc<Handover<Run>>;

/// What a run saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Saw {
    /// It went on to its end.
    Nothing,
    /// Its store faulted, and was tried again.
    Resumed,
    /// Its store faulted, and it ended.
    Stopped,
    /// Its store did not fault, but it had been stopped.
    StoppedLate,
}

/// A run from its beginning to its end, with one store to its page. `None` if there is no room.
/// `wake` is told whether the arbiter has to be woken.
fn run(handed: &Handed, run: Run, hint: usize) -> Option<Saw> {
    let (number, page) = (run.number, Arc::clone(&run.page));
    page.pass(0, number);
    let Some((slot, woken)) = handed.begin(run, hint) else {
        page.pass(number, 0);
        return None;
    };
    assert!(!woken, "nobody sleeps");
    let faulted = page.faults().then(|| handed.fault(slot));
    if faulted == Some(Fault::Resume) {
        assert!(!page.is_protected(), "a store that is tried again succeeds");
    }
    let (ended, stopped) = handed.end(slot);
    let ended = ended.expect("it was in its slot");
    assert_eq!(ended.number, number, "another's run");
    page.pass(number, 0);
    Some(match (faulted, stopped) {
        (None, false) => Saw::Nothing,
        (None, true) => Saw::StoppedLate,
        (Some(Fault::Resume), false) => Saw::Resumed,
        (Some(Fault::Stop), true) => Saw::Stopped,
        told => panic!("told otherwise in the end: {told:?}"),
    })
}

/// Looks at all slots so many times, and asks on a thread of its own.
fn arbitrate(handed: &Handed, times: u32) {
    for _ in 0..times {
        for slot in 0..handed.len() {
            if handed.look(slot) == Looked::Asking {
                let asking = Arc::clone(handed);
                thread::spawn(move || asking.ask(slot));
            }
        }
    }
}

fn spawn_arbiter(handed: &Handed, times: u32) -> thread::JoinHandle<()> {
    let handed = Arc::clone(handed);
    thread::spawn(move || arbitrate(&handed, times))
}

/// All outcomes of a model, with at most so many switches away from a thread that could go on.
fn outcomes<T: Ord + Send + 'static>(
    switches: Option<usize>,
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let mut builder = Builder::new();
    builder.preemption_bound = switches;
    let finding = Arc::clone(&found);
    builder.check(move || {
        let outcome = model();
        finding.lock().expect("no panic").insert(outcome);
    });
    std::mem::take(&mut *found.lock().expect("no panic"))
}

/// Runs of one thread use slot and page after each other, and what is done to one is not seen by the
/// next.
#[test]
fn runs_of_one_thread_follow_each_other() {
    let found = outcomes(None, || {
        let handed: Handed = Arc::new(Handover::new(1));
        let arbiter = spawn_arbiter(&handed, 3);
        let page = Page::new();
        let first = run(&handed, Run::new(&handed, 1, &page, Look::Stop), 0);
        let second = run(&handed, Run::new(&handed, 2, &page, Look::Fine), 0);
        assert_eq!(second, Some(Saw::Nothing), "nobody stops it");
        arbiter.join().expect("no panic");
        assert!(!handed.is_busy());
        first.expect("there is room")
    });
    let possible = [Saw::Nothing, Saw::Stopped, Saw::StoppedLate];
    assert_eq!(found, BTreeSet::from(possible));
}

/// A run whose page cannot be protected goes on, and is stopped by a later look.
#[test]
fn a_run_that_could_not_be_stopped_is_looked_at_again() {
    let found = outcomes(None, || {
        let handed: Handed = Arc::new(Handover::new(1));
        let arbiter = spawn_arbiter(&handed, 3);
        let stubborn = Run {
            refusals: 1,
            ..Run::new(&handed, 1, &Page::new(), Look::Stop)
        };
        let tries = Arc::clone(&stubborn.tries);
        let saw = run(&handed, stubborn, 0).expect("there is room");
        arbiter.join().expect("no panic");
        (saw, tries.load(Ordering::Relaxed))
    });
    let possible = [
        (Saw::Nothing, 0),
        (Saw::Nothing, 1),
        (Saw::Stopped, 2),
        (Saw::StoppedLate, 2),
    ];
    assert_eq!(found, BTreeSet::from(possible));
}

/// Runs of two threads, both looking for room in the same place.
#[test]
fn runs_of_two_threads_do_not_meet() {
    let found = outcomes(Some(4), || {
        let handed: Handed = Arc::new(Handover::new(2));
        let arbiter = spawn_arbiter(&handed, 1);
        let other = Arc::clone(&handed);
        let other =
            thread::spawn(move || run(&other, Run::new(&other, 2, &Page::new(), Look::Stop), 0));
        let one = run(&handed, Run::new(&handed, 1, &Page::new(), Look::Fine), 0);
        assert_eq!(one, Some(Saw::Nothing), "nobody stops it");
        arbiter.join().expect("no panic");
        let other = other.join().expect("no panic");
        assert!(!handed.is_busy());
        other.expect("there is room")
    });
    let possible = [Saw::Nothing, Saw::Stopped, Saw::StoppedLate];
    assert_eq!(found, BTreeSet::from(possible));
}

/// Where there is room for one of two, it is never lent twice, and one at least gets it.
#[test]
fn a_slot_is_lent_to_one_at_a_time() {
    let found = outcomes(Some(5), || {
        let handed: Handed = Arc::new(Handover::new(1));
        let arbiter = spawn_arbiter(&handed, 1);
        let other = Arc::clone(&handed);
        let other =
            thread::spawn(move || run(&other, Run::new(&other, 2, &Page::new(), Look::Stop), 0));
        let one = run(&handed, Run::new(&handed, 1, &Page::new(), Look::Stop), 0);
        arbiter.join().expect("no panic");
        let other = other.join().expect("no panic");
        assert!(!handed.is_busy());
        [one, other].map(|saw| saw.map(|saw| saw != Saw::Nothing))
    });
    let (no_room, goes_on, is_stopped) = (None, Some(false), Some(true));
    let possible = [
        [goes_on, goes_on],
        [goes_on, is_stopped],
        [is_stopped, goes_on],
        [no_room, goes_on],
        [no_room, is_stopped],
        [goes_on, no_room],
        [is_stopped, no_room],
    ];
    assert_eq!(found, BTreeSet::from(possible));
}

/// What a run saw that is asked about, and how often it was.
fn asked_about(extended: bool) -> BTreeSet<(Saw, u32)> {
    outcomes(None, move || {
        let handed: Handed = Arc::new(Handover::new(1));
        let arbiter = spawn_arbiter(&handed, 2);
        let page = Page::new();
        let asked = Run {
            extended,
            ..Run::new(&handed, 1, &page, Look::Ask)
        };
        let questions = Arc::clone(&asked.asked);
        let saw = run(&handed, asked, 0).expect("there is room");
        let questions = questions.load(Ordering::Relaxed);
        // The page is good for another.
        let next = run(&handed, Run::new(&handed, 2, &page, Look::Fine), 0);
        assert_eq!(next, Some(Saw::Nothing), "nobody stops it");
        arbiter.join().expect("no panic");
        (saw, questions)
    })
}

/// A run over a limit that is extended goes on, and never hears that it was stopped.
#[test]
fn an_extended_run_goes_on() {
    let possible = [(Saw::Nothing, 0), (Saw::Nothing, 1), (Saw::Resumed, 1)];
    assert_eq!(asked_about(true), BTreeSet::from(possible));
}

/// A run over a limit that is not extended is stopped, whether it stores again or not.
#[test]
fn a_run_that_is_not_extended_stops() {
    let possible = [(Saw::Nothing, 0), (Saw::Stopped, 1), (Saw::StoppedLate, 1)];
    assert_eq!(asked_about(false), BTreeSet::from(possible));
}

/// Begins a run and wakes the arbiter if told so. Whether it was, and the slot.
fn begin_and_wake(handed: &Handed, number: u32, arbiter: &thread::Thread) -> (bool, usize) {
    let page = Page::new();
    page.pass(0, number);
    let run = Run::new(handed, number, &page, Look::Fine);
    let (slot, wake) = handed.begin(run, 0).expect("there is room");
    if wake {
        arbiter.unpark();
    }
    (wake, slot)
}

/// An arbiter that goes to sleep as the product's does, and ends when it has seen so many runs at
/// once. Whether it slept.
fn sleeper(handed: &Handed, runs: usize) -> bool {
    let mut slept = false;
    loop {
        let seen = (0..handed.len()).filter(|slot| handed.look(*slot) != Looked::Idle);
        if seen.count() >= runs {
            return slept;
        }
        if handed.doze() {
            slept = true;
            thread::park();
        } else {
            thread::yield_now();
        }
    }
}

/// However the arbiter went to sleep, it looks at a run that has begun: if it did not, the model would
/// stand still, which the checker reports.
#[test]
fn no_wake_is_lost() {
    let found = outcomes(None, || {
        let handed: Handed = Arc::new(Handover::new(1));
        let arbiter = Arc::clone(&handed);
        let arbiter = thread::spawn(move || sleeper(&arbiter, 1));
        let (woke, slot) = begin_and_wake(&handed, 1, arbiter.thread());
        let slept = arbiter.join().expect("no panic");
        assert!(handed.end(slot).0.is_some());
        let next = run(&handed, Run::new(&handed, 2, &Page::new(), Look::Fine), 0);
        assert_eq!(next, Some(Saw::Nothing), "nobody sleeps any more");
        (slept, woke)
    });
    // It is woken for nothing if it was about to sleep and saw the run itself.
    let possible = [(false, false), (false, true), (true, true)];
    assert_eq!(found, BTreeSet::from(possible));
}

/// Two runs that begin at once are both looked at.
#[test]
fn no_wake_is_lost_between_two_runs() {
    let found = outcomes(Some(3), || {
        let handed: Handed = Arc::new(Handover::new(2));
        let arbiter = Arc::clone(&handed);
        let arbiter = thread::spawn(move || sleeper(&arbiter, 2));
        let (other, thread) = (Arc::clone(&handed), arbiter.thread().clone());
        let other = thread::spawn(move || begin_and_wake(&other, 2, &thread));
        begin_and_wake(&handed, 1, arbiter.thread());
        other.join().expect("no panic");
        arbiter.join().expect("no panic")
    });
    assert_eq!(found, BTreeSet::from([false, true]));
}

/// Of two runs that begin while the arbiter goes to sleep, one at most wakes it, and one does if it
/// sleeps.
#[test]
fn one_run_wakes_the_arbiter() {
    let found = outcomes(Some(5), || {
        let handed: Handed = Arc::new(Handover::new(2));
        let arbiter = Arc::clone(&handed);
        let arbiter = thread::spawn(move || {
            let sleeps = arbiter.doze();
            if sleeps {
                thread::park();
            }
            sleeps
        });
        let (other, thread) = (Arc::clone(&handed), arbiter.thread().clone());
        let other = thread::spawn(move || begin_and_wake(&other, 2, &thread).0);
        let one = begin_and_wake(&handed, 1, arbiter.thread()).0;
        let woken = u32::from(other.join().expect("no panic")) + u32::from(one);
        (arbiter.join().expect("no panic"), woken)
    });
    assert_eq!(found, BTreeSet::from([(false, 0), (false, 1), (true, 1)]));
}
