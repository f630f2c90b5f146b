# Miri, which finds undefined behaviour, on the crates that need no system call.
source .ci/lib.sh
if cargo +nightly miri --version >/dev/null 2>&1; then
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet --package numpush-message --lib
else
    not_run Miri "the nightly toolchain lacks the component miri"
fi
