#!/usr/bin/env bash
# The determinism matrix on every fixture. Arguments: those of tests/src/bin/matrix.rs, such as --interpreted or --cells 20.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo run --workspace --release --locked --bin matrix -- "$@"
