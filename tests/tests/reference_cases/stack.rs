//! Cases about how deep a guest may call.

use slackwater_executor::Meter;

use super::{
    case::{Case, Fault, Special, Step},
    modules,
};

/// So deep the reference lets a guest of small frames go, on 1 MiB of native stack.
const DEEP: u32 = 65_451;
/// So deep it does not, whatever the compiler makes of a frame.
const TOO_DEEP: u32 = 65_507;

pub(crate) fn cases() -> Vec<Case> {
    let module = |depth| modules::diving(depth);
    let many_locals = modules::many_locals();
    let many = |fault| [Step::faults("main", &[], fault)];
    vec![
        Case::new(
            "under 1 MiB of native stack",
            &["test_consume_under_1mb_of_stack_does_not_trap"],
            &module(DEEP),
            &[Step::gives("main", &[], &[])],
        ),
        Case::new(
            "over 1 MiB of native stack",
            &["test_consume_over_1mb_of_stack_does_trap"],
            &module(TOO_DEEP),
            &[Step::faults("main", &[], Fault::NativeStack)],
        ),
        Case::new(
            "large frames, where the depth is limited by the code",
            &["test_stack_depth_reaching"],
            &many_locals,
            &many(Fault::Depth),
        )
        .special(Special::DepthByCode)
        // Who does not count does not count depth.
        .meters(&[Meter::Slacked, Meter::Checked]),
        Case::new(
            "large frames, where only the native stack limits the depth",
            &[],
            &many_locals,
            &many(Fault::NativeStack),
        ),
    ]
}
