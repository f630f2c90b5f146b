# Builds the libraries and their tests for aarch64, and runs those of the system calls, the lock and the memory in an emulator.
source .ci/lib.sh
target=aarch64-unknown-linux-gnu
if ! rustup target add "$target" >/dev/null 2>&1; then
    not_run aarch64 "rustup cannot install $target"
    exit
fi
if ! debian_package gcc-aarch64-linux-gnu || ! debian_package libc6-dev-arm64-cross; then
    not_run aarch64 "gcc-aarch64-linux-gnu is not installed"
    exit
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
cross() {
    cargo test --quiet --target "$target" --target-dir target/aarch64 "$@"
}
cross --package numpush-message --package numpush-transports --package numpush-shm --lib --no-run
cross --package numpush-os --package numpush-shm-core --lib --no-run
if ! debian_package qemu-user; then
    not_run "tests on aarch64" "qemu-user is not installed"
    exit
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
# qemu-user does not tell a kernel of the robust mutexes of a thread, has no mbind(2) and no MADV_POPULATE_WRITE, and asks for more
# descriptors than the program did.
not_run "deaths, NUMA nodes, populated pages and surplus descriptors on aarch64" \
    "qemu-user has no robust lists, no mbind(2) and no MADV_POPULATE_WRITE, and leaks descriptors"
# The model of the lock is the same on every machine.
cross --package numpush-os --package numpush-shm-core --lib -- --skip lock::model --skip parts_outlive_a_coordinator \
    --skip a_step_ends_with_the_thread --skip a_writer_looks_for_a_dead_reader --skip two_writers_of_two_locks \
    --skip who_dies_in_a_step --skip a_node_is_preferred --skip populated_pages_are_zeros --skip of_many_descriptors
