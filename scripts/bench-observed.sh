#!/usr/bin/env bash
# Measures what metrics and a budget of memory cost calls and blocks. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench observed --locked -- "$@"
