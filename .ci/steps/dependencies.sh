# Licences, sources and banned crates, as deny.toml has them; known vulnerabilities, where their database can be fetched.
source .ci/lib.sh
if ! cargo deny --version >/dev/null 2>&1; then
    not_run "cargo-deny" "it is not installed, and takes minutes to build"
    exit
fi
cargo deny --all-features check --hide-inclusion-graph bans licenses sources
if ! cargo deny fetch db >/dev/null 2>&1; then
    not_run "known vulnerabilities" "the advisory database cannot be fetched"
else
    cargo deny --all-features check advisories
fi
