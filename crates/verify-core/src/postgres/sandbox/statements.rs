//! The statements of the sandbox, qualified with `pg_catalog` as all of [`crate::postgres::statements`].

use std::collections::BTreeSet;

use crate::postgres::statements::{identifier, import, literal, qualified};
use crate::table::TableName;

/// Selects whether the role is a superuser, the server in recovery, and an event trigger enabled where we switch others off; the server's version.
pub(super) const SESSION: &str = "SELECT pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on', \
    pg_catalog.pg_is_in_recovery(), \
    EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled OPERATOR(pg_catalog.=) ANY ('{A,R}'::pg_catalog.\"char\"[])), \
    pg_catalog.current_setting('server_version_num')";

/// Schemas of users that hold functions, or types that are no table's.
pub(super) const SCHEMAS: &str = "SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.!~) '^pg_' \
      AND (EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid) \
        OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typnamespace OPERATOR(pg_catalog.=) n.oid AND t.typtype OPERATOR(pg_catalog.<>) 'c'))";

/// Begins a transaction, under the snapshot if one is given.
pub(super) fn begin(superuser: bool, snapshot: Option<&str>) -> String {
    let access = if superuser { "WRITE" } else { "ONLY" };
    let import = snapshot.map_or(String::new(), |snapshot| format!("; {}", import(snapshot)));
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ {access}{import}")
}

/// Gives the transaction of a superuser a function that runs queries as a role that may only read, and that cannot become
/// another. Neither is there any more when the transaction is rolled back. Without `pg_read_all_data` (before PostgreSQL 14)
/// the role may read `tables`, and use `schemas`.
pub(super) fn become_reader(
    process_id: i32,
    member: bool,
    tables: &[TableName],
    schemas: &[String],
) -> String {
    let role = reader(process_id);
    let member = if member { " IN ROLE pg_read_all_data" } else { "" };
    let of_tables = tables.iter().map(|table| table.schema.as_str());
    let schemas: BTreeSet<&str> = schemas.iter().map(String::as_str).chain(of_tables).collect();
    let usage = |schema: &&str| format!("GRANT USAGE ON SCHEMA {} TO {role}; ", identifier(schema));
    let select = |table: &TableName| format!("GRANT SELECT ON {} TO {role}; ", qualified(table));
    let grants: String = schemas.iter().map(usage).chain(tables.iter().map(select)).collect();
    format!(
        "SET LOCAL session_replication_role = replica; \
         SELECT pg_catalog.set_config(s.name, 'off', true) FROM pg_catalog.pg_settings s WHERE s.name = 'event_triggers'; \
         CREATE ROLE {role} NOLOGIN BYPASSRLS{member}; {grants}\
         CREATE FUNCTION pg_temp.state_lab_run(query pg_catalog.text) RETURNS SETOF pg_catalog.text LANGUAGE plpgsql \
           SECURITY DEFINER AS 'BEGIN RETURN QUERY EXECUTE query; END'; \
         ALTER FUNCTION pg_temp.state_lab_run(pg_catalog.text) OWNER TO {role}"
    )
}

fn reader(process_id: i32) -> String {
    format!("state_lab_reader_{process_id}")
}

/// Makes that role the owner of a table, as which the server runs the functions of its indexes. No lock of the table is needed.
pub(in crate::postgres) fn own(process_id: i32, table: &TableName) -> String {
    format!(
        "UPDATE pg_catalog.pg_class SET relowner = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = {}) \
         WHERE oid = {}::pg_catalog.regclass",
        literal(&reader(process_id)),
        literal(&qualified(table))
    )
}

/// Ends the preparations of a superuser.
pub(super) const READ_ONLY: &str = "SET TRANSACTION READ ONLY";

/// Makes the planner read tables sequentially, and believe in no constraint, until the transaction ends.
pub(super) const PLANNER: &str = "SELECT pg_catalog.set_config(s.name, 'off', true) FROM pg_catalog.pg_settings s \
    WHERE s.name IN ('enable_indexscan', 'enable_indexonlyscan', 'enable_bitmapscan', 'enable_self_join_elimination', \
      'constraint_exclusion', 'enable_partition_pruning', 'jit')";

pub(super) fn guard(search_path: &str, timeout_ms: u64) -> String {
    let timeout_ms = timeout_ms.min(i32::MAX as u64);
    format!(
        "SAVEPOINT state_lab; SET LOCAL search_path = {search_path}; SET LOCAL statement_timeout = {timeout_ms}"
    )
}

/// Ends what [`guard`] began.
pub(super) const UNDO: &str = "ROLLBACK TO SAVEPOINT state_lab; RELEASE SAVEPOINT state_lab";

pub(super) fn run_as_reader(query: &str) -> String {
    format!("SELECT r FROM pg_temp.state_lab_run({}) AS r", literal(query))
}
