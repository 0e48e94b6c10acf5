//! The COPY floor of databases, and work on them, both on all databases at once.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;
use verify_core::capture::capture_snapshot;
use verify_core::database::Snapshot;
use verify_core::event;
use verify_core::finding::Verdict;
use verify_core::manifest::{Manifest, TableEntry};
use verify_core::plan::Plan;
use verify_core::postgres::{Environment, Postgres, PostgresSnapshot, Settings};
use verify_core::scan;
use verify_core::verify::{compare_databases, verify};

/// One connection to each database.
#[must_use]
pub fn plan() -> Plan {
    Plan::default().with_jobs(NonZeroUsize::MIN)
}

/// A database of a server.
///
/// # Errors
///
/// If the server's connection string cannot be read.
pub fn database(server: &TestServer, name: &str) -> Result<Postgres> {
    reached_by(&server.conninfo(name))
}

/// The database that a connection string leads to.
///
/// # Errors
///
/// If it cannot be read.
pub fn reached_by(conninfo: &str) -> Result<Postgres> {
    Ok(Postgres::new(Settings::parse(conninfo, &Environment::default())?))
}

/// Snapshots that are read again and again.
pub struct Snapshots(Vec<PostgresSnapshot>);

impl Snapshots {
    /// Takes one of each database.
    ///
    /// # Errors
    ///
    /// If one cannot be taken.
    pub fn take(server: &TestServer, databases: &[&str]) -> Result<Self> {
        let take = |name: &&str| Ok(database(server, name)?.begin(&plan(), &event::ignore)?);
        databases.iter().map(take).collect::<Result<_>>().map(Self)
    }

    /// Reads all rows of all at once, and throws them away.
    ///
    /// # Errors
    ///
    /// If a connection breaks.
    pub fn floor(&self) -> Result<u64> {
        self.at_once(|snapshot| Ok(scan::floor(snapshot, &plan(), &event::ignore)?.0))
    }

    /// Measures the rows of all at once.
    ///
    /// # Errors
    ///
    /// If a connection breaks.
    pub fn measure(&self) -> Result<u64> {
        self.at_once(|snapshot| {
            let manifest = capture_snapshot(snapshot, &rows_alone(), &event::ignore)?;
            Ok(manifest.tables.iter().map(TableEntry::rows).sum())
        })
    }

    /// The manifest of the first.
    ///
    /// # Errors
    ///
    /// If a connection breaks.
    pub fn manifest(&self) -> Result<Manifest> {
        let first = self.0.first().context("no snapshot")?;
        Ok(capture_snapshot(first, &plan(), &event::ignore)?)
    }

    fn at_once(&self, work: impl Fn(&dyn Snapshot) -> Result<u64> + Sync) -> Result<u64> {
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self.0.iter().map(|snapshot| scope.spawn(move || work(snapshot))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?)
                .sum()
        })
    }
}

/// Verifies a copy in which `differing` rows are not those of the manifest, and requires that all are named.
///
/// # Errors
///
/// If it cannot be read, or another number of rows is named.
pub fn verify_copy(manifest: &Manifest, server: &TestServer, copy: &str, differing: u64) -> Result<()> {
    let plan = rows_alone();
    let comparison = verify(manifest, &database(server, copy)?, &plan, &event::ignore)?;
    named(&comparison, differing)
}

/// Compares two databases in which `differing` rows are not the same, and requires that all are named.
///
/// # Errors
///
/// If one cannot be read, or another number of rows is named.
pub fn compare(server: &TestServer, source: &str, copy: &str, differing: u64) -> Result<()> {
    let (source, copy) = (database(server, source)?, database(server, copy)?);
    named(&compare_databases(&source, &copy, &rows_alone(), &event::ignore)?, differing)
}

/// The checks of rows, which the floor reads, and no others.
fn rows_alone() -> Plan {
    use verify_core::not_covered::Check;
    plan().without([Check::Sequences, Check::Definitions, Check::Cluster, Check::Invariants])
}

fn named(comparison: &verify_core::compare::Comparison, differing: u64) -> Result<()> {
    let rows =
        |finding: &verify_core::finding::Finding| finding.rows.as_ref().map_or(0, |rows| rows.at_least);
    let more =
        comparison.findings().iter().any(|finding| finding.rows.as_ref().is_some_and(|rows| rows.more));
    let found: u64 = comparison.findings().iter().map(rows).sum();
    ensure!(found == differing && !more, "{found} rows were named, and {differing} differ");
    ensure!(differing == 0 || comparison.verdict() == Verdict::Fail, "it did not fail");
    Ok(())
}
