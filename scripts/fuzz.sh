#!/usr/bin/env bash
# Fuzzes what reads bytes from outside (fuzz/): the loader of runtime code, the instrumenter, chain specs, recordings
# and blocks in files. Ends with a table, and fails if something was found.
#
#   scripts/fuzz.sh [seconds for each target; an hour]
#
#   SLACKWATER_FUZZ_JOBS      targets that run at once; 2
#   SLACKWATER_FUZZ_TARGETS   their names; all
#
# Everything is below fuzz/ in the cache folder: the inputs (corpus/, kept from run to run), what libFuzzer says
# (logs/), and inputs that are findings (findings/). fuzz/tests/slice.rs says how one is run again. The first build
# takes a quarter of an hour or more, since all dependencies are built again, with coverage; our own crates also have
# debug assertions.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

seconds="${1:-3600}"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || fail "the seconds for each target are a number, not '$seconds'"
jobs_max="${SLACKWATER_FUZZ_JOBS:-2}"
read -r -a targets <<<"${SLACKWATER_FUZZ_TARGETS:-loader instrumenter chain_spec record_file}"
place="$SLACKWATER_CACHE/fuzz"
built="$SLACKWATER_CACHE/fuzz-target"
host="$(rustc -vV | sed -n 's/^host: //p')"

scripts/setup.sh
scripts/setup.sh fuzz
# The assertions are those of the workspace's crates alone: Cargo.toml turns them off for all others.
CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true "$SLACKWATER_CACHE/tools/bin/cargo-fuzz" fuzz build \
    --sanitizer none --release --no-cfg-fuzzing --features libfuzzer --target-dir "$built"

# Temporary files are in memory where they can be: a chain spec is read into a database.
scratch_parent="${TMPDIR:-/tmp}"
[[ -w /dev/shm ]] && scratch_parent=/dev/shm
scratch="$(mktemp -d "$scratch_parent/slackwater-fuzz-XXXXXX")"
trap 'rm -rf "$scratch"' EXIT

# Runs one target. libFuzzer ends with the first finding; its input is kept.
fuzz_one() {
    local target=$1 corpus="$place/corpus/$1" binary="$built/$host/release/$1" began=$SECONDS
    mkdir -p "$corpus" "$place/findings" "$place/logs" "$scratch/$target"
    {
        CARGO_MANIFEST_DIR="$PWD" SLACKWATER_FUZZ_SEEDS="$corpus" "$binary" &&
            TMPDIR="$scratch/$target" "$binary" "$corpus" -max_total_time="$seconds" -timeout=60 -report_slow_units=60 \
                -rss_limit_mb=2048 -malloc_limit_mb=1536 -max_len=49152 -print_funcs=0 -print_final_stats=1 \
                -artifact_prefix="$place/findings/$target-"
    } >"$place/logs/$target.log" 2>&1 || echo "$target" >>"$scratch/found"
    echo "$((SECONDS - began))" >"$scratch/$target.seconds"
    # The second line is that of children.
    times >"$scratch/$target.times"
    rm -rf "${scratch:?}/$target"
}

for target in "${targets[@]}"; do
    while [[ "$(jobs -rp | wc -l)" -ge "$jobs_max" ]]; do
        wait -n || true
    done
    echo "Fuzzing $target for $seconds seconds: $place/logs/$target.log"
    fuzz_one "$target" &
done
wait

touch "$scratch/found"
# What the processor gave it, which is less than the clock says where the machine had other work.
cpu_seconds() {
    sed -n '2s/[ms]/ /gp' "$scratch/$1.times" | awk '{ printf "%d", $1 * 60 + $2 + $3 * 60 + $4 }'
}

printf '\n%-14s %12s %8s %8s %9s  %s\n' target executions seconds cpu features findings
for target in "${targets[@]}"; do
    log="$place/logs/$target.log"
    executions="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n1)"
    features="$(sed -n 's/.* ft: \([0-9]*\) .*/\1/p' "$log" | tail -n1)"
    found=none
    if grep -qx "$target" "$scratch/found"; then
        found="$(sed -n 's/.*Test unit written to //p' "$log" | tail -n1)"
        found="${found:-see $log}"
    fi
    printf '%-14s %12s %8s %8s %9s  %s\n' "$target" "${executions:-?}" "$(<"$scratch/$target.seconds")" \
        "$(cpu_seconds "$target")" "${features:-?}" "$found"
done
[[ ! -s "$scratch/found" ]] || fail "something was found: the last column"
