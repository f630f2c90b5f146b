# Features: lints for every pair of the root package's, and for every set of its members'; tests where a feature has some.
source .ci/lib.sh
cargo_tool cargo-hack 0.6.46
sets=(--feature-powerset --exclude-features default)
cargo hack clippy --quiet --package numpush "${sets[@]}" --depth 2 -- -D warnings
for member in numpush-message numpush-transports numpush-shm; do
    cargo hack clippy --quiet --package "$member" "${sets[@]}" -- -D warnings
done
cargo hack test --quiet --package numpush-message "${sets[@]}" --lib --tests
for member in numpush-transports numpush-shm numpush; do
    cargo hack test --quiet --package "$member" --each-feature --exclude-features default --lib
done
