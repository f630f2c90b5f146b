# Features: lints for each alone, and tests where a feature has some. `tests/long/features` takes every set of them.
source .ci/lib.sh
cargo_tool cargo-hack 0.6.46
for member in numpush numpush-message numpush-transports numpush-shm; do
    cargo hack clippy --quiet --package "$member" --each-feature --exclude-features default -- -D warnings
done
for member in numpush-message numpush-transports; do
    cargo hack test --quiet --package "$member" --each-feature --exclude-features default --lib
done
