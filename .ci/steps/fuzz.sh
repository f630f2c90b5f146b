# Each fuzz target for 30 seconds.
source .ci/lib.sh
if ! has_nightly; then
    not_run "fuzz targets" "there is no nightly toolchain"
    exit
fi
cargo_tool cargo-fuzz 0.13.2
fuzz/run 30
