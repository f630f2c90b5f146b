//! What send and recv do with a message.

use std::sync::Arc;

use numpush_message::{
    Buffer, BufferAllocator, DecodeError, Dtype, Encoder, Flags, Header, Limits, Message, Preamble,
};
use numpush_os::lock;
use numpush_session::Tag;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::inproc::link::Link;
use crate::inproc::way::Item;
use crate::transfer::{Confirmation, PathReason, Received, Transfer, TransferPath};
use crate::transport::Context;

impl Link {
    pub(super) fn send_message(
        &self,
        message: &Message<'_>,
        tag: Tag,
        deadline: Deadline,
    ) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        Context::check_size(bytes, self.peer_max, "the peer")?;
        let charge = charge_of(message, bytes)?;
        let buffers = message.buffers();
        let borrowed: u64 = buffers
            .filter(|buffer| buffer.is_borrowed())
            .map(|buffer| buffer.len() as u64)
            .sum();
        let mut sending = self.wait_for_room(bytes, charge, deadline)?;
        let transfer = Transfer {
            id: sending.sent.count + 1,
            bytes,
            copied: message.copied_bytes() + borrowed,
            system_calls: 0,
            path: TransferPath::Handover,
            reason: if borrowed > 0 {
                PathReason::Borrowed
            } else {
                PathReason::OnlyWay
            },
        };
        // What is borrowed is copied now that there is room for it, and outside the lock of the queue.
        let item = Item {
            message: message.clone().into_owned_or_copy(),
            transfer: Transfer {
                copied: 0,
                reason: PathReason::OnlyWay,
                ..transfer
            },
            tag,
            charge,
        };
        let mut queue = self.out.queue();
        self.check_receiver(&queue)?;
        queue.messages.push_back(item);
        queue.charge += charge;
        self.out.tell_receiver(queue);
        sending.sent.count += 1;
        sending.sent.bytes += bytes;
        sending.sent.charge += charge;
        Ok(transfer)
    }

    pub(super) fn recv_message(self: &Arc<Self>, deadline: Deadline) -> Result<Received, Error> {
        self.finish();
        let mut receiving = self.wait_for_message(deadline)?;
        let Some(item) = receiving.inbox.pop_front() else {
            unreachable!("whoever waits for a message gets one");
        };
        let placed = place(&item, &mut *receiving.allocator);
        let (message, transfer) = match placed {
            Ok(Some(copy)) => copy,
            Ok(None) => (item.message, item.transfer),
            Err(source) => {
                let error = Error::invalid(&self.peer, source);
                let never_fits =
                    matches!(&error, Error::NoRoom { source, .. } if source.is_permanent());
                receiving.inbox.push_front(item);
                drop(receiving);
                if never_fits {
                    let mut queue = self.back.queue();
                    queue.refused = true;
                    self.back.tell_sender(queue);
                }
                return Err(error);
            }
        };
        self.count(&mut receiving, item.charge, transfer.bytes);
        let id = receiving.taken;
        drop(receiving);
        self.back.report();
        Ok(Received {
            id,
            reply_to: item.tag.reply_to,
            channel: item.tag.channel,
            confirmation: self.confirms().then(|| self.confirmation(id)),
            ..Received::new(message, transfer)
        })
    }

    fn confirmation(self: &Arc<Self>, id: u64) -> Confirmation {
        let link = Arc::downgrade(self);
        Confirmation {
            receipt: self.confirmations().receipt(id),
            tell: Box::new(move |up_to| {
                if let Some(link) = link.upgrade() {
                    link.acknowledge(&mut lock(&link.receiving), up_to);
                    link.back.report();
                }
            }),
        }
    }
}

/// Credit that a message takes, in bytes: at least its payload, and what every message takes in the queue.
///
/// Every limit of the wire holds here too: a program must not break when its endpoint changes.
fn charge_of(message: &Message<'_>, payload: u64) -> Result<u64, Error> {
    let is_plain = match (message.as_array(), message.as_frame()) {
        (_, Some(_)) => false,
        (Some(array), None) => {
            array.shape().len() <= FEW_AXES && matches!(array.dtype(), Dtype::Scalar(_))
        }
        (None, None) => true,
    };
    // Its header breaks no limit, whatever it says.
    if is_plain && message.attributes.is_empty() {
        return Ok(payload + Preamble::PLACE);
    }
    let encoder = Encoder::unstamped(message, Flags::default()).map_err(Error::Message)?;
    Ok(encoder.charge())
}

/// An array of no more axes, and without fields, has a header of some hundred bytes, or a thousand.
const FEW_AXES: usize = 32;

/// The same message in buffers that the allocator takes; `None` if it takes those that came.
fn place(
    item: &Item,
    allocator: &mut dyn BufferAllocator,
) -> Result<Option<(Message<'static>, Transfer)>, DecodeError> {
    let (message, mut transfer) = (&item.message, item.transfer);
    let mut takes = |buffer: &Buffer<'static>| allocator.adopt(buffer.clone()).is_ok();
    if message.buffers().all(&mut takes) {
        return Ok(None);
    }
    let Ok(encoder) = Encoder::new(message, Flags::default()) else {
        unreachable!("the sender has encoded it, or it is plain");
    };
    let limits = Limits::default().with_payload(u64::MAX);
    let (_, header) = Header::parse(encoder.head(), &limits)?;
    let mut buffers = Vec::with_capacity(encoder.buffers().len());
    for buffer in message.buffers() {
        let refused = match allocator.adopt(buffer.clone()) {
            Ok(buffer) => {
                buffers.push(buffer);
                continue;
            }
            Err(refused) => refused,
        };
        let mut memory = allocator.allocate(refused.len())?;
        memory.as_mut_slice().copy_from_slice(&refused);
        buffers.push(memory.freeze());
        transfer.copied += refused.len() as u64;
    }
    transfer.reason = PathReason::Allocator;
    Ok(Some((header.resolve(buffers)?, transfer)))
}
