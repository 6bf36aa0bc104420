//! libFuzzer's program for the target `loader`: see the library.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: slackwater_fuzz::begin("loader"),
    |data: &[u8]| slackwater_fuzz::loader(data)
);
