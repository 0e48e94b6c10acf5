//! Expressions printed again by a restored server, in transactions that are rolled back.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::Limits;
use crate::postgres::connection::Connection;
use crate::postgres::printable::printable;
use crate::postgres::rows::first;
use crate::postgres::session::SessionOptions;
use crate::postgres::settings::Settings;
use crate::postgres::snapshot;
use crate::postgres::statements::qualified;
use crate::reprint::{Context, Printed, Reprint};

/// Characters of a server's reason.
const REASON_MAX: usize = 300;
/// Time limit of one statement: it only parses.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Selects whether something of the database's own would run when a view is made.
const EVENT_TRIGGERS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger t WHERE t.evtevent <> 'login' \
      AND t.evtenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)) \
    AND coalesce(pg_catalog.current_setting('event_triggers', true), 'on') = 'on'";
/// Keeps event triggers from running, where the role may do that; the second setting is new in PostgreSQL 17.
const EVENT_TRIGGERS_OFF: &str = "SELECT pg_catalog.set_config(s.name, CASE s.name WHEN 'event_triggers' THEN 'off' ELSE 'replica' END, false) \
    FROM pg_catalog.pg_settings s WHERE s.name IN ('session_replication_role', 'event_triggers') \
      AND (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)";
const VIEW: &str = "SELECT pg_catalog.pg_get_viewdef('pg_temp.state_lab_reprint'::pg_catalog.regclass)";
const BODY: &str = "SELECT pg_catalog.pg_get_function_sqlbody(p.oid) FROM pg_catalog.pg_proc p \
    WHERE p.pronamespace = pg_catalog.pg_my_temp_schema() AND p.proname = 'state_lab_reprint'";
const RULE: &str = "SELECT pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r \
    WHERE r.ev_class = 'pg_temp.state_lab_reprint'::pg_catalog.regclass";

/// Prints the expressions again. Nothing is created that outlives its transaction.
pub(in crate::postgres) fn reprint(
    settings: &Settings,
    limits: Limits,
    printed: &[Printed<'_>],
) -> Result<Vec<Reprint>> {
    let session = SessionOptions::verification(limits.lock_timeout_ms, STATEMENT_TIMEOUT_MS)
        .with("default_transaction_read_only", "off")
        .with("check_function_bodies", "off");
    let mut connection = snapshot::open_with(settings, limits, &session)?;
    connection.execute(EVENT_TRIGGERS_OFF)?;
    if first(&connection.query(EVENT_TRIGGERS)?)?.flag(0)? {
        let reason = "the database has enabled event triggers, which would run";
        return Ok(printed.iter().map(|_| Reprint::Unknown(reason.to_owned())).collect());
    }
    printed.iter().map(|printed| one(&mut connection, printed)).collect()
}

fn one(connection: &mut Connection, printed: &Printed<'_>) -> Result<Reprint> {
    let text = printed.text.trim().trim_end_matches(';');
    let answer = connection.execute(BEGIN).and_then(|()| create(connection, printed.context, text));
    if connection.is_closed() {
        return answer.map(Reprint::Text);
    }
    connection.execute("ROLLBACK")?;
    Ok(match answer {
        Ok(text) => Reprint::Text(text),
        Err(error) => refused(&error)?,
    })
}

fn create(connection: &mut Connection, context: Context<'_>, text: &str) -> Result<String> {
    let view = |query: &str| format!("CREATE TEMPORARY VIEW state_lab_reprint AS {query}");
    let (statement, result) = match context {
        Context::Columns(None) => (view(&format!("SELECT WHERE ROW({text}) IS NOT NULL")), VIEW),
        Context::Columns(Some(table)) => {
            (view(&format!("SELECT FROM ONLY {} WHERE ROW({text}) IS NOT NULL", qualified(table))), VIEW)
        }
        Context::Trigger(table) => {
            let table = qualified(table);
            (
                view(&format!(
                    "SELECT FROM ONLY {table} old, ONLY {table} new WHERE ROW({text}) IS NOT NULL"
                )),
                VIEW,
            )
        }
        Context::Domain(base_type) => (
            view(&format!("SELECT FROM (SELECT NULL::{base_type}) d (value) WHERE ROW({text}) IS NOT NULL")),
            VIEW,
        ),
        Context::Query => (view(text), VIEW),
        Context::Body { arguments, result } => (
            format!(
                "CREATE FUNCTION pg_temp.state_lab_reprint({arguments}) RETURNS {result} LANGUAGE sql {text}"
            ),
            BODY,
        ),
        Context::Rule { of, printed } => {
            // Of a table with the same columns: others hold locks on the rule's own.
            connection
                .query(&format!("CREATE TEMPORARY TABLE state_lab_reprint (LIKE {})", qualified(of)))?;
            (text.replacen(&format!(" TO {printed}"), " TO pg_temp.state_lab_reprint", 1), RULE)
        }
    };
    if result == RULE && !statement.starts_with("CREATE RULE ") {
        return Err(Error::new(ErrorKind::Protocol, "compare a rule: its definition is none"));
    }
    // One statement: the server refuses a second one in the text.
    connection.query_single(&statement, 0)?;
    let rows = connection.query(result)?;
    first(&rows)?.text(0).map(str::to_owned)
}

/// The names, types and syntax of an expression can be wrong; all else says nothing of it.
fn refused(error: &Error) -> Result<Reprint> {
    let Some(sqlstate) = error.sqlstate() else {
        return Err(Error::new(error.kind().clone(), error.to_string()));
    };
    let reason = printable(&error.to_string(), REASON_MAX);
    let of_expression = sqlstate.starts_with("42") && sqlstate != "42501"
        || sqlstate.starts_with("3F")
        || sqlstate.starts_with("22");
    Ok(if of_expression { Reprint::Refused(reason) } else { Reprint::Unknown(reason) })
}
