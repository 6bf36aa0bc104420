//! libFuzzer's program for the target `chain_spec`: see the library.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: slackwater_fuzz::begin("chain_spec"),
    |data: &[u8]| slackwater_fuzz::chain_spec(data)
);
