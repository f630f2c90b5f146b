# Instruction counts of single operations beside the committed figures.
source .ci/lib.sh
if ! debian_package valgrind && ! command -v valgrind >/dev/null; then
    not_run "instruction counts" "valgrind is not installed"
    exit
fi
benches/instructions/run
