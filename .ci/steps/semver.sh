# The public API beside the last release's.
source .ci/lib.sh
last=$(git tag --list 'v[0-9]*' --sort=-v:refname | head -1)
if [ -z "$last" ]; then
    not_run "cargo-semver-checks" "nothing has been released that the API could be compared with"
elif ! cargo semver-checks --version >/dev/null 2>&1; then
    not_run "cargo-semver-checks" "it is not installed, and takes minutes to build"
else
    cargo semver-checks --workspace --baseline-rev "$last"
fi
