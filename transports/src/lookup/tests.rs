//! Look-ups of names that a test answers, when it wants to.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

#[cfg(feature = "tcp")]
use numpush_os::{Ready, wait};

use super::*;
use crate::error::Error;
#[cfg(feature = "tcp")]
use crate::options::Options;

/// The addresses that are answered.
static ANSWERED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static CHANGED: Condvar = Condvar::new();

/// A hang ends after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to a name in `.slow.invalid`, once a test gives it: this machine.
pub(super) fn answer(address: &str) -> Option<io::Result<Vec<SocketAddr>>> {
    let (host, port) = address.rsplit_once(':')?;
    if !host.ends_with(".slow.invalid") {
        return None;
    }
    let answered = os::lock(&ANSWERED);
    let is_slow = |answered: &mut BTreeSet<String>| !answered.contains(address);
    drop(CHANGED.wait_while(answered, is_slow).unwrap());
    Some(Ok(vec![([127, 0, 0, 1], port.parse().unwrap()).into()]))
}

fn give_answer(address: &str) {
    os::lock(&ANSWERED).insert(address.to_owned());
    CHANGED.notify_all();
}

/// The port of a listener's address.
#[cfg(feature = "tcp")]
fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// As its own text and that of its cause.
fn texts(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[cfg(feature = "tcp")]
#[test]
fn a_name_that_nobody_answers_for_ends_connect_in_time() {
    let timeout = Duration::from_millis(200);
    let options = Options::new().connect_timeout(timeout);
    let began = Instant::now();
    let error = options.connect("tcp://held.slow.invalid:1").unwrap_err();
    assert!(began.elapsed() >= timeout / 2);
    let text = texts(&error);
    assert!(
        text.contains("held.slow.invalid was not answered"),
        "{text}"
    );
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut),
        "{error:?}"
    );
    give_answer("held.slow.invalid:1");
}

#[cfg(feature = "tcp")]
#[test]
fn who_does_not_wait_hears_when_the_name_is_answered() {
    let mut listener = Options::new().listen("tcp://127.0.0.1:0").unwrap();
    let address = format!("later.slow.invalid:{}", port(&listener.address()));
    let attempt = Options::new().start_connect(&format!("tcp://{address}"));
    let mut attempt = attempt.unwrap();
    assert!(attempt.try_finish().unwrap().is_none());
    assert_eq!(attempt.wants(), Ready::READ);
    give_answer(&address);
    let end = Instant::now() + PATIENCE;
    let connection = loop {
        if let Some(connection) = attempt.try_finish().unwrap() {
            break connection;
        }
        let socket = (attempt.descriptor().unwrap(), attempt.wants());
        wait(&[socket], Some(end)).unwrap();
        assert!(Instant::now() < end, "nothing was to be waited for");
    };
    drop((connection, listener.accept_for(PATIENCE).unwrap()));
}

#[test]
fn look_ups_that_nobody_answers_are_bounded() {
    static ALL: GlobalMutex<Threads> = GlobalMutex::new(Threads { count: 0, forks: 0 });
    let start = |address: &str| LookUp::start_in(&ALL, address, Some(LEAST));
    let address = "crowd.slow.invalid:1";
    for _ in 0..MOST {
        // Nobody waits for it any more.
        drop(start(address).unwrap());
    }
    let error = start(address).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("16 names"), "{error}");
    give_answer(address);
    let end = Instant::now() + PATIENCE;
    while ALL.lock().count > 0 {
        assert!(Instant::now() < end, "a thread was left");
        std::thread::yield_now();
    }
    let patient = LookUp::start_in(&ALL, address, Some(PATIENCE)).unwrap();
    assert_eq!(patient.wait().unwrap().len(), 1);
}

/// What waits for room among the threads is told why it got none.
#[test]
fn who_finds_no_place_is_told_so() {
    let full = || Err::<(), _>(Place::take(&FULL).map(drop).unwrap_err());
    static FULL: GlobalMutex<Threads> = GlobalMutex::new(Threads {
        count: MOST,
        forks: 0,
    });
    FULL.lock().forks = os::forks();
    let endpoint = "tcp://any.invalid:1";
    let error = crate::deadline::connect_until(endpoint, Duration::ZERO, full).unwrap_err();
    assert!(texts(&error).contains("16 names"), "{error:?}");
}

#[cfg(feature = "tokio")]
mod tasks {
    use super::*;
    use crate::aio;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    /// The look-up held up the thread, and all tasks of it.
    #[test]
    fn a_task_that_connects_holds_up_no_other() {
        block_on(async {
            let listener = aio::listen("tcp://127.0.0.1:0").unwrap();
            let address = format!("task.slow.invalid:{}", port(&listener.address()));
            let answered = address.clone();
            let other = tokio::spawn(async move { give_answer(&answered) });
            let options = Options::new().connect_timeout(PATIENCE);
            let connected = aio::connect_with(&format!("tcp://{address}"), &options).await;
            drop((connected.unwrap(), other.await.unwrap()));
        });
    }

    #[test]
    fn a_name_that_nobody_answers_for_ends_connect_in_time() {
        let options = Options::new().connect_timeout(Duration::from_millis(100));
        let endpoint = "tcp://task-held.slow.invalid:1";
        let error = block_on(aio::connect_with(endpoint, &options)).unwrap_err();
        let text = texts(&error);
        assert!(text.contains("task-held.slow.invalid"), "{text}");
        give_answer("task-held.slow.invalid:1");
    }
}
