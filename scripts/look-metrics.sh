#!/usr/bin/env bash
# Replays the chain of this repository with metrics served, fetches the page as Prometheus does, and has it read by the official
# Python client's parser; the dashboard must ask for nothing that is not there.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# The client, pinned, and kept.
VERSION=0.23.1
client="$SLACKWATER_CACHE/tools/prometheus-client-$VERSION"

scripts/setup.sh python
if [[ ! -d "$client" ]]; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$client.new" "prometheus-client==$VERSION"
    mv "$client.new" "$client"
fi
cargo build --workspace --release --locked --bin slackwater
work=$(mktemp -d)
trap 'kill "${replay:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$CARGO_TARGET_DIR/release/slackwater" replay --metrics-addr "127.0.0.1:$port" --metrics-hold 30 \
    --cache-dir "$work/code" runtime-fixtures/chain/guest-chain.json >"$work/replay" 2>&1 &
replay=$!
# All is done when the page is held.
for _ in $(seq 300); do
    grep -q 'metrics stay' "$work/replay" && break
    kill -0 "$replay" 2>/dev/null || break
    sleep 0.2
done
grep -q 'metrics stay' "$work/replay" || { cat "$work/replay" >&2; fail "the replay did not come to its end"; }
python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())' \
    "http://127.0.0.1:$port/metrics" >"$work/page"
PYTHONPATH="$client" python3 scripts/look-metrics.py "$work/page" docs/dashboard.json
