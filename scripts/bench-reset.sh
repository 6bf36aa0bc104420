#!/usr/bin/env bash
# Measures what a clean instance costs, next to the Polkadot SDK's executor. Arguments: a part of the names of
# cases, --quick.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench reset --locked -- "$@"
