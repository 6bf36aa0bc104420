//! Calls on several threads at the same time.

use slackwater_executor::host_functions::{SlackwaterHostFunctions, StandardHostFunctions};
use slackwater_runtime_fixtures::cases::CASES_WASM;
use sp_core::traits::WrappedRuntimeCode;

use super::{
    case::{BUILD, Settings, externalities, runtime_code},
    machine::{Outcome, with_functions},
};

const THREADS: usize = 8;
const CALLS: usize = 20;
/// XXHash64 of nothing, with the seeds 0 and 1.
const HASH: [u8; 16] = [
    0x99, 0xe9, 0xd8, 0x51, 0x37, 0xdb, 0x46, 0xef, 0x4b, 0xbe, 0xa3, 0x36, 0x13, 0xba, 0xaf, 0xd5,
];

#[test]
fn threads_share_an_executor() {
    let machines =
        with_functions::<SlackwaterHostFunctions, StandardHostFunctions>(&Settings::default());
    for machine in &machines {
        let call = || {
            let code = WrappedRuntimeCode(CASES_WASM.into());
            let code = runtime_code(CASES_WASM, &code);
            let mut state = externalities(&[]);
            for _ in 0..CALLS {
                let call = ("hash_twox_128", [].as_slice());
                let outcome = machine.call(&mut state.ext(), &code, call, BUILD);
                let right = matches!(&outcome, Outcome::Output(output) if *output == HASH);
                assert!(right, "{}: {outcome:?}", machine.name);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(call);
            }
        });
    }
}
