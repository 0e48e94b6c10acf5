//! Definitions on real servers: silent after a clean restore, and each change named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use fixtures::TestServer;
use verify_core::capture::{capture, capture_snapshot, complete};
use verify_core::definition::Definitions;
use verify_core::event;
use verify_core::finding::{Code, Finding, Severity};
use verify_core::manifest::Manifest;
use verify_core::plan::Plan;
use verify_core::verify::verify;

use crate::dump::{program, run};
use crate::measure::postgres;

fn load(server: &TestServer) -> Result<()> {
    server.create_database("source")?;
    server.psql("source", include_str!("objects.sql"))?;
    if server.major() >= 15 {
        server.psql("source", include_str!("later_objects.sql"))?;
    }
    if server.major() >= 18 {
        server.psql("source", include_str!("newest_objects.sql"))?;
    }
    Ok(())
}

fn catalogue_findings(manifest: &Manifest, target: &TestServer, database: &str) -> Result<Vec<Finding>> {
    let comparison = verify(manifest, &postgres(target, database)?, &Plan::default(), &event::ignore)?;
    let of_catalogue = |finding: &&Finding| finding.code().to_string().starts_with("catalog.");
    Ok(comparison.findings().iter().filter(of_catalogue).cloned().collect())
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{:?} {} {}: {}", finding.severity(), finding.code(), finding.object, finding.message)).collect()
}

fn a_dump_is_silent(from: u32, to: u32) -> Result<()> {
    let source = fixtures::server(from)?;
    load(&source)?;
    let target = fixtures::server(to)?;
    target.psql("postgres", "CREATE ROLE reader; CREATE ROLE writer; CREATE DATABASE restored")?;
    let snapshot = postgres(&source, "source")?.begin(&Plan::default(), &event::ignore)?;
    let dump = source.directory().join("dump.sql");
    run(Command::new(program("pg_dump", to)?).args(["--snapshot", snapshot.exported(), "-f"]).arg(&dump).args(["-d", &source.conninfo("source")]))?;
    let mut manifest = capture_snapshot(&snapshot, &Plan::default(), &event::ignore)?;
    complete(&snapshot, &mut manifest)?;
    drop(snapshot);
    run(Command::new(program("psql", to)?).args(["-q", "-X", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-d", &target.conninfo("restored"), "-f"]).arg(&dump))?;
    let Definitions::Read(definitions) = &manifest.definitions else { panic!("{:?}", manifest.definitions) };
    assert!(definitions.len() > 200, "{}", definitions.len());
    let text = format!("{definitions:?}");
    assert!(!text.contains("not-to-be-seen"));
    let mut found = catalogue_findings(&manifest, &target, "restored")?;
    if from != to {
        // The newer server installs newer versions of extensions.
        found.retain(|finding| finding.severity() != Severity::Notice || !finding.object.starts_with("extension "));
    }
    let found = shown(&found);
    assert!(found.is_empty(), "{from} to {to}: {found:#?}");
    Ok(())
}

#[test]
fn a_dump_is_silent_15_to_15() -> Result<()> {
    a_dump_is_silent(15, 15)
}

#[test]
fn a_dump_is_silent_13_to_18() -> Result<()> {
    a_dump_is_silent(13, 18)
}

#[test]
fn a_dump_is_silent_18_to_18() -> Result<()> {
    a_dump_is_silent(18, 18)
}
