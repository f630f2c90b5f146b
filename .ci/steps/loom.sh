# The lock's own code under loom: every order of steps and every value the memory model allows, within a bound.
source .ci/lib.sh
cargo run --quiet --package numpush-loom
