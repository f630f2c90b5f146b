# AddressSanitizer and ThreadSanitizer on the crates with unsafe code, by the nightly toolchain. The latter builds the standard
# library anew where its source is there.
source .ci/lib.sh
if ! has_nightly; then
    not_run sanitizers "they need a nightly toolchain"
    exit
fi
host=$(rustc -vV | sed -n 's/^host: //p')
crates=(--package numpush-os --package numpush-shm-core)
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --quiet "${crates[@]}" --lib --target "$host" --target-dir target/address
# Its own search for deadlocks knows 128 locks a thread; a test holds a thousand. The model has one thread, and a million states.
export TSAN_OPTIONS=detect_deadlocks=0
thread=(test --quiet --lib --target "$host" --target-dir target/thread)
if [ -e "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/Cargo.toml" ]; then
    RUSTFLAGS="-Zsanitizer=thread" cargo +nightly "${thread[@]}" "${crates[@]}" -Z build-std -- --skip model
else
    # It does not see into the library then: only the tests run that are made for it, without what the harness starts.
    not_run "ThreadSanitizer on other tests than shm/core/src/memory/races.rs" "the nightly toolchain lacks the component rust-src"
    export TSAN_OPTIONS+=" suppressions=$PWD/.ci/tsan-suppressions.txt"
    export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
    cargo +nightly "${thread[@]}" --package numpush-shm-core -- memory::races --test-threads=1
fi
