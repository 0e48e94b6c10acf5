//! Indexes against their tables, and the pages of tables: `amcheck`.

use tokio_postgres::types::Type;

use super::extension::{Extension, Function};
use super::statements::{self, FAULTS_SHOWN};
use super::{Checks, Integrity, Kind, Relation, Role, SAID_MAX, counted, ended, said};
use crate::error::{Error, Result};
use crate::postgres::connection::Connection;
use crate::postgres::printable::printable;
use crate::postgres::rows::Row;
use crate::postgres::savepoint::guarded;

/// The first `server_version_num` whose amcheck checks tables.
const CHECKS_TABLES: u32 = 140_000;
/// The first ones whose amcheck checks unique indexes for duplicates, and GIN indexes.
const CHECKS_UNIQUE: u32 = 170_000;
const CHECKS_GIN: u32 = 180_000;
const UNIQUE: Function = Function::optional("bt_index_check", "2205 16 16");
const GIN: Function = Function::optional("gin_index_check", "2205");
const FUNCTIONS: [Function; 2] = [
    Function { name: "bt_index_check", arguments: "2205 16", since: 0 },
    Function { name: "verify_heapam", arguments: "2205 16 16 25 20 20", since: CHECKS_TABLES },
];

/// The extension, where it can be called.
pub(super) struct Amcheck(Extension);

impl Amcheck {
    pub(super) fn ready(control: &mut Connection, role: &Role) -> Result<Result<Self, String>> {
        Ok(Extension::ready(control, "amcheck", &FUNCTIONS, role)?.map(Self))
    }

    pub(super) fn remove(&self, control: &mut Connection) -> Result<()> {
        self.0.remove(control)
    }

    pub(super) fn checks(&self, relation: &Relation) -> bool {
        match relation.kind {
            Kind::BTree => true,
            Kind::Gin => self.0.may_call(&GIN),
            Kind::Table => self.checks_tables(),
        }
    }

    fn checks_tables(&self) -> bool {
        self.0.server_version >= CHECKS_TABLES
    }

    pub(super) fn check(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        found: &mut Integrity,
    ) -> Result<()> {
        // An index is sound if the call comes back.
        match relation.kind {
            Kind::Table => self.check_table(connection, relation, found),
            Kind::Gin => {
                let check = statements::check_gin(&self.0.schema);
                connection.query_with(&check, &[(&relation.oid, Type::OID)]).map(drop)
            }
            Kind::BTree => {
                // Within a transaction the second call needs a savepoint.
                let checked = match relation.calls {
                    true => guarded(connection, |connection| self.check_index(connection, relation, true))?,
                    false => self.check_index(connection, relation, true),
                };
                match checked {
                    Err(error) if !ended(&error) && is_of_a_function(&error) => {
                        self.check_structure(connection, relation, &error, found)
                    }
                    result => result,
                }
            }
        }
    }

    fn check_table(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        found: &mut Integrity,
    ) -> Result<()> {
        let rows =
            connection.query_with(&statements::check_table(&self.0.schema), &[(&relation.oid, Type::OID)])?;
        if let Some(faults) = counted(&rows, |row| Some(fault(row)), "; ")? {
            found.damaged(relation, &format!("faults in its pages: {faults}"), &hint(relation));
        }
        Ok(())
    }

    fn check_index(&self, connection: &mut Connection, relation: &Relation, rows: bool) -> Result<()> {
        let arguments = [(&relation.oid as _, Type::OID), (&rows as _, Type::BOOL)];
        let unique = self.0.may_call(&UNIQUE);
        connection.query_with(&statements::check_index(&self.0.schema, unique), &arguments).map(drop)
    }

    /// Checks an index without its rows: a function that it calls does not run as it does for the application.
    fn check_structure(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        failed: &Error,
        found: &mut Integrity,
    ) -> Result<()> {
        self.check_index(connection, relation, false)?;
        let reason = format!("its pages are sound; not checked against the table: {}", said(failed));
        found.gap(&relation.name.to_string(), reason);
        Ok(())
    }

    /// Reports relations that amcheck cannot check.
    pub(super) fn report_gaps(
        &self,
        control: &mut Connection,
        checks: &Checks,
        found: &mut Integrity,
    ) -> Result<()> {
        if checks.heap && !self.checks_tables() {
            let reason = "before PostgreSQL 14 amcheck checks indexes alone: of a table, only that its rows are in them";
            found.gap("pages of tables", reason);
        }
        let lacks =
            |since: u32, function: &Function| self.0.server_version >= since && !self.0.may_call(function);
        for (object, since, function) in [
            ("duplicates in unique indexes", CHECKS_UNIQUE, &UNIQUE),
            ("pages of GIN indexes", CHECKS_GIN, &GIN),
        ] {
            if checks.indexes && lacks(since, function) {
                let reason = "not checked: the installed extension amcheck lacks the function, or the role may not call it; run \
                     ALTER EXTENSION amcheck UPDATE on the source, or verify as a superuser";
                found.gap(object, reason);
            }
        }
        for row in if checks.heap { control.query(statements::UNCHECKED)? } else { Vec::new() } {
            let (method, count) = (printable(row.text(0)?, SAID_MAX), row.text(1)?);
            let object = format!("pages of tables of access method {method}");
            found.gap(&object, format!("{count} of them: amcheck checks only heap tables"));
        }
        Ok(())
    }
}

/// Remedy for damage that amcheck found, or that kept a relation from being read.
pub(super) fn hint(relation: &Relation) -> String {
    let call = match relation.kind {
        Kind::BTree => "bt_index_check('…', true)",
        Kind::Gin => "gin_index_check('…')",
        Kind::Table => "verify_heapam('…', check_toast => true)",
    };
    let remedy =
        if relation.is_index() { "REINDEX it there and take another backup" } else { "repair it there" };
    format!(
        "check whether the source has the same damage: CREATE EXTENSION amcheck; SELECT * FROM {call}; if so, {remedy}; \
         if not, the copy was damaged: take another backup, and check how and where it is stored"
    )
}

/// A row of `verify_heapam`.
fn fault(row: &Row) -> String {
    let place = [(1, "block"), (2, "item"), (3, "column")];
    let place = place.iter().filter_map(|(column, what)| Some(format!("{what} {}", row.get(*column)?)));
    let place = place.collect::<Vec<_>>().join(", ");
    format!("{place}: {}", printable(row.get(4).unwrap_or_default(), SAID_MAX / FAULTS_SHOWN as usize))
}

/// Returns whether an error comes from a function that an index calls: classes 42 (a name that is not found), 22 and P0 (its own).
fn is_of_a_function(error: &Error) -> bool {
    error.sqlstate().is_some_and(|state| ["42", "22", "P0"].iter().any(|class| state.starts_with(class)))
}
