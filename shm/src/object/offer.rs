//! A value as it is offered to other processes, and the opening of such an offer.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use numpush_os::FileId;
use numpush_shm_core::{RobustRwLock, SharedPages};

use crate::error::Error;
use crate::object::protocol::{LockOffer, OpenReply, RightOffer, SpanOffer};
use crate::object::raw::Value;
use crate::object::spans::Spans;

impl Value {
    /// The value as another process opens it.
    pub(super) fn offer(&self) -> Result<OpenReply, Error> {
        let owned = self.owned("offer it")?;
        let index = |lock: &RobustRwLock| {
            let is_it = |owned: &numpush_shm_core::OwnedLock| owned.lock().id() == lock.id();
            owned.locks.iter().position(is_it).unwrap_or(usize::MAX)
        };
        let span = |(pages, range, lock): (&Arc<SharedPages>, &Range<usize>, _)| SpanOffer {
            memory: pages.id(),
            start: range.start,
            len: range.len(),
            lock: index(lock),
        };
        Ok(OpenReply {
            description: self.description.clone(),
            spans: self.spans.runs().into_iter().map(span).collect(),
            locks: owned.locks.iter().map(LockOffer::new).collect(),
            right: match &self.spans {
                Spans::Locked(_) => RightOffer::Locked,
                Spans::Double(_) => RightOffer::Double,
                Spans::Atomic(cells, _) => RightOffer::Atomic(cells.width()),
            },
        })
    }
}

/// Opens the bytes of an offer; `fetch` returns the descriptor of a memory that this process does not map.
pub(super) fn open_spans(
    offer: &OpenReply,
    fetch: &mut impl FnMut(FileId) -> Result<OwnedFd, Error>,
) -> Result<Spans, Error> {
    if overlap(&offer.spans) {
        return Err(malformed("runs of bytes that overlap"));
    }
    let mut locks = Vec::with_capacity(offer.locks.len());
    for &lock in &offer.locks {
        locks.push(open_lock(lock, fetch)?);
    }
    let mut runs = Vec::with_capacity(offer.spans.len());
    for span in &offer.spans {
        let lock: &RobustRwLock = locks
            .get(span.lock)
            .ok_or_else(|| malformed("a span under a lock that the offer does not have"))?;
        let (pages, range) = open_run(span, fetch)?;
        runs.push((pages, range, lock));
    }
    let in_use = |_| Error::InUse {
        what: "its bytes are claimed in this process",
    };
    let mut runs = runs.into_iter();
    match offer.right {
        RightOffer::Locked => {}
        RightOffer::Double => {
            let (pages, range, lock) = runs.next().ok_or_else(no_bytes)?;
            let pair = pages.join_double(range, lock).map_err(in_use)?;
            return Ok(Spans::Double(Arc::new(pair)));
        }
        RightOffer::Atomic(width) => {
            let (pages, range, lock) = runs.next().ok_or_else(no_bytes)?;
            let cells = pages.join_atomic(range, lock, width).map_err(in_use)?;
            return Ok(Spans::Atomic(cells, locks));
        }
    }
    let guard = |(pages, range, lock): (Arc<SharedPages>, _, &RobustRwLock)| {
        pages.join_locked(range, lock).map_err(in_use)
    };
    let spans: Vec<_> = runs.map(guard).collect::<Result<_, _>>()?;
    if spans.is_empty() {
        return Err(no_bytes());
    }
    Ok(Spans::Locked(spans))
}

/// True if a byte is in two runs: they are borrowed at the same time.
fn overlap(spans: &[SpanOffer]) -> bool {
    let mut places: Vec<(FileId, usize, usize)> = spans
        .iter()
        .filter(|span| span.len > 0)
        .map(|span| (span.memory, span.start, span.start.saturating_add(span.len)))
        .collect();
    places.sort_unstable();
    places
        .windows(2)
        .any(|pair| pair[0].0 == pair[1].0 && pair[0].2 > pair[1].1)
}

fn open_run(
    span: &SpanOffer,
    fetch: &mut impl FnMut(FileId) -> Result<OwnedFd, Error>,
) -> Result<(Arc<SharedPages>, Range<usize>), Error> {
    let pages = match SharedPages::find(span.memory) {
        Some(pages) => pages,
        None => SharedPages::attach(fetch(span.memory)?)
            .map_err(Error::io("map the memory of a shared value"))?,
    };
    if pages.id() != span.memory {
        return Err(malformed("other memory than the offer names"));
    }
    let end = span.start.checked_add(span.len);
    let end = end.filter(|&end| end <= pages.len());
    let end = end.ok_or_else(|| malformed("a span outside its memory"))?;
    Ok((pages, span.start..end))
}

/// Opens a lock of another process.
pub(super) fn open_lock(
    lock: LockOffer,
    fetch: &mut impl FnMut(FileId) -> Result<OwnedFd, Error>,
) -> Result<RobustRwLock, Error> {
    match RobustRwLock::find(lock.memory, lock.address()) {
        Some(lock) => Ok(lock),
        None => RobustRwLock::attach(fetch(lock.memory)?, lock.address())
            .map_err(Error::io("map the locks of a shared value")),
    }
}

fn malformed(what: &'static str) -> Error {
    Error::Protocol {
        peer: "the owner".into(),
        what,
    }
}

fn no_bytes() -> Error {
    malformed("a value without bytes")
}
