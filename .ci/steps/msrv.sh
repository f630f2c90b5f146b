# The minimum Rust version: what the dependencies ask for, and the version itself where rustup has it. Clippy's lint
# `incompatible_msrv` (step clippy) refuses newer library items in our own code.
source .ci/lib.sh
minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
cargo metadata --locked --format-version 1 --all-features | python3 .ci/msrv.py
toolchain=$(rustup toolchain list 2>/dev/null | grep -oE "^$minimum(\.[0-9]+)?-[^ ]+" | head -1) || true
if [ -n "$toolchain" ]; then
    cargo "+$toolchain" check --quiet --workspace --target-dir target/msrv
else
    not_run "Rust $minimum" "rustup does not have this version; only its lint and the dependencies' own figures were checked"
fi
