//! Messages from a server, cut out of one large fixed buffer.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::nap::Nap;
use super::stream::{Stream, io_error};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the buffer. A message of this size less the header, or smaller, can be had in one piece.
pub(super) const CAPACITY: usize = 256 << 10;
/// Bytes of a message's header: the tag and the length.
pub(super) const HEADER: usize = 5;
/// The largest message that is believed: a field of PostgreSQL holds at most 1 GiB.
const MESSAGE_LIMIT: usize = (1 << 30) + (1 << 10);
/// Timer slack of bulk threads. The kernel's default of 50 µs is as long as a nap.
const TIMER_SLACK_NS: u64 = 1_000;

/// A blocking reader of messages. After an I/O error it stays closed.
pub(super) struct ReadBuffer {
    stream: Stream,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    nap: Option<Nap>,
    rest: Duration,
    closed: bool,
}

impl ReadBuffer {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            bytes: vec![0; CAPACITY].into_boxed_slice(),
            start: 0,
            end: 0,
            nap: None,
            rest: Duration::ZERO,
            closed: false,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Refuses every further use: what follows on the stream can no longer be made sense of.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Rests between small reads, for a thread that reads bulk data. TLS never rests: its reads are records of
    /// at most 16 KiB, whatever the socket holds.
    pub(super) fn set_bulk(&mut self, bulk: bool) {
        self.rest = Duration::ZERO;
        self.nap = (bulk && !self.stream.is_tls()).then(Nap::default);
        if self.nap.is_some() {
            set_timer_slack();
        }
    }

    /// The tag and the body's length of the next message, which stays in the buffer.
    #[inline]
    pub(super) fn header(&mut self) -> Result<(u8, usize)> {
        while self.end - self.start < HEADER {
            self.fill()?;
        }
        let at = self.start;
        let length = &self.bytes[at + 1..at + HEADER];
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if !(4..=MESSAGE_LIMIT).contains(&length) {
            return Err(self.refuse_length(length));
        }
        Ok((self.bytes[at], length - 4))
    }

    #[cold]
    fn refuse_length(&mut self, length: usize) -> Error {
        self.closed = true;
        Error::new(ErrorKind::Protocol, format!("read a message: the server announced one of {length} bytes"))
    }

    /// Whether a message with a body of `length` bytes can be had in one piece.
    #[inline]
    pub(super) const fn fits(length: usize) -> bool {
        HEADER + length <= CAPACITY
    }

    /// Consumes the message whose header was just seen, and gives its body of `length` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] where the message does not fit the buffer; see [`Self::open_body`].
    #[inline]
    pub(super) fn body(&mut self, length: usize) -> Result<&mut [u8]> {
        let whole = HEADER + length;
        if whole > CAPACITY {
            return Err(self.refuse_length(length + 4));
        }
        while self.end - self.start < whole {
            self.fill()?;
        }
        let body = self.start + HEADER;
        self.start = body + length;
        Ok(&mut self.bytes[body..body + length])
    }

    /// Consumes the header that was just seen; the body follows through [`Self::take`].
    #[inline]
    pub(super) fn open_body(&mut self) {
        self.start += HEADER;
    }

    /// Consumes at least one and at most `max` bytes (none where `max` is zero).
    #[inline]
    pub(super) fn take(&mut self, max: usize) -> Result<&mut [u8]> {
        if self.start == self.end && max > 0 {
            self.fill()?;
        }
        let from = self.start;
        self.start += max.min(self.end - from);
        Ok(&mut self.bytes[from..self.start])
    }

    /// Consumes a message of any size without keeping it.
    pub(super) fn skip(&mut self, length: usize) -> Result<()> {
        self.open_body();
        let mut left = length;
        while left > 0 {
            left -= self.take(left)?.len();
        }
        Ok(())
    }

    /// Reads once, as much as fits, behind what is not yet consumed.
    pub(super) fn fill(&mut self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Connection, "read from the server: the connection is closed"));
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == CAPACITY {
            // Only the unfinished message at the end moves, once a buffer.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if !self.rest.is_zero() {
            std::thread::sleep(self.rest);
        }
        let wanted = CAPACITY - self.end;
        let read = loop {
            match self.stream.read(&mut self.bytes[self.end..]) {
                Ok(0) => break Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it")),
                Ok(read) => break Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let read = read.map_err(|error| self.fail("read from the server", error))?;
        self.end += read;
        if let Some(nap) = &mut self.nap {
            self.rest = nap.after(read, wanted);
        }
        Ok(())
    }

    /// Sends bytes to the server.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Connection, "send to the server: the connection is closed"));
        }
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.fail("send to the server", error))
    }

    #[cold]
    fn fail(&mut self, doing: &str, error: io::Error) -> Error {
        self.closed = true;
        io_error(doing, error)
    }
}

#[cfg(target_os = "linux")]
fn set_timer_slack() {
    // A failure costs speed and nothing else.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
}

#[cfg(not(target_os = "linux"))]
fn set_timer_slack() {
    let _ = TIMER_SLACK_NS;
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
