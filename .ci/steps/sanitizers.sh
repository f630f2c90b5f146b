# AddressSanitizer and ThreadSanitizer on the crates with unsafe code, by the nightly toolchain. The former works beside a standard
# library without it. The latter would report races in such a library, and builds it anew.
source .ci/lib.sh
if ! has_nightly; then
    not_run sanitizers "they need a nightly toolchain"
    exit
fi
host=$(rustc -vV | sed -n 's/^host: //p')
crates=(--package numpush-os --package numpush-shm-core)
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --quiet "${crates[@]}" --lib --target "$host" --target-dir target/address
if [ -e "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/Cargo.toml" ]; then
    # Its own search for deadlocks knows 128 locks a thread; a test holds a thousand.
    TSAN_OPTIONS=detect_deadlocks=0 RUSTFLAGS="-Zsanitizer=thread" cargo +nightly test --quiet "${crates[@]}" --lib \
        -Z build-std --target "$host" --target-dir target/thread
else
    not_run ThreadSanitizer "the nightly toolchain lacks the component rust-src"
fi
