use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A path of its own for each call; what is there goes with the guard.
#[derive(Debug)]
pub struct TempPath(
    /// The path.
    pub PathBuf,
);

impl TempPath {
    /// A path in the temporary folder, where nothing is yet.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(format!("numpush-test-{name}-{process}-{count}")))
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Open descriptors of this process.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
