#!/usr/bin/env bash
# Measures what counting fuel costs programs that only compute, next to the engine's own ways. Arguments: a part
# of the names of kernels, --quick.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench meter --locked -- "$@"
