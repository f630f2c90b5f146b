# docs/faults.md and the tests name each other truly.
source .ci/lib.sh
python3 .ci/faults.py
