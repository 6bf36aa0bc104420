#!/usr/bin/env bash
# Compares the public interface of the libraries with that of the last release: what breaks users needs another version.
#
#   scripts/semver.sh          with the last tag v*; passes, saying so, as long as there is none
#   scripts/semver.sh REV      with any revision
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

baseline="${1:-$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)}"
if [[ -z $baseline ]]; then
    echo "NOT COMPARED: nothing was released yet (no tag v*)"
    exit 0
fi
scripts/setup.sh semver
# It builds documentation of both revisions, in a folder of its own.
for package in slackwater-host-functions slackwater-executor; do
    "$SLACKWATER_CACHE/tools/bin/cargo-semver-checks" semver-checks --package "$package" --baseline-rev "$baseline" \
        --only-explicit-features
done
