//! A connection in the hands of two tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::Message;
use numpush_session::Tag;

use crate::aio::driver::Driver;
use crate::batch::{Batch, BatchError};
use crate::error::Error;
use crate::status::Status;
use crate::transfer::{Received, Transfer};
use crate::transport::Context;

/// The sending direction of a connection, made by [`Connection::split`](super::Connection::split).
///
/// The connection ends when both halves are dropped. What is true of a future that was dropped is in
/// [`Connection`](super::Connection).
pub struct SendHalf {
    driver: Arc<Driver>,
    max_message: u64,
    timeout: Option<Duration>,
}

impl SendHalf {
    pub(super) fn new(driver: Arc<Driver>, max_message: u64, timeout: Option<Duration>) -> Self {
        Self {
            driver,
            max_message,
            timeout,
        }
    }

    /// As [`Connection::send`](super::Connection::send).
    ///
    /// # Errors
    /// The same.
    pub async fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.send_tagged(message, Tag::default()).await
    }

    /// As [`Connection::send_tagged`](super::Connection::send_tagged).
    ///
    /// # Errors
    /// The same.
    pub async fn send_tagged(
        &mut self,
        message: &Message<'_>,
        tag: Tag,
    ) -> Result<Transfer, Error> {
        Context::check_size(message.payload_len(), self.max_message, "this side")?;
        self.driver.send(message, tag, self.timeout).await
    }

    /// As [`Connection::send_all`](super::Connection::send_all).
    ///
    /// # Errors
    /// The same.
    pub async fn send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.send_all_tagged(messages, Tag::default()).await
    }

    /// As [`Connection::send_all_tagged`](super::Connection::send_all_tagged).
    ///
    /// # Errors
    /// The same.
    pub async fn send_all_tagged(
        &mut self,
        messages: &[Message<'_>],
        tag: Tag,
    ) -> Result<Batch, BatchError> {
        Context::check_sizes(messages, self.max_message)?;
        self.driver.send_all(messages, tag, self.timeout).await
    }

    /// As [`Connection::flush`](super::Connection::flush).
    ///
    /// # Errors
    /// The same.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.driver.flush(self.timeout).await
    }

    /// As [`Connection::close_sending`](super::Connection::close_sending): the other half can still receive.
    ///
    /// # Errors
    /// The same.
    pub async fn close(self) -> Result<(), Error> {
        self.driver.close_sending(self.timeout).await
    }

    /// Longest wait of each call; `None` waits forever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// What waits on the connection.
    pub fn status(&self) -> Status {
        self.driver.duplex().status()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        self.driver.peer()
    }
}

/// The receiving direction of a connection, made by [`Connection::split`](super::Connection::split).
pub struct RecvHalf {
    driver: Arc<Driver>,
    timeout: Option<Duration>,
}

impl RecvHalf {
    pub(super) fn new(driver: Arc<Driver>, timeout: Option<Duration>) -> Self {
        Self { driver, timeout }
    }

    /// As [`Connection::recv`](super::Connection::recv). Dropped, it loses no message.
    ///
    /// # Errors
    /// The same.
    pub async fn recv(&mut self) -> Result<Received, Error> {
        self.driver.recv(self.timeout).await
    }

    /// Longest wait for a message; `None` waits forever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// What waits on the connection.
    pub fn status(&self) -> Status {
        self.driver.duplex().status()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        self.driver.peer()
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SendHalf");
        debug.field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RecvHalf");
        debug.field("peer", &self.peer()).finish_non_exhaustive()
    }
}
