//! Larger and larger runtimes, and calls that write to more and more memory.

use std::time::Duration;

use criterion::Criterion;
use slackwater_benches::{
    modules::{DIRTY, dirty_input, of_bytes, with_dirtying},
    session::{Session, executor},
    turns::{per_call, timed},
};
use slackwater_executor::InstanceMode;
use slackwater_runtime_fixtures::guest::GUEST_WASM;

use crate::{
    report::{Curve, Plot, Report},
    rounds::{Line, ask, float, in_turns, rounds},
};

/// Bytes of runtimes.
const BYTES: [u64; 5] = [100_000, 500_000, 1_000_000, 2_000_000, 4_000_000];
/// Pages of 4 KiB that a call writes to.
const PAGES: [u32; 8] = [1, 4, 16, 64, 256, 512, 1_024, 2_048];
/// Calls that are timed together go on for as long.
const TURN: Duration = Duration::from_millis(4);

const MODE: InstanceMode = InstanceMode::Snapshot;

fn runtimes() -> Vec<Vec<u8>> {
    let of = |bytes| of_bytes(GUEST_WASM, usize::try_from(bytes).expect("it has room"));
    BYTES.map(of).into()
}

pub(crate) fn compiling(criterion: &mut Criterion, report: &mut Report) {
    let mut lines = [Line::new("compile", &BYTES)];
    ask(criterion, rounds(10), &mut lines, || {
        let runtimes = runtimes();
        Box::new(move |round| {
            in_turns(runtimes.len(), round, |which| {
                let executor = executor(MODE);
                let (runtime, took) = timed(|| executor.runtime(&runtimes[which]));
                drop(runtime.expect("loads"));
                took
            })
        })
    });
    let [line] = &lines;
    report.add(Plot {
        name: "compile",
        title: "Time until a runtime can be called: validating, instrumenting, compiling",
        x: "bytes of the runtime",
        y: "time, ms",
        curves: vec![Curve::of(line, "", "compiling", "ms", |time, _| time / 1e6)],
    });
}

pub(crate) fn calls(criterion: &mut Criterion, report: &mut Report) {
    let mut lines = [Line::new("call", &BYTES)];
    ask(criterion, rounds(30), &mut lines, || {
        let runtimes = runtimes();
        let sessions = runtimes.iter().map(|code| Session::new(MODE, code));
        let mut sessions: Vec<_> = sessions.collect();
        Box::new(move |round| {
            in_turns(sessions.len(), round, |which| {
                let session = &mut sessions[which];
                per_call(TURN, || {
                    std::hint::black_box(session.call("test_empty_return", &[0]));
                })
            })
        })
    });
    let [line] = &lines;
    report.add(Plot {
        name: "call",
        title: "An empty call in an instance that was put back",
        x: "bytes of the runtime",
        y: "time of a call, ns",
        curves: vec![Curve::of(line, "", "an empty call", "ns", |time, _| time)],
    });
}

pub(crate) fn pages(criterion: &mut Criterion, report: &mut Report) {
    let mut lines = [Line::new("pages", &PAGES.map(u64::from))];
    ask(criterion, rounds(30), &mut lines, || {
        let code = with_dirtying(GUEST_WASM);
        // Each has an instance of its own, which learns what its calls write to.
        let mut sessions = PAGES.map(|_| Session::new(MODE, &code));
        Box::new(move |round| {
            in_turns(PAGES.len(), round, |which| {
                let (session, input) = (&mut sessions[which], dirty_input(PAGES[which]));
                per_call(TURN, || {
                    std::hint::black_box(session.call(DIRTY, &input));
                })
            })
        })
    });
    let [line] = &lines;
    let each = |time: f64, size| time / 1e3 / float(size);
    report.add(Plot {
        name: "pages",
        title: "A call that writes to pages of memory, and putting its instance back",
        x: "pages of 4 KiB that are written to",
        y: "time, \u{b5}s",
        curves: vec![
            Curve::of(line, "", "a call", "us", |time, _| time / 1e3),
            Curve::of(line, "-each", "a page", "us", each),
        ],
    });
}
