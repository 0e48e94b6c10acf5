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
        let source_at = Address::of(&server.conninfo(source))?;
        let copy_at = Address::of(&server.conninfo(copy))?;
        let columns = ["customer", "amount", "at", "status", "note"];
        let output = Command::new(&self.program)
            .args([&source_at.uri, "t", &copy_at.uri, "t", "-k", "id"])
            .args(columns.iter().flat_map(|column| ["-c", column]))
            // It drops the socket's directory from a URI.
            .env("PGHOST", &source_at.host)
            .env("PGPORT", &source_at.port)
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

/// Where a database is, as reladiff takes it.
struct Address {
    uri: String,
    host: String,
    port: String,
}

impl Address {
    fn of(conninfo: &str) -> Result<Self> {
        let value = |name: &str| {
            conninfo
                .split_whitespace()
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
                .map(|value| value.trim_matches('\'').to_owned())
                .with_context(|| format!("a connection string without {name}"))
        };
        let uri = format!("postgresql://{}@/{}", value("user")?, value("dbname")?);
        Ok(Self { uri, host: value("host")?, port: value("port")? })
    }
}
