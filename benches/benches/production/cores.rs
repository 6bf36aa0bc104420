//! Cores that the process may use, and how much of them it has used.

use std::time::{Duration, Instant};

use rustix::{
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// How long something took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) time: Duration,
    /// Time of processors, all threads of the process together.
    pub(crate) processors: Duration,
}

/// Times `work`, after which the process has all its cores again.
pub(crate) fn timed_on<T>(cores: &Cores, count: usize, work: impl FnOnce() -> T) -> (T, Taken) {
    cores.limit(count);
    let (start, used) = (Instant::now(), processors());
    let done = std::hint::black_box(work());
    let taken = Taken {
        time: start.elapsed(),
        processors: processors().saturating_sub(used),
    };
    cores.limit(cores.all.len());
    (done, taken)
}

fn processors() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).expect("no negative time")
}

/// The cores of this process.
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    pub(crate) fn new() -> Self {
        let set = sched_getaffinity(None).expect("Linux tells");
        let all = (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect();
        Self { all }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Lets every thread run on the first so many only. A thread that begins later inherits it.
    fn limit(&self, count: usize) {
        let mut set = CpuSet::new();
        for &core in self.all.iter().take(count) {
            set.set(core);
        }
        for thread in std::fs::read_dir("/proc/self/task").expect("Linux tells") {
            let name = thread.expect("a thread").file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let thread = number.and_then(Pid::from_raw).expect("a thread's number");
            // One that has ended meanwhile needs no core.
            let _gone = sched_setaffinity(Some(thread), &set);
        }
    }
}
