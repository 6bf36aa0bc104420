//! `slackwater calibrate`: what a unit of fuel costs in time on this machine, and how far prices are
//! off.
//!
//! | module | knows |
//! |---|---|
//! | `guest` | modules that do something as often as their input says |
//! | `measure` | nanoseconds and fuel of one thing |
//! | `groups` | what is measured |
//! | `kernels`, `corpus` | ordinary code: built in, and the runtimes given |
//! | `operators`, `patterns` | the search for the dearest operators |
//! | `sizes` | bulk operations and growth |
//! | `host` | host functions |
//! | `report` | ratios, and the prices that would match |
//!
//! Invariant: prices are tested, never changed. Cost: some minutes, or seconds with `--quick`.

mod corpus;
mod groups;
mod guest;
mod host;
mod kernels;
mod measure;
mod operators;
mod patterns;
mod report;
mod sizes;

use std::time::Duration;

use slackwater_executor::fuel::Schedule;

use self::{
    groups::Group,
    measure::{Effort, Laboratory},
    report::{Report, Taken},
};
use crate::{
    Verdict,
    args::CalibrateArgs,
    error::CliError,
    output::{COUNT, print_json, progress_bar},
};

/// What a call takes at least.
const TARGET: Duration = Duration::from_millis(4);
/// The same in a hurry, and how often it is repeated.
const QUICK_TARGET: Duration = Duration::from_micros(150);
const QUICK_REPETITIONS: u32 = 3;

pub(crate) fn run(args: &CalibrateArgs) -> Result<Verdict, CliError> {
    let effort = if args.quick {
        Effort {
            target: QUICK_TARGET,
            repetitions: QUICK_REPETITIONS,
        }
    } else {
        Effort {
            target: TARGET,
            repetitions: args.repetitions,
        }
    };
    let mut benches = Vec::new();
    for group in Group::ALL {
        let of_group = group.benches(args)?.into_iter();
        benches.extend(of_group.map(|bench| (group, bench)));
    }
    let laboratory = Laboratory::new(effort)?;
    let bar = progress_bar(args.json, "measured", benches.len(), COUNT);
    let mut taken = Vec::new();
    for (group, bench) in benches {
        let measured = laboratory.measure(&bench)?;
        taken.push(Taken {
            group,
            bench,
            measured,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report::new(&taken, &Schedule::default(), effort);
    if args.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(Verdict::Good)
}
