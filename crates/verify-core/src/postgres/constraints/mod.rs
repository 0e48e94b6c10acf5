//! Checks whether the rows of a restored copy satisfy the constraints that its catalogue calls valid: a foreign key can be marked
//! valid and have orphans.
//!
//! Each constraint is evaluated again as a query that reads tables sequentially, since a damaged index would hide violations.
//! Functions of the database run as a role that may only read.

mod catalogue;
mod foreign_key;
mod probe;
mod statements;
mod unique;

use std::collections::BTreeSet;

use self::catalogue::Catalogue;
use self::probe::{Outcome, Probe};
use super::connection::Connection;
use super::crew::IN_RECOVERY;
use super::reader::obstacle;
use super::sandbox::{Sandbox, said};
use super::session::SessionOptions;
use super::settings::Settings;
use super::shortened::shorten;
use super::{crew, snapshot};
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::event::OnEvent;
use crate::finding::{Code, Finding, Rows};
use crate::not_covered::{Check, NotCovered};
use crate::plan::{Limits, Plan};
use crate::table::TableName;

/// The object of what concerns all constraints.
const ALL: &str = "constraints";

/// Bytes of tables that are checked together with others, and how many queries at most: each holds locks until the end.
const SMALL_BYTES_MAX: u64 = 1 << 20;
const BATCH_MAX: usize = 20;

/// Result of the check, for [`crate::compare::Comparison::join`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Constraints {
    /// Constraints that rows violate, or of which that could not be found out, the worst first.
    pub findings: Vec<Finding>,
    /// Constraints that were not checked.
    pub not_covered: Vec<NotCovered>,
}

/// Rows of the copy that are known to be the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRows {
    /// Tables whose every row is equal to the source's.
    pub tables: BTreeSet<TableName>,
    /// The exported snapshot under which they are, unless they still are.
    pub snapshot: Option<String>,
}

/// Checks every constraint that the catalogue calls valid, with `plan.jobs` connections at once.
///
/// What the rows of the source violate is a finding as well, but no fault of the restore.
///
/// A superuser needs a server out of recovery: for the time of each transaction, which is rolled back, it creates a role with
/// which to run what the database's own functions do. Any other role runs them with its own privileges.
///
/// # Errors
///
/// If the server cannot be reached, the connection breaks, or `on_event` asks to stop. A violation is not an error.
pub fn check(
    settings: &Settings,
    source: &SourceRows,
    plan: &Plan,
    on_event: OnEvent<'_>,
) -> Result<Constraints> {
    let mut control = open(settings, plan.limits)?;
    let mut found = Constraints::default();
    let begun = Sandbox::ready(&mut control).and_then(|sandbox| match sandbox {
        Ok(sandbox) => Ok(Some((sandbox, Catalogue::read(&mut control)?))),
        Err(reason) => {
            if reason == IN_RECOVERY {
                found.not_covered.push(NotCovered::new(Check::Constraints, ALL, reason));
            } else {
                found.unknown(ALL, reason);
            }
            Ok(None)
        }
    });
    match begun {
        Ok(Some((sandbox, catalogue))) => {
            found.not_covered.extend(catalogue.not_covered);
            let batches = batches(&catalogue.probes);
            let bytes = |batch: &&[Probe]| batch.iter().map(|probe| probe.bytes).sum();
            let sizes: Vec<u64> = batches.iter().map(bytes).collect();
            let session = || open(control.settings(), plan.limits);
            let check = |connection: &mut Connection, index: usize, found: &mut Constraints| {
                found.check(connection, &sandbox, batches[index], source)
            };
            for part in crew::check_all(&sizes, plan.jobs.get(), session, on_event, check)? {
                found.findings.extend(part.findings);
                found.not_covered.extend(part.not_covered);
            }
        }
        Ok(None) => {}
        Err(error) => found.trouble(ALL, &error)?,
    }
    shorten(&mut found.findings, &mut found.not_covered, Check::Constraints, ALL, "");
    Ok(found)
}

/// What the check will read: each constraint's query reads whole tables, of which several constraints may need only one.
///
/// # Errors
///
/// If the catalogue cannot be read.
pub fn costs(settings: &Settings, plan: &Plan) -> Result<Vec<Cost>> {
    let catalogue = Catalogue::read(&mut open(settings, plan.limits)?)?;
    let cost = |probe: &Probe| {
        let objects: Vec<&str> = probe.rules.iter().map(|rule| rule.object.as_str()).collect();
        let more = match objects.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more of it", count - 1),
        };
        let object = format!("{}{more}", objects.first().unwrap_or(&ALL));
        Cost { check: Check::Constraints, object, bytes: probe.bytes }
    };
    Ok(catalogue.probes.iter().map(cost).collect())
}

impl Constraints {
    fn check(
        &mut self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        batch: &[Probe],
        source: &SourceRows,
    ) -> Result<()> {
        for (probe, outcomes) in batch.iter().zip(evaluate(connection, sandbox, batch, None)?) {
            self.judge(connection, sandbox, probe, outcomes, source)?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        connection: &mut Connection,
        sandbox: &Sandbox,
        probe: &Probe,
        outcomes: Vec<Outcome>,
        source: &SourceRows,
    ) -> Result<()> {
        let is_violated = |outcome: &Outcome| matches!(outcome, Outcome::Violated(_));
        let equal =
            !probe.tables.is_empty() && probe.tables.iter().all(|table| source.tables.contains(table));
        // Rows that are newer than the comparison are not known to be the source's.
        let compared = match &source.snapshot {
            Some(snapshot) if equal && outcomes.iter().any(is_violated) => {
                evaluate(connection, sandbox, std::slice::from_ref(probe), Some(snapshot))?.pop()
            }
            _ => None,
        };
        for (i, (rule, outcome)) in probe.rules.iter().zip(outcomes).enumerate() {
            match outcome {
                Outcome::Holds => {}
                Outcome::Violated(rows) => {
                    let on_the_source = match compared.as_ref().map(|compared| &compared[i]) {
                        None => equal,
                        Some(Outcome::Violated(earlier)) => earlier.at_least >= rows.at_least,
                        Some(Outcome::Holds | Outcome::Unknown(_)) => false,
                    };
                    let violation = rule.violation(rows.at_least);
                    self.findings.push(violated(&rule.object, &violation, rows, on_the_source));
                }
                Outcome::Unknown(reason) => self.unknown(&rule.object, format!("not checked: {reason}")),
            }
        }
        Ok(())
    }

    /// Adds what an error of the server means for `object`; an error of another kind is returned.
    fn trouble(&mut self, object: &str, error: &Error) -> Result<()> {
        if error.sqlstate().is_none() {
            return Err(Error::new(error.kind().clone(), format!("check constraints: {error}")));
        }
        obstacle(error)?;
        self.unknown(object, format!("not checked: {}", said(error)));
        Ok(())
    }

    fn unknown(&mut self, object: &str, reason: String) {
        self.not_covered.push(NotCovered::new(Check::Constraints, object, reason.clone()));
        self.findings.push(Finding::new(Code::ConstraintUnknown, object, reason));
    }
}

/// Checks the rules of each probe in one transaction, under the snapshot if one is given.
fn evaluate(
    connection: &mut Connection,
    sandbox: &Sandbox,
    batch: &[Probe],
    snapshot: Option<&str>,
) -> Result<Vec<Vec<Outcome>>> {
    let relations: Vec<TableName> = batch
        .iter()
        .flat_map(|probe| &probe.relations)
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let outcomes = match sandbox.enter(connection, &relations, snapshot) {
        Ok(()) => batch.iter().map(|probe| probe.run(connection, sandbox)).collect::<Result<_>>()?,
        Err(error) => {
            obstacle(&error)?;
            connection.execute("ROLLBACK")?;
            return match batch {
                [probe] => Ok(vec![probe.rules.iter().map(|_| Outcome::Unknown(said(&error))).collect()]),
                // One of them is to blame.
                _ => {
                    let alone = batch.iter().map(|probe| {
                        Ok(evaluate(connection, sandbox, std::slice::from_ref(probe), snapshot)?
                            .pop()
                            .unwrap_or_default())
                    });
                    alone.collect()
                }
            };
        }
    };
    connection.execute("ROLLBACK")?;
    Ok(outcomes)
}

/// Queries that share a transaction, whose beginning costs more than to read a small table.
fn batches(probes: &[Probe]) -> Vec<&[Probe]> {
    let is_small = |probe: &Probe| probe.bytes <= SMALL_BYTES_MAX;
    let runs = probes.chunk_by(|a, b| is_small(a) && is_small(b));
    runs.flat_map(|run| run.chunks(BATCH_MAX)).collect()
}

fn violated(object: &str, violation: &str, rows: Rows, on_the_source: bool) -> Finding {
    let mut finding = if on_the_source {
        let message = format!("{violation}; the source has them too, since its rows are equal");
        Finding::new(Code::ConstraintViolated, object, message)
            .excused()
            .with_hint("repair the rows on the source: a restore from a dump may refuse them")
    } else {
        Finding::new(Code::ConstraintViolated, object, violation).with_hint(
            "check whether the source has such rows; if so, repair them there; if not, the restore lost or added rows",
        )
    };
    finding.rows = Some(rows);
    finding
}

/// A session in which no name is found that is not qualified.
fn open(settings: &Settings, limits: Limits) -> Result<Connection> {
    let session = SessionOptions::checking(limits.lock_timeout_ms);
    snapshot::open_with(settings, limits, &session)
}
