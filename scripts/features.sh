#!/usr/bin/env bash
# The libraries by themselves, with every set of their features: each must compile without a warning, and documentation where all
# are on. The workspace as a whole would hide what one crate forgets to ask for. (What a feature does, tests of the
# workspace say: `scripts/check.sh spans`, and the client's example.)
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# Every subset of the features of a package, one a line.
subsets() {
    cargo metadata --format-version 1 --no-deps --locked | python3 -c '
import itertools, json, sys
packages = json.load(sys.stdin)["packages"]
features = next(sorted(p["features"]) for p in packages if p["name"] == sys.argv[1])
for size in range(len(features) + 1):
    for subset in itertools.combinations(features, size):
        print(",".join(subset))
' "$1"
}

scripts/setup.sh python
for package in slackwater-host-functions slackwater-executor; do
    # Not read from the command itself: the shell would not notice that it fails.
    sets="$(subsets "$package")"
    [[ "$(wc -l <<<"$sets")" -ge 2 ]] || fail "$package has no features: the list of them is wrong"
    while read -r features; do
        echo "$package: ${features:-no features}"
        cargo clippy --quiet --package "$package" --release --locked --lib --features "$features" -- -D warnings
    done <<<"$sets"
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" \
        cargo doc --quiet --package "$package" --release --locked --no-deps --all-features
done
