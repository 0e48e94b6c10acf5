//! Other ways to compare two tables, measured on the same data in the same run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fixtures::TestServer;

use crate::program::run;

/// The version of reladiff that is measured.
pub const RELADIFF: &str = "0.6.0";

/// reladiff, in a virtual environment of its own.
pub struct Reladiff {
    program: PathBuf,
}

impl Reladiff {
    /// Installs it from PyPI, unless it is there.
    ///
    /// # Errors
    ///
    /// If it cannot be installed.
    pub fn install() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("state-lab-reladiff-{RELADIFF}"));
        let program = folder.join("bin/reladiff");
        if !program.exists() {
            eprintln!("installing reladiff {RELADIFF} with pip into {}", folder.display());
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            let package = format!("reladiff[postgresql]=={RELADIFF}");
            run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &package]))?;
        }
        Ok(Self { program })
    }

    /// Compares `t` of two databases, and gives the number of lines of its answer: one a row that is on one side alone.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn compare(&self, server: &TestServer, source: &str, copy: &str) -> Result<usize> {
        let uri = |name: &str| uri(&server.conninfo(name));
        let columns = ["customer", "amount", "at", "status", "note"];
        let output = Command::new(&self.program)
            .args([&uri(source)?, "t", &uri(copy)?, "t", "-k", "id"])
            .args(columns.iter().flat_map(|column| ["-c", column]))
            .output()
            .context("failed to run reladiff")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "reladiff failed: {said}");
        Ok(output.stdout.iter().filter(|&&byte| byte == b'\n').count())
    }
}

/// The sum of 32-bit hashes of the rows' text, which the server computes: the formula by which pgcopydb compares tables.
///
/// # Errors
///
/// If the server fails.
pub fn sum_of_hashtext(server: &TestServer, database: &str) -> Result<String> {
    server.psql(
        database,
        "SET max_parallel_workers_per_gather = 0; SELECT count(*), sum(hashtext(t::text)::bigint) FROM t",
    )
}

/// A connection string as a URI, as SQLAlchemy reads it.
fn uri(conninfo: &str) -> Result<String> {
    let value = |name: &str| {
        conninfo
            .split_whitespace()
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
            .map(|value| value.trim_matches('\''))
    };
    let (host, port) = (value("host").context("host")?, value("port").context("port")?);
    let (user, database) = (value("user").context("user")?, value("dbname").context("dbname")?);
    Ok(format!("postgresql://{user}@/{database}?host={host}&port={port}"))
}
