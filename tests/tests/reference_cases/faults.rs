//! Cases in which a call ends badly, and the state is as it was.

use slackwater_runtime_fixtures::cases::CASES_WASM;

use super::case::{Case, Fault, Step};

pub(crate) fn cases() -> Vec<Case> {
    let fault = |name, stands_for, entry, fault| {
        Case::new(
            name,
            stands_for,
            CASES_WASM,
            &[Step::faults(entry, &[], fault)],
        )
    };
    vec![
        fault(
            "an import nobody offers",
            &["call_not_existing_function"],
            "call_missing_import",
            Fault::MissingImport("missing_import"),
        ),
        fault(
            "another import nobody offers",
            &["call_yet_another_not_existing_function"],
            "call_other_missing_import",
            Fault::MissingImport("other_missing_import"),
        ),
        Case::new(
            "a panic ends its own call only",
            &["panicking_should_work"],
            CASES_WASM,
            &[
                Step::faults("panic_always", &[], Fault::Panic("asked to panic")),
                Step::gives("panic_if_any", &[], &[]),
                Step::faults("panic_if_any", &[2], Fault::Panic("asked to panic")),
                Step::gives("panic_if_any", &[], &[]),
            ],
        ),
        fault(
            "a panic that only the host is told of",
            &["abort_on_panic"],
            "report_and_trap",
            Fault::Panic("asked to abort"),
        ),
        Case::new(
            "a panic the host is told of is none if the call returns",
            &[],
            CASES_WASM,
            &[
                Step::gives("report_and_return", &[], &[]),
                Step::faults("execute_unreachable", &[], Fault::Unreachable),
            ],
        ),
        fault(
            "the instruction that traps",
            &["unreachable_intrinsic"],
            "execute_unreachable",
            Fault::Unreachable,
        ),
        fault(
            "an output longer than the memory",
            &["return_huge_len"],
            "output_too_long",
            Fault::Output,
        ),
        fault(
            "an output behind the memory",
            &["return_max_memory_offset_plus_one"],
            "output_behind_end",
            Fault::Output,
        ),
        fault(
            "an output whose end is no address",
            &["return_overflow"],
            "output_overflowing",
            Fault::Output,
        ),
    ]
}
