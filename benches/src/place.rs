use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::case::Route;

/// How long a side looks before it sleeps, where it does: longer than the other one takes to answer.
pub(crate) const SPIN: &str = "spin=100us";

/// An endpoint of its own for each measurement, cleaned up after it.
pub(crate) struct Place {
    pub(crate) endpoint: String,
    path: Option<PathBuf>,
}

impl Place {
    pub(crate) fn new(route: Route) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("numpush-bench-{process}-{count}");
        let path = std::env::temp_dir().join(&name);
        let shown = path.display();
        let (endpoint, has_path) = match route {
            Route::Unix | Route::UnixSegment => (format!("unix:@{name}"), false),
            Route::UnixSpin => (format!("unix:@{name}?{SPIN}"), false),
            Route::TcpSpin => (format!("tcp://127.0.0.1:0?{SPIN}"), false),
            Route::BareUnix => (shown.to_string(), true),
            Route::File => (format!("file:{shown}/"), true),
            Route::ZmqIpc => (format!("zmq+ipc:{shown}"), true),
            Route::ZmqTcp => ("zmq+tcp://127.0.0.1:0".to_owned(), false),
            _ => ("tcp://127.0.0.1:0".to_owned(), false),
        };
        Self {
            endpoint,
            path: has_path.then_some(path),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
