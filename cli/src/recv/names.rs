//! Names that a peer chose, made harmless.

use std::path::{Path, PathBuf};

/// Longest name of a file, in bytes. Most file systems take 255; a number may be added.
const MAX_NAME: usize = 200;

/// The last part of a path, as the name of a file in a folder of ours; `None` if nothing is left of it.
pub(super) fn file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    let mut safe: String = last
        .chars()
        .map(|c| if c.is_control() { '_' } else { c })
        .collect();
    if matches!(safe.as_str(), "." | "..") {
        return None;
    }
    // Hidden files configure programs.
    if safe.starts_with('.') {
        safe.insert(0, '_');
    }
    while safe.len() > MAX_NAME {
        // The extension stays.
        let at = safe.len() - MAX_NAME;
        safe = safe.chars().skip(at.div_ceil(4).max(1)).collect();
    }
    Some(safe)
}

/// A path inside an archive: without root, and without a way up.
pub(super) fn member_name(name: &str) -> Option<String> {
    let parts: Vec<String> = name
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(|part| {
            part.chars()
                .map(|c| if c.is_control() || c == '\\' { '_' } else { c })
                .collect()
        })
        .collect();
    Some(parts.join("/")).filter(|name| !name.is_empty())
}

/// `out.npy` as `out-2.npy`.
pub(super) fn numbered(path: &Path, count: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|ending| format!(".{}", ending.to_string_lossy()))
        .unwrap_or_default();
    path.with_file_name(format!("{stem}-{count}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (name, safe) in [
            ("flights.parquet", Some("flights.parquet")),
            ("../../etc/passwd", Some("passwd")),
            ("/etc/passwd", Some("passwd")),
            ("a\\..\\b.npy", Some("b.npy")),
            ("..", None),
            ("../..", None),
            ("", None),
            ("/", None),
            (".bashrc", Some("_.bashrc")),
            ("a\nb\0c", Some("a_b_c")),
        ] {
            assert_eq!(file_name(name).as_deref(), safe, "{name:?}");
        }
        let long = file_name(&format!("{}.npy", "ü".repeat(1000))).unwrap();
        assert!(long.len() <= MAX_NAME && long.ends_with("ü.npy"), "{long}");
        assert_eq!(member_name("../a/./b//../c").as_deref(), Some("a/b/c"));
        assert_eq!(member_name("/../"), None);
        assert_eq!(
            numbered(Path::new("x/out.npy"), 2),
            Path::new("x/out-2.npy")
        );
    }
}
