//! A read-only transaction in which queries run as a role that may read every table and nothing else.

mod statements;

pub(super) use statements::own;

use super::connection::Connection;
use super::crew::{IN_RECOVERY, POOLED};
use super::printable::printable;
use super::reader::obstacle;
use super::rows::first;
use crate::database::Obstacle;
use crate::error::{Error, Result};
use crate::table::TableName;

/// The first `server_version_num` with the role `pg_read_all_data`.
const READS_ALL_DATA: u32 = 140_000;
/// The first one on which no event trigger fires in our sessions, see [`super::integrity`].
const EVENT_TRIGGERS_OFF: u32 = 170_000;
/// Characters of what the server says of one object.
pub(super) const SAID_MAX: usize = 500;
/// Errors of names that are not found.
const NOT_FOUND: [&str; 3] = ["42P01", "42883", "42704"];

/// Privileges with which expressions of the database run.
pub(super) struct Sandbox {
    /// True if the session's role is a superuser, whose privileges they must not have.
    superuser: bool,
    server_version: u32,
    /// Schemas of functions and types, which expressions may use; where a role is not allowed to use all by being a member of another.
    schemas: Vec<String>,
}

/// Why a query has no result.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// True if the server says that data are damaged.
    pub(super) damaged: bool,
}

impl Sandbox {
    /// Reads what the session may do; or the reason why nothing can be checked.
    pub(super) fn ready(control: &mut Connection) -> Result<Result<Self, String>> {
        let rows = control.query(statements::SESSION)?;
        let row = first(&rows)?;
        let (superuser, in_recovery, always, server_version) =
            (row.flag(0)?, row.flag(1)?, row.flag(2)?, row.number(3)?);
        if control.is_pooled() {
            return Ok(Err(POOLED.to_owned()));
        }
        if in_recovery {
            return Ok(Err(IN_RECOVERY.to_owned()));
        }
        if superuser && always && server_version < EVENT_TRIGGERS_OFF {
            return Ok(Err(
                "not checked: an event trigger of the database that is enabled ALWAYS or REPLICA would run"
                    .to_owned(),
            ));
        }
        let schemas = if superuser && server_version < READS_ALL_DATA {
            let rows = control.query(statements::SCHEMAS)?;
            rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        Ok(Ok(Self { superuser, server_version, schemas }))
    }

    /// Begins the transaction for queries of relations, which are read sequentially, under the snapshot if one is given.
    pub(super) fn enter(
        &self,
        connection: &mut Connection,
        relations: &[TableName],
        snapshot: Option<&str>,
    ) -> Result<()> {
        connection.execute(&statements::begin(self.superuser, snapshot))?;
        self.become_reader(connection, relations, "")
    }

    /// The same, after a superuser has prepared the transaction, which is rolled back. The role that only reads exists by then.
    pub(super) fn enter_prepared(
        &self,
        connection: &mut Connection,
        relations: &[TableName],
        prepare: &str,
    ) -> Result<()> {
        connection.execute(&statements::begin(self.superuser, None))?;
        self.become_reader(connection, relations, prepare)
    }

    fn become_reader(
        &self,
        connection: &mut Connection,
        relations: &[TableName],
        prepare: &str,
    ) -> Result<()> {
        if self.superuser {
            let member = self.server_version >= READS_ALL_DATA;
            let tables = if member { &[] } else { relations };
            connection.execute(&statements::become_reader(
                connection.backend_pid(),
                member,
                tables,
                &self.schemas,
            ))?;
            if !prepare.is_empty() {
                connection.execute(prepare)?;
            }
            connection.execute(statements::READ_ONLY)?;
        }
        connection.execute(statements::PLANNER)
    }

    /// Runs a query of one column of text for at most `timeout_ms`; what the server refuses is the inner error.
    ///
    /// Functions of the database expect the names of their tables to be found; the query itself is parsed first without.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        query: &str,
        timeout_ms: u64,
    ) -> Result<Result<Vec<String>, Refusal>> {
        let mut result = self.attempt(connection, query, "pg_catalog", timeout_ms)?;
        if matches!(&result, Err(error) if error.sqlstate().is_some_and(|state| NOT_FOUND.contains(&state))) {
            result = self.attempt(connection, query, "pg_catalog, public, pg_temp", timeout_ms)?;
        }
        match result {
            Ok(texts) => Ok(Ok(texts)),
            Err(error) => Ok(Err(Refusal {
                reason: if self.superuser { withheld(&error) } else { said(&error) },
                damaged: matches!(obstacle(&error)?, Obstacle::Damaged(_)),
            })),
        }
    }

    fn attempt(
        &self,
        connection: &mut Connection,
        query: &str,
        search_path: &str,
        timeout_ms: u64,
    ) -> Result<Result<Vec<String>, Error>> {
        connection.execute(&statements::guard(search_path, timeout_ms))?;
        let sql = if self.superuser { statements::run_as_reader(query) } else { query.to_owned() };
        let answer = connection.query(&sql);
        let answer = match answer {
            Err(error) if error.sqlstate().is_none() || connection.is_closed() => return Err(error),
            answer => answer,
        };
        // Also takes back settings that a function changed.
        connection.execute(statements::UNDO)?;
        match answer {
            Ok(rows) => {
                let texts = rows.iter().map(|row| row.get(0).unwrap_or_default().to_owned()).collect();
                Ok(Ok(texts))
            }
            Err(error) => {
                obstacle(&error)?;
                Ok(Err(error))
            }
        }
    }
}

/// What an error says.
pub(super) fn said(error: &Error) -> String {
    printable(&error.to_string(), SAID_MAX)
}

/// What an error says without its text: a function of the database may have written it, and may read what no report may hold.
fn withheld(error: &Error) -> String {
    let state = error.sqlstate().unwrap_or_default();
    let meaning = match state {
        "42501" => "a privilege is missing",
        "57014" => "it exceeded its time limit",
        "P0001" => "a function raised an error",
        "42P01" | "42883" | "42704" | "3F000" => "a name was not found",
        _ if state.starts_with("XX") || state.starts_with("58") => "data are damaged",
        _ => "an expression failed",
    };
    format!(
        "{meaning}: the server answered with SQLSTATE {state}, whose text a function of the database may have written"
    )
}
