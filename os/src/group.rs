//! Memory limits of control groups; [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html), version 2 or 1.

use std::fs::read_to_string;
use std::path::Path;

/// The memory of a control group, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a limit and what is used of it are all that counts"
)]
pub struct GroupMemory {
    /// Over this many the kernel kills.
    pub limit: u64,
    /// How many are used. File cache that the kernel takes back before it kills is not among them.
    pub used: u64,
}

impl GroupMemory {
    /// How many are left.
    pub fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The control group of this process and those above it that limit memory, each with its limit.
pub(crate) fn memory_groups() -> Vec<GroupMemory> {
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_in(Path::new("/sys/fs/cgroup"), &groups)
}

/// The files of a version in which a group has its limit and its use, and the line of `memory.stat` with the file cache
/// that has not been read for long.
struct Files {
    limit: &'static str,
    used: &'static str,
    cache: &'static str,
}

const VERSION_2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    cache: "inactive_file ",
};

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    // The groups below are counted in the limit, and only in the lines that begin with this.
    cache: "total_inactive_file ",
};

fn groups_in(root: &Path, groups: &str) -> Vec<GroupMemory> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let (root, files) = match controllers {
            "" => (root.to_owned(), VERSION_2),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), VERSION_1)
            }
            _ => continue,
        };
        let above = Path::new(path).ancestors();
        let folders = above.map(|path| root.join(path.strip_prefix("/").unwrap_or(path)));
        found.extend(folders.filter_map(|folder| group(&folder, &files)));
    }
    found
}

fn group(folder: &Path, files: &Files) -> Option<GroupMemory> {
    let number = |file| -> Option<u64> {
        let text = read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok()
    };
    // Without a limit version 2 says "max", and version 1 the largest number of whole pages.
    let limit = number(files.limit).filter(|&limit| limit < u64::MAX >> 8)?;
    let used = number(files.used)?;
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = stat
        .lines()
        .find_map(|line| line.strip_prefix(files.cache)?.trim().parse::<u64>().ok());
    let used = used.saturating_sub(cache.unwrap_or(0));
    Some(GroupMemory { limit, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a group, removed with the value.
    struct Tree(std::path::PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("np-group-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn group(self, path: &str, files: &[(&str, &str)]) -> Self {
            let folder = self.0.join(path);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                std::fs::write(folder.join(name), text).unwrap();
            }
            self
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn file_cache_is_memory_that_can_be_had() {
        let stat = "anon 1000\nfile 120000000\ninactive_file 122000000\nactive_file 7\n";
        let tree = Tree::new("cache").group(
            "job",
            &[
                ("memory.max", "134217728\n"),
                ("memory.current", "133693440\n"),
                ("memory.stat", stat),
            ],
        );
        let found = groups_in(&tree.0, "0::/job\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].limit, 134_217_728);
        assert_eq!(found[0].left(), 134_217_728 - 133_693_440 + 122_000_000);
    }

    #[test]
    fn version_1_counts_the_groups_below() {
        let stat = "inactive_file 5\ntotal_inactive_file 300\n";
        let tree = Tree::new("one").group(
            "memory/job",
            &[
                ("memory.limit_in_bytes", "1000"),
                ("memory.usage_in_bytes", "900"),
                ("memory.stat", stat),
            ],
        );
        let found = groups_in(&tree.0, "4:cpu:/other\n7:memory:/job\n");
        let expected = GroupMemory {
            limit: 1000,
            used: 600,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn groups_without_a_limit_are_left_out_and_those_above_are_not() {
        let limited = [("memory.max", "100"), ("memory.current", "40")];
        let tree = Tree::new("above")
            .group("a", &limited)
            .group("a/b", &[("memory.max", "max"), ("memory.current", "40")]);
        let found = groups_in(&tree.0, "0::/a/b\n");
        let expected = GroupMemory {
            limit: 100,
            used: 40,
        };
        assert_eq!(found, [expected]);
    }
}
