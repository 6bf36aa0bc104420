# Sourced by every script here: strict mode, the root of the repository, and where build products go.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SLACKWATER_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/slackwater"

# Outside the checkout, so that a fresh clone on a warm machine does not build RocksDB again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SLACKWATER_CACHE/target}"

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}
