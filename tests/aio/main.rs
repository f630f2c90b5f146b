//! The calls as futures.

mod crowds;
mod deaths;
mod drops;
mod exchange;
mod figures;
mod forks;
mod strangers;

use std::future::Future;

use numpush::aio::{self, Connection, Listener};
use numpush::{Error, Options};
use numpush_tests::{PATIENCE, TempPath};
use tokio::runtime::{Builder, Runtime};

/// A runtime of one thread, and one of two.
pub(crate) fn runtimes() -> [Runtime; 2] {
    let mut builders = [Builder::new_current_thread(), Builder::new_multi_thread()];
    builders[1].worker_threads(2);
    builders.map(|mut builder| builder.enable_all().build().unwrap())
}

/// Runs `work` on a runtime of one thread, and of two. A hang is a failure.
pub(crate) fn on_each_runtime<F: Future<Output = ()> + Send + 'static>(work: impl Fn() -> F) {
    for runtime in runtimes() {
        let task = runtime.spawn(work());
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE * 2, task).await })
            .expect("it ends")
            .expect("no task panics");
    }
}

/// A place for each transport, and what must outlive it.
pub(crate) fn places() -> Vec<(String, TempPath)> {
    let place = |scheme: &str| {
        let path = TempPath::new("aio");
        let endpoint = match scheme {
            "tcp" => "tcp://127.0.0.1:0".to_owned(),
            scheme => format!("{scheme}:{}", path.0.display()),
        };
        (endpoint, path)
    };
    ["tcp", "unix", "inproc"].map(place).into()
}

/// Two ends, with calls that fail rather than hang.
pub(crate) async fn pair(endpoint: &str, options: &Options) -> (Connection, Connection, Listener) {
    let mut listener = aio::listen_with(endpoint, options).unwrap();
    let mut near = aio::connect_with(&listener.address(), options)
        .await
        .unwrap();
    let mut far = within(listener.accept()).await.unwrap();
    near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    far.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    (near, far, listener)
}

/// What comes of a call that must end.
pub(crate) async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, call).await.expect("it ends")
}
