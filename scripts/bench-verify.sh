#!/usr/bin/env bash
# Measures what a second thread gains for verifying a recording. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench verify --locked -- "$@"
