#!/usr/bin/env bash
# Builds the command line tool and replays the fixture chain with it.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

CHAIN=runtime-fixtures/chain/guest-chain.json

scripts/setup.sh
# With the whole workspace's features, so that `make test` finds what this built; only the tool is built.
cargo build --workspace --bin slackwater --release --locked
"$CARGO_TARGET_DIR/release/slackwater" replay "$CHAIN"
echo "The tool is $CARGO_TARGET_DIR/release/slackwater"
