#!/usr/bin/env bash
# Measures how cost grows with extrinsics, keys, code and memory, and draws it. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench growth --locked -- "$@"
