//! Visibility maps against their tables: `pg_visibility`. A sequential scan does not use the map, so that a comparison of
//! rows does not see what an index-only scan gets wrong by it, nor which rows VACUUM will pass over.

use tokio_postgres::types::Type;

use super::extension::{Extension, Function};
use super::statements;
use super::{Integrity, Relation, Role, counted};
use crate::error::Result;
use crate::postgres::connection::Connection;
use crate::postgres::rows::Row;

const FUNCTIONS: [Function; 2] = [
    Function { name: "pg_check_visible", arguments: "2205", since: 0 },
    Function { name: "pg_check_frozen", arguments: "2205", since: 0 },
];

/// Faults of a visibility map.
pub(super) const NOT_VISIBLE: &str = "rows that its visibility map marks all-visible although no transaction sees them, so that an index-only scan \
     returns them";
pub(super) const NOT_FROZEN: &str = "rows that its visibility map marks all-frozen although they are not, so that VACUUM skips them until \
     transaction IDs run out";

/// The extension, where it can be called.
pub(super) struct Visibility(Extension);

impl Visibility {
    pub(super) fn ready(control: &mut Connection, role: &Role) -> Result<Result<Self, String>> {
        Ok(Extension::ready(control, "pg_visibility", &FUNCTIONS, role)?.map(Self))
    }

    pub(super) fn remove(&self, control: &mut Connection) -> Result<()> {
        self.0.remove(control)
    }

    /// Checks the map of a table, a materialised view or a TOAST table.
    pub(super) fn check(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        found: &mut Integrity,
    ) -> Result<()> {
        let schema = &self.0.schema;
        let table = [(&relation.oid as _, Type::OID)];
        let doubtful = !connection.query_with(&statements::check_visible(schema), &table)?.is_empty();
        let unseen = if doubtful {
            faults_text(&connection.query_with(&statements::check_seen(schema, &relation.name), &table)?)?
        } else {
            None
        };
        if let Some(faults) = unseen {
            found.damaged(relation, &format!("{NOT_VISIBLE}: {faults}"), &hint("pg_check_visible"));
        }
        if let Some(faults) = faults_text(&connection.query_with(&statements::check_frozen(schema), &table)?)?
        {
            found.damaged(relation, &format!("{NOT_FROZEN}: {faults}"), &hint("pg_check_frozen"));
        }
        Ok(())
    }
}

/// Number of rows, and the positions of the first ones.
fn faults_text(rows: &[Row]) -> Result<Option<String>> {
    counted(rows, |row| row.get(1).map(str::to_owned), ", ")
}

pub(super) fn hint(function: &str) -> String {
    format!(
        "check whether the source has the same damage: CREATE EXTENSION pg_visibility; SELECT * FROM {function}('…'); if so, \
         SELECT pg_truncate_visibility_map('…') and VACUUM there, and take another backup; if not, the copy was damaged: take \
         another backup, and check how and where it is stored"
    )
}
