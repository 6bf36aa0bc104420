//! What does counting cost a program that only computes?
//!
//! Every variant makes the same call in turns, in one process, and each turn is compared with the turn of the
//! unmetered one beside it, in several layouts of the code; before, all counts must agree with the engine's own. Writes `meter.json` and
//! `meter.md` into `target/bench`; `make bench-meter` runs it. An argument keeps those kernels whose name
//! contains it; `--quick` takes fewer turns.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report for people, and how far it has come"
)]

mod counting;
mod layout;
mod report;
mod runtimes;
mod variants;

use std::{hint::black_box, time::Instant};

use report::{Compiled, Row};
use runtimes::{Guest, Program};
use slackwater_benches::{Timed, quantile};
use slackwater_executor::fuel::{Check, Instrumentation, prove};
use slackwater_runtime_fixtures::kernels::{KERNELS, KERNELS_WASM, Kernel};
use variants::{Runner, Variant};

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Layouts of a program, and turns in each.
    layouts: usize,
    turns: usize,
}

const KERNEL: [Effort; 2] = [effort(7, 15), effort(3, 7)];
const RUNTIME: [Effort; 2] = [effort(3, 15), effort(1, 9)];

const fn effort(layouts: usize, turns: usize) -> Effort {
    Effort { layouts, turns }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes an argument of its own.
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let quick = usize::from(arguments.iter().any(|argument| argument == "--quick"));
    let is_wanted = |id: &str| wanted.is_none_or(|wanted| id.contains(wanted.as_str()));
    let mut rows = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| is_wanted(kernel.name)) {
        eprintln!("{}", kernel.name);
        rows.extend(measure(*kernel, KERNEL[quick]));
    }
    for program in runtimes::all()
        .iter()
        .filter(|program| is_wanted(&program.id))
    {
        eprintln!("{}", program.id);
        rows.extend(measure_runtime(program, RUNTIME[quick]));
    }
    match report::write(&rows) {
        Ok(folder) => eprintln!("written to {}", folder.display()),
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            std::process::exit(2);
        }
    }
}

fn timed() -> [Timed; Variant::ALL.len()] {
    Variant::ALL.map(|variant| Timed::new(variant.name().to_owned()))
}

fn measure(kernel: Kernel, effort: Effort) -> Vec<Row> {
    let mut timed = timed();
    let mut fuel = 0;
    for layout in 0..effort.layouts {
        let runner = |variant| Runner::new(variant, KERNELS_WASM, kernel.name, layout);
        let mut runners = Variant::ALL.map(runner);
        let answers = runners.each_mut().map(|runner| runner.call(kernel.work));
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{}: {answers:?}",
            kernel.name
        );
        let counts = runners.each_mut().map(|runner| runner.fuel(kernel.work));
        let mut counts = counts.into_iter().flatten();
        fuel = counts.next().expect("some count");
        assert!(
            counts.all(|count| count == fuel),
            "{}: what is counted differs",
            kernel.name
        );
        for _ in 0..effort.turns {
            for (runner, timed) in runners.iter_mut().zip(&mut timed) {
                let begin = Instant::now();
                black_box(runner.call(black_box(kernel.work)));
                timed.turns.push(begin.elapsed().as_secs_f64() * 1e9);
            }
        }
    }
    let done = Runner::done(KERNELS_WASM, kernel.name, kernel.work);
    let unmetered = &timed[0];
    let of = Variant::ALL.iter().zip(&timed);
    of.map(|(variant, timed)| Row {
        done: (*variant == Variant::Slacked).then_some(done),
        ..Row::new(kernel.name, timed, unmetered, fuel)
    })
    .collect()
}

/// Time within the guest alone.
fn measure_runtime(program: &Program, effort: Effort) -> Vec<Row> {
    let mut timed = timed();
    let mut compilations = Vec::new();
    let mut bytes = (0, 0);
    let mut fuel = 0;
    for layout in 0..effort.layouts {
        let mut guests = Variant::ALL.map(|variant| Guest::new(variant, &program.code, layout));
        let counted: Vec<u64> = guests
            .iter_mut()
            .map(|guest| guest.run(program).fuel)
            .filter(|fuel| *fuel > 0)
            .collect();
        assert!(
            counted.iter().all(|fuel| *fuel == counted[0]),
            "{}: {counted:?}",
            program.id
        );
        fuel = counted[0];
        let [unmetered, slacked, ..] = &guests;
        compilations.push(slacked.compiled.as_secs_f64() / unmetered.compiled.as_secs_f64());
        bytes = (unmetered.code_bytes, slacked.code_bytes);
        for _ in 0..effort.turns {
            for (guest, timed) in guests.iter_mut().zip(&mut timed) {
                let spent = black_box(guest.run(black_box(program)));
                timed.turns.push(spent.guest.as_secs_f64() * 1e9);
            }
        }
    }
    let done = Guest::counting(&program.code).run(program).done;
    let instrumentation = Instrumentation::new(Check::None);
    let module = Variant::Slacked.module(&program.code);
    let proof = prove(&program.code, &module, &instrumentation).expect("it counts as it should");
    let compiled = Compiled {
        time_ratio: quantile(&compilations, 0.5),
        bytes_before: bytes.0,
        bytes_after: bytes.1,
        operators: proof.operators,
    };
    let unmetered = &timed[0];
    let of = Variant::ALL.iter().zip(&timed);
    of.map(|(variant, timed)| {
        let is_ours = *variant == Variant::Slacked;
        Row {
            is_runtime: true,
            done: is_ours.then_some(done),
            compiled: is_ours.then_some(compiled),
            ..Row::new(&program.id, timed, unmetered, fuel)
        }
    })
    .collect()
}
