#!/usr/bin/env bash
# Measures the stages of running a runtime, next to the Polkadot SDK's. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench stages --locked -- "$@"
