#!/usr/bin/env bash
# A second instruction set: what this machine records, an emulated aarch64 verifies, and the tests of meter, memory and fixtures
# run there. Needs rustup to reach its server for the target's standard library; a toolchain that has it may be named instead:
#
#   SLACKWATER_AARCH64_CARGO="cargo" scripts/aarch64.sh [FIXTURE...]
#
# Builds all dependencies once more, and everything emulated takes some twenty times as long: on demand only.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

target=aarch64-unknown-linux-gnu
scripts/setup.sh
packages=(gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
dpkg -s "${packages[@]}" >/dev/null 2>&1 || apt-get install -y --no-install-recommends "${packages[@]}"
if [[ -z ${SLACKWATER_AARCH64_CARGO:-} ]]; then
    rustup target add "$target"
    SLACKWATER_AARCH64_CARGO=cargo
fi

cargo build --workspace --release --locked --bin slackwater
native="$CARGO_TARGET_DIR/release/slackwater"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sysroot=/usr/aarch64-linux-gnu
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR-aarch64"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L $sysroot"
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
# Without the tests' crate, whose peers would have to be built as well.
packages=(-p slackwater -p slackwater-executor -p slackwater-host-functions -p slackwater-runtime-fixtures)
build=("$SLACKWATER_AARCH64_CARGO" build --release --locked --target "$target" "${packages[@]}")
"${build[@]}"
emulated=(qemu-aarch64-static -L "$sysroot" "$CARGO_TARGET_DIR/$target/release/slackwater")

fixtures=("$@")
if [[ $# -eq 0 ]]; then
    fixtures=(runtime-fixtures/chain/guest-chain.json)
    real="${SLACKWATER_FIXTURES:-../shared/fixtures}/blocks"
    [[ -d $real ]] && fixtures+=("$real"/*.json)
fi
for fixture in "${fixtures[@]}"; do
    recording="$folder/$(basename "$fixture" .json).recording"
    "$native" record "$recording" --fixture "$fixture"
    "${emulated[@]}" verify "$recording" --fixture "$fixture" --mode both --threads 2 --differences "$folder"
done
# Meter and memory, and the expectation that another instruction set has written.
"$SLACKWATER_AARCH64_CARGO" test --release --locked --target "$target" -p slackwater-executor --lib -- fuel:: memory:: recording::
"$SLACKWATER_AARCH64_CARGO" test --release --locked --target "$target" -p slackwater-runtime-fixtures --test replay_fixture
