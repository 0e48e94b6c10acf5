//! Indexes that amcheck does not compare with their tables: rows of the table, read sequentially, are looked up through them.

use std::collections::BTreeSet;

use super::index::{Index, Key, Operator};
use super::statements::{self, FAULTS_SHOWN, NEWEST};
use super::{Integrity, Role};
use crate::cost::Cost;
use crate::error::Result;
use crate::event::OnEvent;
use crate::finding::{Code, Finding};
use crate::not_covered::Check;
use crate::plan::Plan;
use crate::postgres::connection::Connection;
use crate::postgres::crew;
use crate::postgres::reader::obstacle;
use crate::postgres::rows::first;
use crate::postgres::sandbox::{Sandbox, said};
use crate::table::{TableName, shown_identifier};

/// Numbers of rows that are looked up at once. A few first, since a common value can take as long as the table is large.
const STEPS: [usize; 4] = [1, 10, 100, usize::MAX];
/// Time limits of the first step, without which nothing is known of the index, and of each other.
const FIRST_TIMEOUT_MS: u64 = 20_000;
const STEP_TIMEOUT_MS: u64 = 5_000;
/// Time limit of the scan for the rows, and what each GiB of the table adds to it.
const SCAN_TIMEOUT_MS: u64 = 600_000;
const SCAN_TIMEOUT_PER_GIB_MS: u64 = 300_000;

/// Checks the indexes of the database, those of one table after another.
pub(super) fn check(
    control: &mut Connection,
    role: &Role,
    plan: &Plan,
    on_event: OnEvent<'_>,
    found: &mut Integrity,
) -> Result<()> {
    let tables = read(control)?;
    if tables.is_empty() {
        return Ok(());
    }
    let sandbox = match Sandbox::ready(control)? {
        Ok(sandbox) => sandbox,
        Err(reason) => {
            tables.iter().flatten().for_each(|index| found.gap(&index.object(), reason.clone()));
            return Ok(());
        }
    };
    let sizes: Vec<u64> =
        tables.iter().map(|indexes| indexes.iter().map(|index| index.bytes).sum()).collect();
    let session = || role.open(control.settings(), plan.limits);
    let checks = crew::check_all(&sizes, plan.jobs.get(), session, on_event, |connection, place, found| {
        tables[place].iter().try_for_each(|index| index.check(connection, &sandbox, role, found))
    })?;
    for Integrity { findings, not_covered, .. } in checks {
        found.findings.extend(findings);
        found.not_covered.extend(not_covered);
    }
    Ok(())
}

/// What the check reads of each index: the table, for the rows that are looked up.
pub(super) fn costs(control: &mut Connection) -> Result<Vec<Cost>> {
    let cost =
        |index: Index| Cost { check: Check::IndexContents, object: index.object(), bytes: index.bytes };
    Ok(read(control)?.into_iter().flatten().map(cost).collect())
}

/// Reads the indexes, by table.
fn read(control: &mut Connection) -> Result<Vec<Vec<Index>>> {
    let mut tables: Vec<Vec<Index>> = Vec::new();
    let mut last = None;
    for row in control.query(statements::SAMPLED)? {
        let index = Index::read(&row)?;
        let place = (index.oid, row.text(9)?.to_owned());
        let (expression, collation) = (row.text(10)?.to_owned(), row.get(11).map(str::to_owned));
        if tables.last().and_then(|indexes| indexes.first()).is_none_or(|other| other.table != index.table) {
            tables.push(Vec::new());
        }
        let Some(indexes) = tables.last_mut() else { continue };
        if indexes.last().is_none_or(|other| other.oid != index.oid) {
            indexes.push(index);
        }
        let Some(index) = indexes.last_mut() else { continue };
        if last.as_ref() != Some(&place) {
            index.keys.push(Key { expression, collation, operators: Vec::new() });
        }
        last = Some(place);
        if let (Some(key), Some(name)) = (index.keys.last_mut(), row.get(12)) {
            key.operators.push(Operator { name: name.to_owned(), searches: row.flag(13)? });
        }
    }
    Ok(tables)
}

/// Result of looking rows up.
#[derive(Default)]
struct LookedUp {
    /// Number of rows with a value that finds itself by the operator.
    rows: usize,
    /// Number of rows with a value that does not.
    others: usize,
    /// Positions of rows that were not found.
    missing: Vec<String>,
    /// Why not all rows were looked up.
    stopped: Option<String>,
}

impl Index {
    fn check(
        &self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        role: &Role,
        found: &mut Integrity,
    ) -> Result<()> {
        let only = statements::only_index(self.oid);
        let checked = self
            .within(connection, sandbox, &only, |connection| self.look_up_all(connection, sandbox, found))?;
        let suspect = match checked {
            Ok(Some(suspect)) => suspect,
            Ok(None) => return Ok(()),
            Err(reason) => {
                found.gap(&self.object(), format!("not checked against its table: {reason}"));
                return Ok(());
            }
        };
        let (key, operator, missing) = (suspect.key, suspect.operator, &suspect.missing);
        let said = not_found(missing, suspect.rows);
        if !role.superuser {
            found.unknown(
                &self.object(),
                format!("{said}; whether a new index would find them is known if you verify as a superuser"),
            );
            return Ok(());
        }
        // Some operator classes lose rows by themselves, such as those of GiST where a value is NaN.
        let rebuilt = format!("{}; {only}", statements::rebuild(self, connection.backend_pid()));
        let again = self.within(connection, sandbox, &rebuilt, |connection| {
            connection.execute(statements::BY_INDEX)?;
            self.look_up(connection, sandbox, (key, operator), missing)
        })?;
        match again {
            Ok(Ok(again)) if again.rows == missing.len() && again.missing.is_empty() => {
                found.damaged_index(&self.name, &self.table, &format!("{said}; a new index finds them"));
            }
            Ok(Ok(_)) => found.gap(
                &self.object(),
                format!("not checked against its table: {said}, nor through a new index, as its operator class loses rows"),
            ),
            Ok(Err(Failed::Damaged(reason) | Failed::Unknown(reason))) | Err(reason) => found
                .unknown(&self.object(), format!("{said}; that a new index finds them could not be checked: {reason}")),
        }
        Ok(())
    }

    /// Runs within a transaction of the sandbox, which is rolled back; what the server refuses is the inner error.
    fn within<T>(
        &self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        prepare: &str,
        run: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<Result<T, String>> {
        let entered = sandbox.enter_prepared(connection, std::slice::from_ref(&self.table), prepare);
        let result = match entered.and_then(|()| run(connection)) {
            Err(error) if error.sqlstate().is_none() || connection.is_closed() => return Err(error),
            Err(error) => {
                obstacle(&error)?;
                Err(said(&error))
            }
            Ok(result) => Ok(result),
        };
        connection.execute("ROLLBACK")?;
        Ok(result)
    }

    /// Looks the sample up by each column; the rows that were not found.
    fn look_up_all(
        &self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        found: &mut Integrity,
    ) -> Result<Option<Suspect<'_>>> {
        let places = match self.sample(connection, sandbox)? {
            Ok(places) => places,
            Err(reason) => {
                found.gap(&self.object(), format!("not checked against its table: {reason}"));
                return Ok(None);
            }
        };
        connection.execute(statements::BY_INDEX)?;
        let mut whole = places.len() < NEWEST;
        let mut rows = 0;
        for (number, key) in self.keys.iter().enumerate() {
            match self.look_up_key(connection, sandbox, key, &places)? {
                Ok((operator, LookedUp { missing, rows, .. })) if !missing.is_empty() => {
                    return Ok(Some(Suspect { key, operator, missing, rows }));
                }
                Ok((_, looked_up)) => {
                    rows = rows.max(looked_up.rows);
                    whole &= looked_up.stopped.is_none();
                }
                Err(Failed::Damaged(said)) => {
                    found.damaged_index(&self.name, &self.table, &said);
                    return Ok(None);
                }
                Err(Failed::Unknown(reason)) => {
                    let column = if self.keys.len() > 1 {
                        format!("its column {} is ", number + 1)
                    } else {
                        String::new()
                    };
                    found.gap(&self.object(), format!("{column}not checked against its table: {reason}"));
                }
            }
        }
        if !whole && rows > 0 {
            let reason = format!(
                "a sample of {rows} rows of {} was looked up through it, not every row; REINDEX rebuilds it",
                self.table
            );
            found.gap(&self.object(), reason);
        }
        Ok(None)
    }

    /// Positions of the rows to look up, read sequentially.
    fn sample(&self, connection: &mut Connection, sandbox: &Sandbox) -> Result<Result<Vec<String>, String>> {
        let timeout_ms = SCAN_TIMEOUT_MS + (self.bytes >> 30) * SCAN_TIMEOUT_PER_GIB_MS;
        let mut places = match sandbox.run(connection, &statements::newest_rows(self), timeout_ms)? {
            Ok(places) => places,
            Err(refusal) => return Ok(Err(refusal.reason)),
        };
        if places.len() < NEWEST {
            return Ok(Ok(places));
        }
        let spread = statements::spread_rows(self, &self.pages_percent);
        match sandbox.run(connection, &spread, timeout_ms)? {
            Ok(spread) => {
                // Behind those that changed last, which matter most if time is short.
                let known: BTreeSet<String> = places.iter().cloned().collect();
                places.extend(spread.into_iter().filter(|place| !known.contains(place)));
            }
            Err(refusal) => return Ok(Err(refusal.reason)),
        }
        Ok(Ok(places))
    }

    /// Looks rows up by one column, with the first operator that fits.
    fn look_up_key<'a>(
        &self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        key: &'a Key,
        places: &[String],
    ) -> Result<Result<(&'a Operator, LookedUp), Failed>> {
        let method = shown_identifier(&self.method);
        let mut reason = format!(
            "a {method} index whose operator class has no operator by which a row finds itself; REINDEX rebuilds it"
        );
        for operator in &key.operators {
            match self.look_up(connection, sandbox, (key, operator), places)? {
                Ok(LookedUp { rows: 0, others, .. }) if others > 0 => {}
                Err(Failed::Unknown(said)) => reason = said,
                result => return Ok(result.map(|looked_up| (operator, looked_up))),
            }
        }
        Ok(Err(Failed::Unknown(reason)))
    }

    fn look_up(
        &self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        key: (&Key, &Operator),
        places: &[String],
    ) -> Result<Result<LookedUp, Failed>> {
        let mut result = LookedUp::default();
        let mut rest = places;
        for step in STEPS {
            let (now, later) = rest.split_at(step.min(rest.len()));
            rest = later;
            if now.is_empty() {
                break;
            }
            let before = self.scans(connection)?;
            let timeout_ms = if result.rows == 0 { FIRST_TIMEOUT_MS } else { STEP_TIMEOUT_MS };
            let rows = match sandbox.run(connection, &statements::look_up(self, key, now), timeout_ms)? {
                Ok(rows) => rows,
                Err(refusal) if refusal.damaged => {
                    return Ok(Err(Failed::Damaged(format!("it cannot be read: {}", refusal.reason))));
                }
                Err(refusal) if result.rows > 0 => {
                    result.stopped = Some(refusal.reason);
                    return Ok(Ok(result));
                }
                Err(refusal) => return Ok(Err(Failed::Unknown(refusal.reason))),
            };
            let looked_up = rows.iter().filter(|row| !matches!(row.as_str(), "" | "-")).count();
            if self.scans(connection)? - before < looked_up as u64 {
                return Ok(Err(Failed::Unknown(
                    "the server does not use it for a query by one of its operators".to_owned(),
                )));
            }
            result.rows += looked_up;
            result.others += rows.iter().filter(|row| *row == "-").count();
            result.missing.extend(rows.into_iter().filter(|row| row.starts_with('(')));
        }
        Ok(Ok(result))
    }

    /// Number of scans of the index in this transaction, which shows that the server used it.
    fn scans(&self, connection: &mut Connection) -> Result<u64> {
        first(&connection.query(&statements::scans(self.oid))?)?.number(0)
    }
}

/// Rows that the index does not find.
struct Suspect<'a> {
    key: &'a Key,
    operator: &'a Operator,
    missing: Vec<String>,
    /// Number of rows that were looked up.
    rows: usize,
}

fn not_found(missing: &[String], of: usize) -> String {
    let shown = &missing[..missing.len().min(FAULTS_SHOWN as usize)];
    let more = if missing.len() > shown.len() { ", the first" } else { "" };
    format!(
        "{} of {of} rows of the table that were looked up are not found through it{more}: {}",
        missing.len(),
        shown.join(", ")
    )
}

/// Why rows could not be looked up.
enum Failed {
    Damaged(String),
    Unknown(String),
}

impl Integrity {
    fn damaged_index(&mut self, index: &TableName, table: &TableName, said: &str) {
        let message = format!("an index of {table} is damaged: {said}");
        let hint = "check whether the source has the same damage: select such rows there with enable_seqscan off, then with \
             enable_indexscan and enable_bitmapscan off; if so, REINDEX it there and take another backup; if not, the copy was damaged: \
             take another backup, and check how and where it is stored";
        self.findings.push(Finding::new(Code::IntegrityDamaged, index, message).with_hint(hint));
    }
}
