//! Checks of the indexes, pages and visibility maps of a restored copy, including rows that no capture saw: PostgreSQL's
//! own amcheck and `pg_visibility`, and rows looked up through the indexes that these do not compare with tables.

mod amcheck;
mod extension;
mod index;
mod samples;
mod statements;
mod visibility;

use self::amcheck::Amcheck;
use self::statements::FAULTS_SHOWN;
use self::visibility::Visibility;
use super::connection::Connection;
use super::crew::{self, IN_RECOVERY, POOLED};
use super::reader::obstacle;
use super::rows::{Row, first};
use super::sandbox::{SAID_MAX, Sandbox, own, said};
use super::session::SessionOptions;
use super::settings::Settings;
use super::shortened::shorten;
use super::snapshot;
use super::statements::NO_TRANSACTION_TIMEOUT;
use crate::cost::Cost;
use crate::database::Obstacle;
use crate::error::{Error, Result};
use crate::event::OnEvent;
use crate::finding::{Code, Finding};
use crate::not_covered::{Check, NotCovered};
use crate::plan::{Limits, Plan};
use crate::table::{TableName, shown_identifier};

/// The object of a finding that concerns all relations, such as that the server lacks an extension.
pub const ALL: &str = "indexes and pages";

/// Result of the check, for [`crate::compare::Comparison::join`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Integrity {
    /// Relations that are damaged, or of which that could not be found out, the worst first.
    pub findings: Vec<Finding>,
    /// Objects that were not checked.
    pub not_covered: Vec<NotCovered>,
    /// True if every b-tree was checked against its table, except those that `findings` and `not_covered` name.
    pub indexes_checked: bool,
}

/// Checks every b-tree index against its table, other indexes by a sample of its rows, from PostgreSQL 14 on the pages of every table,
/// and every table's visibility map, with `plan.jobs` connections at once.
///
/// The database must be on a copy that may be changed: where the extensions amcheck and `pg_visibility` are not installed a
/// superuser installs them, in schemas of their own, until the check is done. On a server in recovery nothing is checked.
///
/// # Errors
///
/// If the server cannot be reached, the connection breaks, or `on_event` asks to stop. Damage is not an error.
pub fn check(settings: &Settings, plan: &Plan, on_event: OnEvent<'_>) -> Result<Integrity> {
    let mut found = Integrity::default();
    if ![Check::IndexContents, Check::Heap, Check::Visibility].into_iter().any(|check| plan.runs(check)) {
        return Ok(found);
    }
    let role = match Role::read(settings, plan.limits)? {
        Ok(role) => role,
        Err(reason) => {
            if reason == IN_RECOVERY {
                found.gap(ALL, reason);
            } else {
                found.unknown(ALL, reason);
            }
            return Ok(found);
        }
    };
    let mut control = role.open(settings, plan.limits)?;
    let checks = Checks::ready(&mut control, &role, plan, &mut found)?;
    let checked = checks.check_all(&mut control, &role, plan, on_event, &mut found);
    let checked = checked.and_then(|()| match plan.runs(Check::IndexContents) {
        true => samples::check(&mut control, &role, plan, on_event, &mut found),
        false => Ok(()),
    });
    // Also after a failure: the copy may be kept.
    let removed = checks.remove(&mut control);
    checked.or_else(|error| found.trouble("catalogue", None, &error))?;
    removed.or_else(|error| found.trouble("extensions, when they were removed again", None, &error))?;
    found.shorten();
    Ok(found)
}

/// What the check will read: every b-tree with its table, and every table for its pages and for its map.
///
/// # Errors
///
/// If the catalogue cannot be read.
pub fn costs(settings: &Settings, plan: &Plan) -> Result<Vec<Cost>> {
    let mut control = snapshot::open(settings, plan.limits)?;
    let mut costs = Vec::new();
    for row in control.query(statements::CHECKED)? {
        let relation = Relation::read(&row)?;
        if relation.kind == Kind::Gin {
            // Counted with the rows that are looked up through it.
            continue;
        }
        let checks: &[Check] =
            if relation.is_index() { &[Check::IndexContents] } else { &[Check::Heap, Check::Visibility] };
        let checks = checks.iter().filter(|check| plan.runs(**check));
        let cost =
            |check: &Check| Cost { check: *check, object: relation.name.to_string(), bytes: relation.bytes };
        costs.extend(checks.map(cost));
    }
    if plan.runs(Check::IndexContents) {
        costs.extend(samples::costs(&mut control)?);
    }
    Ok(costs)
}

/// The role of the session.
struct Role {
    name: String,
    superuser: bool,
}

/// The extensions that can be called.
#[derive(Default)]
struct Checks {
    amcheck: Option<Amcheck>,
    /// What amcheck is to check.
    indexes: bool,
    heap: bool,
    visibility: Option<Visibility>,
    /// Where functions of the database are called, for a superuser; or the reason why they cannot be.
    sandbox: Option<Result<Sandbox, String>>,
}

/// What is checked of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    BTree,
    Gin,
    /// A table, materialised view or TOAST table.
    Table,
}

/// An index or table to check.
struct Relation {
    oid: u32,
    kind: Kind,
    name: TableName,
    /// The table that an index or a TOAST table belongs to.
    table: Option<TableName>,
    /// Bytes that are read to check it.
    bytes: u64,
    /// True if functions of the database may be called for that.
    calls: bool,
}

impl Checks {
    fn ready(control: &mut Connection, role: &Role, plan: &Plan, found: &mut Integrity) -> Result<Self> {
        let mut checks = Self {
            heap: plan.runs(Check::Heap),
            indexes: plan.runs(Check::IndexContents),
            ..Self::default()
        };
        if checks.indexes && role.superuser {
            checks.sandbox = Some(Sandbox::ready(control)?);
        }
        if checks.heap || checks.indexes {
            match Amcheck::ready(control, role) {
                Ok(Ok(amcheck)) => checks.amcheck = Some(amcheck),
                Ok(Err(reason)) => found.unknown(ALL, reason),
                Err(error) => {
                    found.trouble("catalogue", None, &error)?;
                    return Ok(checks);
                }
            }
        }
        if !plan.runs(Check::Visibility) {
            return Ok(checks);
        }
        match Visibility::ready(control, role) {
            Ok(Ok(visibility)) => checks.visibility = Some(visibility),
            // A sound map is much less than sound rows: where the extension is missing it is a gap and no more.
            Ok(Err(reason)) => found.gap("visibility maps", reason),
            Err(error) => found.trouble("visibility maps", None, &error)?,
        }
        Ok(checks)
    }

    fn remove(&self, control: &mut Connection) -> Result<()> {
        let amcheck = self.amcheck.as_ref().map_or(Ok(()), |amcheck| amcheck.remove(control));
        let visibility = self.visibility.as_ref().map_or(Ok(()), |visibility| visibility.remove(control));
        amcheck.and(visibility)
    }

    /// The extension, if it is to check the relation.
    fn amcheck_of(&self, relation: &Relation) -> Option<&Amcheck> {
        let wanted = if relation.is_index() { self.indexes } else { self.heap };
        self.amcheck.as_ref().filter(|amcheck| wanted && amcheck.checks(relation))
    }

    fn covers(&self, relation: &Relation) -> bool {
        self.amcheck_of(relation).is_some() || self.visibility.is_some() && !relation.is_index()
    }

    fn check_all(
        &self,
        control: &mut Connection,
        role: &Role,
        plan: &Plan,
        on_event: OnEvent<'_>,
        found: &mut Integrity,
    ) -> Result<()> {
        if self.amcheck.is_none() && self.visibility.is_none() {
            return Ok(());
        }
        if let Some(amcheck) = &self.amcheck {
            amcheck.report_gaps(control, self, found)?;
        }
        let mut relations =
            control.query(statements::CHECKED)?.iter().map(Relation::read).collect::<Result<Vec<_>>>()?;
        relations.retain(|relation| self.covers(relation));
        let sizes: Vec<u64> = relations.iter().map(|relation| relation.bytes).collect();
        let session = || role.open(control.settings(), plan.limits);
        let checks =
            crew::check_all(&sizes, plan.jobs.get(), session, on_event, |connection, index, found| {
                self.check_one(connection, &relations[index], found)
            })?;
        for Integrity { findings, not_covered, .. } in checks {
            found.findings.extend(findings);
            found.not_covered.extend(not_covered);
        }
        found.indexes_checked = self.amcheck.is_some() && self.indexes;
        Ok(())
    }

    fn check_one(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        found: &mut Integrity,
    ) -> Result<()> {
        let sound_until_now = found.findings.len();
        if let Some(amcheck) = self.amcheck_of(relation) {
            let checked = match (&self.sandbox, &relation.table) {
                (Some(sandbox), Some(table)) if relation.calls => {
                    Self::check_called(amcheck, connection, relation, (sandbox, table), found)
                }
                _ => amcheck.check(connection, relation, found),
            };
            found.unless_ended(relation, checked)?;
        }
        let visibility = self.visibility.as_ref().filter(|_| !relation.is_index());
        // One finding is enough: of damaged rows the map need not be right.
        if let Some(visibility) = visibility.filter(|_| found.findings.len() == sound_until_now) {
            let checked = visibility.check(connection, relation, found);
            found.unless_ended(relation, checked)?;
        }
        Ok(())
    }
}

impl Checks {
    /// Checks an index for which functions of the database are called. They run with the privileges of the table's owner, so that is a
    /// role that may only read, until the transaction is rolled back.
    fn check_called(
        amcheck: &Amcheck,
        connection: &mut Connection,
        relation: &Relation,
        (sandbox, table): (&Result<Sandbox, String>, &TableName),
        found: &mut Integrity,
    ) -> Result<()> {
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(reason) => {
                found.gap(&relation.name.to_string(), reason.clone());
                return Ok(());
            }
        };
        let own = own(connection.backend_pid(), table);
        let checked = sandbox
            .enter_prepared(connection, std::slice::from_ref(table), &own)
            .and_then(|()| amcheck.check(connection, relation, found));
        if !connection.is_closed() {
            connection.execute("ROLLBACK")?;
        }
        checked
    }
}

impl Relation {
    fn is_index(&self) -> bool {
        self.kind != Kind::Table
    }

    fn read(row: &Row) -> Result<Self> {
        let table = row.get(4).zip(row.get(5)).map(|(schema, name)| TableName::new(schema, name));
        Ok(Self {
            oid: row.number(0)?,
            kind: match row.text(1)? {
                "btree" => Kind::BTree,
                "gin" => Kind::Gin,
                _ => Kind::Table,
            },
            name: TableName::new(row.text(2)?, row.text(3)?),
            table,
            bytes: row.number(6)?,
            calls: row.flag(7)?,
        })
    }

    /// Describes the damaged relation.
    fn described(&self) -> String {
        match (&self.table, self.is_index()) {
            (Some(table), true) => format!("an index of {table} is damaged"),
            (Some(table), false) => format!("the TOAST table of {table} is damaged"),
            (None, _) => "the table is damaged".to_owned(),
        }
    }
}

impl Integrity {
    fn damaged(&mut self, relation: &Relation, said: &str, hint: &str) {
        let message = format!("{}: {said}", relation.described());
        let finding = Finding::new(Code::IntegrityDamaged, &relation.name, message);
        self.findings.push(finding.with_hint(hint));
    }

    /// Adds the result of a check of `relation`; a cancelled one has no result, and its error is returned.
    fn unless_ended(&mut self, relation: &Relation, checked: Result<()>) -> Result<()> {
        match checked {
            Err(error) if ended(&error) => Err(error),
            checked => {
                checked.or_else(|error| self.trouble(&relation.name.to_string(), Some(relation), &error))
            }
        }
    }

    /// Adds what an error of the server means for `object`; an error of another kind is returned.
    fn trouble(&mut self, object: &str, relation: Option<&Relation>, error: &Error) -> Result<()> {
        if error.sqlstate().is_none() {
            return Err(Error::new(error.kind().clone(), format!("check indexes and pages: {error}")));
        }
        match (obstacle(error)?, relation) {
            (Obstacle::Damaged(_), Some(relation)) => {
                self.damaged(relation, &said(error), &amcheck::hint(relation));
            }
            (Obstacle::Damaged(_), None) => self.findings.push(
                Finding::new(Code::IntegrityDamaged, object, said(error))
                    .with_hint("take another backup; if it happens again, check the source"),
            ),
            _ => self.unknown(object, format!("not checked: {}", said(error))),
        }
        Ok(())
    }

    fn unknown(&mut self, object: &str, reason: String) {
        self.gap(object, reason.clone());
        self.findings.push(Finding::new(Code::IntegrityUnknown, object, reason));
    }

    fn gap(&mut self, object: &str, reason: impl Into<String>) {
        self.not_covered.push(NotCovered::new(Check::Integrity, object, reason));
    }

    /// Keeps a wholly damaged copy from filling the report.
    fn shorten(&mut self) {
        shorten(&mut self.findings, &mut self.not_covered, Check::Integrity, ALL, " indexes and tables");
    }
}

/// Number of faults, and the first ones, from rows that each begin with the number of all; `None` if there are no faults.
fn counted(rows: &[Row], fault: impl Fn(&Row) -> Option<String>, separator: &str) -> Result<Option<String>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let count: u64 = first.number(0)?;
    let more = if count > FAULTS_SHOWN { ", the first" } else { "" };
    let faults = rows.iter().filter_map(fault).collect::<Vec<_>>().join(separator);
    Ok(Some(format!("{count}{more}: {faults}")))
}

/// Returns whether the statement was cancelled.
fn ended(error: &Error) -> bool {
    error.sqlstate() == Some("57014")
}

impl Role {
    /// Reads the role; or the reason why nothing can be checked with this connection.
    fn read(settings: &Settings, limits: Limits) -> Result<Result<Self, String>> {
        let mut connection = snapshot::open(settings, limits)?;
        if connection.is_pooled() {
            return Ok(Err(POOLED.to_owned()));
        }
        let rows = connection.query(statements::SESSION)?;
        let row = first(&rows)?;
        if row.flag(2)? {
            return Ok(Err(IN_RECOVERY.to_owned()));
        }
        Ok(Ok(Self { superuser: row.flag(0)?, name: shown_identifier(row.text(1)?) }))
    }

    /// A session that may change the database, in which nothing of the database's own runs by itself.
    fn open(&self, settings: &Settings, limits: Limits) -> Result<Connection> {
        let session = SessionOptions::checking(limits.lock_timeout_ms);
        if !self.superuser {
            let mut connection = snapshot::open_with(settings, limits, &session)?;
            connection.execute(NO_TRANSACTION_TIMEOUT)?;
            return Ok(connection);
        }
        // Neither triggers nor event triggers, unless they are marked to fire always.
        let session = session.with("session_replication_role", "replica");
        let mut connection = snapshot::open_with(settings, limits, &session)?;
        connection.execute(statements::UNDISTURBED)?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::postgres::shortened::NAMED_MAX;

    /// Two indexes, a TOAST table, and a table.
    fn relations() -> [Relation; 4] {
        let table = || Some(TableName::new("public", "orders"));
        [
            ("public", "orders_pkey", Kind::BTree, table()),
            ("public", "orders_words", Kind::Gin, table()),
            ("pg_toast", "pg_toast_7", Kind::Table, table()),
            ("public", "orders", Kind::Table, None),
        ]
        .map(|(schema, name, kind, table)| Relation {
            oid: 7,
            kind,
            name: TableName::new(schema, name),
            table,
            bytes: 0,
            calls: false,
        })
    }

    #[test]
    fn every_finding_and_gap_has_its_text() {
        let mut found = Integrity::default();
        let server = |sqlstate: &str, text: &str| {
            Error::new(ErrorKind::Server { sqlstate: sqlstate.to_owned() }, text)
        };
        for relation in &relations() {
            found.damaged(relation, "2: one; two", &amcheck::hint(relation));
            found
                .trouble("unused", Some(relation), &server("XX001", "ERROR: invalid page in block 7"))
                .unwrap();
        }
        found.damaged(&relations()[3], visibility::NOT_VISIBLE, &visibility::hint("pg_check_visible"));
        found.damaged(&relations()[3], visibility::NOT_FROZEN, &visibility::hint("pg_check_frozen"));
        found.trouble("catalogue", None, &server("XX001", "ERROR: invalid page in block 7")).unwrap();
        found.trouble("catalogue", None, &server("42501", "ERROR: permission denied")).unwrap();
        insta::assert_snapshot!(text(&found));
        assert!(found.trouble("catalogue", None, &Error::new(ErrorKind::Connection, "read")).is_err());
    }

    #[test]
    fn more_findings_and_gaps_than_are_named_are_counted() {
        let mut found = Integrity::default();
        for i in 0..NAMED_MAX + 2 {
            found.unknown(&format!("public.t{i:03}"), "not checked: locked".to_owned());
        }
        found.shorten();
        assert_eq!((found.findings.len(), found.not_covered.len()), (NAMED_MAX + 1, NAMED_MAX + 1));
        found.findings.drain(..NAMED_MAX);
        found.not_covered.drain(..NAMED_MAX);
        insta::assert_snapshot!(text(&found), @r"
        integrity.unknown: indexes and pages: 2 more indexes and tables, not named here
        not covered: indexes and pages: 2 more, not named here
        ");
    }

    fn text(found: &Integrity) -> String {
        let findings = found.findings.iter().map(|finding| {
            let hint =
                if finding.hint.is_empty() { String::new() } else { format!("\n    hint: {}", finding.hint) };
            format!("{}: {}: {}{hint}", finding.code(), finding.object, finding.message)
        });
        let gaps = found.not_covered.iter().map(|gap| format!("not covered: {}: {}", gap.object, gap.reason));
        findings.chain(gaps).collect::<Vec<_>>().join("\n")
    }
}
