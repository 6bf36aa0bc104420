#!/usr/bin/env bash
# Checks licences, bans and sources of the dependency tree, twice:
#   1. what a node links, by deny.toml as it stands: no copyleft;
#   2. the whole workspace, where `publish = false` packages may also link Substrate's own executor and client
#      as oracles, which are under the GPL with the classpath exception.
# Advisories are left out: their database is not in the repository, and a build must not depend on its weather.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

PEERS_LICENCE="GPL-3.0-or-later WITH Classpath-exception-2.0"

# Two crates spell their licence in the old way ("GPL-3.0 OR ..."): cargo-deny reads it, and warns at length. A
# licence that it cannot read is still an error.
check() {
    "$SLACKWATER_CACHE/tools/bin/cargo-deny" --locked --offline --config "$1" \
        check --allow parse-error bans licenses sources
}

peers_config=$(mktemp --suffix=.toml)
trap 'rm -f "$peers_config"' EXIT
sed -e '/^exclude = /d' -e "s/^allow = \[/&\n    \"$PEERS_LICENCE\",/" deny.toml >"$peers_config"

echo "What a node links:"
check deny.toml
echo "The whole workspace:"
check "$peers_config"
