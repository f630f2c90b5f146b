# Documentation without a warning, for users and for ourselves.
source .ci/lib.sh
export RUSTDOCFLAGS="-D warnings"
cargo doc --quiet --workspace --no-deps
cargo doc --quiet --workspace --no-deps --document-private-items
# The pictures show the crates as they are.
python3 docs/pictures/draw.py
git diff --exit-code --stat -- docs/pictures
