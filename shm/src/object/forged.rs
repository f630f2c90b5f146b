//! What another process may send, without that process: offers that are opened over memory of this process, and a socket
//! with a client's bytes in it. For tests and fuzzing.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use numpush_shm_core::{OwnedLock, PageOptions, SharedPages};

use super::handle::{Handle, OwnerName};
use super::offer::open_spans;
use super::protocol::{ClientNotice, LockOffer, OpenReply, OwnerNotice, Reply, Request};
use super::raw::{self, RawObject, Value};
use super::server::answer_all;
use super::wire::{Greeting, Link, Status};
use crate::error::Error;

/// Bytes of the memory that offers are opened over.
pub(crate) const MEMORY: usize = 64 << 10;
const LOCKS: usize = 8;

/// Memory and locks that stand for those of another process.
struct Ground {
    pages: Arc<SharedPages>,
    locks: Vec<OwnedLock>,
}

fn ground() -> Option<&'static Ground> {
    static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
    let make = || {
        let pages = SharedPages::new(MEMORY, PageOptions::new()).ok()?;
        let locks = (0..LOCKS).map(|_| OwnedLock::new().ok());
        let locks = locks.collect::<Option<Vec<_>>>()?;
        Some(Ground { pages, locks })
    };
    GROUND.get_or_init(make).as_ref()
}

#[derive(Debug)]
struct NoLease;

impl raw::Lease for NoLease {}

/// Opens an offer as it came in a reply. All its memories are one memory here, and its locks are as many of ours.
pub(crate) fn open_offer(bytes: &[u8]) -> Result<(Handle, Arc<RawObject>), Error> {
    let malformed = |what| Error::Protocol {
        peer: "a test".into(),
        what,
    };
    let mut offer: OpenReply = rmp_serde::from_slice(bytes).map_err(|_| malformed("no offer"))?;
    let ground = ground().ok_or_else(|| malformed("no memory"))?;
    offer.locks.truncate(LOCKS);
    for (offered, lock) in offer.locks.iter_mut().zip(&ground.locks) {
        *offered = LockOffer::new(lock);
    }
    for span in &mut offer.spans {
        span.memory = ground.pages.id();
    }
    let no_memory = &mut |_| Err(malformed("other memory"));
    let spans = open_spans(&offer, no_memory)?;
    let handle = Handle {
        owner: OwnerName { pid: 1, nonce: 1 },
        number: 1,
    };
    let value = Arc::new(Value::of_another(offer.description, spans));
    let object = RawObject::leased(value, handle.clone(), Box::new(NoLease));
    Ok((handle, object))
}

/// The offer of a value of this process, as it comes in a reply.
pub(crate) fn offer_of(value: &Value) -> Option<Vec<u8>> {
    rmp_serde::to_vec(&small_offer(value)?).ok()
}

/// The offer of a value with small numbers for what is different in every run.
fn small_offer(value: &Value) -> Option<OpenReply> {
    let mut offer = value.offer().ok()?;
    let first = offer.spans.iter().map(|span| span.start).min()?;
    for span in &mut offer.spans {
        span.memory = SMALL;
        span.start -= first;
    }
    offer.locks.iter_mut().for_each(|lock| lock.forget(SMALL));
    Some(offer)
}

const SMALL: numpush_os::FileId = numpush_os::FileId { dev: 1, ino: 1 };

/// Reads `bytes` as an owner and as a client, from a socket.
pub(crate) fn hear(bytes: &[u8]) {
    let socket = |bytes: &[u8]| {
        let (mut near, far) = UnixStream::pair().ok()?;
        near.set_nonblocking(true).ok()?;
        std::io::Write::write_all(&mut near, bytes).ok()?;
        Some(far)
    };
    if let Some(far) = socket(bytes) {
        answer_all(far);
    }
    if let Some(far) = socket(bytes) {
        let mut link = Link::new(far, Greeting::new(Status::Ready));
        while let Ok(Some(mut frame)) = link.poll() {
            let _ = frame.descriptor();
            let _ = frame.value::<Request>();
            let _ = frame.value::<ClientNotice>();
            let _ = frame.value::<OwnerNotice>();
            let _ = frame.value::<Reply>();
        }
    }
}

/// What a client and an owner say to each other, as bytes in a socket.
pub(crate) fn conversation(value: &Value) -> Option<Vec<u8>> {
    let offer = small_offer(value)?;
    let (near, mut far) = UnixStream::pair().ok()?;
    let mut link = Link::new(near, Greeting::new(Status::Ready));
    link.queue(1, &Request::Open(1), None).ok()?;
    link.queue(2, &Request::Memory(SMALL), None).ok()?;
    link.queue(3, &Request::Report(0), None).ok()?;
    link.queue(0, &ClientNotice::Closed(1), None).ok()?;
    link.queue(0, &ClientNotice::InUse(1), None).ok()?;
    link.queue(0, &OwnerNotice::LetGo(1), None).ok()?;
    link.queue(0, &OwnerNotice::Unmapped(vec![SMALL]), None)
        .ok()?;
    link.queue(4, &Reply::Memory(SMALL), None).ok()?;
    link.queue(5, &Reply::Gone, None).ok()?;
    let opened = Reply::Opened {
        offer,
        memories: 0,
        is_kept: true,
    };
    link.queue(6, &opened, None).ok()?;
    link.flush().ok()?;
    drop(link);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut far, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::object::protocol::RightOffer;

    use crate::fuzz::{Seed, hear_frames, open_and_use, seeds};

    /// Offers are opened over one memory, which tests use by different rights.
    fn alone() -> std::sync::MutexGuard<'static, ()> {
        static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        numpush_os::lock(&ALONE)
    }

    fn seed(target: &str, name: &str) -> Vec<u8> {
        let is_it = |seed: &Seed| seed.0 == target && seed.1 == name;
        seeds().unwrap().into_iter().find(is_it).unwrap().2
    }

    /// The error for the offer of value `name` after `change`.
    fn refused(name: &str, change: impl FnOnce(&mut OpenReply)) -> String {
        let mut offer = rmp_serde::from_slice(&seed("offer", name)).unwrap();
        change(&mut offer);
        let opened = open_and_use(&rmp_serde::to_vec(&offer).unwrap());
        opened.unwrap_err().to_string()
    }

    #[test]
    fn what_this_library_sends_is_opened() {
        let _alone = alone();
        for (target, name, bytes) in seeds().unwrap() {
            match target {
                "offer" => open_and_use(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")),
                _ => hear_frames(&bytes),
            }
        }
    }

    /// After a change of what is sent, `NUMPUSH_GOLDEN=write` writes the seeds of `fuzz/` anew.
    #[test]
    fn fuzzing_begins_with_what_this_library_sends() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (target, name, bytes) in seeds().unwrap() {
            let path = folder.join(target).join(name);
            if std::env::var("NUMPUSH_GOLDEN").is_ok_and(|word| word == "write") {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            let known = std::fs::read(&path).unwrap_or_default();
            assert_eq!(
                known,
                bytes,
                "{}: run with NUMPUSH_GOLDEN=write",
                path.display()
            );
        }
    }

    #[test]
    fn atomics_that_do_not_fit_their_bytes_are_refused() {
        let _alone = alone();
        let changes: [fn(&mut OpenReply); 4] = [
            |offer| offer.right = RightOffer::Atomic(3),
            |offer| offer.right = RightOffer::Locked,
            |offer| offer.spans[0].len -= 4,
            |offer| offer.locks.truncate(3),
        ];
        for change in changes {
            let text = refused("barrier", change);
            assert!(
                text.contains("atomics that do not fit their bytes"),
                "{text}"
            );
        }
        let text = refused("barrier", |offer| {
            offer.description.bytes = rmp_serde::to_vec(&[0]).unwrap();
        });
        assert!(text.contains("participants, not 0"), "{text}");
        let text = refused("atomics", |offer| offer.spans[0].start += 4);
        assert!(text.contains("no multiple of their alignment, 8"), "{text}");
    }

    #[test]
    fn elements_at_an_odd_address_are_refused() {
        let _alone = alone();
        let refused = |name, span: usize, wanted| {
            let text = refused(name, |offer| offer.spans[span].start += 4097);
            assert!(text.contains(wanted), "{name}: {text}");
        };
        let mut array = rmp_serde::from_slice::<OpenReply>(&seed("offer", "array")).unwrap();
        array.spans[0].start = 4097;
        let bytes = rmp_serde::to_vec(&array).unwrap();
        let (handle, object) = open_offer(&bytes).unwrap();
        let typed = crate::object::with_values(vec![object], || {
            crate::SharedArray::<f64, ndarray::IxDyn>::open(&handle).unwrap_err()
        });
        assert_eq!(
            typed.to_string(),
            "elements begin at byte 4097 of their memory, which is no multiple of their alignment, 8"
        );
        refused("graph", 1, "alignment, 8");
        refused("graph", 3, "alignment, 2");
        #[cfg(feature = "arrow")]
        refused("frame", 1, "alignment, 8");
        // As bytes an array may lie anywhere.
        open_and_use(&bytes).unwrap();
    }

    #[test]
    fn runs_of_bytes_that_do_not_fit_are_refused() {
        let _alone = alone();
        let text = refused("row-locks", |offer| offer.spans.swap(0, 1));
        assert!(
            text.ends_with("row locks of bytes that are no rows"),
            "{text}"
        );
        let text = refused("row-locks", |offer| {
            offer.spans[0].len += 2;
            offer.spans[1].start += 2;
            offer.spans[1].len -= 2;
        });
        assert!(
            text.ends_with("row locks of bytes that are no rows"),
            "{text}"
        );
        let text = refused("row-locks", |offer| offer.spans[1].start -= 2);
        assert!(text.ends_with("runs of bytes that overlap"), "{text}");
        let text = refused("graph", |offer| {
            offer.locks.push(offer.locks[0]);
            offer.spans[1].lock = 1;
        });
        assert!(text.ends_with("a graph under several locks"), "{text}");
        let text = refused("array", |offer| offer.spans[0].len -= 1);
        assert!(
            text.ends_with("a shape that does not fit its bytes"),
            "{text}"
        );
        let text = refused("array", |offer| offer.spans[0].len = MEMORY);
        assert!(
            text.ends_with("that does not fit its bytes") || text.ends_with("outside its memory"),
            "{text}"
        );
    }
}
