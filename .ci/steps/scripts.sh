# Shell scripts.
source .ci/lib.sh
python_tools
git grep -lE '^#!.*\b(ba)?sh$' -- . | xargs shellcheck -x
shellcheck -x -s bash .ci/steps/* .ci/lib.sh
