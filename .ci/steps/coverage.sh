# Prints how many lines and regions the library crates' own tests reach, a crate a line. It sets no limit: a figure to look
# at, not to please. The tests that start processes reach more; `cargo test --workspace` twice would take too long here.
source .ci/lib.sh
release=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
debian_package "llvm-$release" || true
profdata=$(command -v "llvm-profdata-$release" || true)
cov=$(command -v "llvm-cov-$release" || true)
if [ -z "$profdata" ] || [ -z "$cov" ]; then
    not_run coverage "LLVM $release's llvm-profdata and llvm-cov are not installed"
    exit
fi
folder=$PWD/target/coverage
rm -rf "$folder"
mkdir -p "$folder"
export RUSTC_WORKSPACE_WRAPPER=$PWD/.ci/rustc-coverage
# A process that is killed writes nothing; the others merge what they counted into eight files a program.
export LLVM_PROFILE_FILE=$folder/%8m.profraw
crates=(--package numpush-message --package numpush-os --package numpush-shm-core --package numpush-shm
    --package numpush-transports)
programs() {
    cargo test "${crates[@]}" --lib --tests --no-run --message-format json 2>/dev/null |
        python3 -c 'import json, sys
for line in sys.stdin:
    if path := json.loads(line).get("executable"): print(path)'
}
cargo test --quiet "${crates[@]}" --lib --tests >"$folder/log" 2>&1 || { tail -50 "$folder/log"; exit 1; }
"$profdata" merge --sparse --output "$folder/all.profdata" "$folder"/*.profraw
mapfile -t objects < <(programs | sort -u | sed 's/^/--object=/')
"$cov" export --summary-only --instr-profile "$folder/all.profdata" --ignore-filename-regex '/(registry|rustc|tests|benches|examples)/' \
    "${objects[@]}" | python3 .ci/coverage.py
