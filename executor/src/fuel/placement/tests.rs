//! What is done where, in small functions: the drawn examples of `docs/fuel.md` among them.

use wasmparser::{BlockType::Empty, FunctionBody, Parser, Payload};

use super::*;
use crate::fuel::{Schedule, calls::CallPlan};

/// The first function of a module.
pub(in crate::fuel) fn first_body(wasm: &[u8]) -> FunctionBody<'_> {
    let payloads = Parser::new(0).parse_all(wasm);
    let mut bodies = payloads.filter_map(|payload| match payload.expect("valid") {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    bodies.next().expect("a function")
}

/// What is to be done in the first function of a module; its calls are all silent, or none is.
fn steps(text: &str, silent: bool) -> Vec<Step> {
    let wasm = wat::parse_str(text).expect("wat");
    let schedule = Schedule::default();
    let body = first_body(&wasm);
    let mut reader = body.get_operators_reader().expect("valid");
    let mut placement = Placement::new(schedule.function());
    while !reader.eof() {
        let at = reader.original_position();
        let operator = reader.read().expect("valid");
        placement.operator(&Read {
            operator: &operator,
            added: None,
            cost: schedule.operator(&operator),
            size: None,
            range: at..reader.original_position(),
        });
    }
    let call = CallPlan {
        publishes: false,
        is_silent: silent,
    };
    let plan = Plan {
        is_silent: false,
        calls: vec![call; placement.calls.len()],
    };
    let steps = placement.finish(&plan).into_iter();
    steps.map(|(_, step)| step).collect()
}

/// What is to be done in the first turn of a loop that is written out, and behind its last.
#[test]
fn turns_charge_where_the_loop_is_left() {
    let [leave, flush] = [Added::End, Added::Again];
    let operators = [
        (Operator::Block { blockty: Empty }, Some(Added::Frame)),
        (Operator::Loop { blockty: Empty }, Some(Added::Loop)),
    ];
    let turn = [
        (Operator::Block { blockty: Empty }, Some(Added::Turn)),
        (Operator::LocalGet { local_index: 0 }, None),
        (Operator::I32Eqz, Some(Added::Frame)),
        (Operator::If { blockty: Empty }, Some(Added::Exit)),
        (Operator::Br { relative_depth: 3 }, Some(leave)),
        (Operator::End, Some(Added::Frame)),
        (Operator::End, Some(Added::Frame)),
    ];
    let last = [
        (Operator::Br { relative_depth: 0 }, Some(flush)),
        (Operator::End, Some(Added::Frame)),
        (Operator::End, Some(Added::Frame)),
        (Operator::End, None),
    ];
    let schedule = Schedule::default();
    let mut placement = Placement::new(schedule.function());
    let all = operators.iter().chain(&turn).chain(&turn).chain(&last);
    for (number, (operator, added)) in all.enumerate() {
        let cost = added.map_or_else(
            || schedule.operator(operator),
            |added| added.cost(&schedule),
        );
        placement.operator(&Read {
            operator,
            added: *added,
            cost,
            size: None,
            range: number..number + 1,
        });
    }
    let plan = Plan {
        is_silent: false,
        calls: Vec::new(),
    };
    let expected = [
        // Left in the first turn: it, and the invocation. In the second: two turns.
        (6, Step::Charge(3)),
        (13, Step::Charge(5)),
        // Both turns, and the invocation that is owed; it is owed again in the next.
        (15, Step::Charge(5)),
        (16, FLUSH),
        (16, Step::Charge(-1)),
        (19, Step::Leave),
    ];
    assert_eq!(placement.finish(&plan), expected);
}

const FLUSH: Step = Step::Flush { check: false };

/// The first example of the documentation.
#[test]
fn what_is_always_executed_is_free() {
    let text = "(module (func (param i32) (result i32)
        local.get 0 i32.eqz
        if
            local.get 0 i32.const 2 i32.add i32.const 3 i32.add local.set 0
        else
            i32.const 1 local.set 0
        end
        local.get 0 i32.const 7 i32.mul i32.eqz))";
    let text = text.replacen("i32.const 3 i32.add ", "i32.eqz ", 1);
    assert_eq!(
        steps(&text, false),
        [Step::Charge(13), Step::Charge(10), Step::Leave]
    );
}

/// The second: what follows the loop is charged where the function is left.
#[test]
fn a_turn_of_a_loop_charges_once() {
    let text = "(module (func (param i32)
        block
            loop
                local.get 0 i32.const 1 i32.sub local.tee 0 i32.eqz br_if 1
                local.get 0 local.set 0 br 0
            end
        end))";
    let turn = [Step::Charge(1), FLUSH, Step::Charge(9)];
    let expected = [&turn[..], &[Step::Leave, Step::Charge(6)]].concat();
    assert_eq!(steps(text, false), expected);
}

#[test]
fn ways_go_on_behind_silent_calls_only() {
    let text = "(module (func call 1 call 1 call 1) (func))";
    assert_eq!(steps(text, true), [Step::Leave, Step::Charge(4)]);
    let each = [Step::Charge(2), Step::Charge(1), Step::Charge(1)];
    let exact = [&each[..], &[Step::Leave]].concat();
    assert_eq!(steps(text, false), exact);
}

#[test]
fn what_ends_in_a_trap_is_charged_there() {
    let text = "(module (func (param i32)
        block
            local.get 0 br_if 0
            unreachable
        end
        local.get 0 drop))";
    let trap = [Step::Charge(3), FLUSH];
    let expected = [&trap[..], &[Step::Leave, Step::Charge(4)]].concat();
    assert_eq!(steps(text, false), expected);
}
