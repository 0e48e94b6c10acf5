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

    /// Compares `t` of two databases, and gives the number of rows of its answer: those that are on one side alone.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn compare(&self, server: &TestServer, source: &str, copy: &str) -> Result<usize> {
        let server = server.conninfo(source);
        let user = value(&server, "user")?;
        let uri = |database: &str| format!("postgresql://{user}@/{database}");
        let columns = ["customer", "amount", "at", "status", "note"];
        let output = Command::new(&self.program)
            .args([&uri(source), "t", &uri(copy), "t", "-k", "id"])
            .args(columns.iter().flat_map(|column| ["-c", column]))
            // It drops the socket's directory from a URI.
            .env("PGHOST", value(&server, "host")?)
            .env("PGPORT", value(&server, "port")?)
            .output()
            .context("failed to run reladiff")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // It exits with 0 when it cannot connect.
        ensure!(output.status.success() && !said.contains("ERROR"), "reladiff failed: {said}");
        // A long line is broken at 80 columns.
        let lines = output.stdout.split(|&byte| byte == b'\n');
        Ok(lines.filter(|line| line.starts_with(b"- ") || line.starts_with(b"+ ")).count())
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

/// The value of a keyword of a connection string.
fn value<'a>(conninfo: &'a str, keyword: &str) -> Result<&'a str> {
    let mut pairs = conninfo.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs
        .find_map(|(name, value)| (name == keyword).then(|| value.trim_matches('\'')))
        .with_context(|| format!("a connection string without {keyword}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_keyword() {
        let conninfo = "host='/tmp/a' port=5432 user=postgres dbname=shop";
        assert_eq!(value(conninfo, "host").unwrap(), "/tmp/a");
        assert_eq!(value(conninfo, "port").unwrap(), "5432");
        assert!(value(conninfo, "password").is_err());
    }
}
