# AddressSanitizer on the crates with unsafe code, by the nightly toolchain. The standard library is not instrumented.
source .ci/lib.sh
if ! has_nightly; then
    not_run sanitizers "they need a nightly toolchain"
    exit
fi
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --quiet --package numpush-os --lib \
    --target "$host" --target-dir target/address
