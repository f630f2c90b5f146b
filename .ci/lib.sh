# Functions of the steps, which run in the root of the repository.
# shellcheck shell=bash
set -eu -o pipefail
tools=$PWD/target/tools
PATH=$tools/bin:$PATH

# not_run WHAT WHY: one line, which .ci/run repeats at its end.
not_run() {
    printf 'NOT RUN: %s: %s\n' "$1" "$2"
}

# cargo_tool CRATE VERSION [FLAG...]: installs a command from its source, unless this version is there. Without optimisation,
# which would cost minutes and save seconds.
cargo_tool() {
    local crate=$1 version=$2
    shift 2
    if ! cargo install --root "$tools" --list 2>/dev/null | grep -qx "$crate v$version:"; then
        CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --debug --locked --root "$tools" --version "$version" "$crate" "$@"
    fi
}

# python_tools: the commands of .ci/requirements.txt, all of them wheels with a prebuilt program.
python_tools() {
    local python=target/ci-python
    if ! cmp -s .ci/requirements.txt "$python/installed"; then
        python3 -m venv --clear "$python"
        "$python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r .ci/requirements.txt
        cp .ci/requirements.txt "$python/installed"
    fi
    PATH=$PWD/$python/bin:$PATH
}

# debian_package NAME: installs a package where that is possible without asking; fails where it is not.
debian_package() {
    dpkg -s "$1" >/dev/null 2>&1 && return
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    { apt-get install --yes --no-install-recommends "$1" || { apt-get update && apt-get install --yes --no-install-recommends "$1"; }; } >/dev/null 2>&1
}

# has_nightly: whether `cargo +nightly` works.
has_nightly() {
    cargo +nightly --version >/dev/null 2>&1
}
