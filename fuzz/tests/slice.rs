//! A slice of fuzzing with the other tests: for each target all inputs to begin with, and changes of them that are the
//! same on every machine.
//!
//! A finding names its target and its numbers, and leaves its input in a file that can be run again, as can an input that
//! `scripts/fuzz.sh` has left:
//!
//! ```text
//! SLACKWATER_FUZZ_INPUT=<file> cargo test --workspace --release --test slice an_input_again
//! ```

#![expect(clippy::print_stderr, reason = "what was skipped, or run")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use slackwater_fuzz::{TARGETS, Target, target};

/// Changed inputs for each target.
const CHANGED: u64 = 300;
/// Names a file with an input, whose name begins with that of its target.
const INPUT_VARIABLE: &str = "SLACKWATER_FUZZ_INPUT";

/// A number below a bound, which is at least 1.
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = u64::try_from(bound).expect("64 bits");
    usize::try_from(random.next_u64() % bound.max(1)).expect("below the bound")
}

/// Changes an input a few times.
fn changed(random: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[below(random, seeds.len())].clone();
    for _ in 0..=below(random, 4) {
        change(random, &mut input, seeds);
    }
    input
}

fn change(random: &mut ChaCha8Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = below(random, input.len() + 1);
    let length = below(random, 16).min(input.len() - at);
    match below(random, 6) {
        // A bit.
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << (random.next_u32() % 8);
            }
        }
        // A byte.
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next_u32().to_le_bytes()[0];
            }
        }
        // Cut off, or out.
        2 => input.truncate(at),
        3 => drop(input.drain(at..at + length)),
        // More bytes, or some of them again.
        4 => {
            let mut bytes = vec![0; below(random, 8)];
            random.fill_bytes(&mut bytes);
            bytes.extend_from_slice(&input[at..at + length]);
            input.splice(at..at, bytes);
        }
        // The rest of another.
        _ => {
            let other = &seeds[below(random, seeds.len())];
            let from = below(random, other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// Runs one input. A panic is told with what found it and where its input is.
fn run(target: &Target, numbered: &str, input: &[u8]) -> Result<(), String> {
    let run = || (target.run)(input);
    let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else {
        return Ok(());
    };
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let name = target.name;
    let file = format!(
        "{name}-{}-{}",
        numbered.replace(' ', "-"),
        std::process::id()
    );
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, input).expect("a temporary file can be written");
    Err(format!(
        "{name}, {numbered}: {}\nagain: {INPUT_VARIABLE}={} cargo test --workspace --release --test slice an_input_again",
        message.unwrap_or("a panic without a message"),
        path.display(),
    ))
}

/// Runs all inputs to begin with, and changes of them, up to the first finding.
fn slice(target: &Target, changes: u64) -> Result<(), String> {
    let seeds = (target.seeds)();
    assert!(seeds.len() > 3, "there is something to change");
    for (number, seed) in seeds.iter().enumerate() {
        run(target, &format!("seed {number}"), seed)?;
    }
    for number in 0..changes {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let input = changed(&mut random, &seeds);
        run(target, &format!("change {number}"), &input)?;
    }
    Ok(())
}

fn check(name: &str) {
    let target = target(name).expect("a target");
    if let Err(finding) = slice(target, CHANGED) {
        panic!("{finding}");
    }
}

#[test]
fn runtime_code() {
    check("loader");
}

#[test]
fn instrumentation() {
    check("instrumenter");
}

#[test]
fn chain_specs() {
    check("chain_spec");
}

#[test]
fn records_in_files() {
    check("record_file");
}

#[test]
fn an_input_again() {
    let Some(path) = std::env::var_os(INPUT_VARIABLE).map(PathBuf::from) else {
        eprintln!("skipped: {INPUT_VARIABLE} names no file");
        return;
    };
    let input = std::fs::read(&path).expect("the input can be read");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let its = |target: &&Target| name.starts_with(target.name);
    let target = TARGETS.iter().find(its);
    let target = target.expect("its name begins with that of a target");
    eprintln!("{}: {} bytes", target.name, input.len());
    (target.run)(&input);
}

/// A target that does not like some inputs.
fn planted(data: &[u8]) {
    assert!(data.first() != Some(&b'x'), "planted");
}

#[test]
fn a_panic_is_told_with_its_input() {
    let target = Target {
        name: "planted",
        run: planted,
        seeds: || {
            [b"abc", b"abd", b"xyz", b"abe"]
                .map(|seed| seed.to_vec())
                .into()
        },
    };
    let finding = slice(&target, 0).expect_err("it is seen");
    let (told, again) = finding.split_once('\n').expect("two lines");
    assert_eq!(told, "planted, seed 2: planted");
    let path = again
        .split_once('=')
        .and_then(|(_, rest)| rest.split(' ').next());
    let path = Path::new(path.expect("a path"));
    assert_eq!(std::fs::read(path).expect("it was kept"), b"xyz");
    std::fs::remove_file(path).expect("removed");
    // Among changes of good inputs, too.
    let target = Target {
        seeds: || vec![b"abc".to_vec(); 4],
        ..target
    };
    let finding = slice(&target, 2_000).expect_err("it is seen");
    assert!(finding.starts_with("planted, change "), "{finding}");
    let path = finding
        .split(['=', ' '])
        .find(|part| part.contains("planted-change-"));
    std::fs::remove_file(path.expect("a path")).expect("removed");
}
