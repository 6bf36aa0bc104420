#!/usr/bin/env bash
# Puts crates that carry real runtimes into cargo's cache, where the tests look for them.
# Offline it says so and goes on, unless SLACKWATER_REQUIRE_FIXTURES=1.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

CRATE=polkadot-service
VERSION=31.0.0
FOLDER=chain-specs

# Where cargo unpacks crates: one folder for each registry.
present() {
    compgen -G "${CARGO_HOME:-$HOME/.cargo}/registry/src/*/$CRATE-$VERSION/$FOLDER/*.json" >/dev/null
}

present && exit 0
echo "Fetching $CRATE $VERSION for its $FOLDER ..."
# `cargo info` downloads and unpacks one crate and builds nothing. Outside the workspace it touches no lock file.
(cd / && cargo info --quiet "$CRATE@$VERSION" </dev/null >/dev/null) || true
present && exit 0

[[ "${SLACKWATER_REQUIRE_FIXTURES:-}" != 1 ]] || fail "$CRATE $VERSION has no $FOLDER in cargo's cache, and it is required."
echo "$CRATE $VERSION could not be fetched: tests that need its runtimes skip themselves."
