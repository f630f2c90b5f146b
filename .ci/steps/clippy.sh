# Lints, warnings denied.
source .ci/lib.sh
cargo clippy --quiet --workspace --all-targets -- -D warnings
