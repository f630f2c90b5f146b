# Documentation without a warning, for users and for ourselves.
source .ci/lib.sh
export RUSTDOCFLAGS="-D warnings"
cargo doc --quiet --workspace --no-deps
cargo doc --quiet --workspace --no-deps --document-private-items
