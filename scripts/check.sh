#!/usr/bin/env bash
# Runs the named steps in order, stops at the first that fails, and ends with a table of times.
#
#   scripts/check.sh setup fmt lint test
#
# Cargo always builds the whole workspace in the release profile: one profile and one set of features mean that
# RocksDB and the Substrate crates are built once, whatever the step.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

WHOLE=(--workspace --release --locked)
# An example is a demonstration: one that takes longer than this hangs.
EXAMPLE_SECONDS=300

step_setup() {
    scripts/setup.sh
    scripts/setup.sh deny
}

# Everything the lock file names, so that later steps can do without the network.
step_fetch() {
    cargo fetch --locked
}

step_fixtures() {
    scripts/fetch-crate-fixtures.sh
}

step_fmt() {
    cargo fmt --all --check
}

step_lint() {
    cargo clippy "${WHOLE[@]}" --all-targets -- -D warnings
}

step_test() {
    cargo test "${WHOLE[@]}"
}

step_doc() {
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc "${WHOLE[@]}" --no-deps
}

# Builds every example and runs what was built: an example that no longer works is worse than none.
step_examples() {
    local built example
    built=$(cargo build "${WHOLE[@]}" --examples --message-format=json-render-diagnostics |
        sed -n '/"kind":\["example"\]/s/.*"executable":"\([^"]*\)".*/\1/p')
    for example in $built; do
        echo "Example $(basename "$example"):"
        timeout "$EXAMPLE_SECONDS" "$example" </dev/null
    done
}

step_deny() {
    scripts/deny.sh
}

step_advisories() {
    scripts/advisories.sh
}

step_semver() {
    scripts/semver.sh
}

# Each library by itself, with every set of its features.
step_features() {
    scripts/features.sh
}

# The page of metrics and the dashboard, by the official client's parser.
step_metrics() {
    scripts/look-metrics.sh
}

# What only a feature does.
step_spans() {
    cargo test "${WHOLE[@]}" --features slackwater-tests/spans --test spans
}

# The guest's wasm is in the repository: its source must still build to the same bytes.
step_guest() {
    [[ -f runtime-fixtures/guest/build.sh ]] || return 0
    bash runtime-fixtures/guest/build.sh --check
}

# Substrate's client over this executor. The feature that it needs is one that no member of the workspace enables.
step_client() {
    cargo clippy "${WHOLE[@]}" --features slackwater-executor/sc-executor -- -D warnings
    scripts/substrate-client.sh
}

names=()
times=()

report() {
    local status=$? i
    [[ ${#names[@]} -gt 0 ]] || return 0
    printf '\n%-10s %8s\n' step seconds
    for i in "${!names[@]}"; do
        printf '%-10s %8s\n' "${names[i]}" "${times[i]:-failed}"
    done
    printf '%-10s %8s\n' total "$SECONDS"
    [[ $status -eq 0 ]] || echo "FAILED in ${names[-1]}" >&2
}

[[ $# -gt 0 ]] || fail "name the steps: $(declare -F | sed -n 's/.* step_//p' | xargs)"
for step in "$@"; do
    declare -F "step_$step" >/dev/null || fail "no such step: $step"
done

trap report EXIT
for step in "$@"; do
    echo "== $step"
    names+=("$step")
    started=$SECONDS
    "step_$step"
    times+=("$((SECONDS - started))")
done
