//! What does counting cost a program that only computes?
//!
//! Every variant makes the same call in turns, in one process, and each turn is compared with the turn of the
//! unmetered one beside it; before, all counts must agree with the engine's own. Writes `meter.json` and
//! `meter.md` into `target/bench`; `make bench-meter` runs it. An argument keeps those kernels whose name
//! contains it; `--quick` takes fewer turns.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for people, and how far it has come"
)]

mod report;
mod variants;

use std::{hint::black_box, time::Instant};

use report::Row;
use slackwater_benches::Timed;
use slackwater_runtime_fixtures::kernels::{KERNELS, KERNELS_WASM, Kernel};
use variants::{Runner, Variant};

const TURNS: usize = 61;
const TURNS_QUICK: usize = 15;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes an argument of its own.
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let turns = if arguments.iter().any(|argument| argument == "--quick") {
        TURNS_QUICK
    } else {
        TURNS
    };
    let mut rows = Vec::new();
    for kernel in KERNELS {
        if wanted.is_none_or(|wanted| kernel.name.contains(wanted.as_str())) {
            eprintln!("{}", kernel.name);
            rows.extend(measure(kernel, turns));
        }
    }
    match report::write(&rows) {
        Ok(folder) => eprintln!("written to {}", folder.display()),
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            std::process::exit(2);
        }
    }
}

fn measure(kernel: Kernel, turns: usize) -> Vec<Row> {
    let runner = |variant| Runner::new(variant, KERNELS_WASM, kernel.name);
    let mut runners = Variant::ALL.map(runner);
    let answers = runners.each_mut().map(|runner| runner.call(kernel.work));
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{}: {answers:?}",
        kernel.name
    );
    let counts = runners.each_mut().map(|runner| runner.fuel(kernel.work));
    let mut counts = counts.into_iter().flatten();
    let fuel = counts.next().expect("some count");
    assert!(
        counts.all(|count| count == fuel),
        "{}: what is counted differs",
        kernel.name
    );
    let mut timed = Variant::ALL.map(|variant| Timed::new(variant.name().to_owned()));
    for turn in 0..=turns {
        for (runner, timed) in runners.iter_mut().zip(&mut timed) {
            let begin = Instant::now();
            black_box(runner.call(black_box(kernel.work)));
            // The first turn fills caches.
            if turn > 0 {
                timed.turns.push(begin.elapsed().as_secs_f64() * 1e9);
            }
        }
    }
    let unmetered = &timed[0];
    let of = runners.iter().zip(&timed);
    of.map(|(runner, timed)| Row::new(kernel.name, timed, unmetered, fuel, runner.code_bytes))
        .collect()
}
