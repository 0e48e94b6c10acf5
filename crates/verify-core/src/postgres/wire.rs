//! The socket of a session, which two share: tokio-postgres, by blocking calls, and while no answer is outstanding the
//! reader of bulk data.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::authentication::Authentication;
use super::buffer::{CAPACITY, HEADER, ReadBuffer, message};
use super::server_error::server_error;
use super::transcode;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that the rows of one control query may take in memory.
pub(super) const RESULT_LIMIT: usize = 256 << 20;
/// Bytes of parameters that a server may report within one answer; tokio-postgres keeps them.
const PARAMETERS_LIMIT: usize = 1 << 20;

/// The socket, and what was asked over it.
pub(super) struct Wire {
    pub(super) buffer: ReadBuffer,
    /// The channel binding data of the server's certificate.
    binding: Option<Vec<u8>>,
    /// While the session is opened: what the server may ask.
    pub(super) authentication: Option<Authentication>,
    /// Answers that the server owes: each ends with a ReadyForQuery.
    outstanding: u32,
    /// True if the last request was a Query, whose answer is text.
    is_text: bool,
    /// True once the start-up message was sent, which has no tag.
    started: bool,
    /// The beginning of a message that is sent.
    unsent: Vec<u8>,
    /// The message that tokio-postgres reads, and how much of it it took.
    staged: Vec<u8>,
    taken: usize,
    /// Bytes of the parameters that the current answer reported.
    parameters: usize,
    pub(super) process_id: i32,
    pub(super) transaction_status: u8,
    /// The error in the current answer, in our words.
    said: Option<Error>,
    /// Error of the wire. tokio-postgres gets only the fact of it.
    failure: Option<Error>,
    /// True if a statement began a COPY, which only the bulk reader may.
    began_copy: bool,
}

impl Wire {
    /// Returns whether no answer is outstanding.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.taken == self.staged.len()
    }

    /// Cause of a failed operation of tokio-postgres: the server's last message explains more than the closed connection.
    pub(super) fn take_cause(&mut self) -> Option<Error> {
        let copy = std::mem::take(&mut self.began_copy).then(|| {
            Error::new(
                ErrorKind::Protocol,
                "run a statement: COPY to or from the client is not expected here",
            )
        });
        let failure = self.failure.take();
        copy.or(self.said.take()).or(failure)
    }

    /// Sends a Query past tokio-postgres. The caller reads its answer from the buffer, and the end of it with
    /// [`Self::finish`]; parameters that the server reports meanwhile are lost.
    pub(super) fn query(&mut self, sql: &[u8]) -> Result<()> {
        if !self.is_idle() {
            // What would be read belongs to another statement.
            self.buffer.close();
        }
        self.outstanding = 1;
        let sent = self.buffer.send(&message(b'Q', &[sql, b"\0"].concat()));
        sent.map_err(|error| self.last_word().unwrap_or(error))
    }

    /// The error with which the server ended the session, where it was read by the time that nothing could be sent any more.
    fn last_word(&mut self) -> Option<Error> {
        loop {
            match self.buffer.header().ok()? {
                (b'E', length) => return self.buffer.body(length).ok().map(|body| server_error(body)),
                (_, length) => self.buffer.skip(length).ok()?,
            }
        }
    }

    /// Reads the rest of the answer to [`Self::query`]. An error of the server in it is the result.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut failure = None;
        loop {
            let (tag, length) = match self.buffer.header() {
                Ok(header) => header,
                // What the server said before it hung up explains more than that it hung up.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            match tag {
                b'Z' => {
                    let status = self.buffer.body(length)?.first().copied();
                    self.ready(status)?;
                    return failure.map_or(Ok(()), Err);
                }
                b'E' => {
                    let error = server_error(self.buffer.body(length)?);
                    failure.get_or_insert(error);
                }
                _ => self.buffer.skip(length)?,
            }
        }
    }

    /// Closes the session: the server said what the protocol does not allow here.
    pub(super) fn unexpected(&mut self, tag: u8) -> Error {
        self.buffer.close();
        let tag = char::from(tag).escape_default();
        Error::new(
            ErrorKind::Protocol,
            format!("read an answer: the message '{tag}' is malformed or out of place"),
        )
    }

    fn ready(&mut self, status: Option<u8>) -> Result<()> {
        self.transaction_status = status.ok_or_else(|| self.unexpected(b'Z'))?;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.parameters = 0;
        self.authentication = None;
        Ok(())
    }

    /// Sends what tokio-postgres writes, and counts the requests in it.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.unsent.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.unsent.len());
        let mut rest = &self.unsent[..];
        loop {
            let header = if self.started { HEADER } else { HEADER - 1 };
            let Some(&length) = rest.get(header - 4..).and_then(|rest| rest.first_chunk::<4>()) else {
                break;
            };
            let whole = header - 4 + u32::from_be_bytes(length) as usize;
            let Some((message, after)) = rest.split_at_checked(whole) else { break };
            match message.first() {
                Some(b'Q' | b'S') if self.started => {
                    self.is_text = message[0] == b'Q';
                    self.outstanding += 1;
                }
                _ => {}
            }
            transcode::outgoing(message, &mut out);
            self.started = true;
            rest = after;
        }
        self.unsent = rest.to_vec();
        self.buffer.send(&out).map_err(|error| self.last_word().unwrap_or(error))
    }

    /// Reads the next message for tokio-postgres.
    fn stage(&mut self) -> Result<()> {
        let (tag, length) = self.buffer.header().map_err(|error| match &self.authentication {
            Some(_) => Authentication::not_postgresql(error),
            None => error,
        })?;
        let limit = if self.authentication.is_some() { CAPACITY } else { RESULT_LIMIT };
        if HEADER + length > limit {
            return Err(match &self.authentication {
                Some(_) => Authentication::too_long(),
                None => self.too_large(),
            });
        }
        self.taken = 0;
        // A large message is seldom followed by another.
        self.staged = Vec::with_capacity(HEADER + length.min(CAPACITY));
        self.staged.push(tag);
        self.staged.extend(u32::try_from(length + 4).unwrap_or(u32::MAX).to_be_bytes());
        self.buffer.open_body();
        while self.staged.len() < HEADER + length {
            let left = HEADER + length - self.staged.len();
            self.staged.extend_from_slice(self.buffer.take(left)?);
        }
        let body = &self.staged[HEADER..];
        if let Some(authentication) = &mut self.authentication
            && !authentication.allows(tag, body)?
        {
            self.staged.clear();
            return Ok(());
        }
        match tag {
            b'Z' => self.ready(body.first().copied())?,
            b'K' => {
                self.process_id = body.first_chunk().map_or(0, |process_id| i32::from_be_bytes(*process_id));
            }
            b'S' => {
                self.parameters += length;
                if self.parameters > PARAMETERS_LIMIT {
                    return Err(self.unexpected(tag));
                }
            }
            b'E' => {
                let said = server_error(body);
                self.said.get_or_insert(said);
            }
            b'G' => self.refuse_copy_in()?,
            b'H' => self.began_copy = true,
            b'T' => transcode::column_names(&mut self.staged),
            b'D' if self.is_text => transcode::row(&mut self.staged),
            _ => {}
        }
        Ok(())
    }

    /// Ends a COPY FROM STDIN that a statement began. A Sync that was sent along with the statement was ignored.
    fn refuse_copy_in(&mut self) -> Result<()> {
        self.began_copy = true;
        let mut message = BytesMut::new();
        frontend::copy_fail("COPY is not expected here", &mut message)
            .map_err(|error| Error::with_source(ErrorKind::Protocol, "refuse a COPY", error))?;
        if !self.is_text {
            frontend::sync(&mut message);
        }
        self.buffer.send(&message)
    }

    /// Closes the session: an answer is too large to be kept.
    pub(super) fn too_large(&mut self) -> Error {
        self.buffer.close();
        let limit = RESULT_LIMIT >> 20;
        Error::new(ErrorKind::Protocol, format!("read a result: it is larger than {limit} MiB"))
    }

    /// Keeps an error, and returns the one that tokio-postgres gets.
    fn fail(&mut self, error: Error) -> io::Error {
        self.buffer.close();
        self.failure.get_or_insert(error);
        io::Error::other("the connection failed")
    }
}

/// The socket and its state, which tokio-postgres and the bulk reader share.
#[derive(Clone)]
pub(super) struct Handle(Arc<Mutex<Wire>>);

impl Handle {
    /// A stream over which nothing was sent yet.
    pub(super) fn new(
        buffer: ReadBuffer,
        binding: Option<Vec<u8>>,
        authentication: Option<Authentication>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            buffer,
            binding,
            authentication,
            outstanding: 1,
            is_text: false,
            started: false,
            unsent: Vec::new(),
            staged: Vec::new(),
            taken: 0,
            parameters: 0,
            process_id: 0,
            transaction_status: b'I',
            said: None,
            failure: None,
            began_copy: false,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Handle {
    /// Blocks while the server owes an answer, and is pending otherwise.
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.lock();
        let before = out.filled().len();
        while out.remaining() > 0 {
            if wire.taken == wire.staged.len() {
                let has_some = out.filled().len() > before;
                if wire.is_idle() || has_some && !wire.buffer.holds_message() {
                    break;
                }
                wire.stage().map_err(|error| wire.fail(error))?;
            }
            let left = &wire.staged[wire.taken..];
            let part = &left[..left.len().min(out.remaining())];
            out.put_slice(part);
            wire.taken += part.len();
        }
        if out.filled().len() == before { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Handle {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut *self.lock();
        wire.write(bytes).map_err(|error| wire.fail(error))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing: the socket closes when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reports to tokio-postgres that the stream needs no further encryption.
pub(super) struct AlreadyProtected;

impl TlsConnect<Handle> for AlreadyProtected {
    type Stream = Handle;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Handle, Self::Error>>;

    fn connect(self, handle: Handle) -> Self::Future {
        std::future::ready(Ok(handle))
    }
}

impl TlsStream for Handle {
    fn channel_binding(&self) -> ChannelBinding {
        let binding = self.lock().binding.clone();
        binding.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
