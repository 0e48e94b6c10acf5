//! Whether indexes and pages of a restored copy are sound, rows that no capture saw among them: PostgreSQL's own amcheck.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cancel::CancelHandle;
use super::connection::Connection;
use super::printable::printable;
use super::reader::obstacle;
use super::rows::Row;
use super::session::SessionOptions;
use super::settings::Settings;
use super::statements::{self, FAULTS_SHOWN};
use super::{heartbeat, snapshot};
use crate::compare::NotCovered;
use crate::database::Obstacle;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, OnEvent};
use crate::finding::{Code, Finding, Severity};
use crate::plan::{Limits, Plan};
use crate::table::TableName;
use crate::work::{self, Load, Task};

/// Characters of what the server says of one relation.
const SAID_MAX: usize = 500;
/// So many relations are named; of more only the number is told.
const NAMED_MAX: usize = 100;
/// How often somebody is asked whether to stop while the server checks a relation, which can take hours.
const POLL: Duration = Duration::from_millis(200);
/// The first `server_version_num` whose amcheck looks at tables.
const CHECKS_TABLES: u32 = 140_000;

/// What came of the check, for [`crate::compare::Comparison::join`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Integrity {
    /// Relations that are damaged, or of which that could not be found out, the worst first.
    pub findings: Vec<Finding>,
    /// What was not checked.
    pub not_covered: Vec<NotCovered>,
}

/// Checks every b-tree index against its table, and from PostgreSQL 14 on the pages of every table, with `plan.jobs`
/// connections at once.
///
/// The database must be on a copy that is ours to change, out of recovery, and the role a superuser: where the
/// extension amcheck is not installed it is, in a schema of its own, until the check is done.
///
/// # Errors
///
/// If the server cannot be reached, the connection breaks, or `on_event` asks to stop. Damage is no error.
pub fn check(settings: &Settings, plan: &Plan, on_event: OnEvent<'_>) -> Result<Integrity> {
    let mut control = open(settings, plan.limits)?;
    let mut found = Integrity::default();
    match Amcheck::ready(&mut control) {
        Ok(Ok(amcheck)) => {
            let checked = amcheck.check_all(&mut control, plan, on_event, &mut found);
            // Also after a failure: the copy may be kept.
            let removed = amcheck.remove(&mut control);
            checked.or_else(|error| found.trouble("catalogue", None, &error))?;
            removed.or_else(|error| found.trouble("amcheck, when it was removed again", None, &error))?;
        }
        Ok(Err(reason)) => found.unknown("indexes and pages", reason),
        Err(error) => found.trouble("catalogue", None, &error)?,
    }
    found.shorten();
    Ok(found)
}

/// The extension, where it can be called.
struct Amcheck {
    schema: String,
    checks_tables: bool,
    /// Whether it was installed by us.
    ours: bool,
}

/// An index or table to check.
struct Relation {
    oid: u32,
    is_index: bool,
    name: TableName,
    /// The table that an index or a TOAST table belongs to.
    table: Option<TableName>,
    /// What is read to check it.
    bytes: u64,
}

impl Amcheck {
    /// Finds or installs the extension; or why it cannot be had.
    fn ready(control: &mut Connection) -> Result<Result<Self, String>> {
        let rows = control.query(statements::AMCHECK)?;
        let row = heartbeat::first(&rows)?;
        let (available, installed) = (row.flag(0)?, row.get(1));
        // An installed extension is only a promise of files, which this server may not have.
        let loaded = if available { control.execute(statements::LOAD_AMCHECK) } else { Ok(()) };
        if let Err(error) = &loaded {
            obstacle(error)?;
        }
        if !available || loaded.is_err() {
            let why = loaded.err().map(|error| format!(" ({})", said(&error))).unwrap_or_default();
            return Ok(Err(format!(
                "not checked: the server that runs the copy lacks the extension amcheck{why}; run it from an image \
                 that has PostgreSQL's contrib modules"
            )));
        }
        if installed.is_none() {
            control.execute(statements::INSTALL_AMCHECK)?;
        }
        let schema = installed.unwrap_or(statements::AMCHECK_SCHEMA).to_owned();
        let rows = control.query(statements::AMCHECK_FUNCTIONS)?;
        let row = heartbeat::first(&rows)?;
        let tables_expected = row.number::<u32>(2)? >= CHECKS_TABLES;
        let amcheck = Self { schema, checks_tables: tables_expected, ours: installed.is_none() };
        if row.flag(0)? && (row.flag(1)? || !tables_expected) {
            return Ok(Ok(amcheck));
        }
        amcheck.remove(control)?;
        Ok(Err(
            "not checked: the installed extension amcheck is of an older version than the server; run ALTER \
                EXTENSION amcheck UPDATE on the source"
                .to_owned(),
        ))
    }

    fn remove(&self, control: &mut Connection) -> Result<()> {
        if self.ours { control.execute(statements::REMOVE_AMCHECK) } else { Ok(()) }
    }

    fn check_all(
        &self,
        control: &mut Connection,
        plan: &Plan,
        on_event: OnEvent<'_>,
        found: &mut Integrity,
    ) -> Result<()> {
        self.tell_gaps(control, found)?;
        let mut relations =
            control.query(statements::CHECKED)?.iter().map(Relation::read).collect::<Result<Vec<_>>>()?;
        relations.retain(|relation| relation.is_index || self.checks_tables);
        let load = |(index, relation): (usize, &Relation)| Load { index, bytes: relation.bytes, pages: 0 };
        let loads: Vec<Load> = relations.iter().enumerate().map(load).collect();
        let bytes_estimate = loads.iter().map(|load| load.bytes).sum();
        event::send(on_event, Event::Started { tables: 0, bytes_estimate })?;
        let tasks = work::split(&loads, plan.jobs.get());
        let jobs = plan.jobs.get().min(tasks.len());
        let connections =
            (0..jobs).map(|_| open(control.settings(), plan.limits)).collect::<Result<Vec<_>>>()?;
        let watcher = Watcher {
            stop: AtomicBool::new(false),
            running: connections.iter().map(Connection::cancel_handle).collect(),
        };
        let connections = Mutex::new(connections);
        let checks = std::thread::scope(|scope| {
            let (done, until) = mpsc::channel::<()>();
            scope.spawn(|| watcher.watch(on_event, until));
            let checks = work::run(tasks, jobs, |next| {
                let connection = connections.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(mut connection) = connection else { return Ok(Integrity::default()) };
                self.check_tasks(&mut connection, &relations, next, &watcher, on_event)
            });
            drop(done);
            checks
        })?;
        for Integrity { findings, not_covered } in checks {
            found.findings.extend(findings);
            found.not_covered.extend(not_covered);
        }
        Ok(())
    }

    fn check_tasks(
        &self,
        connection: &mut Connection,
        relations: &[Relation],
        next: &dyn Fn() -> Option<Task>,
        watcher: &Watcher,
        on_event: OnEvent<'_>,
    ) -> Result<Integrity> {
        let mut found = Integrity::default();
        for part in std::iter::from_fn(next).flatten() {
            let relation = &relations[part.index];
            watcher.unless_stopped(self.check_one(connection, relation, &mut found))?;
            event::send(on_event, Event::Read { rows: 0, bytes: 0, estimate_done: part.bytes })?;
        }
        Ok(found)
    }

    fn check_one(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        found: &mut Integrity,
    ) -> Result<()> {
        let sql = if relation.is_index {
            statements::check_index(&self.schema, relation.oid, true)
        } else {
            statements::check_table(&self.schema, relation.oid)
        };
        match connection.query(&sql) {
            // An index is sound if the call comes back.
            Ok(_) if relation.is_index => {}
            Ok(rows) => {
                if let Some(first) = rows.first() {
                    let faults = rows.iter().map(fault).collect::<Vec<_>>().join("; ");
                    let count: u64 = first.number(0)?;
                    let more = if count > FAULTS_SHOWN { ", the first" } else { "" };
                    found.damaged(relation, &format!("faults in its pages: {count}{more}: {faults}"));
                }
            }
            // Nothing is known of the relation, only that somebody wants us to end.
            Err(error) if error.sqlstate() == Some("57014") => return Err(error),
            Err(error) if relation.is_index && is_of_a_function(&error) => {
                return self.check_structure(connection, relation, &error, found);
            }
            Err(error) => found.trouble(&relation.name.to_string(), Some(relation), &error)?,
        }
        Ok(())
    }

    /// Checks an index without its rows: a function that it calls does not run as it does for the application.
    fn check_structure(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        failed: &Error,
        found: &mut Integrity,
    ) -> Result<()> {
        let name = relation.name.to_string();
        match connection.query(&statements::check_index(&self.schema, relation.oid, false)) {
            Ok(_) => found
                .gap(&name, format!("its pages are sound; not checked against the table: {}", said(failed))),
            Err(error) if error.sqlstate() == Some("57014") => return Err(error),
            Err(error) => found.trouble(&name, Some(relation), &error)?,
        }
        Ok(())
    }

    /// What amcheck has no eyes for.
    fn tell_gaps(&self, control: &mut Connection, found: &mut Integrity) -> Result<()> {
        if !self.checks_tables {
            let reason = "before PostgreSQL 14 amcheck checks indexes alone, and tables only as far as their rows must \
                          be in an index";
            found.gap("pages of tables", reason);
        }
        for row in control.query(statements::UNCHECKED)? {
            let (is_index, method, count) = (row.flag(0)?, printable(row.text(1)?, SAID_MAX), row.text(2)?);
            if is_index {
                let object = format!("indexes of access method {method}");
                found.gap(
                    &object,
                    format!("{count} of them: amcheck checks b-trees; REINDEX builds these anew"),
                );
            } else {
                let object = format!("pages of tables of access method {method}");
                found.gap(&object, format!("{count} of them: amcheck checks those of heap"));
            }
        }
        Ok(())
    }
}

impl Relation {
    fn read(row: &Row) -> Result<Self> {
        let table = row.get(4).zip(row.get(5)).map(|(schema, name)| TableName::new(schema, name));
        Ok(Self {
            oid: row.number(0)?,
            is_index: row.flag(1)?,
            name: TableName::new(row.text(2)?, row.text(3)?),
            table,
            bytes: row.number(6)?,
        })
    }

    /// What it is, where the name alone does not say.
    fn described(&self) -> String {
        match (&self.table, self.is_index) {
            (Some(table), true) => format!("an index of {table} is damaged"),
            (Some(table), false) => format!("the TOAST table of {table} is damaged"),
            (None, _) => "the table is damaged".to_owned(),
        }
    }

    fn advice(&self) -> String {
        let function = if self.is_index { "bt_index_check" } else { "verify_heapam" };
        let call = if self.is_index { "('…', true)" } else { "('…', check_toast => true)" };
        let remedy =
            if self.is_index { "REINDEX it there and take another backup" } else { "repair it there" };
        format!(
            "look whether the source has it too: CREATE EXTENSION amcheck; SELECT * FROM {function}{call}; if so, {remedy}; \
             if not, the copy came out damaged: take another backup and look at how and where it is stored"
        )
    }
}

impl Integrity {
    fn damaged(&mut self, relation: &Relation, said: &str) {
        let message = format!("{}: {said}", relation.described());
        let finding = Finding::new(Code::IntegrityDamaged, Severity::Fail, &relation.name, message);
        self.findings.push(finding.advise(relation.advice()));
    }

    /// Tells what an error of the server means for `object`; an error that says nothing of it goes on.
    fn trouble(&mut self, object: &str, relation: Option<&Relation>, error: &Error) -> Result<()> {
        if error.sqlstate().is_none() {
            return Err(Error::new(
                error.kind().clone(),
                format!("check indexes and pages: {}", error.chain()),
            ));
        }
        match (obstacle(error)?, relation) {
            (Obstacle::Damaged(_), Some(relation)) => self.damaged(relation, &said(error)),
            (Obstacle::Damaged(_), None) => self.findings.push(
                Finding::new(Code::IntegrityDamaged, Severity::Fail, object, said(error))
                    .advise("take another backup; if it happens again, look at the source"),
            ),
            _ => self.unknown(object, format!("not checked: {}", said(error))),
        }
        Ok(())
    }

    fn unknown(&mut self, object: &str, reason: String) {
        self.gap(object, reason.clone());
        self.findings.push(Finding::new(Code::IntegrityUnknown, Severity::Inconclusive, object, reason));
    }

    fn gap(&mut self, object: &str, reason: impl Into<String>) {
        self.not_covered.push(NotCovered { object: object.to_owned(), reason: reason.into() });
    }

    /// Sorts, and keeps a wholly damaged copy from filling the report.
    fn shorten(&mut self) {
        self.findings.sort_by(|a, b| (a.severity, &a.object).cmp(&(b.severity, &b.object)));
        self.not_covered.sort_by(|a, b| a.object.cmp(&b.object));
        if let Some(first) = self.findings.get(NAMED_MAX) {
            let more = self.findings.len() - NAMED_MAX;
            let message = format!("{more} more indexes and tables, not named here");
            let rest = Finding::new(first.code, first.severity, "indexes and pages", message);
            self.findings.truncate(NAMED_MAX);
            self.findings.push(rest);
        }
        if self.not_covered.len() > NAMED_MAX {
            let more = self.not_covered.len() - NAMED_MAX;
            self.not_covered.truncate(NAMED_MAX);
            self.gap("indexes and pages", format!("{more} more, not named here"));
        }
    }
}

/// Asks whether to stop, and ends the statements that run.
struct Watcher {
    stop: AtomicBool,
    running: Vec<CancelHandle>,
}

impl Watcher {
    /// Until the other end of `until` is gone.
    #[expect(clippy::needless_pass_by_value, reason = "the channel ends with its receiver")]
    fn watch(&self, on_event: OnEvent<'_>, until: Receiver<()>) {
        while until.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            let nothing_new = Event::Read { rows: 0, bytes: 0, estimate_done: 0 };
            if self.stop.load(Ordering::SeqCst) || on_event(nothing_new).is_break() {
                self.stop.store(true, Ordering::SeqCst);
                for session in &self.running {
                    // Tried again at the next poll: a session may have been between two statements.
                    let _ = session.cancel();
                }
            }
        }
    }

    fn unless_stopped<T>(&self, result: Result<T>) -> Result<T> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Interrupted, "finish: asked to stop"));
        }
        result
    }
}

/// A row of `verify_heapam`.
fn fault(row: &Row) -> String {
    let place = [(1, "block"), (2, "item"), (3, "column")];
    let place = place.iter().filter_map(|(column, what)| Some(format!("{what} {}", row.get(*column)?)));
    let place = place.collect::<Vec<_>>().join(", ");
    format!("{place}: {}", printable(row.get(4).unwrap_or_default(), SAID_MAX / FAULTS_SHOWN as usize))
}

/// Whether an error came of what an index calls: classes 42 (a name that is not found), 22 and P0 (its own).
fn is_of_a_function(error: &Error) -> bool {
    error.sqlstate().is_some_and(|state| ["42", "22", "P0"].iter().any(|class| state.starts_with(class)))
}

fn said(error: &Error) -> String {
    printable(&error.chain(), SAID_MAX)
}

/// A session that may change the database, in which nothing of the database's own runs by itself.
fn open(settings: &Settings, limits: Limits) -> Result<Connection> {
    let session = SessionOptions::verification(limits.lock_timeout_ms, 0)
        .with("search_path", "pg_catalog")
        .with("default_transaction_read_only", "off")
        // Neither triggers nor event triggers, unless they are marked to fire always.
        .with("session_replication_role", "replica");
    let mut connection = snapshot::open_with(settings, &session)?;
    connection.execute(statements::UNDISTURBED)?;
    Ok(connection)
}
