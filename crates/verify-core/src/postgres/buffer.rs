//! Messages from a server, cut out of one large fixed buffer.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::nap::Nap;
use super::stream::Stream;
use super::wait::{Ended, Wait};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the buffer. A message of this size less the header, or smaller, can be had in one piece.
pub(super) const CAPACITY: usize = 256 << 10;
/// Bytes of a message's header: the tag and the length.
pub(super) const HEADER: usize = 5;
/// The largest message that is believed: a field of PostgreSQL holds at most 1 GiB.
const MESSAGE_LIMIT: usize = (1 << 30) + (1 << 10);
/// Number of checks at which the answer of an idle session may still be in transit.
const DOUBTS_MAX: u8 = 3;
/// Timer slack of bulk threads. The kernel's default of 50 µs is as long as a nap.
const TIMER_SLACK_NS: u64 = 1_000;

/// Returns a message with its header.
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
    [&[tag], &length[..], body].concat()
}

/// Result of the look by a second connection.
#[derive(Debug)]
pub(super) enum Found {
    /// The session is at work, or the server is and nothing is known of the session.
    Working,
    /// The session has said all that it had to say, as far as the server knows. Its answer may be on its way.
    Finished(String),
    /// The session has ended.
    Dead(Error),
}

/// Cancels the statement if the wait was stopped, and checks the session if it timed out.
pub(super) type Outside = Box<dyn Fn(Ended) -> Result<Found> + Send + Sync>;

/// A blocking reader of messages. After an I/O error it stays closed.
pub(super) struct ReadBuffer {
    stream: Stream,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    nap: Option<Nap>,
    rest: Duration,
    wait: Wait,
    /// Once the session is open.
    outside: Option<Outside>,
    closed: bool,
}

impl ReadBuffer {
    /// A buffer over a stream that waits for a slice at a time.
    pub(super) fn new(stream: Stream, wait: Wait) -> Self {
        Self {
            stream,
            bytes: vec![0; CAPACITY].into_boxed_slice(),
            start: 0,
            end: 0,
            nap: None,
            rest: Duration::ZERO,
            wait,
            outside: None,
            closed: false,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sets the limit of waits for the server.
    pub(super) fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Returns whether the limit of the wait was reached.
    pub(super) fn timed_out(&self) -> bool {
        self.wait.is_over()
    }

    /// Sets the second connection that acts when the wait ends.
    pub(super) fn set_outside(&mut self, outside: Outside) {
        self.outside = Some(outside);
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

    /// Returns whether the next message is in the buffer.
    pub(super) fn holds_message(&self) -> bool {
        let held = &self.bytes[self.start..self.end];
        let length = held.get(1..HEADER).and_then(|length| length.first_chunk());
        length.is_some_and(|length| held.len() > u32::from_be_bytes(*length) as usize)
    }

    /// Returns whether a message with a body of `length` bytes fits in the buffer.
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
        let doing = "read from the server";
        if self.wait.total_is_over() {
            self.closed = true;
            return Err(self.wait.error(Ended::TimedOut, doing));
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
                Ok(0) => {
                    let end = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
                    return Err(self.fail(doing, end));
                }
                Ok(read) => break read,
                Err(error) => self.go_on_after(error, doing)?,
            }
        };
        self.wait.answered();
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
        let doing = "send to the server";
        let mut left = bytes;
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => return Err(self.fail(doing, io::ErrorKind::WriteZero.into())),
                Ok(written) => left = &left[written..],
                Err(error) => {
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        // What the server said before it hung up is still there to be read.
                        let _ = self.fill();
                    }
                    self.go_on_after(error, doing)?;
                }
            }
        }
        while let Err(error) = self.stream.flush() {
            self.go_on_after(error, doing)?;
        }
        Ok(())
    }

    /// Takes an error that may only mean that a slice of the wait has passed.
    #[cold]
    fn go_on_after(&mut self, error: io::Error, doing: &str) -> Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.idle(doing),
            _ => Err(self.fail(doing, error)),
        }
    }

    /// Ends the wait where its limit is reached or the work is to stop.
    fn idle(&mut self, doing: &str) -> Result<()> {
        let Some(ended) = self.wait.idle() else { return Ok(()) };
        if ended == Ended::TimedOut
            && self.wait.is_of_silence()
            && let Some(outside) = &self.outside
        {
            let silent =
                |why: &str| format!("{doing}: it has sent nothing for {}: {why}", self.wait.limit_text());
            let error = match outside(ended) {
                Ok(Found::Working) => {
                    self.wait.answered();
                    return Ok(());
                }
                Ok(Found::Finished(_)) if self.wait.doubts < DOUBTS_MAX => {
                    self.wait.doubts += 1;
                    return Ok(());
                }
                Ok(Found::Finished(why)) => Error::new(ErrorKind::Connection, silent(&why)),
                Ok(Found::Dead(error)) => Error::new(ErrorKind::Connection, silent(&error.to_string())),
                Err(error) => error,
            };
            self.closed = true;
            return Err(error);
        }
        self.closed = true;
        if let (Ended::Stopped, Some(outside)) = (ended, &self.outside) {
            // Best effort: a caller that wants to stop does not wait for it.
            let _ = outside(ended);
        }
        Err(self.wait.error(ended, doing))
    }

    #[cold]
    fn fail(&mut self, doing: &str, error: io::Error) -> Error {
        self.closed = true;
        Error::with_source(ErrorKind::Connection, doing, error)
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
