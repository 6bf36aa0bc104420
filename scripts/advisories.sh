#!/usr/bin/env bash
# Compares the dependencies that a node links with the advisory database of RustSec. A known vulnerability, a yanked version or
# one that nobody maintains is a failure, unless deny.toml gives a reason.
#
# The database is fetched from GitHub. Where that cannot be reached, this says so and passes: a build must not depend on the
# network's weather. Environment:
#   SLACKWATER_REQUIRE_ADVISORIES=1   it fails instead
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

DATABASE=https://github.com/RustSec/advisory-db
REACH_SECONDS=20

scripts/setup.sh deny
if ! GIT_TERMINAL_PROMPT=0 timeout "$REACH_SECONDS" git ls-remote --quiet --exit-code "$DATABASE" HEAD >/dev/null 2>&1; then
    message="$DATABASE cannot be reached"
    [[ -z "${SLACKWATER_REQUIRE_ADVISORIES:-}" ]] || fail "$message"
    echo "NOT CHECKED for advisories: $message"
    exit 0
fi
config=$(mktemp --suffix=.toml)
trap 'rm -f "$config"' EXIT
# Git itself knows proxies and mirrors.
sed 's/^\[advisories\]$/&\ngit-fetch-with-cli = true/' deny.toml >"$config"
"$SLACKWATER_CACHE/tools/bin/cargo-deny" --locked --config "$config" check advisories
