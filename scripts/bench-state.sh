#!/usr/bin/env bash
# Measures reads, roots and commits of the state, next to sp-state-machine's trie and a bare batch. Arguments: as criterion's.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

scripts/setup.sh
cargo bench --workspace --bench state --locked -- "$@"
