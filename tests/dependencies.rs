//! What a build compiles: a feature that is off costs nothing, not even a crate.

use std::process::Command;

/// Crates that only a feature may bring, by the beginning of their name.
const OPTIONAL: [&str; 6] = [
    "ndarray",
    "arrow",
    "numpush-zmtp",
    "tokio",
    "petgraph",
    "numpush-shm",
];

/// Names of the crates that `cargo build -p numpush --no-default-features --features {features}` compiles.
fn crates(features: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--package", "numpush", "--locked", "--offline"])
        .args([
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--no-default-features", "--features", features])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = lines.lines().map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// The members of [`OPTIONAL`] that a build with `features` compiles.
fn optional(features: &str) -> Vec<&'static str> {
    let crates = crates(features);
    assert!(crates.iter().any(|name| name == "numpush"), "{crates:?}");
    let compiled = |prefix: &&str| crates.iter().any(|name| name.starts_with(*prefix));
    OPTIONAL.into_iter().filter(compiled).collect()
}

#[test]
fn a_build_with_tcp_only_compiles_no_optional_crate() {
    let none: [&str; 0] = [];
    assert_eq!(optional("tcp"), none, "{:?}", crates("tcp"));
}

#[test]
fn each_feature_compiles_only_its_own_crates() {
    for (features, allowed) in [
        ("", &[][..]),
        ("unix", &[]),
        ("file", &[]),
        ("zmq", &["numpush-zmtp"]),
        ("tokio", &["tokio"]),
        ("ndarray", &["ndarray"]),
        ("arrow", &["arrow"]),
        ("shm", &["ndarray", "numpush-shm"]),
        ("shm,petgraph", &["ndarray", "petgraph", "numpush-shm"]),
    ] {
        assert_eq!(
            optional(features),
            allowed,
            "with {features:?}: {:?}",
            crates(features)
        );
    }
}

/// A list of names that no crate has would make the tests above pass for nothing.
#[test]
fn all_features_together_compile_every_optional_crate() {
    assert_eq!(optional("default,tokio"), OPTIONAL);
}
