#!/usr/bin/env bash
# Measures production and import of blocks next to Substrate's builder and database. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench production --locked -- "$@"
