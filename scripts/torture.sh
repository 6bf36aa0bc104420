#!/usr/bin/env bash
# The long torture of the database. Arguments replace its own: see --help.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
arguments=("$@")
[[ $# -gt 0 ]] || arguments=(--kills 10000 --power-cuts 1000 --faults 1000)
cargo run --release --workspace --bin torture --locked -- "${arguments[@]}"
