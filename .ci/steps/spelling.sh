# Misspelt words in files and their names; exceptions in typos.toml.
source .ci/lib.sh
python_tools
typos
