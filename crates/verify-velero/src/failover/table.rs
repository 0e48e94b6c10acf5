//! The table that the probe writes to: one of its own for each run, which goes with the run.

use serde::{Deserialize, Serialize};
use verify_core::postgres::{Connection, Row, Type};
use verify_core::{Error, ErrorKind};

use super::record::Attempt;

type Result<T> = std::result::Result<T, Error>;

/// The name under which a run's sessions are known to the server; the run follows.
pub(super) const APPLICATION: &str = "state-lab probe";

/// A run's table. It has no key: a write that is there twice is to be seen, not to be refused.
#[derive(Clone, Debug)]
pub struct ProbeTable {
    run: String,
}

/// State of the answering server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its address, where it has one.
    pub server: Option<String>,
    pub timeline: u32,
}

/// Consecutive writes of a writer that are all in the table as often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    #[serde(rename = "w")]
    pub writer: u32,
    #[serde(rename = "f")]
    pub first: u64,
    #[serde(rename = "l")]
    pub last: u64,
    /// Rows of each.
    #[serde(rename = "c")]
    pub copies: u64,
    /// Attempts that each of these rows are of.
    #[serde(rename = "k")]
    pub attempts: u64,
}

impl ProbeTable {
    /// The table of a run.
    pub fn of(run: &str) -> Self {
        Self { run: run.chars().filter(char::is_ascii_alphanumeric).collect() }
    }

    /// Its name.
    pub fn name(&self) -> String {
        format!("state_lab.probe_{}", self.run)
    }

    /// Creates it, and removes those of runs that were killed.
    ///
    /// The schema is the heartbeat's; a new one is marked as this run's.
    pub fn create(&self, connection: &mut Connection) -> Result<()> {
        for left in connection.query(LEFT_BEHIND)? {
            connection.execute(&format!("DROP TABLE IF EXISTS state_lab.{}", left.text(0)?))?;
        }
        let mark = self.mark();
        match schema_mark(connection)? {
            None => connection
                .execute(&format!("CREATE SCHEMA state_lab; COMMENT ON SCHEMA state_lab IS '{mark}'"))?,
            // An aborted run's: now it is removed with this one.
            Some(found) if found.starts_with(APPLICATION) => {
                connection.execute(&format!("COMMENT ON SCHEMA state_lab IS '{mark}'"))?;
            }
            Some(_) => {}
        }
        let name = self.name();
        connection.execute(&format!(
            "CREATE TABLE {name} (writer pg_catalog.int4 NOT NULL, number pg_catalog.int8 NOT NULL, \
             attempt pg_catalog.int4 NOT NULL, \
             at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()); \
             COMMENT ON TABLE {name} IS '{mark}'"
        ))
    }

    /// Writes a row.
    pub fn write(&self, connection: &mut Connection, attempt: &Attempt) -> Result<()> {
        let Attempt { writer, number, attempt, asked_us: _ } = attempt;
        let (number, attempt) = (*number as i64, i64::from(*attempt));
        let values =
            [(&i64::from(*writer) as _, Type::INT8), (&number as _, Type::INT8), (&attempt as _, Type::INT8)];
        let sql = format!("INSERT INTO {} (writer, number, attempt) VALUES ($1, $2, $3)", self.name());
        connection.query_with(&sql, &values).map(drop)
    }

    /// Everything in it.
    pub fn read(&self, connection: &mut Connection) -> Result<Vec<Stored>> {
        let rows = connection.query(&format!(
            "SELECT writer, number, pg_catalog.count(*), pg_catalog.count(DISTINCT attempt) FROM {} \
             GROUP BY writer, number ORDER BY writer, number",
            self.name()
        ))?;
        let mut stored: Vec<Stored> = Vec::new();
        for row in &rows {
            let number = row.number(1)?;
            let found = Stored {
                writer: row.number(0)?,
                first: number,
                last: number,
                copies: row.number(2)?,
                attempts: row.number(3)?,
            };
            match stored.last_mut() {
                Some(span) if *span == (Stored { first: span.first, last: number - 1, ..found }) => {
                    span.last = number;
                }
                _ => stored.push(found),
            }
        }
        Ok(stored)
    }

    /// Removes it, and the schema if that is this run's making and nothing else has come into it.
    pub fn remove(&self, connection: &mut Connection) -> Result<()> {
        connection.execute(&format!("DROP TABLE IF EXISTS {}", self.name()))?;
        if schema_mark(connection)?.as_deref() == Some(self.mark().as_str()) {
            match connection.execute("DROP SCHEMA state_lab") {
                // Somebody has put the heartbeat into it meanwhile.
                Err(error) if error.sqlstate() == Some("2BP01") => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn mark(&self) -> String {
        format!("{APPLICATION} {}", self.run)
    }
}

/// The run that created the schema; empty if state-lab did not create it, `None` if there is no schema.
fn schema_mark(connection: &mut Connection) -> Result<Option<String>> {
    let rows = connection.query(
        "SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace \
         WHERE nspname OPERATOR(pg_catalog.=) 'state_lab'",
    )?;
    Ok(rows.first().map(|row| row.get(0).unwrap_or_default().to_owned()))
}

/// Tables of runs that have no session.
const LEFT_BEHIND: &str = "SELECT c.relname FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    WHERE n.nspname = 'state_lab' AND c.relkind = 'r' AND c.relname OPERATOR(pg_catalog.~) '^probe_[a-z0-9]+$' \
      AND pg_catalog.obj_description(c.oid, 'pg_class') LIKE 'state-lab probe %' \
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a \
                      WHERE a.application_name = pg_catalog.obj_description(c.oid, 'pg_class'))";

/// State of the server of a session. It must be open for writing.
pub fn standing(connection: &mut Connection) -> Result<Standing> {
    let rows = connection.query(
        "SELECT pg_catalog.host(pg_catalog.inet_server_addr()), \
         pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())",
    )?;
    let row = only(&rows)?;
    let file = row.text(1)?;
    let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let timeline = timeline.ok_or_else(|| {
        Error::new(ErrorKind::Protocol, format!("read the timeline from the WAL file {file:?}"))
    })?;
    Ok(Standing { server: row.get(0).map(str::to_owned), timeline })
}

fn only(rows: &[Row]) -> Result<&Row> {
    rows.first().ok_or_else(|| Error::new(ErrorKind::Protocol, "read an answer: the server sent no row"))
}
