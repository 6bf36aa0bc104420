#!/usr/bin/env bash
# Builds examples/substrate-client and runs it: Substrate's client over this executor and over its own, block by block.
# Formats and lints it too, for it is a workspace of its own. Arguments: the program's, such as --blocks 10 or --json.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

MANIFEST=examples/substrate-client/Cargo.toml
ARGUMENTS=(--manifest-path "$MANIFEST" --release --locked)

scripts/setup.sh
scripts/setup.sh client
SLACKWATER_REQUIRE_FIXTURES=1 scripts/fetch-crate-fixtures.sh
cargo fmt --manifest-path "$MANIFEST" --check
# `cargo clippy` would check 700 crates before this one, which are about to be built.
RUSTC_WORKSPACE_WRAPPER=clippy-driver cargo rustc "${ARGUMENTS[@]}" -- -D warnings
cargo test "${ARGUMENTS[@]}"
cargo build "${ARGUMENTS[@]}"
"$CARGO_TARGET_DIR/release/slackwater-substrate-client" "$@"
