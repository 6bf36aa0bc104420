//! Benchmarks of Slackwater. One file per question asked, under `benches/`.

#![forbid(unsafe_code)]
