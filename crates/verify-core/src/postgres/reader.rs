//! The bulk reader: many COPY statements a message, their rows passed on from one large buffer.

use std::sync::MutexGuard;

use super::buffer::ReadBuffer;
use super::cancel::CancelHandle;
use super::connection::Connection;
use super::crew::Session;
use super::rows::first;
use super::server_error::server_error;
use super::statements;
use super::wire::Wire;
use crate::database::{Obstacle, Reader, Sink, Slice};
use crate::digest::{Digest, Sum};
use crate::error::{Error, ErrorKind, Result};

/// The most tables that one transaction reads: each holds a lock in the server's shared memory.
const TRANSACTION_TABLES_MAX: usize = 500;
/// Signature, flags and extension length that begin a binary COPY.
const COPY_HEADER: usize = 19;
const COPY_SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The field count that ends a binary COPY.
const COPY_TRAILER: [u8; 2] = [0xff, 0xff];

/// One connection in a transaction that shares the snapshot.
pub(super) struct CopyReader {
    connection: Connection,
    /// The snapshot's exported name.
    exported: String,
    /// The snapshot that it reads.
    snapshot: String,
    /// True on a standby, whose recovery may end the session that exported the snapshot.
    in_recovery: bool,
    /// Tables read in the current transaction.
    tables: usize,
}

/// Result of a COPY.
enum Answer {
    Done,
    /// The server refused it; the transaction is aborted.
    Failed(Error),
}

impl CopyReader {
    pub(super) fn new(
        connection: Connection,
        exported: &str,
        snapshot: &str,
        in_recovery: bool,
    ) -> Result<Self> {
        let (exported, snapshot) = (exported.to_owned(), snapshot.to_owned());
        let mut reader = Self { connection, exported, snapshot, in_recovery, tables: 0 };
        reader.begin()?;
        Ok(reader)
    }

    /// Counts rows and adds up their hashes on the server.
    pub(super) fn row_sum(&mut self, slice: &Slice<'_>, seed: i64) -> Result<Result<Digest, Obstacle>> {
        self.make_room()?;
        self.tables += 1;
        match row_sum(&mut self.connection, slice, seed) {
            Ok(digest) => Ok(Ok(digest)),
            Err(error) if error.sqlstate().is_some() && !self.connection.is_closed() => {
                let obstacle = obstacle(&error)?;
                self.connection.execute("ROLLBACK")?;
                self.begin()?;
                Ok(Err(obstacle))
            }
            Err(error) => Err(error.while_doing(format!("hash the rows of {}", slice.table.name))),
        }
    }

    /// Begins another transaction where this one has read as many tables as it may.
    fn make_room(&mut self) -> Result<()> {
        if self.tables >= TRANSACTION_TABLES_MAX {
            self.connection.execute("COMMIT")?;
            self.begin()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.tables = 0;
        let import = statements::import(&self.exported);
        let begun = self.connection.begin_transaction(&format!("{}; {import}", statements::BEGIN));
        begun
            .map_err(|error| if self.in_recovery { or_conflict(error) } else { error })
            .and_then(|_| self.check_snapshot())
            .map_err(|error| error.while_doing("share the snapshot with another connection"))
    }

    /// Behind a pooler: another server may have a snapshot of the same name.
    fn check_snapshot(&mut self) -> Result<()> {
        if !self.connection.is_pooled() {
            return Ok(());
        }
        let rows = self.connection.query(statements::CURRENT_SNAPSHOT)?;
        let seen = first(&rows)?.text(0)?;
        if seen == self.snapshot {
            return Ok(());
        }
        let text = format!("the pooler led to a session that sees {seen}, not {}", self.snapshot);
        Err(Error::new(ErrorKind::Unsuitable, text))
    }

    /// Reads slices from one message; gives how many were dealt with.
    fn batch(&mut self, slices: &[Slice<'_>], first: usize, sink: &mut dyn Sink) -> Result<usize> {
        let (read, failure) = Stream::read(&mut self.connection, slices, first, sink)?;
        if let Some(error) = failure {
            self.connection.execute("ROLLBACK")?;
            sink.unreadable(first + read - 1, obstacle(&error)?)?;
            self.begin()?;
        }
        Ok(read)
    }
}

impl Reader for CopyReader {
    fn read(&mut self, slices: &[Slice<'_>], sink: &mut dyn Sink) -> Result<()> {
        let mut done = 0;
        while done < slices.len() {
            self.make_room()?;
            let room = (TRANSACTION_TABLES_MAX - self.tables).min(slices.len() - done);
            let read = self.batch(&slices[done..done + room], done, sink)?;
            done += read;
            self.tables += read;
        }
        Ok(())
    }
}

impl Session for CopyReader {
    fn cancel_handle(&self) -> CancelHandle {
        self.connection.cancel_handle()
    }
}

/// Counts rows and adds up their hashes, within the open transaction.
pub(super) fn row_sum(connection: &mut Connection, slice: &Slice<'_>, seed: i64) -> Result<Digest> {
    let rows = connection.query(&statements::row_sum(slice, seed))?;
    let row = first(&rows)?;
    Ok(Digest { rows: row.number(0)?, sum: Sum::of_signed(row.number(1)?) })
}

/// The coordinating session as a reader: it holds the locks, so it never waits behind somebody who waits for them.
pub(super) struct CoordinatorReader<'a> {
    control: MutexGuard<'a, Connection>,
}

impl<'a> CoordinatorReader<'a> {
    pub(super) fn new(control: MutexGuard<'a, Connection>) -> Self {
        Self { control }
    }
}

impl Reader for CoordinatorReader<'_> {
    fn read(&mut self, slices: &[Slice<'_>], sink: &mut dyn Sink) -> Result<()> {
        for (i, slice) in slices.iter().enumerate() {
            self.control.execute("SAVEPOINT state_lab_reader")?;
            let one = std::slice::from_ref(slice);
            let (_, failure) = Stream::read(&mut self.control, one, i, sink)?;
            if let Some(error) = failure {
                self.control.execute("ROLLBACK TO SAVEPOINT state_lab_reader")?;
                sink.unreadable(i, obstacle(&error)?)?;
            }
            self.control.execute("RELEASE SAVEPOINT state_lab_reader")?;
        }
        Ok(())
    }
}

/// The answers to several COPYs that were sent in one message.
struct Stream<'c> {
    wire: MutexGuard<'c, Wire>,
}

impl Stream<'_> {
    /// Passes on the rows of slices; returns how many were read, and why the last of them failed.
    fn read(
        connection: &mut Connection,
        slices: &[Slice<'_>],
        first: usize,
        sink: &mut dyn Sink,
    ) -> Result<(usize, Option<Error>)> {
        let copies: Vec<String> = slices.iter().map(statements::copy).collect();
        let mut stream = Stream { wire: connection.send_copy(&copies.join("; "))? };
        stream.wire.buffer.set_bulk(true);
        let read = stream.read_all(slices, first, sink);
        stream.wire.buffer.set_bulk(false);
        if read.is_err() {
            // No slice owns what follows.
            stream.wire.buffer.close();
        }
        read
    }

    fn read_all(
        &mut self,
        slices: &[Slice<'_>],
        first: usize,
        sink: &mut dyn Sink,
    ) -> Result<(usize, Option<Error>)> {
        let mut failure = None;
        let mut read = 0;
        for (i, slice) in slices.iter().enumerate() {
            sink.begin(first + i)?;
            let answer =
                self.copy(sink).map_err(|error| error.while_doing(format!("read {}", slice.table.name)))?;
            read += 1;
            if let Answer::Failed(error) = answer {
                failure = Some(error);
                break;
            }
        }
        self.wire.finish()?;
        Ok((read, failure))
    }

    /// One COPY: CopyOutResponse, CopyData, CopyDone, CommandComplete.
    fn copy(&mut self, sink: &mut dyn Sink) -> Result<Answer> {
        let (mut header, mut ended) = (true, false);
        loop {
            let (tag, length) = self.wire.buffer.header()?;
            match tag {
                b'd' if ended => return Err(self.wire.unexpected(tag)),
                b'd' => {
                    let skip = if std::mem::take(&mut header) { COPY_HEADER } else { 0 };
                    ended = self.data(length, skip, sink)?;
                }
                b'c' if ended => self.wire.buffer.body(length).map(|_| ())?,
                b'H' if header => self.wire.buffer.body(length).map(|_| ())?,
                b'C' if ended => {
                    let rows = count(self.wire.buffer.body(length)?);
                    sink.end(rows.ok_or_else(|| malformed("the number of rows"))?)?;
                    return Ok(Answer::Done);
                }
                b'E' => {
                    let body = self.wire.buffer.body(length)?;
                    return Ok(Answer::Failed(server_error(body)));
                }
                // Notices, notifications and parameters may come at any time.
                b'N' | b'A' | b'S' => self.wire.buffer.skip(length)?,
                _ => return Err(self.wire.unexpected(tag)),
            }
        }
    }

    /// One CopyData message: a tuple, behind the stream's header if it is the first; whether it ends the stream.
    #[inline]
    fn data(&mut self, length: usize, skip: usize, sink: &mut dyn Sink) -> Result<bool> {
        if !ReadBuffer::fits(length) {
            return self.large(length, skip, sink).map(|()| false);
        }
        let body = self.wire.buffer.body(length)?;
        let (head, tuple) = body.split_at_mut_checked(skip).ok_or_else(|| malformed("the COPY header"))?;
        if skip > 0 {
            check_header(head)?;
        }
        if *tuple == COPY_TRAILER {
            return Ok(true);
        }
        if !tuple.is_empty() {
            sink.row(tuple)?;
        }
        Ok(false)
    }

    /// A tuple that is larger than the buffer, in pieces.
    fn large(&mut self, length: usize, skip: usize, sink: &mut dyn Sink) -> Result<()> {
        let buffer = &mut self.wire.buffer;
        buffer.open_body();
        let mut head = Vec::new();
        while head.len() < skip {
            head.extend_from_slice(buffer.take(skip - head.len())?);
        }
        if skip > 0 {
            check_header(&head)?;
        }
        let mut left = length - skip;
        while left > 0 {
            let piece = buffer.take(left)?;
            left -= piece.len();
            sink.piece(piece, left == 0)?;
        }
        Ok(())
    }
}

fn check_header(header: &[u8]) -> Result<()> {
    // Flags and extension must be empty: object ids or anything else in the stream would not be understood.
    if header.starts_with(COPY_SIGNATURE) && header[COPY_SIGNATURE.len()..].iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(malformed("the COPY header"))
    }
}

fn count(tag: &[u8]) -> Option<u64> {
    std::str::from_utf8(tag).ok()?.trim_end_matches('\0').strip_prefix("COPY ")?.parse().ok()
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("read rows: the server sent {what} malformed"))
}

/// The error of importing a snapshot on a standby: without the file of the snapshot, recovery ended the session that held it.
pub(super) fn or_conflict(error: Error) -> Error {
    match error.sqlstate() {
        // Before PostgreSQL 17, and since.
        Some("22023" | "42704") => {
            let conflict = ErrorKind::Server { sqlstate: "40001".to_owned() };
            let text = "the session that held the snapshot was ended, as it is by a conflict with recovery";
            Error::with_source(conflict, text, error)
        }
        _ => error,
    }
}

/// Reason why a table cannot be read, as opposed to a connection that ended or a snapshot that is lost.
pub(super) fn obstacle(error: &Error) -> Result<Obstacle> {
    let reason = error.to_string();
    match error.sqlstate() {
        // Administrative ends of the session: nothing is known of the table.
        Some(state) if state.starts_with("57P") => Err(Error::new(
            ErrorKind::Connection,
            format!("go on reading: the server ended the session ({reason})"),
        )),
        // A read-only transaction gets these on a standby alone, where its snapshot is lost with them.
        Some(state @ ("40001" | "40P01")) => {
            Err(Error::new(ErrorKind::Server { sqlstate: state.to_owned() }, reason))
        }
        Some("42P01" | "3F000") => {
            Ok(Obstacle::Dropped(format!("it was dropped or renamed meanwhile ({reason})")))
        }
        Some("55P03") => Ok(Obstacle::Locked(reason)),
        // A row, or one value of it, does not fit the gigabyte that the server can build at once.
        Some("54000") => Ok(Obstacle::TooLarge(reason)),
        Some("XX000") if reason.contains("invalid memory alloc request size") => {
            Ok(Obstacle::TooLarge(reason))
        }
        // Corruption, internal errors, files that are missing or cannot be read, values that cannot be decoded.
        Some(state) if state.starts_with("XX") || state.starts_with("58") || state == "22021" => {
            Ok(Obstacle::Damaged(reason))
        }
        _ => Ok(Obstacle::Unreadable(reason)),
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
