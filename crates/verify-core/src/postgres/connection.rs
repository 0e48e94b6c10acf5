//! One blocking session with a server: control queries, and the way to bulk data.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;

use super::buffer::{CAPACITY, HEADER, ReadBuffer};
use super::cancel::CancelHandle;
use super::heartbeat::first;
use super::login::Start;
use super::open;
use super::outside::Outside;
use super::rows::{Row, Rows, column_names};
use super::server_error::server_error;
use super::session::SessionOptions;
use super::settings::Settings;
use super::statements;
use crate::error::{Error, ErrorKind, Result};
use crate::raw_text;

/// Bytes that the rows of one control query may take in memory.
const RESULT_LIMIT: usize = 256 << 20;

/// A session. After an I/O error or a breach of the protocol it is closed, and every call says so.
pub struct Connection {
    buffer: ReadBuffer,
    /// The settings of the one host that was reached.
    settings: Settings,
    parameters: BTreeMap<String, String>,
    process_id: i32,
    secret_key: i32,
    transaction_status: u8,
    /// Behind a pooler: statements that each transaction begins with.
    pooled: Option<String>,
}

/// How a statement was sent, which decides how a COPY that it begins is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

impl Connection {
    /// Connects to the first host that answers and logs in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Connection`] where no host could be reached (the text names each), and
    /// [`ErrorKind::Authentication`], [`ErrorKind::Unsuitable`] (`target_session_attrs`),
    /// [`ErrorKind::Settings`] (certificates, password file) or [`ErrorKind::Server`].
    pub fn open(settings: &Settings, session: &SessionOptions) -> Result<Self> {
        open::open(settings, session)
    }

    /// Reads what the server says between the login and its first readiness.
    pub(super) fn begin(buffer: ReadBuffer, settings: Settings) -> Result<Self> {
        let parameters = BTreeMap::new();
        let mut connection = Self {
            buffer,
            settings,
            parameters,
            process_id: 0,
            secret_key: 0,
            transaction_status: b'I',
            pooled: None,
        };
        loop {
            let (tag, length) = connection.next_header()?;
            let body = connection.control_body(length)?;
            match tag {
                b'E' => return Err(server_error(&body)),
                b'K' => connection.keep_key(&body)?,
                b'Z' => break connection.set_status(&body)?,
                other => return Err(connection.unexpected(other)),
            }
        }
        Ok(connection)
    }

    /// Runs the first statement, which shows whether a pooler is between, and ends the time for connecting.
    pub(super) fn settle(&mut self, session: &SessionOptions, start: Start) -> Result<()> {
        let refused = start == Start::Pooled;
        let own_pid = if refused { 0 } else { self.process_id };
        let rows = self.promptly(|connection| connection.query(&statements::session(own_pid)))?;
        let served_by: i32 = first(&rows)?.number(0)?;
        // A pooler gives its clients numbers of its own, or none.
        if refused || served_by != self.process_id {
            self.pooled = Some(session.statements());
        }
        let process_id = self.pooled.is_none().then_some(served_by);
        self.buffer.set_outside(Outside::new(self.cancel_handle(), self.settings.clone(), process_id));
        self.buffer.set_wait(self.settings.silence());
        Ok(())
    }

    /// Runs what needs no work but a session of the server, in the time for connecting.
    fn promptly<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        run(self).map_err(|error| {
            if error.kind() != &ErrorKind::Connection || !self.buffer.timed_out() {
                return error;
            }
            let text = format!(
                "get a session of the server: the login was accepted, but the first statement was not answered; a pooler \
                 may have no free connection, or the server hangs ({})",
                error.chain()
            );
            // Without the cause, whose hint is for a server that refuses the login.
            Error::new(ErrorKind::PoolExhausted, text)
        })
    }

    /// Begins a transaction. Behind a pooler it gets a session of the server in the time for connecting, or not at all.
    pub(super) fn begin_transaction(&mut self, sql: &str) -> Result<Vec<Row>> {
        if self.pooled.is_none() {
            return self.query(sql);
        }
        self.limit_total();
        let begun = self.promptly(|connection| connection.query(sql));
        self.buffer.set_wait(self.settings.silence());
        begun
    }

    /// Limits all further waits together as those for connecting.
    pub(super) fn limit_total(&mut self) {
        self.buffer.set_wait(self.settings.connecting());
    }

    /// Lets values through as they are stored: without an encoding the server can only hand out the bytes as they are.
    pub(super) fn set_raw_encoding(&mut self) -> Result<()> {
        match &mut self.pooled {
            Some(statements) => statements.push_str(&statements::set_local("client_encoding", "SQL_ASCII")),
            None => self.execute(statements::RAW_ENCODING)?,
        }
        Ok(())
    }

    /// Whether a pooler, such as PgBouncer, is between this client and the server.
    pub fn is_pooled(&self) -> bool {
        self.pooled.is_some()
    }

    /// A parameter that the server reported, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The process of this session on the server; zero where it gave none.
    pub fn backend_pid(&self) -> i32 {
        self.process_id
    }

    /// `I` outside a transaction, `T` inside one, `E` inside one that failed.
    pub fn transaction_status(&self) -> u8 {
        self.transaction_status
    }

    /// The settings, narrowed to the host that was reached: more sessions with them meet the same server.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the session runs over TLS.
    pub fn is_tls(&self) -> bool {
        self.buffer.stream().is_tls()
    }

    /// Whether the connection broke.
    pub fn is_closed(&self) -> bool {
        self.buffer.is_closed()
    }

    /// What ends the statement of this session from another thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        let peer = self.buffer.stream().peer();
        CancelHandle::new(self.settings.clone(), peer, self.is_tls(), (self.process_id, self.secret_key))
    }

    /// Runs statements; the rows of the last that returned any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Server`] leaves the session usable. A result of more than 256 MiB closes it.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.send_query(sql)?;
        Ok(self.collect(Protocol::Simple)?.rows)
    }

    /// Runs statements for their effect.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).map(drop)
    }

    /// Runs one statement, which somebody else wrote: the server refuses a second one behind it. Gives at most
    /// `limit_rows` rows.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub fn query_single(&mut self, sql: &str, limit_rows: u32) -> Result<Rows> {
        let mut message = BytesMut::new();
        // One row more than wanted shows whether there are more.
        let fetched = i32::try_from(limit_rows.saturating_add(1)).unwrap_or(i32::MAX);
        let no_values = std::iter::empty::<()>;
        statement(b'P', &[b"\0", &raw_text::encode(sql), b"\0\0\0"], &mut message)?;
        frontend::bind("", "", [], no_values(), |(), _| Ok(postgres_protocol::IsNull::Yes), [], &mut message)
            .map_err(|_| unsendable(io::ErrorKind::InvalidInput.into()))?;
        frontend::describe(b'P', "", &mut message).map_err(unsendable)?;
        frontend::execute("", fetched, &mut message).map_err(unsendable)?;
        frontend::sync(&mut message);
        self.buffer.send(&message)?;
        let mut rows = self.collect(Protocol::Extended)?;
        rows.more = rows.rows.len() > limit_rows as usize;
        rows.rows.truncate(limit_rows as usize);
        Ok(rows)
    }

    /// Sends statements without waiting. The caller reads every answer, to the ReadyForQuery, with
    /// [`Self::next_header`] and [`Self::buffer_mut`].
    pub(super) fn send_query(&mut self, sql: &str) -> Result<()> {
        let mut message = BytesMut::new();
        match &self.pooled {
            // One message is one transaction, which holds a session of the pool, until its BEGIN makes a longer one of it.
            Some(settings) if self.transaction_status == b'I' => {
                statement(b'Q', &[settings.as_bytes(), &raw_text::encode(sql), b"\0"], &mut message)?;
            }
            _ => statement(b'Q', &[&raw_text::encode(sql), b"\0"], &mut message)?,
        }
        self.buffer.send(&message)
    }

    /// The buffer, for a reader of bulk data. Messages that [`Self::next_header`] would handle may stand in it.
    pub(super) fn buffer_mut(&mut self) -> &mut ReadBuffer {
        &mut self.buffer
    }

    /// The tag and body length of the next message that is an answer; it stays in the buffer. Notices,
    /// parameters and notifications before it are handled.
    pub(super) fn next_header(&mut self) -> Result<(u8, usize)> {
        loop {
            let (tag, length) = self.buffer.header()?;
            if !self.handle_unasked(tag, length)? {
                return Ok((tag, length));
            }
        }
    }

    /// Consumes a message that may come at any time; whether it was one.
    pub(super) fn handle_unasked(&mut self, tag: u8, length: usize) -> Result<bool> {
        match tag {
            b'N' | b'A' => self.buffer.skip(length)?,
            b'S' => {
                let body = self.control_body(length)?;
                let mut parts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    self.parameters.insert(name.into_owned(), value.into_owned());
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Consumes the rest of an answer, to the ReadyForQuery, after an ErrorResponse or when done.
    pub(super) fn finish_query(&mut self) -> Result<()> {
        self.collect(Protocol::Simple).map(drop)
    }

    /// Reads an answer to its end.
    fn collect(&mut self, protocol: Protocol) -> Result<Rows> {
        let mut answer = Rows { columns: Vec::new(), rows: Vec::new(), more: false };
        let mut failure = None;
        let mut size = 0;
        loop {
            let (tag, length) = match self.next_header() {
                Ok(header) => header,
                // What the server said before it hung up explains more than that it hung up.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            match tag {
                b'D' => {
                    let row = self.read_row(length)?;
                    size += row.size();
                    if size > RESULT_LIMIT {
                        return Err(self.too_large());
                    }
                    answer.rows.push(row);
                }
                b'T' => {
                    let body = self.control_body(length)?;
                    answer.columns = self.checked(column_names(&body))?;
                    answer.rows.clear();
                    size = 0;
                }
                b'E' => {
                    let error = server_error(&self.control_body(length)?);
                    failure.get_or_insert(error);
                }
                b'Z' => {
                    let body = self.control_body(length)?;
                    self.set_status(&body)?;
                    return failure.map_or(Ok(answer), Err);
                }
                // CommandComplete, EmptyQuery, ParseComplete, BindComplete, NoData, PortalSuspended.
                b'C' | b'I' | b'1' | b'2' | b'n' | b's' => self.buffer.skip(length)?,
                b'G' | b'H' | b'd' | b'c' => {
                    self.buffer.skip(length)?;
                    failure.get_or_insert_with(copy_refused);
                    if tag == b'G' {
                        self.refuse_copy_in(protocol)?;
                    }
                }
                other => return Err(self.unexpected(other)),
            }
        }
    }

    fn read_row(&mut self, length: usize) -> Result<Row> {
        if HEADER + length <= CAPACITY {
            let row = Row::decode(self.buffer.body(length)?);
            return self.checked(row);
        }
        let body = self.control_body(length)?;
        self.checked(Row::decode(&body))
    }

    /// The whole body of a message that is no bulk data.
    fn control_body(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > RESULT_LIMIT {
            return Err(self.too_large());
        }
        self.buffer.open_body();
        let mut body = Vec::new();
        while body.len() < length {
            body.extend_from_slice(self.buffer.take(length - body.len())?);
        }
        Ok(body)
    }

    /// Ends a COPY FROM STDIN that a statement began. A Sync sent along with the statement was ignored.
    fn refuse_copy_in(&mut self, protocol: Protocol) -> Result<()> {
        let mut message = BytesMut::new();
        frontend::copy_fail("COPY is not expected here", &mut message).map_err(unsendable)?;
        if protocol == Protocol::Extended {
            frontend::sync(&mut message);
        }
        self.buffer.send(&message)
    }

    pub(super) fn set_status(&mut self, body: &[u8]) -> Result<()> {
        let [status] = body else { return Err(self.unexpected(b'Z')) };
        self.transaction_status = *status;
        Ok(())
    }

    fn keep_key(&mut self, body: &[u8]) -> Result<()> {
        let Ok(key) = <[u8; 8]>::try_from(body) else { return Err(self.unexpected(b'K')) };
        let [a, b, c, d, e, f, g, h] = key;
        self.process_id = i32::from_be_bytes([a, b, c, d]);
        self.secret_key = i32::from_be_bytes([e, f, g, h]);
        Ok(())
    }

    /// Closes the session when a message could not be understood.
    fn checked<T>(&mut self, read: Result<T>) -> Result<T> {
        if read.is_err() {
            self.buffer.close();
        }
        read
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

    fn too_large(&mut self) -> Error {
        self.buffer.close();
        let limit = RESULT_LIMIT >> 20;
        Error::new(ErrorKind::Protocol, format!("read a result: it is larger than {limit} MiB"))
    }
}

/// A message with a statement, which may hold bytes that are no UTF-8. Of its parts the statement is the last but one.
fn statement(tag: u8, parts: &[&[u8]], message: &mut BytesMut) -> Result<()> {
    let refused = || unsendable(io::ErrorKind::InvalidInput.into());
    if parts.iter().rev().nth(1).is_some_and(|sql| sql.contains(&0)) {
        return Err(refused());
    }
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    message.put_u8(tag);
    message.put_i32(i32::try_from(length).map_err(|_| refused())?);
    parts.iter().for_each(|part| message.put_slice(part));
    Ok(())
}

fn unsendable(error: io::Error) -> Error {
    Error::with_source(ErrorKind::Protocol, "send a statement (it may hold a zero byte)", error)
}

fn copy_refused() -> Error {
    Error::new(ErrorKind::Protocol, "run a statement: COPY to or from the client is not expected here")
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.settings.describe())
            .field("process_id", &self.process_id)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        // Best effort: without it the server notices the end all the same, and logs it.
        let _ = self.buffer.send(&message);
    }
}
