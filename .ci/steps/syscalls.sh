# Each system call of a program that shares memory fails once or twice in each thread. `tests/long/syscalls` takes them all.
source .ci/lib.sh
if ! debian_package strace; then
    not_run syscalls "strace is not there, and cannot be installed"
    exit
fi
if ! strace -f -qq --seccomp-bpf -e trace=getpid -e inject=getpid:error=EINTR true 2>/dev/null; then
    not_run syscalls "strace may not trace here"
    exit
fi
cargo build --quiet --package numpush-tests --bin sharer
tests/long/syscalls 2
