//! libFuzzer's program for the target `instrumenter`: see the library.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: slackwater_fuzz::begin("instrumenter"),
    |data: &[u8]| slackwater_fuzz::instrumenter(data)
);
