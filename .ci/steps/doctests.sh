# Examples of the documentation, with every feature.
source .ci/lib.sh
cargo test --quiet --workspace --doc --all-features
