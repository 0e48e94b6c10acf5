//! Result of a restore, with the restored server still running.

use std::path::PathBuf;

use anyhow::Result;
use verify_core::finding::Verdict;
use verify_core::manifest::Manifest;
use verify_core::postgres::Settings;
use verify_core::report::Report;

use crate::scratch::Scratch;
use crate::server::Server;
use verify_drill::backup_record::BackupRecord;

/// A restored server, and what was found. The server and its directory go with this value.
#[derive(Debug)]
pub struct Restored {
    // Dropped in this order: the server stops before its directory is removed.
    /// The server, which takes writes by now. It listens on a private socket alone.
    pub server: Server,
    /// The directory that contains it.
    pub scratch: Scratch,
    /// Record of the restored backup.
    pub record: BackupRecord,
    /// The manifests of the databases, in the record's order.
    pub manifests: Vec<Manifest>,
    /// The way to each restored database, in the same order.
    pub databases: Vec<Settings>,
    /// Reports, in the same order.
    pub reports: Vec<Report>,
    /// The files of the reports in the store.
    pub report_files: Vec<PathBuf>,
}

impl Restored {
    /// The worst verdict of all databases.
    pub fn verdict(&self) -> Verdict {
        Verdict::worst(self.reports.iter().map(Report::verdict))
    }

    /// The worst verdict on the data alone, whatever the objectives.
    pub fn integrity(&self) -> Verdict {
        Verdict::worst(self.reports.iter().map(|report| report.comparison().verdict()))
    }

    /// A connection string to a restored database.
    pub fn conninfo(&self, database: &str) -> String {
        let role = self.databases.first().map_or("postgres", Settings::user);
        self.server.conninfo_as(role, database)
    }

    /// Leaves the server running for inspection; returns its directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be marked as kept.
    pub fn keep(self) -> Result<PathBuf> {
        let path = self.scratch.keep()?;
        self.server.detach();
        Ok(path)
    }
}
