#!/usr/bin/env bash
# Instances made, put back and dropped by many threads, under AddressSanitizer. Needs the compiler's unstable
# options, and builds all dependencies once more (a quarter of an hour, 5 GB).
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
target="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR-asan"
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address"
# The engine handles faults itself; what C++ libraries keep until the end is not lost.
export ASAN_OPTIONS="handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:detect_leaks=0"
export SLACKWATER_RESET_CALLS="${SLACKWATER_RESET_CALLS:-300}"
cargo test --release --locked --target "$target" --workspace --test instances "$@"
