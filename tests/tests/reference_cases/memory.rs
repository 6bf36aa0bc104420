//! Cases in which a call must not see what the one before has left.

use codec::Encode;
use slackwater_executor::HeapPages;
use slackwater_runtime_fixtures::cases::CASES_WASM;

use super::{
    case::{Case, Fault, Step},
    modules,
};

const HEAP: HeapPages = HeapPages::Dynamic {
    maximum: Some(1_024),
};

pub(crate) fn cases() -> Vec<Case> {
    let twice = |name, stands_for, module: &[u8], entry, count: u64| {
        let step = Step::gives(entry, &[0], &count.encode());
        Case::new(name, stands_for, module, &[step.clone(), step]).heap(HEAP)
    };
    // The low byte of each index.
    let stack: Vec<u8> = (0..=u8::MAX).cycle().take(768 << 10).collect();
    vec![
        twice(
            "what the module's data says is so again",
            &["returns_mutable_static"],
            CASES_WASM,
            "count_in_data",
            33,
        ),
        twice(
            "what no data says is zero again",
            &["returns_mutable_static_bss"],
            CASES_WASM,
            "count_in_zeroes",
            1,
        ),
        twice(
            "what the module says nothing of is zero again",
            &["memory_is_cleared_between_invocations"],
            &modules::counting(),
            "count",
            1,
        ),
        Case::new(
            "the stack of a call that trapped is given back",
            &["restoration_of_globals"],
            CASES_WASM,
            &[
                Step::faults("fill_stack", &[1], Fault::Panic("asked to panic")),
                Step::gives("fill_stack", &[0], &stack),
            ],
        )
        .heap(HeapPages::Static { extra: 32 }),
    ]
}
