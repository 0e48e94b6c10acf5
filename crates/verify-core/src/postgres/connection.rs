//! One blocking session with a server: statements by tokio-postgres, and the way to bulk data.

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::MutexGuard;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Column, SimpleColumn, SimpleQueryMessage};

use super::cancel::CancelHandle;
use super::link::{Failure, Link};
use super::login::{self, Ready, Start};
use super::open;
use super::outside::Outside;
use super::rows::{Row, Rows, first};
use super::session::SessionOptions;
use super::settings::Settings;
use super::statements;
use super::wire::{RESULT_LIMIT, Wire};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::raw_text;

/// A session. After an I/O error or a breach of the protocol it is closed, and every call says so.
pub struct Connection {
    // Dropped before the link, which then bids the server farewell.
    client: Client,
    link: Link,
    /// The settings of the one host that was reached.
    settings: Settings,
    /// Behind a pooler: statements that each transaction begins with.
    pooled: Option<String>,
}

/// A value for `$1`, with its type.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

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

    /// Logs in with the settings of one host.
    pub(super) fn begin(
        ready: Ready<'_>,
        settings: Settings,
        session: &SessionOptions,
        start: Start,
    ) -> Result<Self> {
        let (client, link) = login::log_in(ready, &settings, session, start)?;
        Ok(Self { client, link, settings, pooled: None })
    }

    /// Runs the first statement, which shows whether a pooler is between, and ends the time for connecting.
    pub(super) fn settle(&mut self, session: &SessionOptions, start: Start) -> Result<()> {
        let refused = start == Start::Pooled;
        let own_pid = if refused { 0 } else { self.backend_pid() };
        let ask =
            |connection: &mut Self| connection.query_with(statements::SESSION, &[(&own_pid, Type::INT4)]);
        let served_by: i32 = first(&self.promptly(ask)?)?.number(0)?;
        // A pooler gives its clients numbers of its own, or none.
        if refused || served_by != self.backend_pid() {
            self.pooled = Some(session.statements());
        }
        let process_id = self.pooled.is_none().then_some(served_by);
        let outside = Outside::new(self.cancel_handle(), self.settings.clone(), process_id);
        let mut wire = self.link.wire();
        wire.buffer.set_outside(Box::new(move |ended| outside.help(ended)));
        wire.buffer.set_wait(self.settings.silence());
        Ok(())
    }

    /// Runs what needs no work but a session of the server, in the time for connecting.
    fn promptly<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        run(self).map_err(|error| {
            if !error.kind().is_lost() || !self.link.wire().buffer.timed_out() {
                return error;
            }
            let text = format!(
                "get a session of the server: the login was accepted, but the first statement was not answered; a pooler \
                 may have no free connection, or the server hangs ({error})"
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
        self.link.wire().buffer.set_wait(self.settings.silence());
        begun
    }

    /// Limits all further waits together as those for connecting.
    pub(super) fn limit_total(&mut self) {
        self.link.wire().buffer.set_wait(self.settings.connecting());
    }

    /// Lets values through as they are stored: without an encoding the server can only hand out the bytes as they are.
    pub(super) fn set_raw_encoding(&mut self) -> Result<()> {
        match &mut self.pooled {
            Some(statements) => statements.push_str(&statements::set_local("client_encoding", "SQL_ASCII")),
            None => self.execute(statements::RAW_ENCODING)?,
        }
        Ok(())
    }

    /// Returns whether a pooler, such as PgBouncer, is between this client and the server.
    pub fn is_pooled(&self) -> bool {
        self.pooled.is_some()
    }

    /// A parameter that the server reported, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.link.parameter(name)
    }

    /// Returns the server's warnings since the last call: at most eight, each of at most 500 characters.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.link.take_warnings()
    }

    /// Sends the server's warnings as events.
    pub(super) fn report_warnings(&mut self, on_event: OnEvent<'_>) -> Result<()> {
        let warnings = self.take_warnings().into_iter();
        let mut events = warnings.map(|message| Event::ServerWarning { message });
        events.try_for_each(|event| event::send(on_event, event))
    }

    /// The process of this session on the server; zero where it gave none.
    pub fn backend_pid(&self) -> i32 {
        self.link.wire().process_id
    }

    /// `I` outside a transaction, `T` inside one, `E` inside one that failed.
    pub fn transaction_status(&self) -> u8 {
        self.link.wire().transaction_status
    }

    /// The settings, narrowed to the host that was reached: more sessions with them meet the same server.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns whether the session runs over TLS.
    pub fn is_tls(&self) -> bool {
        self.link.wire().buffer.stream().is_tls()
    }

    /// Returns whether the connection broke.
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Handle that cancels the statement of this session from another thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        let wire = self.link.wire();
        let stream = wire.buffer.stream();
        CancelHandle::new(
            self.settings.clone(),
            stream.peer(),
            stream.is_tls(),
            self.client.cancel_token(),
            wire.process_id,
        )
    }

    /// Runs statements; the rows of the last that returned any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Server`] leaves the session usable. A result of more than 256 MiB closes it.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        Ok(self.query_text(sql)?.rows)
    }

    /// Runs statements for their effect.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).map(drop)
    }

    /// The same with the names of the columns.
    pub(super) fn query_text(&mut self, sql: &str) -> Result<Rows> {
        let mut answer = Answer::default();
        self.simple_query(sql, |message| {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer = Answer::of(columns.iter().map(SimpleColumn::name));
                }
                SimpleQueryMessage::Row(row) => answer.push(Row::of_text(&row)?)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(answer.rows)
    }

    /// Runs one statement, and gives each of its rows, with the names of the columns, as it comes.
    pub(super) fn query_each(&mut self, sql: &str, mut each: impl FnMut(&[String], &Row)) -> Result<()> {
        let mut answer = Answer::default();
        self.simple_query(sql, |message| {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer = Answer::of(columns.iter().map(SimpleColumn::name));
                }
                SimpleQueryMessage::Row(row) => {
                    answer.push(Row::of_text(&row)?)?;
                    let columns = &answer.rows.columns;
                    answer.rows.rows.drain(..).for_each(|row| each(columns, &row));
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn simple_query(
        &mut self,
        sql: &str,
        mut take: impl FnMut(SimpleQueryMessage) -> Result<(), Failure>,
    ) -> Result<()> {
        let sql = self.within_settings(sql)?;
        let client = &self.client;
        let work = async {
            let mut messages = pin!(client.simple_query_raw(&sql).await?);
            while let Some(message) = messages.try_next().await? {
                take(message)?;
            }
            Ok(())
        };
        self.link.run(work)
    }

    /// Runs one statement with values for `$1` and so on; the rows that it returned. Their values are of the types `bool`,
    /// `int4`, `int8`, `oid`, `name`, `text` and `void`; others need a cast in the statement.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub fn query_with(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        Ok(self.query_binary(sql, parameters, u32::MAX)?.rows)
    }

    /// Runs one statement of an untrusted author: the server refuses a second one behind it. Gives at most
    /// `limit_rows` rows, of the types of [`Self::query_with`].
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub fn query_single(&mut self, sql: &str, limit_rows: u32) -> Result<Rows> {
        self.query_binary(sql, &[], limit_rows)
    }

    fn query_binary(&mut self, sql: &str, parameters: &[Parameter<'_>], limit_rows: u32) -> Result<Rows> {
        check(sql)?;
        // Behind a pooler the settings need a transaction; one message cannot hold both.
        let in_transaction = self.pooled.is_some() && self.transaction_status() == b'I';
        if in_transaction {
            self.query("BEGIN")?;
        }
        let client = &self.client;
        let work = async {
            let parameters = parameters.iter().map(|(value, type_)| (*value, type_.clone()));
            let mut found = pin!(client.query_typed_raw(sql, parameters).await?);
            let mut answer = Answer::default();
            while let Some(row) = found.try_next().await? {
                if answer.rows.rows.is_empty() {
                    answer = Answer::of(row.columns().iter().map(Column::name));
                }
                if answer.rows.rows.len() == limit_rows as usize {
                    answer.rows.more = true;
                    break;
                }
                answer.push(Row::of_binary(&row)?)?;
            }
            Ok(answer.rows)
        };
        let done = self.link.run(work);
        if in_transaction && !self.is_closed() {
            let ended = self.execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" });
            return done.and_then(|rows| ended.map(|()| rows));
        }
        done
    }

    /// Sends statements that begin a COPY to the client. The caller reads the answer to its end.
    pub(super) fn send_copy(&mut self, sql: &str) -> Result<MutexGuard<'_, Wire>> {
        let sql = self.within_settings(sql)?;
        let mut wire = self.link.wire();
        wire.query(&raw_text::encode(&sql))?;
        Ok(wire)
    }

    /// A statement as it is sent. One message is one transaction, which holds a session of the pool, until its BEGIN makes a
    /// longer one of it.
    fn within_settings<'s>(&self, sql: &'s str) -> Result<Cow<'s, str>> {
        check(sql)?;
        Ok(match &self.pooled {
            Some(settings) if self.transaction_status() == b'I' => format!("{settings}{sql}").into(),
            _ => sql.into(),
        })
    }
}

/// Rows, and the memory that they take.
#[derive(Default)]
struct Answer {
    rows: Rows,
    size: usize,
}

impl Answer {
    fn of<'a>(columns: impl Iterator<Item = &'a str>) -> Self {
        let columns = columns.map(str::to_owned).collect();
        Self { rows: Rows { columns, ..Rows::default() }, size: 0 }
    }

    fn push(&mut self, row: Row) -> Result<(), Failure> {
        self.size += row.size();
        if self.size > RESULT_LIMIT {
            return Err(Failure::TooLarge);
        }
        self.rows.rows.push(row);
        Ok(())
    }
}

fn check(sql: &str) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::new(ErrorKind::Protocol, "send a statement: it holds a zero byte"));
    }
    Ok(())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.settings.describe())
            .field("process_id", &self.backend_pid())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
