#!/usr/bin/env bash
# Builds the command line tool and replays the fixture chain with it.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

CHAIN=runtime-fixtures/chain/guest-chain.json

scripts/setup.sh
cargo build --package slackwater --release --locked
"$CARGO_TARGET_DIR/release/slackwater" replay "$CHAIN"
