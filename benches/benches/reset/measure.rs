//! Measuring in turns.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use slackwater_benches::Timed;

use crate::{
    cases::Case,
    executors::{Session, Way},
};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    turns: usize,
    turn: Duration,
}

impl Effort {
    pub(crate) fn full() -> Self {
        Self {
            turns: 41,
            turn: Duration::from_millis(4),
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            turns: 9,
            turn: Duration::from_millis(2),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
fn per_call(elapsed: Duration, calls: u64) -> f64 {
    elapsed.as_nanos() as f64 / calls.max(1) as f64
}

/// Nothing measured yet.
fn named(ways: &[&dyn Way]) -> Vec<Timed> {
    ways.iter().map(|way| Timed::new(way.name())).collect()
}

/// One way after the other, again and again, on this thread.
pub(crate) fn interleaved(case: &Case, ways: &[&dyn Way], effort: Effort) -> Vec<Timed> {
    let mut sessions: Vec<_> = ways.iter().map(|way| (way.session(), 0_u32)).collect();
    let turn = |(call, number): &mut (Session<'_>, u32), least: u64| {
        let begin = Instant::now();
        let mut calls = 0;
        // The clock is read seldom, inputs are made with it.
        while begin.elapsed() < effort.turn || calls < least {
            for _ in 0..16 {
                call(&(case.input)(*number));
                *number = number.wrapping_add(1);
            }
            calls += 16;
        }
        per_call(begin.elapsed(), calls)
    };
    let mut timed = named(ways);
    for session in &mut sessions {
        turn(session, 64);
    }
    for _ in 0..effort.turns {
        for (session, timed) in sessions.iter_mut().zip(&mut timed) {
            timed.turns.push(turn(session, 16));
        }
    }
    timed
}

/// One way after the other, each on so many threads that call as often as they can; nanoseconds of
/// all threads together per call.
pub(crate) fn together(
    case: &Case,
    ways: &[&dyn Way],
    threads: usize,
    effort: Effort,
) -> Vec<Timed> {
    let mut timed = named(ways);
    let turn = (effort.turn * 10).max(Duration::from_millis(40));
    for _ in 0..effort.turns.div_ceil(4) {
        for (way, timed) in ways.iter().zip(&mut timed) {
            timed.turns.push(all_at_once(case, *way, threads, turn));
        }
    }
    timed
}

fn all_at_once(case: &Case, way: &dyn Way, threads: usize, turn: Duration) -> f64 {
    let (begin, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let calls = AtomicU64::new(0);
    let work = || {
        let mut call = way.session();
        let input = (case.input)(0);
        for _ in 0..32 {
            call(&input);
        }
        begin.wait();
        let mut own = 0;
        while !over.load(Ordering::Relaxed) {
            call(&input);
            own += 1;
        }
        calls.fetch_add(own, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        begin.wait();
        let start = Instant::now();
        std::thread::sleep(turn);
        over.store(true, Ordering::Relaxed);
        for thread in running {
            thread.join().expect("calls return");
        }
        per_call(start.elapsed(), calls.load(Ordering::Relaxed))
    })
}
