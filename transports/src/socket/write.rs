//! Writing: what waits, then a message.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use numpush_message::{Buffer, Encoder};
use numpush_os as os;
use numpush_session::Front;

use crate::socket::link::Sending;
use crate::socket::medium::{Medium, goes_by_file};

/// Bytes of one write. In one call of 256 MiB the sender sleeps in the kernel for long stretches; in steps of some MiB
/// it kept pace with the receiver, at no measurable cost in calls.
const WRITE_STEP: usize = 4 << 20;

/// A file is sent in steps of this size where checksums are taken, so that each step is summed while it is in the cache.
const SUMMED_STEP: usize = 256 << 10;

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everything is written.
    Done,
    /// The socket has no more room.
    Full,
}

impl<M: Medium> Sending<M> {
    /// Writes as much of the queue as the socket takes now.
    pub(super) fn drain(&mut self, socket: &OwnedFd) -> io::Result<Progress> {
        while let Some(front) = self.session.front() {
            self.system_calls += 1;
            let written = match front {
                Front::Control(bytes) => os::send(socket, &[IoSlice::new(bytes)], false),
                Front::Descriptor(descriptor, bytes) => {
                    os::send_with_descriptor(socket, &[IoSlice::new(bytes)], &**descriptor, false)
                }
                Front::Record(encoder) => write_part(socket, encoder, false, &[], usize::MAX),
            };
            match written {
                Ok(count) => {
                    self.meter.add(count);
                    self.session.written(count);
                    self.set_aside();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Full);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if self.session.is_midway() {
            Progress::Full
        } else {
            Progress::Done
        })
    }

    /// Writes as much of the queue, and then of a message that was begun, as the socket takes now. With `by_file`, buffers
    /// with a descriptor go by sendfile. It ends early, as if the socket were full, after `most` bytes of the message.
    pub(super) fn write(
        &mut self,
        socket: &OwnedFd,
        encoder: &mut Encoder<'_>,
        by_file: bool,
        most: usize,
    ) -> io::Result<Progress> {
        let mut gone = 0;
        while encoder.next().is_some() {
            if gone >= most {
                return Ok(Progress::Full);
            }
            let mut queued: &[u8] = &[];
            if !encoder.is_begun() {
                if self.clear_way(socket)? == Progress::Full {
                    return Ok(Progress::Full);
                }
                self.session.refresh(encoder);
                if let Some(Front::Control(bytes)) = self.session.front() {
                    queued = bytes;
                }
            }
            let queued_len = queued.len();
            self.system_calls += 1;
            match write_part(socket, encoder, by_file, queued, most) {
                Ok(count) => {
                    self.meter.add(count);
                    gone += count;
                    let owed = count.min(queued_len);
                    if owed > 0 {
                        self.session.written(owed);
                    }
                    if count > owed {
                        if !encoder.is_begun() {
                            self.session.departed(encoder);
                        }
                        encoder.advance(count - owed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Full);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    /// As [`Self::write`], for messages that were begun together and lie in plain memory. Those that are written whole leave
    /// `run`.
    pub(super) fn write_run(
        &mut self,
        socket: &OwnedFd,
        run: &mut VecDeque<Encoder<'_>>,
    ) -> io::Result<Progress> {
        while let Some(first) = run.front() {
            let has_departed = first.is_begun();
            if !has_departed && self.clear_way(socket)? == Progress::Full {
                return Ok(Progress::Full);
            }
            let unsent = run.iter_mut().filter(|encoder| !encoder.is_begun());
            unsent.for_each(|encoder| self.session.refresh(encoder));
            // What was queued since goes before the messages behind one that is half written.
            let alone = has_departed && !self.session.is_drained();
            let queued = match self.session.front() {
                Some(Front::Control(bytes)) => bytes,
                _ => &[],
            };
            let queued_len = queued.len();
            self.system_calls += 1;
            let (slices, listed) = gather(queued, run, alone);
            match os::send(socket, &slices, false) {
                Ok(count) => {
                    self.meter.add(count);
                    let owed = count.min(queued_len);
                    if owed > 0 {
                        self.session.written(owed);
                    }
                    self.advance(run, &listed, count - owed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Full);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    /// Writes of the queue what cannot go in one call with a message: only control records are left.
    fn clear_way(&mut self, socket: &OwnedFd) -> io::Result<Progress> {
        while self.session.has_more()
            || !matches!(self.session.front(), None | Some(Front::Control(_)))
        {
            if self.drain(socket)? == Progress::Full {
                return Ok(Progress::Full);
            }
        }
        Ok(Progress::Done)
    }

    /// `count` bytes of the messages at the front of `run` are written, which were listed so.
    fn advance(&mut self, run: &mut VecDeque<Encoder<'_>>, listed: &[Listed], mut count: usize) {
        for listed in listed {
            let Some(encoder) = run.front_mut().filter(|_| count > 0) else {
                return;
            };
            if !encoder.is_begun() {
                self.session.departed(encoder);
            }
            // One that is written whole needs no account of its parts.
            if !(listed.is_whole && count >= listed.bytes) {
                encoder.advance(count.min(listed.bytes));
                if encoder.next().is_some() {
                    return;
                }
            }
            count -= listed.bytes;
            self.session.done(Vec::new());
            run.pop_front();
        }
    }
}

/// What one call was given of a message.
struct Listed {
    bytes: usize,
    /// That is all that is left of it.
    is_whole: bool,
}

/// The bytes in front, and what comes next of messages that were begun together, or of the first `alone`: as much as goes in
/// one call.
fn gather<'e>(
    front: &'e [u8],
    run: &'e VecDeque<Encoder<'_>>,
    alone: bool,
) -> (Vec<IoSlice<'e>>, Vec<Listed>) {
    let mut slices = Vec::with_capacity(1 + 2 * run.len());
    let mut listed = Vec::with_capacity(run.len());
    if !front.is_empty() {
        slices.push(IoSlice::new(front));
    }
    for encoder in run {
        let bytes = encoder.gather(&mut slices, WRITE_STEP, |_| false);
        let is_whole = bytes as u64 == encoder.rest_len() && encoder.knows_checksums();
        listed.push(Listed { bytes, is_whole });
        if alone || !is_whole {
            break;
        }
    }
    (slices, listed)
}

/// Writes the bytes in front, if there are any, and the next part of a message, in one call.
fn write_part(
    socket: &OwnedFd,
    encoder: &Encoder<'_>,
    by_file: bool,
    front: &[u8],
    most: usize,
) -> io::Result<usize> {
    let aside = |buffer: &Buffer<'_>| by_file && goes_by_file(buffer);
    if front.is_empty()
        && let Some(next) = encoder.next()
        && let Some(buffer) = next.buffer.filter(|buffer| aside(buffer))
        && let Some(backing) = buffer.backing()
    {
        let count = if encoder.preamble().flags.checksums {
            next.bytes.len().min(SUMMED_STEP)
        } else {
            next.bytes.len().min(most)
        };
        let offset = backing.offset + next.at as u64;
        return match os::send_file(socket, &*backing.file, offset, count)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        };
    }
    let mut slices = Vec::with_capacity(8);
    if !front.is_empty() {
        slices.push(IoSlice::new(front));
    }
    encoder.gather(&mut slices, WRITE_STEP.min(most), aside);
    os::send(socket, &slices, false)
}
