//! libFuzzer's program for the target `record_file`: see the library.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: slackwater_fuzz::begin("record_file"),
    |data: &[u8]| slackwater_fuzz::record_file(data)
);
