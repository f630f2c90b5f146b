# Licences, sources and banned crates, as deny.toml has them; known vulnerabilities, where their database can be fetched.
source .ci/lib.sh
cargo_tool cargo-deny 0.20.2 --no-default-features
cargo deny --all-features check --hide-inclusion-graph bans licenses sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --all-features check advisories
else
    not_run "known vulnerabilities" "the advisory database cannot be fetched"
fi
