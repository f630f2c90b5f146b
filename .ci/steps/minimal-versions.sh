# The lowest version of every direct dependency that Cargo.toml allows still builds.
source .ci/lib.sh
if ! has_nightly; then
    not_run "minimal versions" "only a nightly cargo picks them"
    exit
fi
copy=target/minimal-versions
rm -rf "$copy/source"
mkdir -p "$copy/source"
git ls-files -z | grep -zv '^tests/data/' | xargs -0 cp --parents -t "$copy/source"
cd "$copy/source"
rm -f Cargo.lock
cargo +nightly generate-lockfile --quiet -Z direct-minimal-versions
cargo check --quiet --workspace --target-dir "$OLDPWD/$copy/target"
