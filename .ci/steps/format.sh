# Formatting of every crate.
source .ci/lib.sh
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
