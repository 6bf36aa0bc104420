//! The integration tests of `sc-executor`, as a table of cases made from what they assert, run by this executor and by
//! that one.
//!
//! A case is a module, a state, calls in a row, and what each call gives; at the end, the state. Both executors must give
//! it: this one with instances that are put back and fresh ones, and with the meters `Slacked`, `Checked` and `Off`; the
//! reference with each of its four ways to instances. Invariant: every test of the reference is stood for by a case or by a
//! test here, or is listed with the reason why not (`coverage`); a fault is expected by its kind, for each of the two.

mod answers;
mod case;
mod coverage;
mod faults;
mod functions;
mod heaps;
mod machine;
mod memory;
mod modules;
mod offchain;
mod spans;
mod stack;
mod threads;
mod versions;

use case::Case;

/// All tables.
fn tables() -> Vec<Case> {
    [
        answers::cases(),
        answers::repeated(),
        faults::cases(),
        heaps::cases(),
        memory::cases(),
        stack::cases(),
    ]
    .concat()
}

#[test]
fn answers_are_those_of_the_table() {
    case::run(&answers::cases());
}

#[test]
fn instances_are_not_used_up() {
    case::run(&answers::repeated());
}

#[test]
fn faults_are_those_of_the_table() {
    case::run(&faults::cases());
}

#[test]
fn heaps_are_those_of_the_table() {
    case::run(&heaps::cases());
}

#[test]
fn memory_is_that_of_the_table() {
    case::run(&memory::cases());
}

#[test]
fn stacks_are_those_of_the_table() {
    case::run(&stack::cases());
}
