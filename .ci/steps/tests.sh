# The tests, as a person runs them.
source .ci/lib.sh
tests/run
