#!/usr/bin/env bash
# Installs what the build needs and the machine lacks. Silent, and without a package manager, when all is there.
#
#   scripts/setup.sh         the compilers: Rust with rustfmt and clippy, a C++ compiler, libclang, make, git
#   scripts/setup.sh deny    cargo-deny, at a pinned version, into the cache folder
#   scripts/setup.sh fuzz    cargo-fuzz, likewise
#   scripts/setup.sh semver  cargo-semver-checks, likewise
#   scripts/setup.sh python  Python and pip, for scripts that read lists and the page of metrics
#   scripts/setup.sh client  what examples/substrate-client builds with beside the compilers: protoc and perl
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

DENY_VERSION=0.20.2
FUZZ_VERSION=0.13.2
SEMVER_VERSION=0.51.0

# Whether any file matches the pattern.
any_file() {
    compgen -G "$1" >/dev/null
}

# bindgen loads libclang at run time to read RocksDB's C header; libclang brings its own stddef.h and stdarg.h.
has_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] && any_file "$LIBCLANG_PATH/libclang*.so*" && return 0
    local folder
    for folder in '/usr/lib/llvm*/lib' '/usr/lib*' '/usr/lib/*'; do
        # Not libclang-cpp, which is another library.
        any_file "$folder/libclang.so*" || any_file "$folder/libclang-[0-9]*.so*" || continue
        any_file '/usr/lib/llvm*/lib/clang/*/include/stddef.h' || any_file '/usr/lib*/clang/*/include/stddef.h'
        return
    done
    return 1
}

missing_packages() {
    command -v g++ >/dev/null || command -v c++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    command -v git >/dev/null || echo git
    has_libclang || echo libclang-dev
}

# Runs apt-get as root.
apt() {
    if [[ $EUID -eq 0 ]]; then
        DEBIAN_FRONTEND=noninteractive apt-get "$@"
    else
        sudo DEBIAN_FRONTEND=noninteractive apt-get "$@"
    fi
}

install_packages() {
    local packages=("$@")
    command -v apt-get >/dev/null ||
        fail "missing: ${packages[*]} (Debian's names). There is no apt-get here: install them by hand."
    [[ $EUID -eq 0 ]] || command -v sudo >/dev/null ||
        fail "missing: ${packages[*]}. Neither root nor sudo: run 'apt-get install ${packages[*]}' as root."
    echo "Installing ${packages[*]} ..."
    # The package lists of a fresh machine may be absent or old: fetch them only when the first try fails.
    apt install -y -q --no-install-recommends "${packages[@]}" </dev/null >/dev/null 2>&1 ||
        { apt update -q </dev/null >/dev/null &&
            apt install -y -q --no-install-recommends "${packages[@]}" </dev/null >/dev/null; } ||
        fail "apt-get could not install: ${packages[*]}"
}

check_rust() {
    local wanted have component
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "cargo is not on PATH: install Rust $wanted or newer, by rustup."
    have=$(rustc --version | cut -d' ' -f2)
    [[ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n1)" == "$wanted" ]] ||
        fail "Rust $wanted or newer is needed, this is $have: run 'rustup update stable'."
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component" ||
            fail "$component is missing and rustup could not add it."
    done
}

setup_compilers() {
    local packages
    mapfile -t packages < <(missing_packages)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
    has_libclang || fail "libclang is still not found: set LIBCLANG_PATH to the folder that holds libclang.so."
    check_rust
}

# litep2p's build calls protoc, whose Debian package leaves the well-known types (libprotobuf-dev) to be recommended;
# OpenSSL, which is built from source, is configured by Perl with its usual modules.
setup_client() {
    local packages=()
    command -v protoc >/dev/null || packages+=(protobuf-compiler)
    [[ -n "${PROTOC_INCLUDE:-}" || -f /usr/include/google/protobuf/empty.proto ]] || packages+=(libprotobuf-dev)
    perl -MIPC::Cmd -e 1 2>/dev/null || packages+=(perl)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
}

setup_python() {
    local packages=()
    command -v python3 >/dev/null || packages+=(python3)
    python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
}

# Installs a subcommand of cargo at a version into the cache folder, if another or none is there.
setup_tool() {
    local name=$1 version=$2 tools="$SLACKWATER_CACHE/tools"
    [[ "$("$tools/bin/$name" --version 2>/dev/null)" == "$name $version" ]] && return 0
    echo "Building $name $version (once, some minutes) ..."
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --force --root "$tools" \
        --version "$version" "$name" 2> >(grep -v 'to your PATH' >&2)
}

case "${1:-}" in
"") setup_compilers ;;
deny) setup_tool cargo-deny "$DENY_VERSION" ;;
fuzz) setup_tool cargo-fuzz "$FUZZ_VERSION" ;;
semver) setup_tool cargo-semver-checks "$SEMVER_VERSION" ;;
python) setup_python ;;
client) setup_client ;;
*) fail "unknown argument '$1': nothing, 'deny', 'fuzz', 'semver', 'python' or 'client'" ;;
esac
