#!/usr/bin/env bash
# Builds the guest runtime to wasm, twice: as it is, and with the feature `upgraded`; and the kernels beside it, and what
# the cases of the reference call.
#
#   build.sh            writes guest.wasm, guest-upgraded.wasm, kernels.wasm and cases.wasm in ../wasm
#   build.sh --check    compares with them instead; fails if a byte differs
#
# rustup has no wasm32v1-none target on every machine, so compiler and library sources come from Debian's packages,
# which are downloaded (not installed) into a cache folder and unpacked there. Cargo and the linker are those of the
# workspace's Rust. All versions are pinned below: other ones give other bytes.
#
# Environment:
#   SLACKWATER_WASM_TOOLCHAIN   the cache folder; default ${XDG_CACHE_HOME:-$HOME/.cache}/slackwater/wasm-toolchain
set -euo pipefail

RUST=1.95.0
WASM_RUST=1.96.0
RUST_PACKAGES=1.96.0+dfsg1-1~deb12u2
LLVM_PACKAGE=1:22.1.8-1~deb12u1
# Debian architecture these packages are for.
ARCHITECTURE=amd64
# package, version, sha256 of the file
PACKAGES="
rustc-web            $RUST_PACKAGES 8fefe1d6377fe4082f5a9d2a47e095e2d20319eaab9754bd2f0275155c9adf90
libstd-rust-web-1.96 $RUST_PACKAGES 3755f30434ae29574c91b0beb86632bee401607b0ac35c3e52810f9a53fae0d1
libstd-rust-web-dev  $RUST_PACKAGES e38dbeaaad673fc63fb47c5140cf34da271ac71c3ecafc828b762c2fb01fe77a
rust-web-src         $RUST_PACKAGES 9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208
libllvm22            $LLVM_PACKAGE 729ec3e943d320515c2bbdc96acfffd7ce34861e62bd5c42726bf586d644dfe2
"
TARGET=wasm32v1-none

guest=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wasm=$guest/../wasm
toolchain=${SLACKWATER_WASM_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/slackwater/wasm-toolchain}
root=$toolchain/root-$RUST_PACKAGES

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

# Runs a program of the workspace's Rust, from rustup if there is such a toolchain, else from PATH.
with_rust() {
    if rustup run "$RUST" rustc --version >/dev/null 2>&1; then
        rustup run "$RUST" "$@"
    else
        "$@"
    fi
}

check_rust() {
    need cargo "install Rust $RUST"
    local found
    found=$(with_rust rustc --version)
    [[ $found == "rustc $RUST "* ]] || fail "Rust $RUST is needed, found $found: rustup toolchain install $RUST"
    linker=$(with_rust rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
    [[ -x $linker ]] || fail "$linker is missing: the linker belongs to rustup's toolchain"
}

download() {
    local package=$1 version=$2 sha256=$3 file
    apt-get download "$package=$version" >/dev/null 2>"$toolchain/apt.log" ||
        fail "$package $version cannot be downloaded (apt-get update first?); offered:" \
            "$(apt-cache madison "$package" | awk '{print $3}' | xargs); apt says: $(tail -n 1 "$toolchain/apt.log");" \
            "Debian's snapshot archive keeps old versions"
    file=$(find . -name "${package}_*.deb")
    echo "$sha256  $file" | sha256sum --check --quiet || fail "$package $version has other content than pinned"
    dpkg-deb -x "$file" root || fail "$file cannot be unpacked"
}

# Unpacks into a temporary folder first, so that a broken download leaves nothing half done.
fetch_toolchain() {
    [[ -d $root ]] && return
    need apt-get "the packages come from Debian"
    need dpkg-deb "the packages come from Debian"
    [[ $(dpkg --print-architecture) == "$ARCHITECTURE" ]] || fail "the pinned packages are for $ARCHITECTURE"
    mkdir -p "$toolchain"
    local temporary package version sha256
    temporary=$(mktemp -d "$toolchain/download.XXXXXX")
    chmod 755 "$temporary"
    if ! (
        cd "$temporary"
        while read -r package version sha256; do
            [[ -z $package ]] || download "$package" "$version" "$sha256"
        done <<<"$PACKAGES"
    ); then
        rm -rf "$temporary"
        exit 1
    fi
    mv "$temporary/root" "$root"
    rm -rf "$temporary"
}

check_toolchain() {
    rustc=$root/usr/bin/rustc
    libraries=$root/usr/lib/x86_64-linux-gnu
    vendor=$root/usr/lib/rustlib/src/rust/library/vendor
    [[ -x $rustc && -d $libraries && -d $vendor ]] || fail "$root is incomplete: remove it"
    local missing
    missing=$(LD_LIBRARY_PATH=$libraries ldd "$libraries"/libLLVM.so.* | awk '/not found/ {print $1}' | xargs)
    [[ -z $missing ]] || fail "the compiler needs libraries that are not installed: $missing"
    local found
    found=$(LD_LIBRARY_PATH=$libraries "$rustc" --version)
    [[ $found == "rustc $WASM_RUST "* ]] || fail "$rustc is $found, not $WASM_RUST"
}

# build_one PACKAGE FILE [cargo arguments]: the wasm goes to $out/FILE.
build_one() {
    local package=$1 file=$2
    shift 2
    (
        cd "$guest/../$package"
        unset CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER
        export RUSTC=$rustc LD_LIBRARY_PATH=$libraries
        # Building the library from source is not stable yet.
        export RUSTC_BOOTSTRAP=1
        export CARGO_TARGET_WASM32V1_NONE_LINKER=$linker
        # No paths in the output: no locations in panics, and what remains is mapped.
        export RUSTFLAGS="-Zlocation-detail=none -Clink-arg=--export=__heap_base \
            --remap-path-prefix=$PWD=$package --remap-path-prefix=$root=rust"
        with_rust cargo build --quiet --release --locked --offline --target "$TARGET" -Zbuild-std=core,alloc \
            --config 'source.crates-io.replace-with="vendored"' \
            --config "source.vendored.directory=\"$vendor\"" \
            --target-dir "$out/target" "$@"
    )
    cp "$out/target/$TARGET/release/slackwater_$package.wasm" "$out/$file"
}

# Compares or installs $out/FILE.
finish_one() {
    local file=$1 sum
    sum=$(sha256sum <"$out/$file" | cut -d' ' -f1)
    if [[ $mode == check ]]; then
        [[ -f $wasm/$file ]] || fail "$file is not there to compare with"
        [[ $sum == "$(sha256sum <"$wasm/$file" | cut -d' ' -f1)" ]] ||
            fail "$file differs from what the source builds to ($sum): run build.sh and commit the result"
    else
        mkdir -p "$wasm"
        cp "$out/$file" "$wasm/$file"
        chmod 644 "$wasm/$file"
    fi
    echo "$sum  $file  $(stat -c %s "$out/$file") bytes"
}

case ${1-} in
"") mode=build ;;
--check) mode=check ;;
*) fail "unknown argument $1; the only one is --check" ;;
esac

check_rust
fetch_toolchain
check_toolchain
echo "rustc $WASM_RUST (Debian $RUST_PACKAGES), LLVM ${LLVM_PACKAGE#*:}, cargo $RUST, $("$linker" -flavor wasm --version)"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
build_one guest guest.wasm
build_one guest guest-upgraded.wasm --features upgraded
build_one kernels kernels.wasm
build_one cases cases.wasm
finish_one guest.wasm
finish_one guest-upgraded.wasm
finish_one kernels.wasm
finish_one cases.wasm
[[ $mode == build ]] || echo "all are what the source builds to"
