//! Runs the user's SQL so that it can neither write, nor run for ever, nor end our transaction.

use super::connection::Connection;
use super::statements;
use crate::error::Result;
use crate::invariant::{Invariant, Outcome, ROWS_MAX, ResultCollector};

/// Search path of names without a schema: the same on both sides, whatever the role, the database and the server
/// say, which a restore need not bring back. Temporary tables come last.
const SEARCH_PATH: &str = "pg_catalog, public, pg_temp";
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_FUNCTION: &str = "42883";
const UNDEFINED_OBJECT: &str = "42704";

const FETCH_ROWS: u32 = 1_000;

/// Evaluates an invariant within the open read-only transaction, in a savepoint of its own.
///
/// It runs behind a cursor, which is declared through the protocol that takes one statement only: what is no SELECT or
/// VALUES is a syntax error, and what follows a semicolon is refused. Values are fetched as text.
pub(super) fn evaluate(
    connection: &mut Connection,
    invariant: &Invariant,
    timeout_ms: u32,
) -> Result<Outcome> {
    connection.execute(&format!(
        "SAVEPOINT state_lab; SET LOCAL search_path = {SEARCH_PATH}; SET LOCAL statement_timeout = {timeout_ms}"
    ))?;
    let outcome = run(connection, invariant);
    if connection.is_closed() {
        return outcome;
    }
    connection.execute("ROLLBACK TO SAVEPOINT state_lab; RELEASE SAVEPOINT state_lab")?;
    match outcome {
        Err(error) => match error.sqlstate() {
            Some(UNDEFINED_TABLE | UNDEFINED_FUNCTION | UNDEFINED_OBJECT) => Ok(Outcome::Broken(format!(
                "{error}; names without a schema are looked up in pg_catalog and public: qualify others"
            ))),
            Some(_) => Ok(Outcome::Broken(error.to_string())),
            None => Err(error),
        },
        outcome => outcome,
    }
}

fn run(connection: &mut Connection, invariant: &Invariant) -> Result<Outcome> {
    connection.query_single(&statements::declare(&invariant.sql), 0)?;
    let mut collector: Option<ResultCollector> = None;
    let mut rows = 0;
    loop {
        let batch = connection.query_text(&format!("FETCH {FETCH_ROWS} FROM state_lab_invariant"))?;
        rows += batch.rows.len() as u64;
        let collector = collector.get_or_insert_with(|| ResultCollector::new(batch.columns.clone()));
        for row in &batch.rows {
            let values: Vec<Option<&str>> = (0..row.len()).map(|i| row.get(i)).collect();
            collector.push(&values);
        }
        if rows > ROWS_MAX {
            return Ok(Outcome::Broken(format!("it returned more than {ROWS_MAX} rows; aggregate them")));
        }
        if batch.rows.len() < FETCH_ROWS as usize {
            break;
        }
    }
    let result = collector.map_or_else(|| ResultCollector::new(Vec::new()).finish(), ResultCollector::finish);
    Ok(Outcome::Result(result))
}
