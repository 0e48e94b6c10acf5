//! Checks whether a restored server keeps its rows when it is used: transactions are committed, rows written, databases vacuumed, and
//! a checkpoint is written. The caller then starts the server again, and reads all rows once more.
//!
//! Data files that are newer than the WAL hold rows of transactions that the server has not begun yet. They are invisible, so that a
//! comparison passes, until as many transactions have committed.

mod statements;

use super::crew::{IN_RECOVERY, POOLED};
use super::reader::obstacle;
use super::rows::first;
use super::sandbox::said;
use super::scratch_database::{ScratchDatabase, open};
use super::settings::Settings;
use crate::compare::Comparison;
use crate::database::Obstacle;
use crate::error::{Error, Result};
use crate::finding::{Code, Finding, Severity};
use crate::plan::Limits;

/// Number of transactions: those of a busy server in ten seconds.
pub const TRANSACTIONS: u32 = 10_000;
/// Transactions of one message.
const AT_ONCE: u32 = 1_000;
/// Database of our own, removed at the end.
const DATABASE: &str = "state_lab_durability";
/// Rows that [`statements::CHANGE`] leaves.
const ROWS_LEFT: u64 = 900;
/// The object of what concerns the server.
const SERVER: &str = "server";

/// A restored server, and the databases to vacuum. No other session may write to them.
pub struct Exercise<'a> {
    databases: &'a [Settings],
    limits: Limits,
    /// The database that rows are written to.
    scratch: Option<ScratchDatabase>,
}

impl<'a> Exercise<'a> {
    /// On the server of `databases`.
    pub fn new(databases: &'a [Settings], limits: Limits) -> Self {
        Self { databases, limits, scratch: None }
    }

    /// Commits transactions, writes rows, vacuums, and has a checkpoint written; a finding if the server cannot.
    ///
    /// [`Exercise::finish`] must follow, also after an error.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or the connection breaks.
    pub fn run(&mut self) -> Result<Option<Finding>> {
        match self.try_run() {
            Ok(None) => Ok(None),
            Ok(Some(reason)) => Ok(Some(unknown(SERVER, reason))),
            Err(error) => Self::trouble(&error).map(Some),
        }
    }

    fn try_run(&mut self) -> Result<Option<String>> {
        let Some(first_of_all) = self.databases.first() else { return Ok(None) };
        let mut control = open(first_of_all, self.limits)?;
        if control.is_pooled() {
            return Ok(Some(POOLED.to_owned()));
        }
        if first(&control.query(super::statements::IN_RECOVERY)?)?.flag(0)? {
            return Ok(Some(IN_RECOVERY.to_owned()));
        }
        let scratch = ScratchDatabase::create(first_of_all, DATABASE, self.limits)?;
        let mut own = self.scratch.insert(scratch).open()?;
        own.execute(statements::WRITE)?;
        for _ in 0..TRANSACTIONS / AT_ONCE {
            own.query(&statements::transactions(AT_ONCE))?;
        }
        own.execute(statements::CHANGE)?;
        own.execute(statements::VACUUM)?;
        for database in self.databases {
            open(database, self.limits)?.execute(statements::VACUUM)?;
        }
        control.execute(statements::CHECKPOINT)?;
        Ok(None)
    }

    /// Reads the rows that [`Exercise::run`] wrote; a finding if they are others.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or the connection breaks.
    pub fn look_back(&self) -> Result<Option<Finding>> {
        let Some(scratch) = &self.scratch else { return Ok(None) };
        let read = scratch.open().and_then(|mut own| {
            let rows = own.query(statements::WRITTEN)?;
            Ok((first(&rows)?.number::<u64>(0)?, first(&rows)?.number::<u64>(1)?))
        });
        match read {
            Ok((ROWS_LEFT, ROWS_LEFT)) => Ok(None),
            Ok((rows, right)) => Ok(Some(failed(
                SERVER,
                format!(
                    "of {ROWS_LEFT} rows that were written to it as a test, it has {right}, and {} others",
                    rows - right
                ),
            ))),
            Err(error) => Self::trouble(&error).map(Some),
        }
    }

    /// Removes what was written.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or refuses.
    pub fn finish(&mut self) -> Result<()> {
        self.scratch.take().map_or(Ok(()), |scratch| scratch.remove())
    }

    /// What an error of the server means; an error of another kind is returned.
    fn trouble(error: &Error) -> Result<Finding> {
        if error.sqlstate().is_none() {
            return Err(Error::new(error.kind().clone(), format!("check durability: {error}")));
        }
        let said = said(error);
        Ok(match obstacle(error)? {
            Obstacle::Damaged(_) => failed(SERVER, format!("it cannot be written to and vacuumed: {said}")),
            _ => unknown(SERVER, format!("not checked: {said}")),
        })
    }
}

/// Findings of a comparison of the rows from before with those after, as ones of this check. Of `known` objects nothing is repeated that
/// is not a failure.
pub fn changed(comparison: &Comparison, known: &Comparison) -> Vec<Finding> {
    let is_known = |object: &str| known.findings().iter().any(|finding| finding.object == object);
    let counts = |finding: &&Finding| match finding.severity() {
        Severity::Fail => true,
        Severity::Inconclusive => {
            finding.code() != Code::CoverageNone
                && finding.code() != Code::SourceSameServer
                && !is_known(&finding.object)
        }
        Severity::Notice => false,
    };
    let ours = comparison.findings().iter().filter(counts).map(|finding| {
        let message = changed_text(finding);
        let mut ours = match finding.severity() {
            Severity::Fail => failed(&finding.object, message),
            Severity::Inconclusive | Severity::Notice => unknown(&finding.object, message),
        };
        ours.rows.clone_from(&finding.rows);
        ours
    });
    ours.collect()
}

fn changed_text(finding: &Finding) -> String {
    let after = format!("after {TRANSACTIONS} transactions, a vacuum and a checkpoint");
    let what = match finding.code() {
        Code::RowAdded => "are there that were not before",
        Code::RowMissing => "are no longer there",
        Code::RowChanged => "have other content",
        _ => return format!("{after}: {}", finding.message),
    };
    let count = finding.rows.as_ref().map_or(0, |rows| rows.at_least);
    format!("{after} rows {what}: at least {count}")
}

/// A finding that the server does not keep what it is given.
pub fn failed(object: &str, message: String) -> Finding {
    Finding::new(Code::DurabilityFailed, object, message).with_hint(
        "do not serve this copy: its data files may be newer than its WAL, or its storage loses writes. Take volumes of data and WAL in one \
         snapshot, and another backup",
    )
}

/// A finding that nothing is known of it.
pub fn unknown(object: &str, message: String) -> Finding {
    Finding::new(Code::DurabilityUnknown, object, message)
        .with_hint("run it as a superuser of the restored server, or leave it out: --skip durability")
}
